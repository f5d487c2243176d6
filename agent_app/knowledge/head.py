"""Which article a question belongs to, learned from every title, heading and example question at once.

Kernel ridge regression with a Gaussian kernel on the vectors. On Banking77 it beats a logistic head by one point and
the nearest example by three, needs no epochs, and its leave-out predictions have a closed form: what the model would
have said of an example, or of a whole article, had it never seen it. Calibration is made of those.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent_app.knowledge.embedding import Vectors

WIDTH = 1.0  # the kernel is exp(-WIDTH · squared distance)
RIDGE = 0.1  # of 0.02 to 0.6, with 5 to 100 examples an article: figures in docs/decisions.md
# Above this many texts the system is solved by steps that never hold the whole kernel: 4,000 texts are 64 MB of it.
DIRECT = 4000
# Beyond this many weights the head would cost more time and memory than the question's own vector does.
MOST_WEIGHTS = 20_000_000

Labels = NDArray[np.int32]


def kernel(cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of unit vectors, whose squared distance is 2 − 2·cosine."""
    return np.exp(np.float32(2 * WIDTH) * (np.minimum(cosines, 1) - 1), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Head:
    weights: NDArray[np.float32]  # texts × articles

    def scores(self, cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        """For one question's cosines to the head's texts: a score an article, near 1 for a sure one."""
        scores: NDArray[np.float32] = kernel(cosines) @ self.weights
        return scores


def worthwhile(texts: int, articles: int) -> bool:
    return articles > 1 and texts >= 2 * articles and texts * articles <= MOST_WEIGHTS


def fit(vectors: Vectors, labels: Labels, articles: int) -> Head:
    targets = one_hot(labels, articles)
    if len(vectors) <= DIRECT:
        return Head(np.linalg.solve(regularised(vectors), targets).astype(np.float32))
    return Head(solve_by_steps(vectors, targets))


def one_hot(labels: Labels, articles: int) -> NDArray[np.float32]:
    return (labels[:, None] == np.arange(articles)[None, :]).astype(np.float32)


def regularised(vectors: Vectors) -> NDArray[np.float32]:
    matrix = kernel(vectors @ vectors.T)
    matrix[np.diag_indices(len(matrix))] += np.float32(RIDGE)
    return matrix


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What the head says of a text it has not seen: with its article's other texts known, and with none of them."""

    text: int
    known: NDArray[np.float32]
    foreign: NDArray[np.float32]


def leave_out(vectors: Vectors, labels: Labels, articles: int) -> Iterator[LeftOut]:
    """Closed form: y − (inverse of the left-out block of G⁻¹) · (its rows of G⁻¹·Y), with G the regularised kernel."""
    inverse = np.linalg.inv(regularised(vectors))
    targets = one_hot(labels, articles)
    weights = inverse @ targets
    for article in range(articles):
        rows = np.flatnonzero(labels == article)
        if not len(rows):
            continue
        foreign = targets[rows] - np.linalg.solve(inverse[np.ix_(rows, rows)], weights[rows])
        known = targets[rows] - weights[rows] / inverse[rows, rows][:, None]
        for place, row in enumerate(rows):
            yield LeftOut(int(row), known[place], foreign[place])


def gain_of_one_more(vectors: Vectors, labels: Labels, articles: int) -> float:
    """How much more often the head is right for one more text an article: what leaving one out hides.

    The share right with one text left out, less the share right with another of its article gone, too (closed form
    again, over pairs). The same step once more is what the whole knowledge has over the left-out one.
    """
    inverse = np.linalg.inv(regularised(vectors))
    targets = one_hot(labels, articles)
    weights = inverse @ targets
    # Each text with the next of its article: a pair that is gone together.
    order = np.argsort(labels, kind="stable")
    first, second = order[:-1], order[1:]
    paired = labels[first] == labels[second]
    first, second = first[paired], second[paired]
    if not len(first):
        return 0.0
    a, b, c = inverse[first, first], inverse[first, second], inverse[second, second]
    both = targets[first] - (c[:, None] * weights[first] - b[:, None] * weights[second]) / (a * c - b * b)[:, None]
    alone = targets[first] - weights[first] / a[:, None]
    right = labels[first]
    return float((alone.argmax(axis=1) == right).mean() - (both.argmax(axis=1) == right).mean())


def solve_by_steps(vectors: Vectors, targets: NDArray[np.float32], steps: int = 40) -> NDArray[np.float32]:
    """Conjugate gradients, preconditioned by the kernel on a sample of the texts (Nyström)."""
    precondition = nystrom(vectors)
    solution = np.zeros_like(targets)
    residual = targets.copy()
    direction = conditioned = precondition(residual)
    energy = (residual * conditioned).sum(axis=0)
    enough = 1e-5 * (targets * targets).sum(axis=0)
    for _ in range(steps):
        product = multiply(vectors, direction)
        step = energy / np.maximum((direction * product).sum(axis=0), 1e-12)
        solution += step * direction
        residual -= step * product
        if ((residual * residual).sum(axis=0) <= enough).all():
            break
        conditioned = precondition(residual)
        before, energy = energy, (residual * conditioned).sum(axis=0)
        direction = conditioned + (energy / np.maximum(before, 1e-12)) * direction
    return solution


def multiply(vectors: Vectors, columns: NDArray[np.float32], rows: int = 1024) -> NDArray[np.float32]:
    """The regularised kernel times `columns`, a slice of the kernel at a time."""
    product = np.float32(RIDGE) * columns
    for start in range(0, len(vectors), rows):
        part = slice(start, start + rows)
        product[part] += kernel(vectors[part] @ vectors.T) @ columns
    return product


def nystrom(vectors: Vectors, sample: int = 1000) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A cheap near-inverse of the regularised kernel, as a function of columns."""
    chosen = np.random.default_rng(0).choice(len(vectors), min(sample, len(vectors)), replace=False)
    values, basis = np.linalg.eigh(kernel(vectors[chosen] @ vectors[chosen].T).astype(np.float64))
    root = (basis / np.sqrt(np.maximum(values, 1e-6))).astype(np.float32)
    features = np.vstack(
        [kernel(vectors[at : at + 1024] @ vectors[chosen].T) @ root for at in range(0, len(vectors), 1024)]
    )
    inner = np.linalg.inv(features.T @ features + np.float32(RIDGE) * np.eye(len(chosen), dtype=np.float32))

    def precondition(columns: NDArray[np.float32]) -> NDArray[np.float32]:
        conditioned = columns - features @ (inner @ (features.T @ columns))
        return (conditioned / RIDGE).astype(np.float32)

    return precondition
