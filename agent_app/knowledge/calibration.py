"""How sure is sure: from what retrieval shows of a question to the probability that its answer is right.

A calibrator that was fitted on one knowledge base does not travel (one from CLINC150 promised 5% wrong on Banking77
and gave 21%), so each knowledge base gets its own, without a labelled question: every example question is asked as if
it had never been seen, once with its article's other texts in place (the answer may be right) and once with its whole
article gone (no answer can be). And sixty sentences about anything but a desk's business stand for what is off topic.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

# What the gate looks at, in this order.
FEATURES = ("score", "margin", "nearest", "coverage", "neighbours", "known")

TARGET_ERROR = 0.05  # of the answers that are given
# The shares of questions that no article answers, which calibration assumes: of the desk's business, and off topic.
UNCOVERED = 0.06
OFF_TOPIC = 0.12
# How much of the way from what was fitted to what the whole knowledge should reach on the questions that it covers: the
# whole way promised too much on unseen questions, none of it too little.
LIFTED = 0.5
CONFIDENCE = 0.84  # one-sided 80%: the bound that must meet the target, not the estimate
CLARIFY_AT = 0.6  # the right article is among three with at least this probability
BINS = 10

# Where a knowledge base has few examples its calibrator stays near this one, which is the sample shop's.
PRIOR_RIGHT = (-6.0, 3.0, 5.0, 3.5, 1.5, 1.0, 2.0)
PRIOR_NEAR = (-5.0, 3.0, 1.5, 5.0, 1.5, 1.0, 2.5)
PULL = 3.0  # how strongly, in units of one observation's information


@dataclass(frozen=True, slots=True)
class Outcome:
    """One held-out question: what retrieval showed, and whether its best and its best three were right."""

    features: tuple[float, ...]
    right: bool
    near: bool
    covered: bool
    off_topic: bool = False


@dataclass(frozen=True, slots=True)
class Bin:
    """One row of the reliability table."""

    promised: float
    right: float
    share: float


@dataclass(frozen=True, slots=True)
class Calibration:
    right: tuple[float, ...] = PRIOR_RIGHT  # intercept, then a weight a feature
    near: tuple[float, ...] = PRIOR_NEAR
    answer_at: float = 0.8
    clarify_at: float = CLARIFY_AT
    questions: int = 0
    answered: float = 0.0  # of the held-out questions that have an article
    wrong: float = 0.0  # of those answered
    ece: float = 0.0
    table: tuple[Bin, ...] = field(default=())
    target: float = TARGET_ERROR

    def probability(self, features: Sequence[float]) -> float:
        """That the best article answers the question."""
        return logistic(self.right[0] + math.fsum(w * x for w, x in zip(self.right[1:], features, strict=True)))

    def probability_near(self, features: Sequence[float]) -> float:
        """That one of the best three does."""
        return logistic(self.near[0] + math.fsum(w * x for w, x in zip(self.near[1:], features, strict=True)))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Calibration":
        table = tuple(Bin(**row) for row in data.get("table", ()))
        return cls(**{**data, "right": tuple(data["right"]), "near": tuple(data["near"]), "table": table})


def logistic(value: float) -> float:
    return 1 / (1 + math.exp(-max(min(value, 30.0), -30.0)))


def calibrate(outcomes: Sequence[Outcome], target: float = TARGET_ERROR, gain: float = 0.0) -> Calibration:
    """`gain`: how much more often the whole knowledge is right than it was with the question's own text gone."""
    if not outcomes:
        return Calibration()
    features = np.array([outcome.features for outcome in outcomes], np.float64)
    right = np.array([outcome.right for outcome in outcomes], np.float64)
    near = np.array([outcome.near for outcome in outcomes], np.float64)
    covered = np.array([outcome.covered for outcome in outcomes])
    weights = shares(covered, np.array([outcome.off_topic for outcome in outcomes]))
    fitted = fit_logistic(features, right, weights, PRIOR_RIGHT)
    if covered.any():
        mean = float(predict(features[covered], fitted).mean())
        reached = float(right[covered].mean()) + gain
        fitted[0] += shift(features[covered] @ np.array(fitted[1:]) + fitted[0], mean + LIFTED * (reached - mean))
    promised = predict(features, fitted)
    # What came true of few questions is uncertain, and what is promised of them as well: the threshold goes by both.
    answer_at = threshold(promised, (lifted(right, covered, LIFTED * gain) + promised) / 2, weights, target)
    given = promised >= answer_at
    return Calibration(
        right=tuple(fitted),
        near=tuple(fit_logistic(features, near, weights, PRIOR_NEAR)),
        answer_at=answer_at,
        questions=int(covered.sum()),
        answered=float(given[covered].mean()) if covered.any() else 0.0,
        wrong=float(np.average(1 - right[given], weights=weights[given])) if given.any() else 0.0,
        ece=expected_error(promised, right, weights),
        table=reliability(promised, right, weights),
        target=target,
    )


def lifted(right: Matrix, covered: NDArray[np.bool_], gain: float) -> Matrix:
    """How right each would be, were the share right of the covered ones higher by `gain`."""
    wrong = 1 - float(right[covered].mean()) if covered.any() else 0.0
    turned = min(gain / wrong, 1.0) if wrong > 0 else 0.0
    return right + np.where(covered, (1 - right) * turned, 0.0)


def shift(values: Matrix, mean: float) -> float:
    """What to add to these logits so that their mean probability becomes `mean`; nothing where it is higher."""
    low, high = 0.0, 5.0
    for _ in range(40):
        middle = (low + high) / 2
        if float(np.mean(1 / (1 + np.exp(-(values + middle))))) < min(mean, 0.995):
            low = middle
        else:
            high = middle
    return low


def shares(covered: NDArray[np.bool_], off_topic: NDArray[np.bool_]) -> Matrix:
    """Weights that make the uncovered questions the shares of all that UNCOVERED and OFF_TOPIC say."""
    weights = np.ones(len(covered))
    for kind, share in ((~covered & ~off_topic, UNCOVERED), (off_topic, OFF_TOPIC)):
        if kind.any() and covered.any():
            weights[kind] = share / (1 - UNCOVERED - OFF_TOPIC) * covered.sum() / kind.sum()
    return weights


def fit_logistic(features: Matrix, right: Matrix, weights: Matrix, prior: Sequence[float]) -> list[float]:
    """Newton's method, pulled towards `prior`: where there is little to learn from, it stays there."""
    design = np.column_stack([np.ones(len(features)), features])
    start = np.array(prior)
    beta = start.copy()
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (weights * (right - p)) - PULL * 0.1 * (beta - start)
        hessian = (design * (weights * p * (1 - p))[:, None]).T @ design + PULL * 0.1 * np.eye(len(beta))
        step = np.linalg.solve(hessian, gradient)
        # Newton overshoots where nearly everything is certain; a bounded step still arrives.
        beta += step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-9))
        if np.abs(step).max() < 1e-6:
            break
    return [float(value) for value in beta]


def predict(features: Matrix, beta: Sequence[float]) -> Matrix:
    values = beta[0] + features @ np.array(beta[1:])
    probabilities: Matrix = 1 / (1 + np.exp(-np.clip(values, -30, 30)))
    return probabilities


def threshold(promised: Matrix, right: Matrix, weights: Matrix, target: float) -> float:
    """The lowest probability to answer at: the most answers whose error's upper bound meets the target."""
    order = np.argsort(-promised)
    w, wrong = weights[order], (1 - right[order]) * weights[order]
    total = np.cumsum(w)
    error = np.cumsum(wrong) / total
    size = total**2 / np.cumsum(w**2)
    meets = np.flatnonzero(upper_bound(error, size) <= target)
    if not len(meets):
        return 0.9  # too few examples to prove anything: only what is all but certain is answered
    return float(promised[order][meets[-1]])


def upper_bound(error: Matrix, size: Matrix) -> Matrix:
    """Wilson's score bound."""
    z = CONFIDENCE
    centre = error + z * z / (2 * size)
    spread = z * np.sqrt(error * (1 - error) / size + z * z / (4 * size * size))
    bound: Matrix = (centre + spread) / (1 + z * z / size)
    return bound


def reliability(promised: Matrix, right: Matrix, weights: Matrix) -> tuple[Bin, ...]:
    bins = np.minimum((promised * BINS).astype(int), BINS - 1)
    rows = []
    for number in range(BINS):
        mine = bins == number
        if mine.any():
            w = weights[mine]
            rows.append(
                Bin(
                    float(np.average(promised[mine], weights=w)),
                    float(np.average(right[mine], weights=w)),
                    float(w.sum() / weights.sum()),
                )
            )
    return tuple(rows)


def expected_error(promised: Matrix, right: Matrix, weights: Matrix | None = None) -> float:
    """Expected calibration error over ten equal bins."""
    table = reliability(promised, right, np.ones(len(promised)) if weights is None else weights)
    return sum(row.share * abs(row.promised - row.right) for row in table)
