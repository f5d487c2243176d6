"""The index of this process: loaded from the newest generation in the database, swapped whole, built by whoever can.

Every change of an article counts the knowledge's revision up, in its own transaction. Each process looks twice a second
whether there is a newer generation, or a revision that no generation holds; then one of them builds it, under a lease.
Readers never wait for that: they hold the index that they began with.
"""

import asyncio
import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection

from agent_app.knowledge import metric as metrics
from agent_app.knowledge.embedding import (
    Embedder,
    Vectors,
    WordEmbedder,
    direction,
    give_back_memory,
    load_embedder,
)
from agent_app.knowledge.learning import (
    Changed,
    Preview,
    grouped,
    known_questions,
    nearest,
    preview,
    with_article,
    with_phrasing,
)
from agent_app.knowledge.passages import Passage, Source
from agent_app.knowledge.retrieval import Findings, Hit, Kind, KnowledgeIndex, best_within
from agent_app.knowledge.words import stem
from agent_app.models.knowledge import Article, IndexGeneration, KnowledgeState, TextVector

logger = logging.getLogger(__name__)

LOOK_EVERY = 0.25  # seconds; one row is read, and whoever changes an article waits for two looks
AFTER_TROUBLE = 5.0
# An index of more articles, or with a metric to learn (seconds), is first published with the earlier head and
# calibration, which takes no time, and then again with its own.
AT_ONCE = 300
SEARCHERS = 2  # threads; a search is 10 ms of one core
READ_TEXTS = 16  # texts that are not in the index whose vectors are kept, for the next question
ASKED_KEPT = 1000  # questions of customers whose vectors are kept
ASKED_AT_ONCE = 500  # digests in one query

Result = TypeVar("Result")


class Knowledge:
    """All work is off the event loop, on threads of its own: Django's shared one belongs to everybody."""

    def __init__(self) -> None:
        self._index: KnowledgeIndex | None = None
        self._generation: tuple[int, datetime] | None = None
        self._looked_at = 0.0
        self._well = True
        self._watching: threading.Event | None = None
        self._read: OrderedDict[str, dict[Passage, np.ndarray]] = OrderedDict()
        self._asked: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()
        self._asking = threading.Lock()
        self._forgotten: int | None = None  # erasures of which this process knows
        self._forgetters: list[Callable[[], None]] = [stem.cache_clear, direction.cache_clear]
        self._policy: dict[tuple[str, tuple[str, ...]], Vectors] = {}
        self._searchers = ThreadPoolExecutor(SEARCHERS, "knowledge-search")
        self._keeper = ThreadPoolExecutor(1, "knowledge-keeper")  # the only thread that touches the database

    # ---- asking ----

    async def search(self, query: str, limit: int = 3, article: str | None = None) -> Findings:
        """What the published articles say to `query`; with `article`, only what that one (its slug) says."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._searchers, self.find, query, limit, article)

    async def search_within(self, source: Source, query: str) -> Hit:
        """The best passage of a text that is not in the index, such as an attachment."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._searchers, self._within, source, query)

    def _within(self, source: Source, query: str) -> Hit:
        with self._asking:
            known = self._read.setdefault(source.slug, {})
            self._read.move_to_end(source.slug)
            while len(self._read) > READ_TEXTS:
                self._read.popitem(last=False)
        return best_within(source, query, self.embedder.embed, known)

    def find(self, query: str, limit: int = 3, article: str | None = None) -> Findings:
        """`search` for whoever has a thread to wait in."""
        return self.current().search(query, self._embed_asked, limit, article)

    async def preview(self, article: str, phrasing: str) -> list[Changed]:
        """The known questions that would be answered differently if this article learned this phrasing."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._searchers, self.would_change, article, phrasing)

    def would_change(self, article: str, *phrasings: str, also: Sequence[str] = ()) -> list[Changed]:
        """`preview` for whoever has a thread to wait in. `also`: further questions to ask, such as the open ones."""
        sources = with_phrasing(self.current().sources, article, *phrasings)
        return list(self.previewed(sources, phrasings, also).changed)

    def with_article(self, article: Source | None, instead_of: str | None, also: Sequence[str] = ()) -> Preview:
        """What an article would do if it were published as it is here (None: if it were taken away)."""
        index = self.current()
        before = next((source for source in index.sources if source.slug == instead_of), None)
        texts = [text for each in (article, before) if each for text in (each.title, *each.questions)]
        return self.previewed(with_article(index.sources, article, instead_of), texts, also)

    def previewed(self, sources: Sequence[Source], changed: Sequence[str], also: Sequence[str]) -> Preview:
        index = self.current()
        embed = self._embed_known(index)
        asked = [*also, *nearest(known_questions(index.sources), changed, embed)]
        return preview(index, sources, asked, embed, index if takes_long(sources, index) else None)

    async def beside(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Runs what needs the model off the event loop, on the threads that search."""
        return await asyncio.get_running_loop().run_in_executor(self._searchers, work, *arguments)

    def like(
        self, text: str, examples: tuple[str, ...], unlike: tuple[str, ...], near: float, nearer: float
    ) -> int | None:
        """The place of the example that means what `text` does, if there is one.

        Its cosine is at least `near`, and by `nearer` above that of all that is unlike it: the sentences given, and the
        titles and questions of the knowledge. Words alone (`none`) have no meaning: then always None.
        """
        embedder = self.embedder
        if isinstance(embedder, WordEmbedder):
            return None
        vector = self._embed_asked([text])[0]
        meant = self._sentences(embedder, examples) @ vector
        best = int(np.argmax(meant))
        if meant[best] < near:
            return None
        index = self.current()
        rivals = [float(np.max(self._sentences(embedder, unlike) @ vector))] if unlike else []
        asked = index.vectors[index.kinds < Kind.HEADING] if len(index.kinds) else ()
        rivals += [float(np.max(asked @ vector))] if len(asked) else []
        return best if meant[best] >= max(rivals, default=-1.0) + nearer else None

    def _sentences(self, embedder: Embedder, texts: tuple[str, ...]) -> Vectors:
        """The policy's own, made once."""
        key = (embedder.name, texts)
        if key not in self._policy:
            self._policy[key] = embedder.embed(texts)
        return self._policy[key]

    def grouped(self, texts: Sequence[str]) -> list[list[int]]:
        """Places of texts that mean much the same, the largest group first."""
        return grouped(texts, self._embed_asked)

    def _embed_asked(self, texts: Sequence[str]) -> Vectors:
        """Keeps the vectors of what customers asked: a message is judged and then looked up, and the page that groups
        questions is looked at again and again. Called from several threads.
        """
        embedder = self.embedder
        found = {text: self._asked.get((embedder.name, text)) for text in texts}
        new = [text for text, vector in found.items() if vector is None]
        if new:
            made = dict(zip(new, embedder.embed(new), strict=True))
            found.update(made)
            with self._asking:
                self._asked.update({(embedder.name, text): vector for text, vector in made.items()})
                while len(self._asked) > ASKED_KEPT:
                    self._asked.popitem(last=False)
        return np.array([found[text] for text in texts], np.float32)

    def _embed_known(self, index: KnowledgeIndex) -> Callable[[Sequence[str]], Vectors]:
        """The index's own vectors for its own texts; only what is new is embedded."""
        known = dict(zip(index.unit_texts(), index.vectors, strict=True))

        def embed(texts: Sequence[str]) -> Vectors:
            new = [text for text in dict.fromkeys(texts) if text not in known]
            known.update(zip(new, self._embed_asked(new), strict=True))
            return np.stack([known[text] for text in texts])

        return embed

    @property
    def embedder(self) -> Embedder:
        return load_embedder(settings.KNOWLEDGE_EMBEDDER)

    def current(self) -> KnowledgeIndex:
        """The index, at most a moment behind the database. Waits only for the process's first one."""
        stale = self._watching is None and time.monotonic() - self._looked_at > LOOK_EVERY
        if self._index is None or stale:
            self._on_keeper(self.look).result()
        return self._index if self._index is not None else EMPTY

    # ---- keeping up ----

    async def start(self) -> None:
        """Loads the model and the index, and goes on looking for newer ones until `stop`."""
        self._watching = threading.Event()
        self._on_keeper(self._watch, self._watching)

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.set()
            self._watching = None
        await asyncio.get_running_loop().run_in_executor(None, self._on_keeper(self.forget).result)

    def status(self) -> dict[str, Any]:
        """For the probes: degraded until the process's first index is here, since questions wait for it."""
        index = self._index
        return {"state": "degraded" if index is None else "ok", "articles": len(index.sources) if index else 0}

    def warm(self) -> None:
        """Begins to load the model and the index, so that the first question does not wait for them."""
        self._on_keeper(self._look_calmly)

    def forget(self) -> None:
        self._index = self._generation = None
        self._looked_at = 0.0

    def forget_with(self, forgetter: Callable[[], None]) -> None:
        """Called, too, on the keeper's thread, once an erasure anywhere has taken a customer's words away."""
        self._forgetters.append(forgetter)

    def _forget_customers(self, forgotten: int) -> None:
        """What customers asked and attached, whoever they were: it is made again when it is asked for again."""
        if self._forgotten not in {None, forgotten}:
            with self._asking:
                self._asked.clear()
                self._read.clear()
            for forgetter in self._forgetters:
                forgetter()
        self._forgotten = forgotten

    def renew(self) -> KnowledgeIndex:
        """Brings the index up to date and waits for it: for commands."""
        self._on_keeper(self.look).result()
        return self.current()

    def _watch(self, ended: threading.Event) -> None:
        # Looks by putting itself into the keeper's queue again, so that whoever waits there comes in between.
        well = self._look_calmly()
        if not ended.wait(LOOK_EVERY if well else AFTER_TROUBLE):
            self._on_keeper(self._watch, ended)

    def _look_calmly(self) -> bool:
        """Whether it went well. One line in the log for each change of that, not for each look."""
        try:
            self.look()
        except DatabaseError as error:
            if self._well:
                logger.warning("knowledge.database_away error=%s", type(error).__name__)
            self._well = False
        except Exception:  # the outermost edge of the keeper's thread: it must look again later
            if self._well:
                logger.exception("knowledge.not_loaded")
            self._well = False
        else:
            if not self._well:
                logger.info("knowledge.well_again")
            self._well = True
        return self._well

    def look(self) -> None:
        """Loads a newer generation, and builds one where the knowledge is ahead of it. On the keeper's thread."""
        embedder = self.embedder
        revision, forgotten = KnowledgeState.now()
        self._forget_customers(forgotten)
        newest = IndexGeneration.objects.newest(embedder.name)
        if newest is None:
            if self._generation is None or revision == 0:
                self._index, self._generation = EMPTY, None
        elif self._generation != (newest.pk, newest.created_at):
            self._load(newest)
        held = newest.revision if newest else 0
        if revision > held and KnowledgeState.take_build():
            try:
                self._build(embedder)
            finally:
                KnowledgeState.end_build()
        self._looked_at = time.monotonic()

    def _load(self, generation: IndexGeneration) -> None:
        began = time.monotonic()
        try:
            payload = bytes(generation.payload)
        except IndexGeneration.DoesNotExist:
            return  # a newer one took its place this moment: the next look loads that
        self._index = KnowledgeIndex.from_bytes(payload)
        self._generation = (generation.pk, generation.created_at)
        give_back_memory()
        logger.info(
            "knowledge.loaded generation=%d articles=%d ms=%d",
            generation.pk,
            generation.articles,
            (time.monotonic() - began) * 1000,
        )

    # ---- building ----

    def _build(self, embedder: Embedder) -> None:
        began = time.monotonic()
        revision = KnowledgeState.current_revision()  # before the articles: what comes later is built later
        sources = published_sources(self._index)
        kept = KeptVectors(embedder)
        earlier = self._index if self._index is not None and self._index.sources else None
        if earlier is not None and takes_long(sources, earlier):
            self._publish(KnowledgeIndex.build(sources, kept.embed, earlier), embedder, revision - 1)
        self._publish(KnowledgeIndex.build(sources, kept.embed), embedder, revision)
        # One that is kept could hold what an erasure has taken since. An instance with another embedder builds its own.
        IndexGeneration.objects.before(revision).delete()
        forget_vectors(embedder, kept.digests)
        give_back_memory()
        logger.info("knowledge.built articles=%d ms=%d", len(sources), (time.monotonic() - began) * 1000)

    def _publish(self, index: KnowledgeIndex, embedder: Embedder, revision: int) -> None:
        generation = IndexGeneration.objects.create(
            embedder=embedder.name,
            revision=max(revision, 0),
            articles=len(index.sources),
            calibration=index.calibration.to_json(),
            payload=index.to_bytes(),
        )
        self._index, self._generation = index, (generation.pk, generation.created_at)

    def _on_keeper(self, work: Callable[..., Result], *arguments: object) -> Future[Result]:
        def with_connection() -> Result:
            close_old_connections()
            try:
                return work(*arguments)
            finally:
                if not settings.DATABASES["default"].get("CONN_MAX_AGE"):
                    connection.close()

        return self._keeper.submit(with_connection)


EMPTY = KnowledgeIndex.build([], lambda texts: np.zeros((len(texts), 1), np.float32))


def takes_long(sources: Sequence[Source], earlier: KnowledgeIndex) -> bool:
    questions = sum(len(source.questions) for source in sources)
    learns = bool(earlier.sources) and metrics.worthwhile(questions, earlier.vectors.shape[1])
    return learns or len(sources) > AT_ONCE


def published_sources(earlier: KnowledgeIndex | None = None) -> list[Source]:
    """The published articles; those that `earlier` holds as they are come from it, already cut into passages."""
    known = {source.slug: source for source in earlier.sources} if earlier is not None else {}
    articles = Article.objects.published().with_questions().order_by("slug")
    sources = [
        Source(article.slug, article.title, article.body, article.language, tuple(article.question_texts()))
        for article in articles
    ]
    return [known[source.slug] if known.get(source.slug) == source else source for source in sources]


class KeptVectors:
    """Embeds through an embedder, but keeps every vector in the database, and embeds only what is new."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.digests: set[str] = set()

    def embed(self, texts: Sequence[str]) -> Vectors:
        digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        self.digests.update(digests)
        known = stored_vectors(self.embedder, set(digests))
        new = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in known}
        if new:
            vectors = self.embedder.embed(list(new.values())).astype(np.float16)
            TextVector.objects.bulk_create(
                [
                    TextVector(embedder=self.embedder.name, digest=digest, vector=vector.tobytes())
                    for digest, vector in zip(new, vectors, strict=True)
                ],
                batch_size=ASKED_AT_ONCE,
                ignore_conflicts=True,
            )
            known.update(zip(new, vectors, strict=True))
        stacked = [known[digest] for digest in digests]
        return np.array(stacked, np.float32).reshape(len(texts), self.embedder.size)


def stored_vectors(embedder: Embedder, digests: Iterable[str]) -> dict[str, np.ndarray]:
    wanted = sorted(digests)
    found = {}
    for start in range(0, len(wanted), ASKED_AT_ONCE):
        rows = TextVector.objects.filter(
            embedder=embedder.name, digest__in=wanted[start : start + ASKED_AT_ONCE]
        ).values_list("digest", "vector")
        found.update({digest: np.frombuffer(bytes(vector), np.float16) for digest, vector in rows})
    return found


def forget_vectors(embedder: Embedder, used: set[str]) -> None:
    """Deletes the vectors of texts that no article holds any more, and those of another embedder, whose may be gone."""
    TextVector.objects.exclude(embedder=embedder.name).delete()
    stored = TextVector.objects.filter(embedder=embedder.name).values_list("digest", flat=True)
    unused = [digest for digest in stored if digest not in used]
    for start in range(0, len(unused), ASKED_AT_ONCE):
        TextVector.objects.filter(embedder=embedder.name, digest__in=unused[start : start + ASKED_AT_ONCE]).delete()


knowledge = Knowledge()
search = knowledge.search
