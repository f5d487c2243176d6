"""Tables of thousands of rows, long lists and paragraphs: cut where they can be read, quoted by what names it."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from agent_app.agent.offline import ATTACHED_AT
from agent_app.knowledge.citations import Quotes
from agent_app.knowledge.documents import MOST_TEXT, read
from agent_app.knowledge.embedding import Vectors
from agent_app.knowledge.passages import LONG, LONGEST, Passage, Source, parts_of
from agent_app.knowledge.retrieval import KnowledgeIndex, best_within
from tests.agent_app.conftest import Embedding

pytestmark = pytest.mark.unit

HEAD = "| name | price | left |\n| --- | --- | --- |"


def price_list(rows: int) -> Source:
    """Of things 0, 1, …; what is left of one is the number of another."""
    lines = [f"thing {n},{n % 90}.{n % 7}5,{(n * 31 + 5) % rows}" for n in range(rows)]
    return Source("prices", "prices.csv", read("prices.csv", "\n".join(["name,price,left", *lines]).encode()).text)


def parts(body: str) -> list[Passage]:
    return [part for passage in Source("a", "A", body).passages for part in parts_of(passage)]


@pytest.fixture(scope="module")
def prices() -> Source:
    source = price_list(100_000)
    assert len(source.body) == MOST_TEXT
    return source


def test_a_long_table_is_many_whole_ones(prices: Source) -> None:
    cut = parts(prices.body)
    assert {part.head for part in cut} == {HEAD}
    assert max(len(part.text) for part in cut) <= LONGEST + 1
    assert [row for part in cut for row in part.rows] == prices.body.rstrip().split("\n")[2:]


def test_what_is_short_stays_whole() -> None:
    table = "\n".join([HEAD, *(f"| thing {n} | 1.00 | 1 |" for n in range(60))])
    assert len(table) < LONG
    assert [part.text for part in parts(table)] == [table]
    code = "```\n" + "x = 1\n" * 1000 + "```"
    assert [part.text for part in parts(code)] == [code]


def test_a_table_below_a_sentence_keeps_both() -> None:
    said, *tables = parts("\n".join(["These are our prices:", HEAD, *(f"| thing {n} | 1 | 1 |" for n in range(200))]))
    assert said.text == "These are our prices:"
    assert all(table.tabular and table.head == HEAD for table in tables)


def test_a_table_of_nothing_but_a_long_head() -> None:
    head = "|".join(f" column {n} " for n in range(300))
    body = f"|{head}|\n|{' --- |' * 300}"
    assert [part.text for part in parts(body)] == [body]


def test_a_head_longer_than_its_rows_does_not_multiply_the_text() -> None:
    head = f"|{'|'.join(f' column {n} ' for n in range(300))}|\n|{' --- |' * 300}"
    body = "\n".join([head, *("| 1 | 2 |" for _ in range(3000))])
    assert sum(len(part.text) for part in parts(body)) < 3 * len(body)


@pytest.mark.parametrize(
    "body",
    [
        "\n".join(f"- Step {n}: turn it.\n  Then wait, and\n  - look\n  - listen" for n in range(200)),
        "To begin:\n\n" + "\n\n".join(f"{n}. Step {n}: turn it." for n in range(200)),
        " ".join(f"The item {n} is made of wool. Is it? It is." for n in range(300)),
        "\n".join(f"Line {n} of a page without an end" for n in range(300)),
        "Short.\n" + " ".join(["A sentence of some length."] * 150) + "\nThe end.",
        "word " * 3000,
        "ab" * 5000,
    ],
    ids=["items", "loose items", "sentences", "lines", "mixed", "words", "nothing"],
)
def test_long_text_is_cut_and_nothing_of_it_is_lost(body: str) -> None:
    cut = parts(body)
    assert len(cut) > 3
    assert max(len(part.text) for part in cut) <= LONG
    assert all(part.text in body for part in cut)  # what is quoted stands in its source
    assert "".join("".join(part.text.split()) for part in cut) == "".join(body.split())


def test_a_long_list_is_cut_between_its_items() -> None:
    body = "\n".join(f"- Step {n}: turn it.\n  Then wait, and\n  - look\n  - listen" for n in range(200))
    assert all(part.text.startswith("- Step") for part in parts(body))


@pytest.mark.parametrize("number", [3, 777, 12_345])
def test_the_row_that_names_the_thing_is_quoted(prices: Source, embed: Embedding, number: int) -> None:
    """And not the one that has as many left."""
    hit = best_within(prices, f"price of thing {number}", embed, {})
    assert hit.passage is not None
    assert hit.score >= ATTACHED_AT
    row = f"| thing {number} | {number % 90}.{number % 7}5 |"
    head, told = hit.passage.text.rsplit("\n", 1)
    assert head == HEAD
    assert told.startswith(row)
    assert told in prices.body
    quoted = Quotes().quote(prices, hit.passage)
    assert quoted == f"{HEAD}\n{told}\n\n[1]"


def test_a_row_is_found_by_a_word_that_the_table_has_not(prices: Source, embed: Embedding) -> None:
    hit = best_within(prices, "What does thing 8123 cost?", embed, {})
    assert hit.passage is not None
    assert hit.score >= ATTACHED_AT
    assert "| thing 8123 |" in hit.passage.text


def test_what_a_table_does_not_say_is_not_to_the_point(prices: Source, embed: Embedding) -> None:
    assert best_within(prices, "Who is the president?", embed, {}).score < ATTACHED_AT


def test_a_text_is_found_deep_in_a_long_paragraph(embed: Embedding) -> None:
    filler = " ".join(f"Our shop number {n} opens at nine and closes at six." for n in range(2000))
    guide = Source("g", "guide.txt", f"{filler} The Ember stove burns gas of the kind EN 417 only. {filler}")
    hit = best_within(guide, "What gas does the Ember stove burn?", embed, {})
    assert hit.passage is not None
    assert hit.score >= ATTACHED_AT
    assert "EN 417" in hit.passage.text


@pytest.mark.parametrize("question", ["price of thing 12345", "which is the cheapest product?", "how do I return it?"])
def test_a_question_to_the_longest_file_embeds_a_dozen_texts(prices: Source, embed: Embedding, question: str) -> None:
    embedded: list[str] = []

    def counting(texts: Sequence[str]) -> Vectors:
        embedded.extend(texts)
        return embed(texts)

    known: dict[Passage, NDArray[np.float32]] = {}
    best_within(prices, question, counting, known)
    assert len(embedded) <= 12
    embedded.clear()
    best_within(prices, question, counting, known)
    assert len(embedded) <= 2


def test_an_article_quotes_the_row(embed: Embedding) -> None:
    countries = ["Portugal", "Spain", "Norway", "Iceland", "Malta"]
    rows = [f"| {name} zone {n} | {n}.90 |" for n in range(60) for name in countries]
    table = "\n".join(["| country | cost |", "| --- | --- |", *rows])
    asked = ("what does shipping cost", "shipping price to my country", "delivery fees")
    shipping = Source("ship", "Shipping", f"We ship on weekdays.\n\n## Prices\n\n{table}", "en", asked)
    phone = Source("phone", "Our telephone", "Call us.", "en", ("what is your number", "how do I call you"))
    index = KnowledgeIndex.build([phone, shipping], embed)
    assert len(index.vectors) == 11  # the table is one text of the index, however long
    hit = index.search("what is the price for Norway zone 37?", embed, article="ship").hits[0]
    assert hit.passage is not None
    assert hit.passage.text == "| country | cost |\n| --- | --- |\n| Norway zone 37 | 37.90 |"
    assert hit.passage.heading == "Prices"


def test_an_article_that_is_one_long_table_is_told_from_its_start(embed: Embedding) -> None:
    rows = [f"| thing {n} | {n}.90 | 1 |" for n in range(300)]
    index = KnowledgeIndex.build([Source("p", "Prices", "\n".join([HEAD, *rows]))], embed)
    hit = index.search("prices", embed, article="p").hits[0]
    assert hit.passage is not None
    assert len(hit.passage.text) <= LONGEST + 1
    assert hit.passage.text.startswith(f"{HEAD}\n| thing 0 |")
