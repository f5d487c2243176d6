"""Slips of the finger, mended towards the words that the knowledge uses."""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

from rapidfuzz import process
from rapidfuzz.distance import OSA

from agent_app.knowledge.embedding import WORD_PIECES
from agent_app.knowledge.words import WORD

SHORTEST = 4  # letters: below, another word is always near
LONG = 7  # from here on two slips may be mended
MOST = 30  # words of one text; each is compared with all that the knowledge holds, some 2 ms for 20,000


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
        """The text as it is where MOST of its words and more are none: those are no slips."""
        unknown = {word for word in map(str.lower, WORD.findall(text)) if self._is_none(word)}
        if not 0 < len(unknown) < MOST:
            return text
        near = {word: self._nearest(word) for word in unknown}
        return WORD.sub(lambda found: near.get(found[0].lower()) or found[0], text)

    def _is_none(self, word: str) -> bool:
        return len(word) >= SHORTEST and word.isalpha() and word not in self._known and word not in common_words()

    def _nearest(self, word: str) -> str | None:
        slips = 2 if len(word) >= LONG else 1
        near = process.extractOne(word, self.vocabulary, scorer=OSA.distance, score_cutoff=slips)
        return near[0] if near else None


@lru_cache(maxsize=1)
def common_words() -> frozenset[str]:
    """The whole words among the word pieces: some 22,000 of the commonest in English."""
    pieces = json.loads(WORD_PIECES.read_text())["model"]["vocab"]
    return frozenset(piece for piece in pieces if piece.isalpha())
