"""Shows one conversation to one reader: every message past the reader's cursor, in order, none twice.

Rings say that there is something; messages that this process has just written come with the ring and go out from
memory when they follow the cursor without a gap, everything else is read from the log. What passes by (turn, delta,
typing) is shown only to a reader that keeps up.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from agent_app.doorbell import Ring, doorbell
from agent_app.journal import journal
from agent_app.models.conversations import Entry
from agent_app.models.refusal import Unavailable

PAGE = 100  # messages of one read
MOST_QUEUED = 1_000_000  # characters that wait for a slow reader; past that it is cut off
MOST_PASSING = 100_000  # characters past which passing frames are dropped, so that messages have room
WAVE = 64_000  # characters that are given out at once: a reader that does not take them stops the next
MOST_HELD = 200  # passing frames that wait for the log to be read
ENDED = ("closed", "erased")
TRY_AGAIN = 1.0  # seconds until a failed read is tried again

Frame = dict[str, Any]


class TooSlow(Exception):
    """The reader does not take what is queued for it. Nothing is lost: it comes back with its last seq."""


class Follower:
    """One reader of one conversation. `join` first, read the log's state after, then take `frames()`."""

    def __init__(self, conversation_id: int, cursor: int = 0, state: str | None = None) -> None:
        self.conversation_id = conversation_id
        self.cursor = cursor  # the newest message that was queued or given out
        self.state = state  # the newest state that was queued or given out; None: none yet
        self.loop = asyncio.get_running_loop()
        self.ended = False
        self._known = cursor  # the newest message that is known to exist
        self._state_now = state
        self._about: dict[str, Any] = {}
        self._queue: deque[tuple[Frame, int]] = deque()
        self._held: deque[Frame] = deque(maxlen=MOST_HELD)
        self._answered: str | None = None  # the turn of the newest answer that was read from the log
        self._queued = 0
        self._waiter: asyncio.Future[None] | None = None
        self.too_slow = False
        self.on_too_slow: Callable[[], object] | None = None  # called once, for a reader that is stuck in a send

    def join(self) -> None:
        doorbell.join(self.conversation_id, self)

    def leave(self) -> None:
        doorbell.leave(self.conversation_id, self)

    def start_from(self, cursor: int, state: str, known: int) -> None:
        """Sets the cursor after a look at the log; rings heard meanwhile only raise what is known."""
        self.cursor = cursor
        self._known = max(self._known, known)
        self.state = state
        if self._state_now is None:
            self._state_now = state

    # ---- what comes in ----

    def hear(self, ring: Ring) -> None:
        if self.state is None:  # joined, but not yet told where to start: only remember
            self._known = max(self._known, ring.last_seq)
            self._state_now = ring.state or self._state_now
            return
        for entry in ring.entries:
            self._take(entry)
        if ring.last_seq > self._known:
            self._known = ring.last_seq
        if ring.state is not None and ring.state != self._state_now:
            self._state_now, self._about = ring.state, ring.about or {}
        if ring.frames and (ring.sender is None or ring.sender != self.name):
            for frame in ring.frames:
                self._pass(frame)
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    @property
    def name(self) -> str:
        return f"{id(self):x}"

    @property
    def state_now(self) -> str:
        """The newest state that was heard of, whether it was given out yet or not."""
        return self._state_now or "ai"

    def take_queued(self) -> list[Frame]:
        """What has been queued by now, without waiting for more."""
        frames = self._take_all()
        if self._state_now != self.state and self._state_now is not None:
            self.state = self._state_now
            frames.append({"type": "state", "state": self.state, **self._about})
        return frames

    def _take_all(self) -> list[Frame]:
        frames = [frame for frame, _ in self._queue]
        self._queue.clear()
        self._queued = 0
        return frames

    def put(self, frame: Frame) -> None:
        """Queues an answer to this reader itself (an ack, a pong)."""
        self._enqueue(frame, 200)
        self._wake()

    def _take(self, entry: Entry) -> None:
        if entry.seq == self.cursor + 1 and self._known <= self.cursor:
            self.cursor = self._known = entry.seq
            self._enqueue(*in_log(entry))
        else:
            self._known = max(self._known, entry.seq)

    def _pass(self, frame: Frame) -> None:
        """What passes by goes out behind the messages that it came with, also when those must be read first."""
        if self._known > self.cursor:
            self._held.append(frame)
        elif self._queued < MOST_PASSING:
            self._enqueue(frame, len(frame.get("text", "")) + 100)

    def _release(self) -> None:
        """The log has been caught up with: what was held may go out, but for text that a message has replaced."""
        held = list(self._held)
        self._held.clear()
        for frame in held:
            if frame["type"] != "delta" or frame["turn"] != self._answered:
                self._pass(frame)

    def _enqueue(self, frame: Frame, size: int) -> None:
        if self.too_slow:
            return  # nothing may go out behind what was left out
        if self._queued + size > MOST_QUEUED:
            self.too_slow = True
            if self.on_too_slow is not None:
                self.on_too_slow()
            return
        self._queue.append((frame, size))
        self._queued += size

    # ---- what goes out ----

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """The frames in order. Ends after the last message of a chat that was closed or erased meanwhile; raises
        TooSlow when the reader has fallen too far behind. A database that is away only delays.
        """
        async with aclosing(self.waves()) as waves:
            async for wave in waves:
                for frame in wave:
                    yield frame

    async def waves(self) -> AsyncGenerator[list[Frame], None]:
        """As `frames`, with all that is there at a time together."""
        while True:
            if self._queue:
                if self._queued <= WAVE:
                    yield self._take_all()
                    continue
                wave, size = next_wave(self._queue)
                self._queued -= size
                yield wave
                continue
            if self.too_slow:
                raise TooSlow
            if self._known > self.cursor:
                missed = deque(in_log(entry) for entry in await self._missed())
                while missed:
                    yield next_wave(missed)[0]
                continue
            if self._held:
                self._release()
                continue
            if self._state_now != self.state and self._state_now is not None:
                self.state = self._state_now
                if self.state != "erased":
                    yield [{"type": "state", "state": self.state, **self._about}]
                if self.state in ENDED:
                    self.ended = True
                    return
                continue
            self._waiter = self.loop.create_future()
            await self._waiter

    async def _missed(self) -> list[Entry]:
        """The next messages from the log. None there (they were erased): the cursor follows, nothing waits."""
        known = self._known
        try:
            entries = await journal.entries(self.conversation_id, self.cursor, PAGE)
        except Unavailable:
            await asyncio.sleep(TRY_AGAIN)
            return []
        self.cursor = entries[-1].seq if entries else known
        self._answered = next((entry.turn for entry in reversed(entries) if entry.turn), self._answered)
        return entries


def in_log(entry: Entry) -> tuple[Frame, int]:
    """The message's frame, and about how many characters it has."""
    return {"type": "message", **entry.to_wire()}, len(entry.text) + 300


def next_wave(queue: deque[tuple[Frame, int]]) -> tuple[list[Frame], int]:
    """Takes frames off the queue until a wave is full; with their size."""
    wave, taken = [], 0
    while queue and taken < WAVE:
        frame, size = queue.popleft()
        wave.append(frame)
        taken += size
    return wave, taken
