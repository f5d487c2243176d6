"""Retrieval: the sample shop's questions, written down before its articles, and the index beneath."""

import json
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from numpy.typing import NDArray

from agent_app.knowledge import head as heads
from agent_app.knowledge.calibration import Calibration, Outcome, calibrate
from agent_app.knowledge.embedding import (
    DATA,
    MINILM_CENTRE,
    MINILM_SHA256,
    WORD_PIECES,
    OnnxEmbedder,
    WordEmbedder,
    WrongModel,
    load_embedder,
)
from agent_app.knowledge.evaluation import Question, ask, measure, read_questions
from agent_app.knowledge.passages import NotAnArticle, Passage, Source, parse
from agent_app.knowledge.retrieval import OFF_TOPIC, Band, KnowledgeIndex, off_topic, without_texts
from agent_app.knowledge.words import language_of
from agent_app.management.commands.load_knowledge import SAMPLE, read_folder
from tests.agent_app.conftest import Embedding

pytestmark = pytest.mark.unit

QUESTIONS = Path(__file__).parent / "questions"


def questions(name: str) -> list[Question]:
    return read_questions(QUESTIONS / f"{name}.jsonl")


def search(index: KnowledgeIndex, text: str, **options: str):  # type: ignore[no-untyped-def]
    return index.search(text, load_embedder("minilm").embed, **options)


@pytest.mark.parametrize("question", questions("first_ten"), ids=lambda question: question.text)
def test_first_question_gets_its_article(shop: KnowledgeIndex, question: Question) -> None:
    findings = search(shop, question.text)
    assert (findings.band, findings.hits[0].source.slug) == (Band.ANSWER, question.label)


@pytest.mark.parametrize("question", questions("five_unanswerable"), ids=lambda question: question.text)
def test_what_nobody_could_answer_is_declined(shop: KnowledgeIndex, question: Question) -> None:
    assert search(shop, question.text).band == Band.UNKNOWN


def test_further_questions_keep_the_promise(shop: KnowledgeIndex, embed: Embedding) -> None:
    asked = ask(shop, questions("natural") + questions("not_covered"), embed)
    measured = measure(asked)
    assert measured["accuracy"] >= 0.93
    assert measured["answered"] >= 0.65
    assert measured["wrong_among_answered"] <= 0.05
    assert measured["oos_auroc"] >= 0.975


@pytest.mark.parametrize(
    ("question", "heading"),
    [
        ("how long do you keep my parcel at the store", "How long we keep it"),
        ("can I send back boots that I have worn", "Used or worn items"),
        ("how long is a gift card valid", "How long it is valid"),
        ("who pays import duty for Switzerland", "Norway and Switzerland"),
        ("which countries outside Europe do you deliver to", "Countries outside Europe"),
        ("How can I return something?", ""),
        ("what are your opening hours", ""),
        ("are you open on Easter Sunday", "Public holidays"),
    ],
)
def test_the_passage_answers_not_the_opening(shop: KnowledgeIndex, question: str, heading: str) -> None:
    passage = search(shop, question).hits[0].passage
    assert passage is not None
    assert passage.heading == heading


def test_passages_of_questions_that_nothing_was_fitted_on(shop: KnowledgeIndex) -> None:
    """Every other line: the weights of `best_passage` were chosen on the rest."""
    rows = [json.loads(line) for line in (QUESTIONS / "passages" / "shop.jsonl").read_text().splitlines()][1::2]
    found = [load_embedder("minilm").embed([row["text"]])[0] for row in rows]
    numbers = {source.slug: number for number, source in enumerate(shop.sources)}
    right = 0
    for row, vector in zip(rows, found, strict=True):
        passage = shop.best_passage(numbers[row["label"]], row["text"], shop.vectors @ vector)
        right += passage is not None and passage.heading == row["heading"]
    assert right / len(rows) >= 0.85


@pytest.mark.parametrize(
    ("word", "band"), [("boots", Band.CLARIFY), ("shoes", Band.CLARIFY), ("warranty", Band.ANSWER)]
)
def test_a_single_word_is_answered_where_it_names_one_article(shop: KnowledgeIndex, word: str, band: Band) -> None:
    assert search(shop, word).band == band


def test_a_choice_that_was_asked_for_by_a_word_is_told_from_its_start(shop: KnowledgeIndex) -> None:
    def passage(question: str) -> Passage | None:
        return shop.search(question, load_embedder("minilm").embed, article="boot-fitting").hits[0].passage

    opening = next(source for source in shop.sources if source.slug == "boot-fitting").passages[0]
    assert passage("boots") == opening
    assert passage("boots heel slips") != opening


def test_slips_of_the_finger_are_mended(shop: KnowledgeIndex) -> None:
    assert search(shop, "how do i wahs my dwon jaket").hits[0].source.slug == "wash-down-jacket"
    assert shop.speller.mended("do you sell books") == "do you sell books"  # a word, though no article has it


def test_another_language_is_said(shop: KnowledgeIndex) -> None:
    assert search(shop, "Wie lange dauert die Lieferung nach Deutschland?").language == "de"
    assert search(shop, "how long does delivery to Germany take").language is None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("where is my order", "en"),
        ("où est ma commande", "fr"),
        ("¿dónde está mi pedido?", "es"),
        ("где мой заказ", "ru"),
        ("Ich möchte etwas zurückgeben", "de"),
        ("Quiero devolver algo", "es"),
        ("Jeg vil gerne returnere", "da"),
        ("Versandkosten?", "de"),
        ("danke", "de"),
        ("guten Tag", "de"),
        ("Bonjour", "fr"),
        ("Merci beaucoup", "fr"),
        ("Quels sont vos horaires d'ouverture?", "fr"),
        ("¿Cuánto cuesta el envío a España?", "es"),
        ("hola", "es"),
        ("Quanto costa la spedizione in Italia?", "it"),
        ("Quanto custa o frete para Portugal?", "pt"),
        ("Missä tilaukseni on?", "fi"),
        ("Kolik stojí doprava?", "cs"),
        ("Hol van a csomagom?", "hu"),
        ("Unde este comanda mea?", "ro"),
        ("how do I say hola", None),
        ("is Lieferung the delivery", "en"),
        ("iPhone 15", None),
        ("", None),
    ],
)
def test_language_of(text: str, language: str | None) -> None:
    assert language_of(text) == language


def test_an_index_survives_its_bytes(shop: KnowledgeIndex) -> None:
    again = KnowledgeIndex.from_bytes(shop.to_bytes())
    for question in questions("natural")[:30]:
        before, after = search(shop, question.text), search(again, question.text)
        assert before.hits[0].source == after.hits[0].source
        assert after.probability == pytest.approx(before.probability, abs=0.01)


def test_a_new_article_is_found_before_the_head_has_learned_it(shop: KnowledgeIndex, embed: Embedding) -> None:
    kayaks = Source("kayaks", "Kayaks and canoes", "We sell kayaks of two makers in Galway.")
    quick = KnowledgeIndex.build([*shop.sources, kayaks], embed, earlier=shop)
    assert quick.search("do you sell kayaks", embed).hits[0].source == kayaks
    assert quick.search("Where is my order?", embed).hits[0].source.slug == "track-order"


def test_words_alone_still_find() -> None:
    words = load_embedder("none")
    index = KnowledgeIndex.build(read_folder(SAMPLE), words.embed)
    measured = measure(ask(index, questions("first_ten") + questions("natural"), words.embed))
    assert measured["accuracy"] >= 0.8


class Endpoint(BaseHTTPRequestHandler):
    """OpenAI's embeddings as far as they are used: the vectors of `none`, in the wrong order."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        vectors = WordEmbedder().embed(asked["input"])
        rows = [{"index": n, "embedding": vector.tolist()} for n, vector in enumerate(vectors)]
        body = json.dumps({"model": asked["model"], "data": rows[::-1]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_an_endpoint_makes_vectors() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        embedder = load_embedder(f"http://127.0.0.1:{server.server_port}/v1/embeddings#words")
        texts = [f"text number {n}" for n in range(40)]
        assert embedder.size == 512
        assert np.allclose(embedder.embed(texts), load_embedder("none").embed(texts), atol=1e-5)
        server.shutdown()


@pytest.mark.parametrize("name", ["/no/such/folder", "https://host/v1/embeddings"])
def test_a_wrong_embedder_says_what_to_write(name: str) -> None:
    with pytest.raises(WrongModel, match="write"):
        load_embedder(name)


def test_a_model_of_other_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not the model")
    with pytest.raises(WrongModel, match="is not the file"):
        OnnxEmbedder("minilm", tmp_path / "model.onnx", WORD_PIECES, MINILM_SHA256)


def test_the_lower_layer_counts_from_what_all_texts_have_in_common() -> None:
    embedder = load_embedder("minilm")
    assert isinstance(embedder, OnnxEmbedder)
    texts = (DATA / "off_topic.txt").read_text(encoding="utf-8").splitlines()
    last, lower = (np.vstack(layers) for layers in zip(*(embedder.layers([text]) for text in texts), strict=True))
    centre = lower.mean(axis=0)
    assert np.allclose(np.load(MINILM_CENTRE), centre, atol=1e-3)
    from_it = (lower - centre) / np.linalg.norm(lower - centre, axis=1, keepdims=True)
    vectors = embedder.embed(texts)
    assert (np.einsum("ij,ij->i", vectors, from_it) > np.einsum("ij,ij->i", last, from_it)).all()


def test_articles_without_questions_hold_their_own(shop: KnowledgeIndex, embed: Embedding) -> None:
    """As after an import: every other article has a title and a text, and nothing else."""
    sources = [replace(source, questions=()) if n % 2 else source for n, source in enumerate(shop.sources)]
    asked = ask(KnowledgeIndex.build(sources, embed), questions("first_ten") + questions("natural"), embed)
    assert measure(asked)["accuracy"] >= 0.84


def test_nothing_known_and_nothing_asked() -> None:
    embed = load_embedder("none").embed
    empty = KnowledgeIndex.build([], embed)
    assert not empty.search("Where is my order?", embed)
    one = KnowledgeIndex.build([Source("a", "Delivery", "We deliver.")], embed)
    assert not one.search("  ?!", embed)
    assert one.search("delivery", embed).hits[0].source.slug == "a"


def test_a_held_out_question_has_words_that_no_article_holds(embed: Embedding) -> None:
    """Its own article holds all of them: calibration would take every question's words for known."""
    rows = {"pay": ("how do I pay by card", "paying with zlotys"), "send": ("how do I send it", "sending by dromedary")}
    sources = [Source(slug, slug, "", "en", asked) for slug, asked in rows.items()]
    index = KnowledgeIndex.build(sources, embed)
    with_text, without_article = without_texts(index, 0, "paying with zlotys", {"paying with zlotys"})
    assert 0 < with_text.known < 1  # "pay" stands in the other question, "zlotys" nowhere else
    assert without_article.known == 0


def test_what_a_desk_is_about_is_not_off_topic(embed: Embedding) -> None:
    said = OFF_TOPIC.read_text(encoding="utf-8").splitlines()
    garden = Source(
        "roses", "Pruning roses", "Prune them in spring.", "en", ("how do I prune roses", "cutting roses back")
    )
    phone = Source("phone", "Our telephone", "Call us.", "en", ("what is your number", "how do I call you"))
    outcomes = list(off_topic(KnowledgeIndex.build([garden, phone], embed), embed))
    assert len(said) - 4 <= len(outcomes) < len(said)
    assert not any(outcome.right or outcome.near or outcome.covered for outcome in outcomes)


def test_head_by_steps_agrees_with_the_direct_solution() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(600, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = rng.integers(0, 7, 600).astype(np.int32)
    targets = heads.one_hot(labels, 7)
    direct = np.linalg.solve(heads.regularised(vectors), targets)
    assert np.abs(heads.solve_by_steps(vectors, targets) - direct).max() < 0.02


def test_leave_out_is_what_a_head_without_them_would_say() -> None:
    vectors, labels = drawn_around(np.random.default_rng(2), articles=6, each=10, numbers=16)
    left_out = heads.leave_out(vectors, labels, np.arange(60), 6)
    for without, said in (
        (np.arange(60) != 25, left_out.known[25]),
        (labels != labels[25], left_out.foreign[25]),
    ):
        weights = heads.solve(vectors[without], labels[without], 6)
        assert heads.Head(weights).scores(vectors[without] @ vectors[25]) == pytest.approx(said, abs=0.01)


def test_one_more_text_is_worth_less_the_more_there_are() -> None:
    gains = []
    for each in (3, 40):
        vectors, labels = drawn_around(np.random.default_rng(4), articles=20, each=each, numbers=24)
        gains.append(heads.leave_out(vectors, labels, np.arange(len(labels)), 20).gain)
    assert gains[0] > 0.03 > gains[1]


def drawn_around(
    rng: np.random.Generator, articles: int, each: int, numbers: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    labels = np.repeat(np.arange(articles), each).astype(np.int32)
    vectors = rng.normal(size=(articles, numbers))[labels] + 1.6 * rng.normal(size=(len(labels), numbers))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), labels


def test_calibration_answers_as_much_as_the_target_allows() -> None:
    rng = np.random.default_rng(3)
    outcomes = []
    for _ in range(4000):
        sure = rng.uniform()
        right = bool(rng.uniform() < sure)
        outcomes.append(Outcome((sure, 0.0, sure, sure, sure, 1.0), right, right, covered=True))
    calibration = calibrate(outcomes)
    assert calibration.ece < 0.04
    assert 0.02 < calibration.wrong <= 0.05
    assert Calibration.from_json(calibration.to_json()) == calibration


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("no title at all", "title"),
        ("---\ntitle: [\n---\nbody", "YAML"),
        ("---\ntitle: A\nslug: Not A Slug\n---\nbody", "slug"),
        ("---\ntitle: A\nquestions: one\n---\nbody", "questions"),
    ],
)
def test_what_is_not_an_article(text: str, complaint: str) -> None:
    with pytest.raises(NotAnArticle, match=complaint):
        parse(text, "name")


def test_lists_and_tables_stay_whole() -> None:
    source = parse("# Title\n\nOpening:\n\n- one\n\n- two\n\n## Part\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n", "name")
    assert [passage.heading for passage in source.passages] == ["Title", "Part"]
    assert "- one\n\n- two" in source.passages[0].text
    assert source.passages[1].plain == "a, b 1, 2"
