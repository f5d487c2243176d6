"""Tells whoever shows a conversation that something has happened in it. The only file that touches the channel layer.

A ring is a hint, never the truth: it may be lost, doubled or late, and a listener compares it with its own cursor and
reads the log. Listeners of this process are rung directly; other instances hear of it over the channel layer, all
rings of one tick in one message. Whoever misses a ring is healed by the next one or by the poll.
"""

import asyncio
import logging
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from channels.layers import InMemoryChannelLayer, get_channel_layer
from redis.exceptions import RedisError

from agent_app.journal import journal
from agent_app.models.conversations import Conversation, Entry
from agent_app.models.refusal import Unavailable

logger = logging.getLogger(__name__)

DESK = 0  # the desk's own bell: no conversation has this id, so that no customer's listener hears what it carries
GROUP = "bell"  # one group for all instances: a ring is small, and one publish carries a whole tick's rings
POLL = 5.0  # seconds; heals what a lost ring left
POLL_ALONE = 1.0  # seconds, while the channel layer is away
PUBLISH_WITHIN = 2.0  # seconds; the layer itself has no time limit, since a subscription may be quiet for hours
GREETING = 1.0  # seconds between two signs of life to the other instances
POLLED_AT_ONCE = 500
ERASED = "erased"  # the state of a conversation that is gone
SPREAD_MS = 3000  # over which the sockets of a stopping process come back
# RuntimeError: what uvloop raises for a write to a connection that was reset a moment ago.
LAYER_ERRORS = (RedisError, OSError, TimeoutError, RuntimeError)


@dataclass(slots=True)
class Ring:
    """Something happened in a conversation.

    `last_seq` and `state` say where the log stands. `entries` are newly committed messages, when this process wrote
    them. `frames` are passing things (turn, delta, typing): shown to whoever is there, never kept.
    """

    conversation_id: int
    last_seq: int = 0
    state: str | None = None
    entries: tuple[Entry, ...] = ()
    frames: tuple[dict[str, Any], ...] = ()
    about: dict[str, Any] | None = None  # of the state: who answers, the place in line
    sender: str | None = None  # the listener that caused it and must not hear it (its own typing)
    stop: str | None = None  # the turn that somebody asked to stop

    def pack(self) -> list[Any]:
        return [self.conversation_id, self.last_seq, self.state, list(self.frames), self.about, self.sender, self.stop]


def unpack(packed: Sequence[Any]) -> Ring:
    conversation_id, last_seq, state, frames, about, sender, stop = packed
    return Ring(conversation_id, last_seq, state, (), tuple(frames), about, sender, stop)


class Listener(Protocol):
    """Whoever shows a conversation. `hear` is called on the listener's own loop and must not wait."""

    loop: asyncio.AbstractEventLoop

    def hear(self, ring: Ring) -> None: ...


class Doorbell:
    def __init__(self) -> None:
        self.instance = uuid.uuid4().hex
        self.available = True
        self._listeners: dict[int, set[Listener]] = {}
        self._overheard: set[Callable[[Ring], None]] = set()
        self._neighbours: dict[str, float] = {}  # other instances, and when each was last heard of
        self._unpublished: list[Ring] = []
        self._publishing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._only_calling = False
        self._publication: asyncio.Task[None] | None = None

    # ---- listening ----

    def join(self, conversation_id: int, listener: Listener) -> None:
        """From now on the listener hears every ring; join first, then read the log, and nothing is missed."""
        self._listeners.setdefault(conversation_id, set()).add(listener)

    def leave(self, conversation_id: int, listener: Listener) -> None:
        listeners = self._listeners.get(conversation_id)
        if listeners is not None:
            listeners.discard(listener)
            if not listeners:
                del self._listeners[conversation_id]

    def overhear(self, hear: Callable[[Ring], None]) -> None:
        """Hears every ring of every conversation, on the loop that it came in on (the turn runner's stops)."""
        self._overheard.add(hear)

    def overhear_no_more(self, hear: Callable[[Ring], None]) -> None:
        self._overheard.discard(hear)

    def listening(self, conversation_id: int) -> int:
        """How many listeners of this process show the conversation."""
        return len(self._listeners.get(conversation_id, ()))

    @property
    def listeners(self) -> int:
        return sum(len(group) for group in self._listeners.values())

    @property
    def neighbours(self) -> int:
        """How many other instances were heard of lately: a ring reaches these."""
        return len(self._neighbours)

    # ---- ringing ----

    def ring(self, ring: Ring) -> None:
        """Rings here at once and elsewhere in the next tick. Never raises and never waits; call it after the commit.

        An instance that is alone publishes nothing: a publish, and hearing it oneself, was an eighth of a turn's cost.
        """
        self._ring_here(ring)
        if self._loop is not None and (self._neighbours or self._only_calling):
            if running_loop() is self._loop:
                self._publish_soon(ring)
            else:
                call_on(self._loop, self._publish_soon, ring)

    def _ring_here(self, ring: Ring) -> None:
        if ring.state == ERASED:
            journal.recent.forget(ring.conversation_id)
        listeners = self._listeners.get(ring.conversation_id)
        if listeners:
            here = running_loop()
            for listener in tuple(listeners):
                if listener.loop is here:
                    listener.hear(ring)
                else:
                    call_on(listener.loop, listener.hear, ring)
        for hear in tuple(self._overheard):
            hear(ring)

    def _publish_soon(self, ring: Ring) -> None:
        self._unpublished.append(ring)
        if not self._publishing:
            self._publishing = True
            self._publication = asyncio.ensure_future(self._publish())
            self._publication.add_done_callback(log_failure)

    async def _publish(self) -> None:
        try:
            while self._unpublished:
                rings, self._unpublished = self._unpublished, []
                await self._send(rings)
        finally:
            self._publishing = False

    async def _send(self, rings: list[Ring], leaving: bool = False) -> None:
        message = {"type": "bell", "from": self.instance, "rings": [ring.pack() for ring in rings], "leaving": leaving}
        try:
            async with asyncio.timeout(PUBLISH_WITHIN):
                await get_channel_layer().group_send(GROUP, message)
        except LAYER_ERRORS as error:
            self._is_away(error)
        else:
            self._is_back()

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """For a process that shows nothing, such as a command: its rings reach the instances all the same.

        Within a server, or where no layer reaches anybody, it changes nothing.
        """
        if self._loop is not None or isinstance(get_channel_layer(), InMemoryChannelLayer):
            yield
            return
        self._loop, self._only_calling = asyncio.get_running_loop(), True
        try:
            yield
        finally:
            if self._publication is not None:
                await asyncio.wait([self._publication])
            self._loop = self._publication = None
            self._only_calling = False

    def send_away(self) -> None:
        """Tells everyone who listens here to come back, on any instance, at moments that are spread out."""
        for conversation_id in list(self._listeners):
            for listener in tuple(self._listeners[conversation_id]):
                frame = {"type": "reconnect", "after_ms": random.randrange(SPREAD_MS)}  # noqa: S311 - spreads load
                listener.hear(Ring(conversation_id, frames=(frame,)))

    # ---- hearing other instances ----

    async def start(self) -> None:
        """Listens to other instances, where the channel layer reaches any, and polls for what was missed."""
        loop = asyncio.get_running_loop()
        if not isinstance(get_channel_layer(), InMemoryChannelLayer):
            self._loop = loop
            self._tasks.append(loop.create_task(self._receive()))
            self._tasks.append(loop.create_task(self._greet()))
        self._tasks.append(loop.create_task(self._poll()))

    async def stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._neighbours:
            await self._send([], leaving=True)
        self._neighbours.clear()
        self._loop = None

    async def _greet(self) -> None:
        """Lets the other instances know of this one, and forgets those that were not heard of for a while."""
        while True:
            await self._send([])
            await asyncio.sleep(GREETING)
            silent = time.monotonic() - 5 * GREETING
            for instance, heard in list(self._neighbours.items()):
                if heard < silent:
                    del self._neighbours[instance]

    async def _receive(self) -> None:
        layer = get_channel_layer()
        while True:
            try:
                channel = await layer.new_channel()
                await layer.group_add(GROUP, channel)
                await self._send([])
                while True:
                    self._heard(await layer.receive(channel))
            except LAYER_ERRORS as error:
                self._is_away(error)
                await asyncio.sleep(POLL_ALONE)

    def _heard(self, message: dict[str, Any]) -> None:
        sender = message["from"]
        if sender == self.instance:
            return
        if message.get("leaving"):
            self._neighbours.pop(sender, None)
        else:
            if sender not in self._neighbours:
                self._tasks.append(asyncio.ensure_future(self._send([])))  # it must hear of us as soon
                self._tasks = [task for task in self._tasks if not task.done()]
            self._neighbours[sender] = time.monotonic()
        for packed in message["rings"]:
            self._ring_here(unpack(packed))

    async def _poll(self) -> None:
        """Rings, from the database, for every conversation that is shown here; one query for five hundred."""
        while True:
            await asyncio.sleep(POLL if self.available else POLL_ALONE)
            shown = [conversation_id for conversation_id in self._listeners if conversation_id != DESK]
            for start in range(0, len(shown), POLLED_AT_ONCE):
                try:
                    await self._poll_some(shown[start : start + POLLED_AT_ONCE])
                except Unavailable:
                    break  # said in the log by the journal; the next poll tries again

    async def _poll_some(self, ids: list[int]) -> None:
        found = await journal.read(where_logs_stand, ids)
        for conversation_id in ids:
            last_seq, state = found.get(conversation_id, (0, ERASED))
            self._ring_here(Ring(conversation_id, last_seq, state))

    # ---- one log line per change ----

    def _is_away(self, error: Exception) -> None:
        if self.available:
            logger.warning("doorbell.away error=%s", type(error).__name__)
        self.available = False

    def _is_back(self) -> None:
        if not self.available:
            logger.info("doorbell.back")
        self.available = True


def where_logs_stand(ids: Iterable[int]) -> dict[int, tuple[int, str]]:
    rows = Conversation.objects.filter(pk__in=ids).values_list("pk", "last_seq", "state")
    return {pk: (last_seq, state) for pk, last_seq, state in rows}


def running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def call_on(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        logger.info("doorbell.listener_gone")  # its loop has closed: nobody is there to hear


def log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("doorbell.failed", exc_info=task.exception())


doorbell = Doorbell()
