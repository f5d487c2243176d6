"""The index of one state of the knowledge, and the search in it. Immutable, and free of Django and of the database."""

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent_app.knowledge import head as heads
from agent_app.knowledge import metric as metrics
from agent_app.knowledge import twins
from agent_app.knowledge.calibration import FEATURES, Calibration, Outcome, calibrate
from agent_app.knowledge.embedding import DATA, Vectors
from agent_app.knowledge.head import Head, LeftOut
from agent_app.knowledge.lexical import LexicalIndex, Matches
from agent_app.knowledge.metric import Metric
from agent_app.knowledge.passages import Passage, Source, parts_of
from agent_app.knowledge.rows import named_rows, rarity
from agent_app.knowledge.spelling import Speller
from agent_app.knowledge.twins import Groups
from agent_app.knowledge.words import language_of, stem, terms, words

# A candidate's score: the head's (or, without one, its nearest text's cosine), and the share of the question's words
# that its article holds. Reciprocal rank fusion was worse than vectors alone.
COVERAGE = 0.2
BM25_WITHOUT_HEAD = 0.1
NEIGHBOURS = 5
CANDIDATES = 10
MOST_PASSAGES = 150  # of an attachment: two seconds of one core
MOST_FURTHER = 8  # of those that are not the beginning of what was too long, those with the question's words
MOST_TABLES = 5  # of which rows are looked at
NAMED = 0.33  # share of the question's words from which a table's rows speak for it, and the rest is not embedded
# "Where is my order? Track a parcel": the question is a title of its own.
ASKED_IN_TITLE = re.compile(r"[^?]+\?(?=\s)")
# The passage within an article: its own cosine, CALLED times its heading's, and the words. Fitted on every other of the
# 161 questions in tests/agent_app/questions/passages: 94% of them (81% with CALLED = 0.5 and the example questions
# speaking for the opening), 86% of the rest (81%).
CALLED = 2.0
OPENING_ASKED_FOR = 0.5
PASSAGE_WORDS = 0.3
FEWEST_QUESTIONS = 2  # an article with fewer speaks by its passages, too
HELD_OUT = 2000  # example questions that calibration asks
FEWEST_HELD_OUT = 8
OFF_TOPIC = DATA / "off_topic.txt"
ON_TOPIC = 0.6  # cosine from which even "How do I prune roses?" may be this desk's business

Scores = NDArray[np.float32]


class Kind(IntEnum):
    TITLE = 0
    QUESTION = 1
    HEADING = 2
    PASSAGE = 3


class Band(StrEnum):
    ANSWER = "answer"
    CLARIFY = "clarify"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Unit:
    """One text that stands for an article."""

    article: int
    kind: Kind
    passage: int  # its number within the article; -1 for titles and questions
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    source: Source
    passage: Passage | None  # the one that answers; None for an article without text
    score: float
    shortened: bool = False  # the text goes on beyond what was read


@dataclass(frozen=True, slots=True)
class Findings:
    """What the knowledge says to one question."""

    question: str  # as searched, spelling mended
    band: Band
    probability: float  # that the first hit answers it
    hits: tuple[Hit, ...]
    language: str | None = None  # the question's, where it is not one of the knowledge's
    languages: tuple[str, ...] = ("en",)  # the knowledge's
    near: float = 0.0  # probability that one of the best three answers it: by this it is said that nobody knows

    def __bool__(self) -> bool:
        return bool(self.hits)


@dataclass(frozen=True, slots=True)
class Shared:
    """A title or an example question that several articles hold: nothing tells which of them is to answer it."""

    text: str
    sources: tuple[Source, ...]
    units: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one question shows of every article: the input of ranking, the same for a live and a held-out one."""

    cosines: Scores  # to every unit
    head: Scores | None
    matches: Matches


@dataclass(frozen=True)
class KnowledgeIndex:
    sources: tuple[Source, ...]
    article_of: NDArray[np.int32]  # of every unit, ascending
    kinds: NDArray[np.int8]
    passage_of: NDArray[np.int32]
    vectors: Vectors
    lexical: LexicalIndex
    speller: Speller
    head: Head | None
    calibration: Calibration

    # ---- building ----

    @classmethod
    def build(
        cls,
        sources: Sequence[Source],
        embed: Callable[[Sequence[str]], Vectors],
        earlier: "KnowledgeIndex | None" = None,
    ) -> "KnowledgeIndex":
        """A whole index. With `earlier`, its head and calibration: made at once, to be followed by a whole one."""
        units = [unit for number, source in enumerate(sources) for unit in units_of(number, source)]
        article_of = np.array([unit.article for unit in units], np.int32)
        kinds = np.array([unit.kind for unit in units], np.int8)
        vectors = embed([unit.text for unit in units])
        index = cls(
            sources=tuple(sources),
            article_of=article_of,
            kinds=kinds,
            passage_of=np.array([unit.passage for unit in units], np.int32),
            vectors=vectors,
            lexical=LexicalIndex.build([terms(text_of(source), source.language) for source in sources]),
            speller=Speller.build(words(text_of(source)) for source in sources),
            head=None,
            calibration=earlier.calibration if earlier else Calibration(),
        )
        if earlier is not None:
            return index.adopting(earlier)
        return index.trained([unit.text for unit in units], embed)

    def adopting(self, earlier: "KnowledgeIndex") -> "KnowledgeIndex":
        """With the earlier head's weights for what was there, and each new text speaking for its own article."""
        if earlier.head is None or not heads.worthwhile(len(self.taught), len(self.sources)):
            return self
        before = {unit: row for row, unit in enumerate(earlier.taught_texts())}
        columns = {source.slug: number for number, source in enumerate(earlier.sources)}
        kept = [number for number, source in enumerate(self.sources) if source.slug in columns]
        taken = [columns[self.sources[number].slug] for number in kept]
        weights = np.zeros((len(self.taught), len(self.sources)), np.float32)
        places = np.array([before.get(unit, -1) for unit in self.taught_texts()])
        known, new = np.flatnonzero(places >= 0), np.flatnonzero(places < 0)
        weights[np.ix_(known, kept)] = earlier.head.weights[np.ix_(places[known], taken)]
        weights[new, self.article_of[self.taught[new]]] = 1 / (1 + heads.RIDGE)
        metric = earlier.head.metric
        return replace(self, head=Head(weights, metric and Metric.over(self.vectors[self.taught], metric.matrix)))

    def unit_texts(self) -> list[str]:
        return [unit.text for number, source in enumerate(self.sources) for unit in units_of(number, source)]

    def taught_texts(self) -> list[tuple[str, str]]:
        """(slug, text) of each unit that the head learns from, in their order."""
        texts = [
            (source.slug, unit.text) for number, source in enumerate(self.sources) for unit in units_of(number, source)
        ]
        return [texts[unit] for unit in self.taught]

    def trained(self, texts: Sequence[str], embed: Callable[[Sequence[str]], Vectors]) -> "KnowledgeIndex":
        """With the head, and with the calibration that belongs to it."""
        taught = self.taught
        if not len(taught):
            return self
        size = len(self.sources)
        # The closed form needs a whole inverse. Of more texts than that a sample stands for all: a smaller knowledge
        # base is a little less sure of itself, so the promise errs to the safe side.
        some = sample(taught, heads.DIRECT)
        said = [frozenset(terms(texts[unit], self.sources[self.article_of[unit]].language)) for unit in some]
        groups = twins.grouped(self.vectors[some], self.article_of[some], said)
        asked = np.flatnonzero(self.kinds[some] == Kind.QUESTION)
        asked = asked[np.unique(groups[asked], return_index=True)[1]]  # one of those that hardly differ
        in_several = np.isin(some, [unit for each in self.shared for unit in each.units])
        asked = asked[~np.isin(groups[asked], groups[in_several])]
        head = left_out = None
        if heads.worthwhile(len(taught), size):
            enough = metrics.worthwhile(int((self.kinds == Kind.QUESTION).sum()), self.vectors.shape[1])
            leave_out = heads.better_left_out if enough else heads.leave_out
            left_out = leave_out(self.vectors[some], self.article_of[some], groups, size)
            head = heads.fit(self.vectors[taught], self.article_of[taught], size, left_out.with_metric)
        index = replace(self, head=head)
        asked = sample(asked, HELD_OUT)
        if len(asked) < FEWEST_HELD_OUT:
            return index
        outcomes = [*held_out(index, texts, some, asked, groups, left_out), *off_topic(index, embed)]
        return replace(index, calibration=calibrate(outcomes, gain=left_out.gain if left_out else 0.0))

    @property
    def taught(self) -> NDArray[np.int64]:
        """The units that the head learns from: no passages, which dilute it, but where an article has little else.

        Headings only while there are few units.
        """
        questions = np.bincount(self.article_of[self.kinds == Kind.QUESTION], minlength=len(self.sources))
        bare = questions[self.article_of] < FEWEST_QUESTIONS
        units = np.flatnonzero((self.kinds != Kind.PASSAGE) | bare)
        return units if len(units) <= heads.DIRECT else np.flatnonzero((self.kinds < Kind.HEADING) | bare)

    @cached_property
    def shared(self) -> tuple[Shared, ...]:
        """The titles and example questions that are the same text in several articles of one language."""
        names = [text for source in self.sources for _, text in names_of(source)]
        texts = dict(zip(np.flatnonzero(self.kinds < Kind.HEADING).tolist(), names, strict=True))
        languages = {unit: self.sources[self.article_of[unit]].language for unit in texts}
        said = {unit: (languages[unit], *terms(text, languages[unit])) for unit, text in texts.items()}
        return tuple(
            Shared(texts[units[0]], tuple(self.sources[n] for n in np.unique(self.article_of[units])), tuple(units))
            for units in twins.shared(texts, said, self.article_of, self.vectors)
        )

    @cached_property
    def languages(self) -> set[str]:
        return {source.language for source in self.sources}

    @property
    def language(self) -> str:
        """The knowledge's main language, in which questions are stemmed."""
        languages = [source.language for source in self.sources]
        return max(set(languages), key=languages.count) if languages else "en"

    # ---- searching ----

    def search(
        self,
        text: str,
        embed: Callable[[Sequence[str]], Vectors],
        limit: int = 3,
        article: str | None = None,
    ) -> Findings:
        """The best articles, each with the passage that answers; with `article`, only that one (its slug)."""
        question = self.speller.mended(text)
        if not self.sources or not words(question):
            return Findings(question, Band.UNKNOWN, 0.0, ())
        seen = self.look(question, embed([question])[0])
        spoken = language_of(text)
        order, scores, features = self.rank(seen, self.in_other_languages(spoken))
        if article is not None:
            order = np.flatnonzero([source.slug == article for source in self.sources])
            if len(order):
                hits = self.hits(order, question, seen, scores)
                if not set(terms(question, self._language)).difference(terms(hits[0].source.title, self._language)):
                    # "boots", then "How boots should fit": no part of it was asked for, so it is told from its start.
                    hits = tuple(
                        replace(hit, passage=next((parts_of(each)[0] for each in hit.source.passages), None))
                        for hit in hits
                    )
                return Findings(question, Band.ANSWER, 1.0, hits)
            return Findings(question, Band.UNKNOWN, 0.0, ())
        probability, near = self.calibration.probability(features), self.calibration.probability_near(features)
        hits = self.hits(order[:limit], question, seen, scores)
        foreign = spoken if spoken and spoken not in self.languages else None
        band = self.band(probability, near)
        if band is Band.ANSWER and (
            self.only_names_a_subject(question, order) or self.is_asked_of_both(question, order, seen.cosines)
        ):
            band = Band.CLARIFY
        return Findings(question, band, probability, hits, foreign, tuple(sorted(self.languages)), near)

    def in_other_languages(self, spoken: str | None) -> NDArray[np.bool_] | None:
        """The articles that cannot answer whoever speaks this language, where others can: an answer is a quote."""
        languages = self.languages
        if spoken not in languages or len(languages) == 1:
            return None
        return np.array([source.language != spoken for source in self.sources])

    def hits(self, order: NDArray[np.int64], question: str, seen: Seen, scores: Scores) -> tuple[Hit, ...]:
        return tuple(
            Hit(self.sources[number], self.best_passage(number, question, seen.cosines), float(scores[number]))
            for number in order
        )

    def look(self, question: str, vector: NDArray[np.float32]) -> Seen:
        cosines = self.vectors @ vector
        head = self.head.scores(self.to_taught(vector, cosines)) if self.head else None
        return Seen(cosines, head, self.lexical.match(terms(question, self._language)))

    def to_taught(self, vector: NDArray[np.float32], cosines: Scores) -> Scores:
        """The cosines that the head learned from, of those to every unit."""
        metric = self.head.metric if self.head else None
        if metric is None:
            return cosines[self._taught]
        return metric.cosines((self.vectors @ (metric.matrix @ vector))[self._taught], vector)

    def rank(
        self, seen: Seen, without: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], Scores, tuple[float, ...]]:
        """The best articles, every article's score, and what the gate looks at; `without` leaves some out."""
        nearest = np.maximum.reduceat(seen.cosines, self._starts)
        scores = self.scores(seen, nearest)
        cosines = seen.cosines
        if without is not None:
            scores[without] = -np.inf
            cosines = cosines[~without[self.article_of]]
        order = top(scores, CANDIDATES)
        if without is not None and not without.all():
            order = order[~without[order]]
        best = order[0]
        runner_up = float(scores[order[1]]) if len(order) > 1 else 0.0
        neighbours = cosines[top(cosines, NEIGHBOURS)]
        features = (
            float(seen.head[best]) if seen.head is not None else float(scores[best]),
            float(scores[best]) - max(runner_up, -1.0),
            float(nearest[best]),
            float(seen.matches.coverage[best]),
            float(neighbours.mean()),
            seen.matches.known,
        )
        return order, scores, features

    def scores(self, seen: Seen, nearest: Scores) -> Scores:
        if seen.head is not None:
            scores: Scores = seen.head + COVERAGE * seen.matches.coverage
            return scores
        best = float(np.max(seen.matches.bm25)) or 1.0
        return nearest + 2 * COVERAGE * seen.matches.coverage + BM25_WITHOUT_HEAD * seen.matches.bm25 / best

    def band(self, probability: float, near: float) -> Band:
        if probability >= self.calibration.answer_at:
            return Band.ANSWER
        if near >= self.calibration.clarify_at:
            return Band.CLARIFY
        return Band.UNKNOWN

    def only_names_a_subject(self, question: str, order: NDArray[np.int64]) -> bool:
        """Whether the question is one word that does not name the best of the likely articles, and it alone: "boots"
        may be about their care or their size, where "warranty" is an article's name.
        """
        if len(words(question)) != 1:
            return False
        (said,) = words(question)
        named = [n for n in order if stem(said, self._language) in terms(self.sources[n].title, self._language)]
        return named != [order[0]]

    def is_asked_of_both(self, question: str, order: NDArray[np.int64], cosines: Scores) -> bool:
        """Whether the best two articles both hold this very question: calibration leaves such texts out (`shared`)."""
        return len(order) > 1 and all(self.holds(question, article, cosines) for article in order[:2])

    def holds(self, question: str, article: int, cosines: Scores) -> bool:
        source, start = self.sources[article], self._starts[article]
        names = [text for _, text in names_of(source)]
        same = np.flatnonzero(cosines[start : start + len(names)] >= twins.SAME)
        return any(terms(names[place], source.language) == terms(question, source.language) for place in same)

    def best_passage(self, article: int, question: str, cosines: Scores) -> Passage | None:
        """The passage that answers, rather than the article's opening.

        What a passage is called says more of it than its text, and the opening is called what the article is. Words
        that the title holds tell no passage from another: "opening hours" is no reason for the hours on holidays.
        """
        source = self.sources[article]
        passages = source.passages
        if not passages:
            return None
        texts, headings, title, asked_for = np.zeros(len(passages)), np.zeros(len(passages)), -1.0, -1.0
        for unit in range(self._starts[article], self._ends[article]):
            number, kind, cosine = self.passage_of[unit], self.kinds[unit], float(cosines[unit])
            if kind == Kind.PASSAGE:
                texts[number] = cosine
            elif kind == Kind.HEADING:
                headings[number] = cosine
            elif kind == Kind.TITLE:
                title = max(title, cosine)
            else:
                asked_for = max(asked_for, cosine)
        opening = title + OPENING_ASKED_FOR * max(asked_for - title, 0.0)
        asked = set(terms(question, self._language))
        telling = asked.difference(terms(source.title, self._language))
        points = np.zeros(len(passages))
        for number, passage in enumerate(passages):
            if number and passage.heading == passages[number - 1].heading:
                headings[number] = headings[number - 1]  # a long section's further passages
            held = telling.intersection(terms(f"{passage.heading} {passage.plain}", self._language))
            points[number] = (
                texts[number]
                + CALLED * (headings[number] if passage.heading else opening)
                + PASSAGE_WORDS * len(held) / max(len(asked), 1)
            )
        return part_told(passages[int(np.argmax(points))], question, telling, self._language)

    def __post_init__(self) -> None:
        numbers = np.arange(len(self.sources))
        set_ = object.__setattr__  # the dataclass is frozen; these are derived, and read at every question
        set_(self, "_starts", np.searchsorted(self.article_of, numbers))
        set_(self, "_ends", np.searchsorted(self.article_of, numbers, side="right"))
        set_(self, "_taught", self.taught)
        set_(self, "_language", self.language)

    _starts: NDArray[np.int64] = field(init=False, repr=False)
    _ends: NDArray[np.int64] = field(init=False, repr=False)
    _taught: NDArray[np.int64] = field(init=False, repr=False)
    _language: str = field(init=False, repr=False)

    # ---- keeping ----

    def to_bytes(self) -> bytes:
        arrays: dict[str, Any] = {
            "sources": lines([json.dumps(as_row(source), ensure_ascii=False) for source in self.sources]),
            "article_of": self.article_of,
            "kinds": self.kinds,
            "passage_of": self.passage_of,
            "vectors": self.vectors.astype(np.float16),
            "terms": lines(self.lexical.vocabulary),
            "term_starts": self.lexical.starts,
            "term_articles": self.lexical.articles,
            "term_weights": self.lexical.weights,
            "words": lines(self.speller.vocabulary),
            "calibration": lines([json.dumps(self.calibration.to_json())]),
        }
        if self.head is not None:
            # An older version, which knows no metric, must not take its weights for those of plain cosines.
            name = "head" if self.head.metric is None else "head_in_metric"
            arrays[name] = self.head.weights.astype(np.float16)
            if self.head.metric is not None:
                arrays["metric"] = self.head.metric.matrix.astype(np.float16)
                arrays["lengths"] = self.head.metric.lengths
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> "KnowledgeIndex":
        arrays = np.load(io.BytesIO(data), allow_pickle=False)
        # Line by line: one big json.loads would hold the GIL, and with it the event loop, for its whole length.
        sources = tuple(from_row(json.loads(line)) for line in split_lines(arrays["sources"]))
        vocabulary = split_lines(arrays["terms"])
        return cls(
            sources=sources,
            article_of=arrays["article_of"],
            kinds=arrays["kinds"],
            passage_of=arrays["passage_of"],
            vectors=arrays["vectors"].astype(np.float32),
            lexical=LexicalIndex(
                vocabulary, arrays["term_starts"], arrays["term_articles"], arrays["term_weights"], len(sources)
            ),
            speller=Speller(split_lines(arrays["words"])),
            head=head_of(arrays),
            calibration=Calibration.from_json(json.loads(split_lines(arrays["calibration"])[0])),
        )


def best_within(
    source: Source, question: str, embed: Callable[[Sequence[str]], Vectors], known: dict[Passage, NDArray[np.float32]]
) -> Hit:
    """The passage of one text that is nearest to a question; its score is the cosine.

    `known` keeps the vectors of the text's passages from one question to the next. Of a text with very many passages
    those with the question's words are looked at. A long table's rows that name what was asked speak for all of it.
    """
    passages = list(dict.fromkeys(part for passage in source.passages for part in parts_of(passage)))
    asked = set(terms(question, source.language))
    if not passages or not words(question):
        return Hit(source, passages[0] if passages else None, 0.0)
    named = named_rows(passages, question, asked, source.language)
    rows = sorted(dict.fromkeys(named.values()), key=lambda each: -each.share)[:MOST_TABLES]
    passages = [each for each in passages if each not in named or named[each].share < NAMED]
    shares = shares_held(passages, asked, source.language)
    beginnings = [place for place, each in enumerate(passages) if not each.further]
    further = sorted((place for place, each in enumerate(passages) if each.further), key=lambda place: -shares[place])
    if len(beginnings) > MOST_PASSAGES:
        beginnings = sorted(beginnings, key=lambda place: -shares[place])[:MOST_PASSAGES]
    places = sorted([*beginnings, *further[:MOST_FURTHER]])
    passages = [passages[place] for place in places]
    # A text that is cut only between its paragraphs goes by its meaning alone.
    words_held = [each.share for each in rows] + [shares[place] if further else 0.0 for place in places]
    new = [passage for passage in passages if passage not in known]
    told = [each.passage for each in rows]
    vectors = embed([question, *(f"{passage.heading}. {passage.plain}" for passage in [*told, *new])])
    known.update(zip(new, vectors[1 + len(told) :], strict=True))
    of_passages = [known[passage] for passage in passages]
    likeness = np.stack([*vectors[1 : 1 + len(told)], *of_passages]) @ vectors[0]
    best = int(np.argmax(likeness + PASSAGE_WORDS * np.array(words_held)))
    return Hit(source, [*told, *passages][best], float(likeness[best]))


def part_told(passage: Passage, question: str, asked: set[str], language: str) -> Passage:
    """Of a very long passage the rows that name what was asked, or the part with most of its words, or the first."""
    parts = parts_of(passage)
    if len(parts) == 1:
        return passage
    shares = shares_held(parts, asked, language)
    part = parts[shares.index(max(shares))]
    named = named_rows(parts, question, asked, language)
    return named[part].passage if part in named else part


def shares_held(passages: Sequence[Passage], asked: set[str], language: str) -> list[float]:
    """Of each passage the share of `asked` that it holds, weighed by how few of the passages hold each."""
    held = [asked.intersection(terms(f"{each.heading} {each.plain}", language)) for each in passages]
    weights = rarity(held, asked)
    total = sum(weights.values())
    return [sum(weights[term] for term in sorted(each)) / total if total else 0.0 for each in held]


def names_of(source: Source) -> Iterator[tuple[Kind, str]]:
    for title in dict.fromkeys([source.title, *ASKED_IN_TITLE.findall(source.title)]):
        yield Kind.TITLE, title
    for question in source.questions:
        yield Kind.QUESTION, question


def units_of(number: int, source: Source) -> Iterator[Unit]:
    for kind, text in names_of(source):
        yield Unit(number, kind, -1, text)
    heading = ""
    for place, passage in enumerate(source.passages):
        if passage.heading and passage.heading != heading:
            yield Unit(number, Kind.HEADING, place, f"{source.title}: {passage.heading}")
        heading = passage.heading
        yield Unit(number, Kind.PASSAGE, place, f"{source.title}. {passage.heading}. {passage.plain}")


def text_of(source: Source) -> str:
    return "\n".join(said_in(source))


def said_in(source: Source) -> list[str]:
    """What lexical search reads of an article; the title counts twice."""
    passages = (f"{passage.heading}. {passage.plain}" for passage in source.passages)
    return [source.title, source.title, *source.questions, *passages]


def top(scores: Scores, count: int) -> NDArray[np.int64]:
    """The places of the highest scores, best first."""
    if len(scores) > count:
        best = np.argpartition(-scores, count)[:count]
        return best[np.argsort(-scores[best], kind="stable")]
    return np.argsort(-scores, kind="stable")


def held_out(
    index: KnowledgeIndex,
    texts: Sequence[str],
    taught: NDArray[np.int64],
    asked: NDArray[np.int64],
    groups: Groups,
    left_out: LeftOut | None,
) -> Iterator[Outcome]:
    """Example questions asked as if they, and what hardly differs from them, had never been seen: see `calibration`.

    `asked`: their places among the units that are `taught`; `left_out`: what a head says of those, without them.
    """
    others = np.union1d(taught, np.flatnonzero(index.kinds == Kind.PASSAGE))
    numbers = np.arange(len(index.sources))
    absent = np.ones(len(index.vectors), bool)
    absent[others] = False
    for place, (unit, cosines) in zip(asked, cosines_of(index.vectors, taught[asked]), strict=True):
        article = int(index.article_of[unit])
        alike = taught[groups == groups[place]]
        cosines[absent] = -1.0
        cosines[alike] = -1.0
        matches, foreign_matches = without_texts(index, article, texts[unit], {texts[each] for each in alike})
        known = Seen(cosines, left_out.known[place] if left_out else None, matches)
        order, _, features = index.rank(known)
        yield Outcome(features, order[0] == article, article in order[:3], covered=True)
        if len(index.sources) > 1:
            foreign = Seen(cosines, left_out.foreign[place] if left_out else None, foreign_matches)
            _, _, features = index.rank(foreign, without=numbers == article)
            yield Outcome(features, right=False, near=False, covered=False)


def cosines_of(vectors: Vectors, units: NDArray[np.int64], at_once: int = 16) -> Iterator[tuple[int, Scores]]:
    """Each of these units with its cosines to all: several at once read the vectors once."""
    for start in range(0, len(units), at_once):
        some = units[start : start + at_once]
        yield from zip(some.tolist(), vectors[some] @ vectors.T, strict=True)


def off_topic(index: KnowledgeIndex, embed: Callable[[Sequence[str]], Vectors]) -> Iterator[Outcome]:
    """Sentences about anything but a desk's business, but for those that an article of this one is near to."""
    sentences = OFF_TOPIC.read_text(encoding="utf-8").splitlines()
    for sentence, vector in zip(sentences, embed(sentences), strict=True):
        _, _, features = index.rank(index.look(sentence, vector))
        if features[FEATURES.index("nearest")] < ON_TOPIC:
            yield Outcome(features, right=False, near=False, covered=False, off_topic=True)


def without_texts(index: KnowledgeIndex, article: int, text: str, alike: set[str]) -> tuple[Matches, Matches]:
    """The lexical match of an example question, as if its article did not hold it nor those alike, and with its article
    gone.
    """
    source = index.sources[article]
    asked = terms(text, source.language)
    held = set(terms("\n".join(part for part in said_in(source) if part not in alike), source.language))
    elsewhere = {term for term in asked if index.lexical.holding(term) > 1}
    matches = index.lexical.match(asked)
    matches.coverage[article] = index.lexical.share(asked, held)
    # A new question has words that no article holds; of an example question its own article holds all.
    known = index.lexical.share(asked, held | elsewhere)
    return replace(matches, known=known), replace(matches, known=index.lexical.share(asked, elsewhere))


def sample(units: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    if len(units) <= most:
        return units
    return np.sort(np.random.default_rng(0).choice(units, most, replace=False))


def head_of(arrays: Mapping[str, NDArray[Any]]) -> Head | None:
    """As stored: an older version's has no metric, and goes on without one until the knowledge changes."""
    if "head_in_metric" in arrays:
        metric = Metric(arrays["metric"].astype(np.float32), arrays["lengths"])
        return Head(arrays["head_in_metric"].astype(np.float32), metric)
    return Head(arrays["head"].astype(np.float32)) if "head" in arrays else None


def as_row(source: Source) -> list[Any]:
    return [source.slug, source.title, source.body, source.language, list(source.questions)]


def from_row(row: list[Any]) -> Source:
    return Source(row[0], row[1], row[2], row[3], tuple(row[4]))


def lines(texts: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def split_lines(data: NDArray[np.uint8]) -> list[str]:
    text = data.tobytes().decode()
    return text.split("\n") if text else []
