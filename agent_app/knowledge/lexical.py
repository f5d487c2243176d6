"""BM25 over whole articles, and the share of a question's words that an article holds."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Robertson and Zaragoza's usual constants.
K1 = 1.2
B = 0.75


@dataclass(frozen=True, slots=True)
class Matches:
    """For every article: the BM25 score, and the IDF-weighted share of the question's terms that it holds."""

    bm25: NDArray[np.float32]
    coverage: NDArray[np.float32]
    known: float  # the share of the question's terms that any article holds


class LexicalIndex:
    """Postings as three arrays: those of term t are `articles[starts[t]:starts[t+1]]`."""

    def __init__(
        self,
        vocabulary: Sequence[str],
        starts: NDArray[np.int64],
        articles: NDArray[np.int32],
        weights: NDArray[np.float32],
        size: int,
    ) -> None:
        self.vocabulary = vocabulary
        self.starts = starts
        self.articles = articles
        self.weights = weights
        self.size = size
        self._number = {term: number for number, term in enumerate(vocabulary)}

    @classmethod
    def build(cls, documents: Iterable[Sequence[str]]) -> "LexicalIndex":
        """From each article's terms."""
        counts = [Counter(document) for document in documents]
        vocabulary = sorted(set().union(*counts)) if counts else []
        number = {term: n for n, term in enumerate(vocabulary)}
        # Arrays and one numeric sort: sorting a list of all postings would hold the GIL for its whole length.
        parts = [
            np.array([(number[term], article, n) for term, n in count.items()]) for article, count in enumerate(counts)
        ]
        rows = np.concatenate([np.empty((0, 3), np.int64), *(part.reshape(-1, 3) for part in parts)]).astype(np.int64)
        term_of, articles, tf = rows[np.argsort(rows[:, 0], kind="stable")].T
        lengths = np.array([count.total() for count in counts], np.float32)
        starts = np.searchsorted(term_of, np.arange(len(vocabulary) + 1)).astype(np.int64)
        norm = K1 * (1 - B + B * lengths / max(float(lengths.mean()) if len(lengths) else 1.0, 1.0))
        idf = _idf(np.diff(starts), len(counts))
        weights = idf[term_of] * tf * (K1 + 1) / (tf + norm[articles])
        return cls(vocabulary, starts, articles.astype(np.int32), weights.astype(np.float32), len(counts))

    def match(self, terms: Sequence[str]) -> Matches:
        bm25 = np.zeros(self.size, np.float32)
        coverage = np.zeros(self.size, np.float32)
        wanted = set(terms)
        found = {self._number[term] for term in wanted if term in self._number}
        # A term that no article holds weighs as the rarest would: what was asked for is not there.
        unknown = len(wanted) - len(found)
        total = unknown * float(_idf(np.zeros(1, np.int64), self.size)[0])
        known = 0.0
        for term in found:
            part = slice(self.starts[term], self.starts[term + 1])
            idf = float(_idf(np.array([part.stop - part.start]), self.size)[0])
            bm25[self.articles[part]] += self.weights[part]
            coverage[self.articles[part]] += idf
            known += idf
        if total + known:
            coverage /= total + known
        return Matches(bm25, coverage, known / (total + known) if total + known else 0.0)

    def share(self, terms: Sequence[str], held: set[str]) -> float:
        """The IDF-weighted share of these terms that are among `held`."""
        weights = {term: self._idf_of(term) for term in set(terms)}
        total = sum(weights.values())
        return sum(weight for term, weight in weights.items() if term in held) / total if total else 0.0

    def holding(self, term: str) -> int:
        """How many articles hold this term."""
        number = self._number.get(term)
        return 0 if number is None else int(self.starts[number + 1] - self.starts[number])

    def _idf_of(self, term: str) -> float:
        return float(_idf(np.array([self.holding(term)]), self.size)[0])


def _idf(holding: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    idf: NDArray[np.float64] = np.log(1 + (size - holding + 0.5) / (holding + 0.5))
    return idf
