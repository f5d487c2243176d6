"""Which article a question belongs to, learned from every title, heading and example question at once.

Kernel ridge regression with a Gaussian kernel on the vectors. On Banking77 it beats a logistic head by one point and
the nearest example by three, needs no epochs, and its leave-out predictions have a closed form: what the model would
have said of an example, or of a whole article, had it never seen it. Calibration is made of those.

Where there are texts enough, their vectors are turned by a metric of the knowledge's own first: see `metric`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from agent_app.knowledge import metric as metrics
from agent_app.knowledge.embedding import Vectors
from agent_app.knowledge.metric import Labels, Metric
from agent_app.knowledge.twins import Groups, members

WIDTH = 1.0  # the kernel is exp(-WIDTH · squared distance)
RIDGE = 0.1  # of 0.02 to 0.6, with 5 to 100 examples an article: figures in docs/decisions.md
# What 400 texts cannot tell from nothing. In nine lots of narrow articles a metric showed −0.3 to +2.1 points, in nine
# of broad ones −2.0 to −10.4 (docs/decisions.md).
LEAST_LOSS = 0.01
# Above this many texts the system is solved by steps that never hold the whole kernel: 4,000 texts are 64 MB of it.
DIRECT = 4000
# Beyond this many weights the head would cost more time and memory than the question's own vector does.
MOST_WEIGHTS = 20_000_000

Scores = NDArray[np.float32]


def kernel(cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of unit vectors, whose squared distance is 2 − 2·cosine."""
    return np.exp(np.float32(2 * WIDTH) * (np.minimum(cosines, 1) - 1), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Head:
    weights: NDArray[np.float32]  # texts × articles
    metric: Metric | None = None  # in which the cosines are meant

    def scores(self, cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        """For one question's cosines to the head's texts: a score an article, near 1 for a sure one."""
        scores: NDArray[np.float32] = kernel(cosines) @ self.weights
        return scores


def worthwhile(texts: int, articles: int) -> bool:
    return articles > 1 and texts >= 2 * articles and texts * articles <= MOST_WEIGHTS


def fit(vectors: Vectors, labels: Labels, articles: int, with_metric: bool = False) -> Head:
    """`with_metric`: in one that the texts teach first (see `metric`)."""
    if not with_metric:
        return Head(solve(vectors, labels, articles))
    turn = metrics.learn(vectors, labels)
    weights = solve(metrics.turned(vectors, turn), labels, articles)
    return Head(weights, Metric.over(vectors, turn @ turn.T))


def solve(vectors: Vectors, labels: Labels, articles: int) -> NDArray[np.float32]:
    targets = one_hot(labels, articles)
    if len(vectors) <= DIRECT:
        return np.linalg.solve(regularised(vectors), targets).astype(np.float32)
    return solve_by_steps(vectors, targets)


def one_hot(labels: Labels, articles: int) -> NDArray[np.float32]:
    return (labels[:, None] == np.arange(articles)[None, :]).astype(np.float32)


def regularised(vectors: Vectors) -> NDArray[np.float32]:
    matrix = kernel(vectors @ vectors.T)
    matrix[np.diag_indices(len(matrix))] += np.float32(RIDGE)
    return matrix


class Unseen:
    """What the head would say of its own texts, had it not seen them.

    Closed form: y − (inverse of the left-out block of G⁻¹) · (its rows of G⁻¹·Y), with G the regularised kernel.
    """

    def __init__(self, vectors: Vectors, labels: Labels, articles: int) -> None:
        self.labels = labels
        self.targets = one_hot(labels, articles)
        self.inverse = np.linalg.inv(regularised(vectors))
        self.weights = self.inverse @ self.targets

    def without(self, rows: NDArray[np.int64]) -> Scores:
        """Of these texts, with none of them known; of rows × texts, each row by itself."""
        block = self.inverse[rows[..., :, None], rows[..., None, :]]
        scores: Scores = self.targets[rows] - np.linalg.solve(block, self.weights[rows])
        return scores


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What the head says of texts that it has not seen (texts × articles), each with its article's other texts known,
    and with none of them. Texts that hardly differ are left out together.

    `gain`: how much more often the head is right for one more text an article, which is what leaving one out hides: the
    share right with one text left out, less the share right with another of its article gone, too. The same step once
    more is what the whole knowledge has over the left-out one.
    """

    known: Scores
    foreign: Scores
    gain: float
    with_metric: bool = False

    def right(self, labels: Labels) -> float:
        """The share of the texts that it would know, had it not seen them."""
        return float((self.known.argmax(axis=1) == labels).mean())


def leave_out(vectors: Vectors, labels: Labels, groups: Groups, articles: int, with_metric: bool = False) -> LeftOut:
    """`groups`: the texts that hardly differ, as `twins` has them."""
    known = np.empty((len(vectors), articles), np.float32)
    foreign = np.empty_like(known)
    pairs = [np.empty((2, 0), np.bool_)]
    for turned, asked in passes(vectors, labels, articles, with_metric):
        unseen = Unseen(turned, labels, articles)
        for article in np.unique(labels[asked]):
            rows = np.flatnonzero(labels == article)
            foreign[rows] = unseen.without(rows)
        alike = members(groups, asked)
        for rows in of_one_size(alike):
            known[rows] = unseen.without(rows)
        for rows in of_one_size(with_the_next(alike, labels)):
            first = rows[:, 0]
            scores = np.stack([known[first], unseen.without(rows)[:, 0]])
            pairs.append(scores.argmax(axis=2) == labels[first])
        del unseen  # 64 MB of 4,000 texts: before there is the next
    without_one, without_two = np.concatenate(pairs, axis=1)
    gain = float(without_one.mean() - without_two.mean()) if without_one.size else 0.0
    return LeftOut(known, foreign, gain, with_metric)


def with_the_next(alike: Sequence[NDArray[np.int64]], labels: Labels) -> list[NDArray[np.int64]]:
    """Each group that has a next one of its article, and that one behind it."""
    order = sorted(alike, key=lambda rows: labels[rows[0]])
    return [
        np.concatenate([rows, following])
        for rows, following in pairwise(order)
        if labels[rows[0]] == labels[following[0]]
    ]


def of_one_size(lots: Sequence[NDArray[np.int64]], at_once: int = 512) -> Iterator[NDArray[np.int64]]:
    """As lots × texts, some `at_once` texts (2 MB of 1,000 articles): one call for each lot would take a second."""
    sizes = np.array([len(lot) for lot in lots])
    for size in np.unique(sizes):
        some, step = np.flatnonzero(sizes == size), max(at_once // size, 1)
        for start in range(0, len(some), step):
            yield np.stack([lots[number] for number in some[start : start + step]])


def better_left_out(vectors: Vectors, labels: Labels, groups: Groups, articles: int) -> LeftOut:
    """With a metric, unless the texts themselves say that it makes them worse known.

    The loss draws all texts of an article together. Where an article is one thing that customers want, that is right;
    where it is "Payments", with a hundred unlike questions, the head loses 2 to 10 points.
    """
    plain, turned = (leave_out(vectors, labels, groups, articles, with_metric) for with_metric in (False, True))
    return turned if turned.right(labels) > plain.right(labels) - LEAST_LOSS else plain


def passes(
    vectors: Vectors, labels: Labels, articles: int, with_metric: bool
) -> Iterator[tuple[Vectors, NDArray[np.int64]]]:
    """All vectors as the head sees them, and which texts to ask there.

    A metric that a text has taught knows it, however closed the form: with that, 4.8% of the answers were wrong where
    3.5% had been. So the articles are asked by halves, each in the metric that the other half teaches. (Halves of each
    article's texts for `known` and of the articles for `foreign` take twice as long, and promise no better.)
    """
    if not with_metric:
        yield vectors, np.arange(len(vectors))
        return
    chosen = np.random.default_rng(0).permutation(articles) % 2 == 0
    for half in (chosen[labels], ~chosen[labels]):
        turn = metrics.learn(vectors[~half], labels[~half])
        yield metrics.turned(vectors, turn), np.flatnonzero(half)


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
