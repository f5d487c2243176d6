"""Slips of the finger, mended towards the words that the knowledge uses."""

import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from rapidfuzz import process
from rapidfuzz.distance import OSA

from agent_app.knowledge.embedding import WORD_PIECES
from agent_app.knowledge.words import WORD

SHORTEST = 4  # letters: below, another word is always near
LONG = 7  # from here on two slips may be mended


class Speller:
    """Mends only what is no word at all: "books" stays, though the knowledge speaks of boots."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = vocabulary
        self._known = frozenset(vocabulary)

    @classmethod
    def build(cls, texts: Iterable[Sequence[str]]) -> "Speller":
        held = set().union(*texts)
        return cls(sorted(word for word in held if len(word) >= SHORTEST and word.isalpha()))

    def mended(self, text: str) -> str:
        return WORD.sub(self._mend, text)

    def _mend(self, found: re.Match[str]) -> str:
        word = found[0]
        small = word.lower()
        if len(small) < SHORTEST or not small.isalpha() or small in self._known or small in common_words():
            return word
        slips = 2 if len(small) >= LONG else 1
        near = process.extractOne(small, self.vocabulary, scorer=OSA.distance, score_cutoff=slips)
        return near[0] if near else word


@lru_cache(maxsize=1)
def common_words() -> frozenset[str]:
    """The whole words among the word pieces: some 22,000 of the commonest in English."""
    pieces = json.loads(WORD_PIECES.read_text())["model"]["vocab"]
    return frozenset(piece for piece in pieces if piece.isalpha())
