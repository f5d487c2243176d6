"""The knowledge's own metric: what it brings, what it must not have seen, and that it is kept."""

import zlib
from collections.abc import Sequence

import numpy as np
import pytest

from agent_app.knowledge import head as heads
from agent_app.knowledge import metric as metrics
from agent_app.knowledge.embedding import Vectors
from agent_app.knowledge.indexing import takes_long
from agent_app.knowledge.metric import Labels, Metric
from agent_app.knowledge.passages import Source
from agent_app.knowledge.retrieval import KnowledgeIndex

pytestmark = pytest.mark.unit

ARTICLES, TELLING, NUMBERS = 20, 8, 32
ALONE = np.arange(400)  # no text has a twin


def confusable(texts: int = 400) -> tuple[Vectors, Labels]:
    """Articles that differ in 8 of 32 directions, by less than their texts do in the others."""
    rng = np.random.default_rng(5)
    labels = (np.arange(texts) % ARTICLES).astype(np.int32)
    vectors = rng.normal(size=(texts, NUMBERS))
    vectors[:, :TELLING] = 0.6 * rng.normal(size=(ARTICLES, TELLING))[labels] + 0.3 * vectors[:, :TELLING]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), labels


def test_what_tells_articles_apart_comes_to_count() -> None:
    vectors, labels = confusable()
    plain, learned = (heads.leave_out(vectors, labels, ALONE, ARTICLES, which).known for which in (False, True))
    right = [float((scores.argmax(axis=1) == labels).mean()) for scores in (plain, learned)]
    assert right[1] > right[0] + 0.1


def broad(texts: int = 400, articles: int = 4) -> tuple[Vectors, Labels]:
    """Articles of twenty-five unlike things each, four texts of every thing."""
    rng = np.random.default_rng(7)
    things = np.arange(texts) // 4
    vectors = rng.normal(size=(texts // 4, NUMBERS))[things] + 0.9 * rng.normal(size=(texts, NUMBERS))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), (things % articles).astype(np.int32)


def test_the_texts_say_whether_a_metric_is_good_for_them() -> None:
    assert heads.better_left_out(*confusable(), ALONE, ARTICLES).with_metric
    vectors, labels = broad()
    plain, turned = (heads.leave_out(vectors, labels, ALONE, 4, which).right(labels) for which in (False, True))
    assert turned < plain - 0.01
    assert not heads.better_left_out(vectors, labels, ALONE, 4).with_metric


def test_of_many_texts_each_step_draws_some_of_every_article_it_takes() -> None:
    labels = np.repeat(np.arange(ARTICLES), 100).astype(np.int32)
    counts = np.bincount(labels[metrics.drawn(labels, np.random.default_rng(0))])
    assert counts.tolist() == [metrics.EACH] * ARTICLES
    labels = np.repeat(np.arange(500), 4).astype(np.int32)
    counts = np.bincount(labels[metrics.drawn(labels, np.random.default_rng(0))])
    assert set(counts.tolist()) == {0, 4}
    assert counts.sum() == metrics.AT_ONCE


def test_the_gradient_is_the_losss() -> None:
    vectors, labels = confusable(60)
    labels[0] = ARTICLES  # the only one of its article: it has no part
    rng = np.random.default_rng(6)
    turn, way = (rng.normal(size=(NUMBERS, NUMBERS)).astype(np.float32) for _ in range(2))
    ahead, behind = (loss(vectors, labels, turn + step * way) for step in (1e-3, -1e-3))
    rise = float((metrics.gradient(vectors, labels, turn) * way).sum())
    assert rise == pytest.approx((ahead - behind) / 2e-3, rel=0.01)


def loss(vectors: Vectors, labels: Labels, turn: np.ndarray) -> float:
    turned = vectors.astype(np.float64) @ turn
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    logits = turned @ turned.T / metrics.TEMPERATURE
    np.fill_diagonal(logits, -np.inf)
    total = 0.0
    for row, each in enumerate(logits):
        same = (labels == labels[row]) & (np.arange(len(labels)) != row)
        if same.any():
            total -= float((each[same] - np.log(np.exp(each).sum())).mean())
    return total / len(labels)


def test_a_questions_cosines_are_those_of_the_turned_vectors() -> None:
    vectors, labels = confusable()
    turn = metrics.learn(vectors, labels)
    texts, question = vectors[1:], vectors[0]
    matrix = turn @ turn.T
    found = Metric.over(texts, matrix).cosines(texts @ (matrix @ question), question)
    wanted = metrics.turned(texts, turn) @ metrics.turned(question[None], turn)[0]
    assert np.allclose(found, wanted, atol=1e-5)


def test_a_text_without_a_word_is_near_to_none() -> None:
    vectors, labels = confusable()
    vectors[3] = 0
    head = heads.fit(vectors, labels, ARTICLES, with_metric=True)
    assert head.metric is not None
    cosines = head.metric.cosines(vectors @ (head.metric.matrix @ vectors[3]), vectors[3])
    assert np.isfinite(head.weights).all()
    assert (cosines == 0).all()


def test_the_sample_shop_learns_none(shop: KnowledgeIndex) -> None:
    assert shop.head is not None
    assert shop.head.metric is None


def test_above_what_is_solved_at_once_the_steps_find_the_same() -> None:
    vectors, labels = confusable()
    turned = metrics.turned(vectors, metrics.learn(vectors, labels))
    by_steps = heads.solve_by_steps(turned, heads.one_hot(labels, ARTICLES))
    assert np.abs(by_steps - heads.solve(turned, labels, ARTICLES)).max() < 0.02


def test_what_is_left_out_is_asked_in_a_metric_that_has_not_seen_it() -> None:
    """By hand: the metric without this half of the articles, the head without this text or article."""
    vectors, labels = confusable()
    left_out = heads.leave_out(vectors, labels, ALONE, ARTICLES, with_metric=True)
    text = 25
    chosen = np.random.default_rng(0).permutation(ARTICLES) % 2 == 0
    unseen = chosen[labels] != chosen[labels[text]]
    assert unseen.sum() == len(labels) / 2
    turned = metrics.turned(vectors, metrics.learn(vectors[unseen], labels[unseen]))
    for gone, said in (
        (np.arange(len(labels)) == text, left_out.known[text]),
        (labels == labels[text], left_out.foreign[text]),
    ):
        head = heads.Head(heads.solve(turned[~gone], labels[~gone], ARTICLES))
        assert head.scores(turned[~gone] @ turned[text]) == pytest.approx(said, abs=0.005)


# ---- in the index ----


def embed(texts: Sequence[str]) -> Vectors:
    """Small vectors: twice the first word's direction, and the whole text's."""
    vectors = np.array([2 * direction(text.split()[0]) + direction(text) for text in texts], np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def direction(text: str) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(text.encode())).normal(size=16)


def articles(count: int) -> list[Source]:
    words = ["boots", "tents", "stoves", "ropes", "maps", "lamps", "skis", "gloves"]
    return [
        Source(word, f"{word} and more", "", "en", tuple(f"{word} question {n}" for n in range(7)))
        for word in words[:count]
    ]


def test_an_index_keeps_its_metric() -> None:
    index = KnowledgeIndex.build(articles(8), embed)
    again = KnowledgeIndex.from_bytes(index.to_bytes())
    question = embed(["tents for two"])[0]
    before, after = (each.look("tents for two", question).head for each in (index, again))
    assert index.head is not None
    assert index.head.metric is not None
    assert before is not None
    assert after == pytest.approx(before, abs=0.01)
    plain = index.head.scores((index.vectors @ question)[index.taught])
    assert np.abs(plain - before).max() > 0.02


def test_an_index_is_the_same_however_often_it_is_made() -> None:
    assert KnowledgeIndex.build(articles(8), embed).to_bytes() == KnowledgeIndex.build(articles(8), embed).to_bytes()


def test_what_is_published_at_once_has_the_earlier_metric() -> None:
    earlier = KnowledgeIndex.build(articles(7), embed)
    quick = KnowledgeIndex.build(articles(8), embed, earlier)
    assert earlier.head is not None
    assert earlier.head.metric is not None
    assert quick.head is not None
    assert quick.head.metric is not None
    assert quick.head.metric.matrix is earlier.head.metric.matrix
    assert quick.search("gloves question 2", embed).hits[0].source.slug == "gloves"
    assert quick.search("tents question 2", embed).hits[0].source.slug == "tents"


def test_what_has_a_metric_to_learn_is_published_before() -> None:
    assert takes_long(articles(8), KnowledgeIndex.build(articles(7), embed))
    assert takes_long(articles(3), KnowledgeIndex.build(articles(2), embed))  # the first time that it learns one
    assert not takes_long(articles(2), KnowledgeIndex.build(articles(3), embed))


def test_fewer_questions_than_directions_teach_none() -> None:
    """Stored, such an index is as those of older versions are."""
    index = KnowledgeIndex.build(articles(2), embed)
    assert index.head is not None
    assert index.head.metric is None
    again = KnowledgeIndex.from_bytes(index.to_bytes())
    assert again.search("tents question 2", embed).hits[0].source.slug == "tents"


@pytest.mark.parametrize(
    ("questions", "numbers", "worthwhile"), [(383, 384, False), (384, 384, True), (9000, 1536, False)]
)
def test_from_how_many_questions_a_metric_is_learned(questions: int, numbers: int, worthwhile: bool) -> None:
    assert metrics.worthwhile(questions, numbers) == worthwhile
