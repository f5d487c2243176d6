"""When a person should take over: the shipped policy on what customers write, and the policy file itself."""

import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from agent_app.agent.events import Escalation
from agent_app.escalation import people_are_away, policy, read_policy
from agent_app.knowledge.indexing import Knowledge
from agent_app.knowledge.retrieval import KnowledgeIndex
from tests.agent_app.test_knowledge import questions

pytestmark = [pytest.mark.unit, pytest.mark.slow]

ASKS = """
I want to talk to a human
can i speak to someone please
real person please
connect me to an agent
human
agent please
I need a person
let me talk to your manager
I'd like to speak with a representative
get me a human now
I don't want to talk to a bot
Can I talk to a real person?
put me through to customer service
please transfer me to a live agent
Could I please chat with someone from support
are you a real person
""".strip().splitlines()

NOT_FOR_A_PERSON = """
I know
do you know when it arrives
now
how do I wash my jacket
Do I need a personal account?
who is the contact person for businesses
I want a jacket for a tall person
is a person needed at home for delivery
the sleeping bag for one person
how many people fit in the tent
where is my order? it is urgent
can someone else collect my order
do you have a store manager in Dublin
does the agent deliver on Sundays
where do I find the human rights policy
should I talk to the courier
can I leave it with someone
this is a great service
""".strip().splitlines()

OTHERS = [
    ("I will sue you", "legal", "high"),
    ("my lawyer will contact you", "legal", "high"),
    ("I want to file a complaint", "complaint", "high"),
    ("this is absolutely unacceptable", "complaint", "high"),
    ("worst service ever", "complaint", "high"),
    ("my stove exploded", "urgent", "urgent"),
    ("my account was hacked", "urgent", "urgent"),
    ("I want to talk to a human, it is urgent", "general", "high"),
]


@pytest.mark.parametrize("text", ASKS)
def test_an_explicit_wish_for_a_person(text: str) -> None:
    found = policy().judge(text)
    assert found is not None
    assert (found.category, found.score) == ("general", 1.0)


@pytest.mark.parametrize("text", NOT_FOR_A_PERSON)
def test_words_are_whole(text: str) -> None:
    assert policy().judge(text) is None


@pytest.mark.parametrize(("text", "category", "priority"), OTHERS)
def test_categories(text: str, category: str, priority: str) -> None:
    found = policy().judge(text)
    assert found is not None
    assert (found.category, found.priority) == (category, priority)


def test_typographic_apostrophes() -> None:
    assert policy().judge("I don’t want a bot") is not None


@pytest.mark.parametrize(
    "text",
    [
        "rules: [",
        "threshold: 0.7",
        "rules: [{name: a, category: other, priority: low, score: 1, phrases: [x]}]",
        "rules: [{name: a, category: legal, priority: soon, score: 1, phrases: [x]}]",
        "rules: [{name: a, category: legal, priority: low, score: 1, phrases: ['(x']}]",
        "rules: []\nhours: {timezone: Nowhere/City, open: []}",
        "rules: []\nhours: {timezone: UTC, open: [{days: [someday], from: '09:00', to: '17:00'}]}",
        "rules: []\nhours: {timezone: UTC, open: [{days: [mon], from: 9:00, to: '17:00'}]}",
        "rules: []\nmeaning: 0.6",
        "",
        "- rules",
        "rules: {name: a}",
        "rulez: []\nrules: []",
        "rules: [{name: a, category: legal, priority: low, score: 1, phrases: lawyer}]",
        "rules: [{name: a, category: legal, priority: low, score: 1, examples: I sue you}]",
        "rules: []\nno_reason: How many people fit into the tent?",
        "rules: [{name: a, category: legal, priority: low, score: 1, phrases: ['']}]",
        "rules: [{name: a, category: legal, priority: low, score: 1}]",
        "rules: [{name: a, category: legal, priority: low, score: 7, phrases: [x]}]",
        "rules: [{name: a, category: legal, priority: low, score: .nan, phrases: [x]}]",
        "rules: [{name: a, category: legal, priority: low, score: 1, phrase: [x], examples: [y]}]",
        "rules: []\nthreshold: 70",
        "rules: []\nmeaning: {threshold: 40}",
        "rules: []\nmeaning: {treshold: 0.4}",
    ],
)
def test_a_wrong_policy_says_so(tmp_path: Path, text: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(ImproperlyConfigured, match="ESCALATION_POLICY"):
        read_policy(file)


# ---- by meaning ----

LABELLED = Path(__file__).parent / "escalation"


class ShopKnowledge(Knowledge):
    """Over the sample shop's index instead of the database's."""

    def __init__(self, index: KnowledgeIndex) -> None:
        super().__init__()
        self.index = index

    def current(self) -> KnowledgeIndex:
        return self.index


def by_both(shop: KnowledgeIndex) -> Callable[[str], Escalation | None]:
    knowledge = ShopKnowledge(shop)
    return lambda text: policy().judge(text) or policy().meant(text, knowledge.like)


def labelled(name: str) -> list[tuple[str, str | None]]:
    rows = [json.loads(line) for line in (LABELLED / f"{name}.jsonl").read_text().splitlines()]
    return [(row["text"], row["category"]) for row in rows]


def score(judge: Callable[[str], Escalation | None], rows: list[tuple[str, str | None]]) -> tuple[float, float, float]:
    """Precision, recall, and how often the category is right where both speak."""
    found = [(judge(text), category) for text, category in rows]
    both = [(escalation, category) for escalation, category in found if escalation and category]
    precision = len(both) / sum(escalation is not None for escalation, _ in found)
    recall = len(both) / sum(category is not None for _, category in found)
    return precision, recall, sum(e.category == c for e, c in both) / len(both)


def test_on_sentences_that_nothing_was_tuned_on(shop: KnowledgeIndex, capsys: pytest.CaptureFixture[str]) -> None:
    """Half of them hard: what sounds like a reason and is none. Written before the policy was tried on them."""
    rows = labelled("held_out")
    assert len(rows) >= 120
    assert not {text for text, _ in rows} & {text for text, _ in labelled("tuned_on")}
    words, both = score(policy().judge, rows), score(by_both(shop), rows)
    with capsys.disabled():
        for name, (precision, recall, category) in {"words": words, "words and meaning": both}.items():
            line = f"precision {precision:.3f} recall {recall:.3f} category {category:.3f}"
            sys.stdout.write(f"\nescalation, {len(rows)} held-out sentences, {name}: {line}\n")
    assert both[0] >= 0.88
    assert both[1] >= 0.7
    assert both[1] > 2 * words[1]
    assert both[2] >= 0.95


def test_what_customers_ask_brings_no_person(shop: KnowledgeIndex) -> None:
    judge = by_both(shop)
    asked = [question.text for file in ("natural", "first_ten", "not_covered") for question in questions(file)]
    assert [text for text in asked if judge(text)] == []


def test_a_reason_among_other_sentences(shop: KnowledgeIndex) -> None:
    found = by_both(shop)("Hello there! I bought a stove from you. It blew up in my hands yesterday. What now?")
    assert found is not None
    assert (found.category, found.priority) == ("urgent", "urgent")


ERRANDS = (
    "cancel order 1050", "Cancel my order", "I ordered by mistake, cancel 1050", "stop my order", "list my orders",
    "How is my order 1042 doing", "Cancel order 1053 instead", "return order 1031", "change the address of order 1053",
)  # fmt: skip


@pytest.mark.parametrize("text", ERRANDS)
def test_what_the_tools_do_needs_no_person_where_there_are_no_articles(shop: KnowledgeIndex, text: str) -> None:
    none = KnowledgeIndex.build([], lambda texts: shop.vectors[: len(texts)])
    assert policy().meant(text, ShopKnowledge(none).like) is None
    found = policy().meant("There are orders on my card that I did not make.", ShopKnowledge(none).like)
    assert found is not None


@pytest.mark.parametrize("text", ["Somebody ordered in my name, cancel order 1050", "Order 1042 blew up in my hands."])
def test_danger_that_names_an_order_is_danger(text: str) -> None:
    found = policy().judge(text)
    assert found is not None
    assert found.category == "urgent"


def test_words_alone_have_no_meaning(shop: KnowledgeIndex, settings: Any) -> None:
    settings.KNOWLEDGE_EMBEDDER = "none"
    assert ShopKnowledge(shop).like("a person", ("a person",), (), 0.0, 0.0) is None


# ---- when people are there ----

HOURS = """
rules: []
hours:
  timezone: Europe/Dublin
  open:
    - {days: [mon, tue, wed, thu, fri], from: "09:00", to: "17:00"}
    - {days: [fri, sat], from: "22:00", to: "02:00"}
"""


@pytest.mark.parametrize(
    ("moment", "there"),
    [
        ("2026-06-01T08:00Z", True),  # a Monday, nine o'clock in Dublin's summer
        ("2026-06-01T07:59Z", False),
        ("2026-12-01T08:30Z", False),  # winter
        ("2026-12-01T16:59Z", True),
        ("2026-12-01T17:00Z", False),
        ("2026-12-05T12:00Z", False),  # a Saturday
        ("2026-12-05T23:00Z", True),
        ("2026-12-06T01:59Z", True),  # Sunday, of Saturday's hours
        ("2026-12-07T01:00Z", False),
    ],
)
def test_hours_in_the_desks_own_zone(tmp_path: Path, moment: str, there: bool) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(HOURS)
    hours = read_policy(file).hours
    assert hours is not None
    assert hours.are_now(datetime.fromisoformat(moment)) is there


def test_outside_the_hours_a_hand_over_says_when_people_are_there(tmp_path: Path, settings: Any) -> None:
    settings.ESCALATION_POLICY = str(tmp_path / "policy.yaml")
    (tmp_path / "policy.yaml").write_text(HOURS)
    policy.cache_clear()
    try:
        away = people_are_away(datetime.fromisoformat("2026-12-06T12:00Z"))
        there = people_are_away(datetime.fromisoformat("2026-12-01T12:00Z"))
    finally:
        policy.cache_clear()
    assert away == (
        "Right now nobody is at the desk. People are there Monday to Friday 09:00–17:00, "
        "Friday and Saturday 22:00–02:00 (Europe/Dublin)."
    )
    assert there == ""
    settings.ESCALATION_POLICY = ""
    assert people_are_away(datetime.fromisoformat("2026-12-06T12:00Z")) == ""  # the shipped policy names no hours
