"""A metric of the knowledge's own: which directions of the vectors tell its articles apart, learned from their texts.

A linear map M, so that the cosine of two texts is that of v·M and w·M (a Mahalanobis metric, A = M·Mᵀ). It is learned
by the supervised contrastive loss: of all the other texts, those of the same article should be the nearest. A sentence
model's vectors say what a text is about; two articles about one thing ("failed" and "declined transfer") differ in
directions that hardly count there. Banking77 at 10 examples +0.9 points, CLINC150 +0.65: docs/decisions.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent_app.knowledge.embedding import Vectors

STEPS = 60  # from 90 on it learns the texts by heart: half the gain is gone at 120, nearly all at 250
RATE = 0.03
MOMENTUM = 0.8
TEMPERATURE = 0.1
AT_ONCE = 500  # texts in one step: 1,000 bring no more, and take three times as long
EACH = 6  # of one article, where there are more texts than that
# Of longer vectors a step takes a second, and the metric tens of megabytes. Nobody has measured what it brings there.
LONGEST = 1024
# A text without a word has no direction: its products are 0, and so are its cosines.
SHORTEST = 1e-12

Labels = NDArray[np.int32]
Matrix = NDArray[np.float32]


def worthwhile(questions: int, numbers: int) -> bool:
    """Fewer example questions than directions determine no metric. Headings are no measure of it: an article's differ.

    The sample shop's 336 questions teach none: with one, its ECE was .053 and not .035. Banking77's 385, at 5 examples,
    bring a point.
    """
    return numbers <= min(questions, LONGEST)


@dataclass(frozen=True, slots=True)
class Metric:
    matrix: Matrix  # A = M·Mᵀ
    lengths: NDArray[np.float32]  # of each of the head's texts, in the metric

    @classmethod
    def over(cls, vectors: Vectors, matrix: Matrix) -> "Metric":
        squares = [np.einsum("ij,ij->i", part @ matrix, part) for part in blocks(vectors)]
        return cls(matrix, lengths_of(np.concatenate(squares)))

    def cosines(self, products: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of a question's vector v to the head's texts, from their products with A·v."""
        length = np.float32(max(float(vector @ self.matrix @ vector), SHORTEST) ** 0.5)
        return products / (self.lengths * length)


def lengths_of(squares: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.sqrt(np.maximum(squares, np.float32(SHORTEST)))


def blocks(vectors: Vectors, rows: int = 1024) -> Iterator[Vectors]:
    return (vectors[start : start + rows] for start in range(0, len(vectors), rows))


def turned(vectors: Vectors, turn: Matrix) -> Vectors:
    """v·M at length 1."""
    products = vectors @ turn
    products /= lengths_of(np.einsum("ij,ij->i", products, products))[:, None]
    return products


def learn(vectors: Vectors, labels: Labels) -> Matrix:
    """M: gradient descent with momentum from the vectors as they are. The same for the same texts."""
    rng = np.random.default_rng(0)
    turn = np.eye(vectors.shape[1], dtype=np.float32)
    moving = np.zeros_like(turn)
    for _ in range(STEPS):
        some = drawn(labels, rng)
        moving = np.float32(MOMENTUM) * moving + gradient(vectors[some], labels[some], turn)
        turn -= np.float32(RATE) * moving
    return turn


def drawn(labels: Labels, rng: np.random.Generator) -> NDArray[np.int64]:
    """All texts, or EACH of one article after the other, until there are AT_ONCE."""
    order = rng.permutation(len(labels))
    if len(labels) <= AT_ONCE:
        return order
    order = order[np.argsort(labels[order], kind="stable")]
    first = np.searchsorted(labels[order], labels[order])
    kept = order[np.arange(len(order)) - first < EACH]
    turns = rng.permutation(int(np.max(labels)) + 1)
    return kept[np.argsort(turns[labels[kept]], kind="stable")][:AT_ONCE]


def gradient(vectors: Vectors, labels: Labels, turn: Matrix) -> Matrix:
    """Of the loss: the mean over the texts of −log P(a text of the same article), P the softmax of cosine/TEMPERATURE.

    Khosla et al. 2020 (arXiv:2004.11362), "supervised contrastive"; a text that is its article's only one has no part.
    """
    products = vectors @ turn
    lengths = lengths_of(np.einsum("ij,ij->i", products, products))[:, None]
    units = products / lengths
    same = (labels[:, None] == labels[None, :]).astype(np.float32)
    np.fill_diagonal(same, 0)
    others = same.sum(axis=1, keepdims=True)
    likely = np.exp(units @ units.T / np.float32(TEMPERATURE))
    np.fill_diagonal(likely, 0)
    likely /= np.maximum(likely.sum(axis=1, keepdims=True), np.float32(SHORTEST))
    # By the cosines: what is, less what should be.
    wrong = np.where(others > 0, likely - same / np.maximum(others, 1), np.float32(0))
    pull = (wrong + wrong.T) @ units / np.float32(TEMPERATURE * len(vectors))
    pull -= units * np.einsum("ij,ij->i", units, pull)[:, None]
    step: Matrix = vectors.T @ (pull / lengths)
    return step
