"""Commands that concurrent tasks issue in one turn of the event loop go out as one write.

One socket a loop and server carries them all; replies come back in the order of the commands. Measured at 50 tasks:
an EVALSHA costs redis.asyncio 105 µs of CPU and this 20 to 30, since a pipeline's share of a system call, of a wake-up
of the loop and of the parser is small.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

import hiredis

from sessions_app.stores.base import StoreUnavailable
from sessions_app.stores.breaker import Breaker

pack: Callable[[tuple[str, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]
MAX_WAITING = 10_000  # commands on one socket; who comes after that waits for room
WAVE = 16  # commands after which the first write of a turn goes out, so that the server works while we pack; then 32 …
TICKS = 8  # in which the watchdog divides the command timeout

# What the server says before the code means: for all commands; for all that write; for the one that came to the
# wrong place or too early, and is sent again.
AWAY = frozenset({"LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "WRONGPASS"})
REFUSALS = frozenset({"OOM", "READONLY", "MISCONF", "NOREPLICAS", "BUSY", "NOPERM"})
HARMLESS = frozenset({"NOSCRIPT", "MOVED", "ASK", "TRYAGAIN"})

_TIME = pack(("TIME",))
_CLOCK = object()  # stands in the queue of callers for the connection itself, which asked for the time
_NOTHING = object()


class Refused(StoreUnavailable):
    """The server answered a command with an error; the first word is its code."""

    @property
    def code(self) -> str:
        return str(self).partition(" ")[0]


class Line(asyncio.Protocol):
    """One open socket, and the callers that wait for its replies in the order in which they asked.

    `turns` counts, for the process, the turns of a loop in which something was sent: what a caller calls a round trip.
    """

    turns: ClassVar[int] = 0

    def __init__(self, breaker: Breaker, timeout: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.breaker = breaker
        self.timeout = timeout
        self.server_now = 0  # microseconds, of the newest TIME
        self.open = False
        self.greeted = False  # a server is back when it answers more than the greeting
        self.retired = False  # it finishes what it has; new commands go over a new line
        self.paused = False
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(encoding="utf-8", errors="surrogateescape", notEnoughData=_NOTHING)
        self._out: list[bytes] = []
        self._wave = WAVE
        self._in_turn = False
        self._asked_time = False
        self._waiting: deque[Any] = deque()
        self._answered = 0
        self._marks: deque[int] = deque(maxlen=TICKS)
        self._watchdog: asyncio.TimerHandle | None = None
        self._outside: deque[asyncio.Future[None]] = deque()  # callers for whom there is no room yet

    # ---- asking ---------------------------------------------------------------------------------------

    def send(self, packed: bytes) -> "asyncio.Future[Any]":
        """A caller that is cancelled disturbs nobody: its reply is taken from the queue and dropped."""
        reply = self.loop.create_future()
        if not self.open:
            reply.set_exception(StoreUnavailable(f"{self.breaker.server}: the connection was lost."))
            return reply
        self._begin_turn()
        self._out.append(packed)
        self._waiting.append(reply)
        if len(self._out) >= self._wave:
            self._flush()
            self._wave *= 2
        return reply

    async def send_all(self, commands: Iterable[tuple[str, ...]]) -> list[Any]:
        """The replies, or the first error among them."""
        return list(await asyncio.gather(*(self.send(pack(command)) for command in commands)))

    def read(self, packed: bytes) -> "asyncio.Future[Any]":
        """As `send`; when the reply is there, `server_now` is a time after the call."""
        if not self._asked_time and self.open:
            # One TIME for all reads of a turn, before the first: expiry is judged by the server's clock alone.
            self._begin_turn()
            self._asked_time = True
            self._out.append(_TIME)
            self._waiting.append(_CLOCK)
        return self.send(packed)

    def _begin_turn(self) -> None:
        if not self._in_turn:
            self._in_turn = True
            self.loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._in_turn = False
        Line.turns += 1
        self._wave = WAVE
        self._flush()

    def _flush(self) -> None:
        if self.paused or not self.open or self._transport is None:
            return
        self._asked_time = False
        if self._out:  # else resume_writing was faster
            self._transport.write(b"".join(self._out))
            self._out.clear()
        if self._watchdog is None:
            self._watch()

    @property
    def full(self) -> bool:
        return len(self._waiting) >= MAX_WAITING

    async def room(self) -> None:
        """Wait until fewer than MAX_WAITING wait, whoever came first before the others; the watchdog bounds it."""
        put = self._outside.append
        while self.full and self.open:
            called = self.loop.create_future()
            put(called)
            put = self._outside.appendleft  # whoever was called in and found no room is the next
            try:
                await called
            except asyncio.CancelledError:
                self._make_room()  # for another one, if this one had been called
                raise

    # ---- asyncio.Protocol -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._made_at = self.loop.time()
        self.open = True

    def data_received(self, data: bytes) -> None:
        reader, waiting, well = self._reader, self._waiting, False
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not _NOTHING:
                self._answered += 1
                caller = waiting.popleft()
                if caller is _CLOCK:
                    self._note_time(reply)
                elif caller.done():
                    pass
                elif isinstance(reply, hiredis.ReplyError):
                    caller.set_exception(self._refused(Refused(str(reply))))
                else:
                    caller.set_result(reply)
                    well = True
        except (hiredis.ProtocolError, IndexError, TypeError, ValueError):
            # Not the answers to what we asked: nobody can tell whose they are.
            self.abort("its replies make no sense")
        if well and self.breaker.failures and self.greeted and self.open and not self.retired:
            self.breaker.succeeded()
        if self._outside:
            self._make_room()
        if self.retired and not waiting:
            self.loop.call_soon(self.abort, "retired")

    def _note_time(self, reply: Any) -> None:
        """TypeError or ValueError when the reply is no TIME: then the others are not ours either."""
        if not isinstance(reply, hiredis.ReplyError):
            seconds, microseconds = reply
            self.server_now = int(seconds) * 1_000_000 + int(microseconds)

    def _refused(self, refused: Refused) -> Refused:
        """An error is its caller's alone; but some say what every other command would get."""
        code = refused.code
        if code in AWAY:
            if not self.retired:
                self.breaker.failed(str(refused))
            self.retired = True
        elif code in REFUSALS:
            self.breaker.refused(code)
            # This may be a replica by now. A new connection finds the primary, if there is one elsewhere.
            if code == "READONLY" and self.loop.time() - self._made_at > Breaker.PROBE_SECONDS:
                self.retired = True
        elif code not in HARMLESS and self.greeted:  # what the greeting gets is why the server is away
            self.breaker.surprised(code, str(refused))
        return refused

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._out:
            self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the connection was lost ({error or 'closed by the server'})")

    # ---- the end --------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Give the line up when a command has waited for longer than the timeout. No cost per command."""
        if not self._waiting:
            self._marks.clear()
            self._watchdog = None
            return
        if len(self._marks) == TICKS and self._answered < self._marks[0]:
            self.abort(f"a command had no reply within {self.timeout} s")
            return
        self._marks.append(self._answered + len(self._waiting))
        self._watchdog = self.loop.call_later(self.timeout / TICKS, self._watch)

    def abort(self, why: str) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._fail(why)

    def _fail(self, why: str) -> None:
        if not self.open:
            return
        self.open = False
        if self._watchdog is not None:
            self._watchdog.cancel()
        waiting = [caller for caller in self._waiting if caller is not _CLOCK and not caller.done()]
        self._waiting.clear()
        self._out.clear()
        if waiting:
            # One failure, however many wait: a cut connection alone must not open the circuit.
            self.breaker.failed(why)
        for caller in waiting:
            caller.set_exception(StoreUnavailable(f"{self.breaker.server}: {why}."))
        self._make_room()

    def _make_room(self) -> None:
        """Call in as many as there is room for: to wake all of them each time would cost the square of their number."""
        room = MAX_WAITING - len(self._waiting) if self.open else len(self._outside)
        while room > 0 and self._outside:
            called = self._outside.popleft()
            if not called.done():
                called.set_result(None)
                room -= 1

    async def drained(self) -> None:
        waiting = [caller for caller in self._waiting if caller is not _CLOCK]
        if waiting:
            await asyncio.wait(waiting)
