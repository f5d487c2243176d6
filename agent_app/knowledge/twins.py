"""Texts that hardly differ: "Where is my parcel" and "Where is my parcel, please?".

Of two in one article each is known by the other. Left out alone, it says nothing of how a new question fares: where one
answer in twenty was to be wrong, one in seven was (docs/decisions.md). So they are left out together.

Of two in two articles each, left out, finds the other's article. Calibration would take that for a mistake, though
either answer can be defended, and two in ten of them silenced a desk. So they are not asked, and the operator is told.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from agent_app.knowledge.embedding import Vectors
from agent_app.knowledge.metric import Labels
from agent_app.knowledge.words import words

# A "please" or a "hi" moves a short text to a cosine of 0.85, in the multilingual model to less, and leaves the words
# that carry its subject. Where those differ it is the cosine that tells, and a high one: of texts that customers worded
# each by themselves 8 to 13 in 100 have another of their article at 0.9, 3 to 6 at 0.95, and so have those that will be
# asked. Leaving these out makes a desk shy for nothing.
ALIKE = 0.95
ALIKE_IN_WORDS = 0.6

# From this cosine two texts with the same words in the same order are the same text. Of the pairs in two labels of
# Banking77 and CLINC150 all seven from here on ask one thing ("How can i get new card?", "how do i get a new card"),
# and below it they begin to ask two ("can you call me something else", "can i call you something else": 0.948).
SAME = 0.95

Groups = NDArray[np.int64]


def grouped(vectors: Vectors, labels: Labels, said: Sequence[frozenset[str]]) -> Groups:
    """For each text the first of those of its article that hardly differ from it, or from each other in a row.

    `said`: each text's words that carry its subject.
    """
    number: dict[frozenset[str], int] = {}
    words = np.array([number.setdefault(each, len(number)) for each in said])
    groups = np.full(len(labels), -1)
    for article in np.unique(labels):
        rows = np.flatnonzero(labels == article)
        cosines = vectors[rows] @ vectors[rows].T
        near = (cosines >= ALIKE) | ((cosines >= ALIKE_IN_WORDS) & (words[rows][:, None] == words[rows]))
        for place, row in enumerate(rows):
            if groups[row] < 0:
                groups[rows[reached(near, place)]] = row
    return groups


def reached(near: NDArray[np.bool_], place: int) -> NDArray[np.bool_]:
    """Whoever is near to this one, or to one of those."""
    found = near[place].copy()
    found[place] = True  # a text without a word is near to none, itself included
    while True:
        further = near[found].any(axis=0) | found
        if (further == found).all():
            return found
        found = further


def members(groups: Groups, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """These texts, group by group."""
    order = rows[np.argsort(groups[rows], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def shared(
    texts: Mapping[int, str], said: Mapping[int, tuple[str, ...]], articles: Labels, vectors: Vectors
) -> list[list[int]]:
    """What is the same text in several articles: the numbers of each one's units.

    `texts`, and `said`, each one's words that carry its subject, by the unit's number. Only texts that are alike in
    those words are compared, so that it takes hardly longer than to read them.
    """
    alike: dict[tuple[str, ...], dict[str, list[int]]] = {}
    for unit, text in texts.items():
        wording = " ".join(words(text))
        if wording:
            alike.setdefault(said[unit], {}).setdefault(wording, []).append(unit)
    found = []
    for wordings in alike.values():
        units = list(wordings.values())
        if len({int(articles[unit]) for each in units for unit in each}) < 2:
            continue
        some = vectors[[each[0] for each in units]]
        near = some @ some.T >= SAME
        free = np.ones(len(units), bool)
        while free.any():
            together = reached(near, int(np.argmax(free)))
            free &= ~together
            mine = sorted(unit for place in np.flatnonzero(together) for unit in units[place])
            if len({int(articles[unit]) for unit in mine}) > 1:
                found.append(mine)
    return sorted(found)
