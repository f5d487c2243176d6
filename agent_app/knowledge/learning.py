"""Learning from what was missing: unanswered questions grouped by meaning, and what a change would alter."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from agent_app.knowledge.embedding import Vectors
from agent_app.knowledge.passages import Source
from agent_app.knowledge.retrieval import Band, KnowledgeIndex

MOST_ASKED = 500  # known questions that a preview asks: two seconds of one core
SAME = 0.62  # cosine from which two questions mean much the same


@dataclass(frozen=True, slots=True)
class Told:
    """What the agent says to a question, as far as two states of the knowledge are compared."""

    band: Band
    slug: str = ""  # of the article that answers; "" where none does
    title: str = field(default="", compare=False)  # another name for the same article is no other answer


@dataclass(frozen=True, slots=True)
class Changed:
    """A known question that would be answered differently."""

    question: str
    before: Told
    after: Told


@dataclass(frozen=True)
class Preview:
    """What a change would do before it is saved: the index with it, and what it would alter."""

    index: KnowledgeIndex
    changed: tuple[Changed, ...]
    asked: int  # known questions that were asked of both


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


def with_phrasing(sources: Iterable[Source], slug: str, *phrasings: str) -> list[Source]:
    return [
        replace(source, questions=tuple(dict.fromkeys((*source.questions, *phrasings))))
        if source.slug == slug
        else source
        for source in sources
    ]


def with_article(sources: Iterable[Source], article: Source | None, instead_of: str | None = None) -> list[Source]:
    """With this article (None: with it gone) in the place of the one that has, or had, its slug."""
    gone = {instead_of, article.slug if article else None}
    kept = [source for source in sources if source.slug not in gone]
    return sorted([*kept, article], key=lambda source: source.slug) if article else kept


def changes(
    before: KnowledgeIndex,
    sources: Sequence[Source],
    asked: Sequence[str],
    embed: Callable[[Sequence[str]], Vectors],
    earlier: KnowledgeIndex | None = None,
) -> list[Changed]:
    """Which of the known questions (`asked`) the changed articles would answer differently: look before you save."""
    return list(preview(before, sources, asked, embed, earlier).changed)


def preview(
    before: KnowledgeIndex,
    sources: Sequence[Source],
    asked: Sequence[str],
    embed: Callable[[Sequence[str]], Vectors],
    earlier: KnowledgeIndex | None = None,
) -> Preview:
    """`earlier`: as for KnowledgeIndex.build, for knowledge that takes long to build."""
    after = KnowledgeIndex.build(sources, embed, earlier)
    found = []
    unique = list(dict.fromkeys(asked))
    for question in unique:
        old, new = (told(index, question, embed) for index in (before, after))
        if old != new:
            found.append(Changed(question, old, new))
    return Preview(after, tuple(found), len(unique))


def told(index: KnowledgeIndex, question: str, embed: Callable[[Sequence[str]], Vectors]) -> Told:
    findings = index.search(question, embed, limit=1)
    if findings.language is not None or not findings.hits:
        return Told(Band.UNKNOWN)
    if findings.band != Band.ANSWER:
        return Told(findings.band)
    source = findings.hits[0].source
    return Told(Band.ANSWER, source.slug, source.title)


def known_questions(sources: Iterable[Source]) -> list[str]:
    """The example questions of all articles: what must not get worse unseen."""
    return [question for source in sources for question in source.questions]


def nearest(asked: Sequence[str], changed: Sequence[str], embed: Callable[[Sequence[str]], Vectors]) -> list[str]:
    """Those of many questions that a change of these texts can reach: the likest, MOST_ASKED of them."""
    if len(asked) <= MOST_ASKED or not changed:
        return list(asked[:MOST_ASKED])
    likeness = (embed(asked) @ embed(changed).T).max(axis=1)
    return [asked[place] for place in np.argsort(-likeness, kind="stable")[:MOST_ASKED].tolist()]
