"""Texts that hardly differ. Of those within one article calibration must not take one for unseen while it knows the
other; those of two articles say nothing against either, and are told.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent_app.knowledge import head as heads
from agent_app.knowledge.evaluation import ask, measure, read_questions
from agent_app.knowledge.passages import Source
from agent_app.knowledge.retrieval import Band, KnowledgeIndex
from agent_app.knowledge.twins import grouped
from agent_app.knowledge.words import terms
from tests.agent_app.conftest import Embedding

pytestmark = pytest.mark.unit

QUESTIONS = Path(__file__).parent / "questions"


def groups_of(texts: list[str], articles: list[int], embed: Embedding) -> list[int]:
    said = [frozenset(terms(text)) for text in texts]
    return grouped(embed(texts), np.array(articles, np.int32), said).tolist()


def test_what_hardly_differs_is_one_group(embed: Embedding) -> None:
    texts = [
        "Where is my parcel",
        "When will the courier ring?",
        "Where is my parcel, please?",
        "WHERE IS MY PARCEL?",
        "Hi, where is my parcel",
        "How much is a parcel to Spain?",
    ]
    assert groups_of(texts, [0] * 6, embed) == [0, 1, 0, 0, 0, 5]


def test_what_hardly_differs_in_another_article_is_another_group(embed: Embedding) -> None:
    texts = ["Where is my parcel", "Where is my parcel?", "Where is my parcel, please?"]
    assert groups_of(texts, [0, 1, 0], embed) == [0, 1, 0]


def test_texts_without_a_word_are_by_themselves() -> None:
    said = [frozenset[str]()] * 2
    assert grouped(np.zeros((2, 4), np.float32), np.zeros(2, np.int32), said).tolist() == [0, 1]


def test_a_chain_of_twins_is_one_group() -> None:
    angles = 0.3 * np.arange(4)  # a cosine of 0.955 from each to the next
    vectors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    said = [frozenset([str(number)]) for number in range(4)]
    assert grouped(vectors, np.zeros(4, np.int32), said).tolist() == [0] * 4


@pytest.mark.parametrize("with_metric", [False, True])
def test_twins_are_left_out_together(with_metric: bool) -> None:
    """By hand: a head without either."""
    rng = np.random.default_rng(8)
    labels = np.repeat(np.arange(8), 12).astype(np.int32)
    vectors = rng.normal(size=(8, 16))[labels] + rng.normal(size=(96, 16))
    vectors[1::2] = vectors[::2]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    twins = np.arange(96) // 2 * 2
    left_out = heads.leave_out(vectors, labels, twins, 8, with_metric)
    if not with_metric:
        kept = twins != 24
        head = heads.Head(heads.solve(vectors[kept], labels[kept], 8))
        assert head.scores(vectors[kept] @ vectors[24]) == pytest.approx(left_out.known[24], abs=0.01)
    alone = heads.leave_out(vectors, labels, np.arange(96), 8, with_metric)
    assert alone.right(labels) > 0.98  # each knows its own twin
    assert left_out.right(labels) < 0.9


def with_twins(source: Source) -> Source:
    changed = (lambda text: f"{text.rstrip('?')}, please?", str.upper, lambda text: f"Hi, {text}")
    twins = [changed[place % 3](text) for place, text in enumerate(source.questions)]
    return replace(source, questions=(*source.questions, *twins))


def test_twins_do_not_make_a_desk_surer_of_itself(shop: KnowledgeIndex, embed: Embedding) -> None:
    """Each example question of the sample shop stands there twice: it knows no more for that."""
    doubled = KnowledgeIndex.build([with_twins(source) for source in shop.sources], embed)
    assert doubled.calibration.questions < 1.1 * shop.calibration.questions
    asked = read_questions(QUESTIONS / "natural.jsonl") + read_questions(QUESTIONS / "not_covered.jsonl")
    measured = measure(ask(doubled, asked, embed))
    assert measured["accuracy"] >= 0.93
    assert measured["answered"] >= 0.65
    assert measured["wrong_among_answered"] <= 0.05
    assert measured["ece"] <= 0.06


def test_what_stands_in_two_articles_is_named(embed: Embedding) -> None:
    rows = {
        "delivery": (
            "Delivery",
            "Where is my parcel?",
            "do you deliver on Sunday",
            "transfer from savings to checking",
        ),
        "tracking": ("Tracking", "WHERE IS MY PARCEL", "do you deliver on Monday", "transfer from checking to savings"),
        "name": ("Names", "can you call me something else", "Delivery", "delivery!"),
        "nickname": ("Nickname", "can I call you something else", "?", "¿"),
        "marks": ("Marks", "?!", "what is a delivery?", "where is my refund?"),
    }
    sources = [Source(slug, title, "", "en", tuple(asked)) for slug, (title, *asked) in rows.items()]
    index = KnowledgeIndex.build(sources, embed)
    named = [(each.text, [source.slug for source in each.sources]) for each in index.shared]
    assert named == [("Delivery", ["delivery", "name"]), ("Where is my parcel?", ["delivery", "tracking"])]


def test_articles_of_two_languages_may_have_one_name(embed: Embedding) -> None:
    sources = [Source(f"paypal-{language}", "PayPal", "", language) for language in ("en", "de")]
    assert not KnowledgeIndex.build(sources, embed).shared


def test_the_sample_shop_shares_nothing(shop: KnowledgeIndex) -> None:
    assert not shop.shared


def test_what_two_articles_share_does_not_silence_a_desk(shop: KnowledgeIndex, embed: Embedding) -> None:
    """The first two questions of each article stand in the next one, too."""
    following = [*shop.sources[1:], shop.sources[0]]
    sources = [
        replace(source, questions=tuple(dict.fromkeys((*source.questions, *before.questions[:2]))))
        for before, source in zip(shop.sources, following, strict=True)
    ]
    index = KnowledgeIndex.build(sources, embed)
    assert len(index.shared) == 2 * len(sources)
    asked = read_questions(QUESTIONS / "natural.jsonl") + read_questions(QUESTIONS / "not_covered.jsonl")
    measured = measure(ask(index, asked, embed))
    assert index.search(sources[1].questions[-1].upper(), embed).band == Band.CLARIFY
    assert measured["answered"] >= 0.5
    assert measured["wrong_among_answered"] <= 0.07
