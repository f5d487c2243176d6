"""Learning from what was missing: unanswered questions grouped by meaning, and what a change would alter."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent_app.knowledge.embedding import Vectors
from agent_app.knowledge.passages import Source
from agent_app.knowledge.retrieval import KnowledgeIndex

SAME = 0.62  # cosine from which two questions mean much the same


@dataclass(frozen=True, slots=True)
class Changed:
    """A known question that would be answered differently."""

    question: str
    before: str  # slugs
    after: str


def grouped(texts: Sequence[str], embed: Callable[[Sequence[str]], Vectors]) -> list[list[int]]:
    """Places of like texts together, the largest group first. Each group gathers round its first text."""
    if not texts:
        return []
    vectors = embed(texts)
    free = np.ones(len(texts), bool)
    groups: list[list[int]] = []
    likeness = vectors @ vectors.T
    # The text with the most like it begins: a centre is nearer to the rest than whichever came first.
    for start in np.argsort(-(likeness >= SAME).sum(axis=1), kind="stable").tolist():
        if free[start]:
            members = np.flatnonzero(free & (likeness[start] >= SAME))
            members = np.union1d(members, [start])
            free[members] = False
            groups.append([start, *(int(member) for member in members if member != start)])
    return sorted(groups, key=len, reverse=True)


def with_phrasing(sources: Iterable[Source], slug: str, phrasing: str) -> list[Source]:
    return [
        replace(source, questions=(*source.questions, phrasing)) if source.slug == slug else source
        for source in sources
    ]


def changes(
    before: KnowledgeIndex,
    sources: Sequence[Source],
    asked: Sequence[str],
    embed: Callable[[Sequence[str]], Vectors],
) -> list[Changed]:
    """Which of the known questions (`asked`) the changed articles would answer differently: look before you save."""
    after = KnowledgeIndex.build(sources, embed)
    found = []
    for question in dict.fromkeys(asked):
        old, new = (told(index, question, embed) for index in (before, after))
        if old != new:
            found.append(Changed(question, old, new))
    return found


def told(index: KnowledgeIndex, question: str, embed: Callable[[Sequence[str]], Vectors]) -> str:
    findings = index.search(question, embed, limit=1)
    return findings.hits[0].source.slug if findings.hits else ""


def known_questions(sources: Iterable[Source]) -> list[str]:
    """The example questions of all articles: what must not get worse unseen."""
    return [question for source in sources for question in source.questions]
