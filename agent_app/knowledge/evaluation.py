"""How well an index answers labelled questions: the numbers by which quality is tracked."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent_app.knowledge.calibration import Bin, expected_error, reliability
from agent_app.knowledge.embedding import Vectors
from agent_app.knowledge.passages import Source
from agent_app.knowledge.retrieval import Band, KnowledgeIndex

NO_ANSWER = (None, "oos")
MEANING = {
    "accuracy": "right at the first place, of those with an answer",
    "top3": "right among the first three, of those with an answer",
    "answered": "answered, of those with an answer",
    "wrong_among_answered": "wrong, of all that were answered",
    "oos_auroc": "told from those without an answer",
    "ece": "expected calibration error",
    "p50_ms": "milliseconds a question, median",
    "p95_ms": "milliseconds a question, 95th percentile",
    "questions": "asked",
}


class NotQuestions(ValueError):
    """A file of questions cannot be read; the message names the line."""


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    label: str | None  # None: no article answers it


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, and what the index made of it."""

    question: Question
    found: tuple[str, ...]  # labels, best first
    probability: float
    band: Band
    milliseconds: float
    near: float  # probability that one of the best three is right: by it a question is declined

    @property
    def right(self) -> bool:
        return self.question.label is not None and self.found[:1] == (self.question.label,)

    @property
    def answered(self) -> bool:
        return self.band == Band.ANSWER


def read_questions(path: Path) -> list[Question]:
    """Lines of {"text", "label"}; a label of null or "oos" says that no answer exists."""
    questions = []
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # splitlines() would cut at signs that JSON may hold
    except UnicodeDecodeError as error:
        raise NotQuestions(f"{path} is not text in UTF-8") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text, label = row["text"], row["label"]
            if not isinstance(text, str) or isinstance(label, list | dict):
                raise TypeError(f"{row} is of other kinds")
        except (ValueError, KeyError, TypeError) as error:
            raise NotQuestions(f'{path}, line {number}: write {{"text": …, "label": …}} on each line') from error
        questions.append(Question(text, None if label in NO_ANSWER else str(label)))
    return questions


def sources_of(examples: Iterable[Question], articles: Iterable[Source] = ()) -> list[Source]:
    """An article a label, its examples as example questions. A label without an article has its words as title."""
    known = {article.slug: article for article in articles}
    texts: dict[str, list[str]] = {slug: list(article.questions) for slug, article in known.items()}
    for example in examples:
        if example.label is not None:
            texts.setdefault(example.label, []).append(example.text)
    sources = []
    for label, questions in texts.items():
        article = known.get(label)
        title = article.title if article else label.replace("_", " ").replace("-", " ").strip()
        body, language = (article.body, article.language) if article else ("", "en")
        sources.append(Source(label, title, body, language, tuple(dict.fromkeys(questions))))
    return sources


def ask(index: KnowledgeIndex, questions: Iterable[Question], embed: Callable[[Sequence[str]], Vectors]) -> list[Asked]:
    asked = []
    for question in questions:
        began = time.perf_counter()
        findings = index.search(question.text, embed)
        took = (time.perf_counter() - began) * 1000
        found = tuple(hit.source.slug for hit in findings.hits)
        asked.append(Asked(question, found, findings.probability, findings.band, took, findings.near))
    return asked


def measure(asked: Sequence[Asked]) -> dict[str, Any]:
    """The keys of `manage.py evaluate --json`."""
    labelled = [one for one in asked if one.question.label is not None]
    given = [one for one in asked if one.answered]
    times = [one.milliseconds for one in asked] or [0.0]
    return {
        "accuracy": share(one.right for one in labelled),
        "top3": share(one.question.label in one.found[:3] for one in labelled),
        "answered": share(one.answered for one in labelled),
        "wrong_among_answered": share(not one.right for one in given),
        "oos_auroc": auroc([one.near for one in labelled], [one.near for one in asked if one.question.label is None]),
        "ece": round(expected_error(*promises(asked)), 4) if asked else None,
        "p50_ms": round(float(np.percentile(times, 50)), 2),
        "p95_ms": round(float(np.percentile(times, 95)), 2),
        "questions": len(asked),
    }


def promises(asked: Sequence[Asked]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([one.probability for one in asked]), np.array([float(one.right) for one in asked])


def share(hits: Iterable[bool]) -> float | None:
    values = list(hits)
    return round(sum(values) / len(values), 4) if values else None


def auroc(inside: Sequence[float], outside: Sequence[float]) -> float | None:
    """The probability that a question with an answer is trusted more than one without; null without the latter."""
    if not inside or not outside:
        return None
    values = np.concatenate([inside, outside])
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    ranks = (ends - (count - 1) / 2)[place]
    total = ranks[: len(inside)].sum() - len(inside) * (len(inside) + 1) / 2
    return round(float(total / (len(inside) * len(outside))), 4)


def confusions(asked: Sequence[Asked], most: int = 15) -> list[tuple[str, str, int]]:
    """(label, what was found instead, how often)."""
    pairs = Counter(
        (one.question.label or "no answer exists", one.found[0])
        for one in asked
        if one.found and not one.right and (one.question.label is not None or one.answered)
    )
    return [(label, found, count) for (label, found), count in pairs.most_common(most)]


def coverage_and_error(asked: Sequence[Asked]) -> list[tuple[float, float]]:
    """(share answered, wrong among them) for every threshold there could be."""
    promised, right = promises(asked)
    order = np.argsort(-promised, kind="stable")
    wrong = np.cumsum(1 - right[order]) / np.arange(1, len(order) + 1)
    covered = np.arange(1, len(order) + 1) / max(len(order), 1)
    return list(zip(covered.tolist(), wrong.tolist(), strict=True))


def reliability_of(asked: Sequence[Asked]) -> tuple[Bin, ...]:
    promised, right = promises(asked)
    return reliability(promised, right, np.ones(len(promised)))
