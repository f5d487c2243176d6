"""The rows of a long table that name what was asked, out of all the passages that it is cut into.

To a model of sentences all rows of prices are much alike: words tell them apart.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from agent_app.knowledge.passages import Passage
from agent_app.knowledge.words import terms, words

MOST_ROWS = 10


@dataclass(frozen=True, slots=True)
class Named:
    """One table's rows that hold most of what was asked, below its head."""

    passage: Passage
    share: float  # of the question's words, by how few rows hold each


def named_rows(passages: Sequence[Passage], question: str, asked: set[str], language: str) -> dict[Passage, Named]:
    """For each tabular passage what its whole table says; tables of which no row holds any of `asked` are left out."""
    tables: dict[tuple[str, str], list[Passage]] = {}
    for passage in passages:
        if passage.tabular:
            tables.setdefault((passage.heading, passage.head), []).append(passage)
    found = {}
    for together in tables.values():
        named = best_rows(together, question, asked, language)
        if named is not None:
            found.update(dict.fromkeys(together, named))
    return found


def best_rows(table: Sequence[Passage], question: str, asked: set[str], language: str) -> Named | None:
    rows = [row for passage in table for row in passage.rows]
    above = asked.intersection(terms(f"{table[0].heading} {table[0].head}", language))
    held = [asked.intersection(terms(row, language)) - above for row in rows]
    weights = rarity(held, asked - above)
    points = [sum(weights[term] for term in sorted(each)) for each in held]
    most = max(points, default=0.0)
    if not most:
        return None
    best = [row for row, point in zip(rows, points, strict=True) if point == most]
    # "thing 777" is not the row in which 777 things are left.
    said = set(pairwise(words(question)))
    beside = [len(said.intersection(pairwise(words(row)))) for row in best]
    best = [row for row, count in zip(best, beside, strict=True) if count == max(beside)]
    shown = "\n".join([table[0].head, *best[:MOST_ROWS]])
    return Named(Passage(table[0].heading, shown, tabular=True), most / sum(weights.values()))


def rarity(held: Sequence[set[str]], asked: set[str]) -> dict[str, float]:
    """What each word weighs, by how few of the texts hold it; one that none holds weighs most."""
    holding = Counter(term for each in held for term in each)
    return {term: math.log(1 + (len(held) - holding[term] + 0.5) / (holding[term] + 0.5)) for term in sorted(asked)}
