"""Texts that hardly differ: "Where is my parcel" and "Where is my parcel, please?".

Of two in one article each is known by the other. Left out alone, it says nothing of how a new question fares: where one
answer in twenty was to be wrong, one in seven was (docs/decisions.md). So they are left out together.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent_app.knowledge.embedding import Vectors
from agent_app.knowledge.metric import Labels

# A "please" or a "hi" moves a short text to a cosine of 0.85, and leaves the words that carry its subject. Without them
# it is the cosine that tells, and a high one: of texts that customers worded each by themselves 8 to 13 in 100 have
# another of their article at 0.9, 3 to 6 at 0.95, and so have those that will be asked. Leaving these out makes a desk
# shy for nothing.
ALIKE = 0.95
ALIKE_IN_WORDS = 0.8

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
