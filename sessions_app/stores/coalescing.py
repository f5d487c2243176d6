"""Commands that concurrent tasks issue in one turn of the event loop go out as one write.

One socket a loop and server carries them all; replies come back in the order of the commands. Measured at 50 tasks:
an EVALSHA costs redis.asyncio 105 µs of CPU and this 20 to 30, since a pipeline's share of a system call, of a wake-up
of the loop and of the parser is small.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from time import monotonic
from typing import Any, cast

import hiredis
from redis.crc import key_slot

from sessions_app.servers import Address, Server
from sessions_app.stores.base import StoreUnavailable

logger = logging.getLogger(__name__)

pack: Callable[[tuple[str, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]
MAX_WAITING = 10_000  # commands on one socket; who comes after that waits for room
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


class Breaker:
    """After three failures in a row nobody tries but one probe a second. One log line per change of state."""

    LIMIT = 3
    PROBE_SECONDS = 1.0

    def __init__(self, server: str, whole: Server) -> None:
        self.server = server
        self.whole = whole  # the cluster of which it is a node, or itself
        self.failures = 0
        self.why = ""  # of the last failure
        self.refusing: str | None = None  # the code with which the server refuses writes
        self._probe_at = 0.0

    @property
    def available(self) -> bool:
        return not self.failures and self.refusing is None

    def check(self) -> None:
        """StoreUnavailable while the circuit is open, but for one caller a second."""
        if self.failures < self.LIMIT:
            return
        now = monotonic()
        if now < self._probe_at:
            raise StoreUnavailable(f"{self.server} is away: {self.why}")
        self._probe_at = now + self.PROBE_SECONDS

    def failed(self, why: str) -> None:
        self.failures += 1
        self.why = why
        self._probe_at = monotonic() + self.PROBE_SECONDS
        if self.failures == 1:
            logger.warning("session_store.away server=%s why=%s", self.server, why)

    def succeeded(self) -> None:
        self.failures = 0
        logger.info("session_store.back server=%s", self.server)

    def refused(self, code: str) -> None:
        if self.refusing != code:
            self.refusing = code
            logger.warning("session_store.refuses server=%s code=%s", self.server, code)

    def accepted(self) -> None:
        logger.info("session_store.accepts server=%s", self.server)
        self.refusing = None


class Line(asyncio.Protocol):
    """One open socket, and the callers that wait for its replies in the order in which they asked."""

    def __init__(self, breaker: Breaker, timeout: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.breaker = breaker
        self.timeout = timeout
        self.server_now = 0  # microseconds, of the newest TIME
        self.open = False
        self.retired = False  # it finishes what it has; new commands go over a new line
        self.paused = False
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(encoding="utf-8", errors="surrogateescape", notEnoughData=_NOTHING)
        self._out: list[bytes] = []
        self._asked_time = False
        self._waiting: deque[Any] = deque()
        self._answered = 0
        self._marks: deque[int] = deque(maxlen=TICKS)
        self._watchdog: asyncio.TimerHandle | None = None
        self._room: asyncio.Future[None] | None = None

    # ---- asking ---------------------------------------------------------------------------------------

    def send(self, packed: bytes) -> "asyncio.Future[Any]":
        """A caller that is cancelled disturbs nobody: its reply is taken from the queue and dropped."""
        reply = self.loop.create_future()
        if not self.open:
            reply.set_exception(StoreUnavailable(f"{self.breaker.server}: the connection was lost."))
            return reply
        if not self._out:
            self.loop.call_soon(self._flush)
        self._out.append(packed)
        self._waiting.append(reply)
        return reply

    async def send_all(self, commands: Iterable[tuple[str, ...]]) -> list[Any]:
        """The replies, or the first error among them."""
        return list(await asyncio.gather(*(self.send(pack(command)) for command in commands)))

    def read(self, packed: bytes) -> "asyncio.Future[Any]":
        """As `send`; when the reply is there, `server_now` is a time after the call."""
        if not self._asked_time and self.open:
            # One TIME for all reads of a turn, before the first: expiry is judged by the server's clock alone.
            if not self._out:
                self.loop.call_soon(self._flush)
            self._asked_time = True
            self._out.append(_TIME)
            self._waiting.append(_CLOCK)
        return self.send(packed)

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
        """Wait until fewer than MAX_WAITING wait; the watchdog bounds it."""
        while self.full and self.open:
            if self._room is None:
                self._room = self.loop.create_future()
            await asyncio.shield(self._room)

    # ---- asyncio.Protocol -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._made_at = self.loop.time()
        self.open = True

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
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
        except (hiredis.ProtocolError, IndexError, TypeError, ValueError):
            # Not the answers to what we asked: nobody can tell whose they are.
            self.abort("its replies make no sense")
        if self._room is not None and not self.full:
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
        elif code not in HARMLESS:
            logger.error("session_store.error server=%s error=%s", self.breaker.server, refused)
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
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    async def drained(self) -> None:
        waiting = [caller for caller in self._waiting if caller is not _CLOCK]
        if waiting:
            await asyncio.wait(waiting)


class Client:
    """The way from one event loop to one server."""

    def __init__(self, server: Server, breaker: Breaker, sources: Mapping[str, str]) -> None:
        self.server = server
        self.breaker = breaker
        self.sources = sources
        self._line: Line | None = None
        self._connecting: asyncio.Task[Line] | None = None
        self._closer: AsyncGenerator[None, None] | None = None

    def line(self, root: str) -> Line | None:
        """An open line with room, if there is one: the way without an await."""
        line = self._line
        return line if line is not None and line.open and not line.retired and not line.full else None

    async def connected(self, root: str) -> Line:
        """An open line with room. StoreUnavailable within the connect timeout."""
        line = self._line
        if line is not None and not line.retired:
            await line.room()
            if line.open:
                return line
        self.breaker.check()
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())
        # A caller that is cancelled must not cancel the others' connection.
        self._line = await asyncio.shield(self._connecting)
        return self._line

    async def _connect(self) -> Line:
        try:
            async with asyncio.timeout(self.server.connect_timeout):
                line = await self._open()
        except (OSError, TimeoutError, StoreUnavailable) as error:
            why = f"no connection ({str(error) or 'no answer in time'})"
            self.breaker.failed(why)
            raise StoreUnavailable(f"{self.server}: {why}.") from error
        finally:
            self._connecting = None
        if self.breaker.failures:
            self.breaker.succeeded()
        self._line = line
        await self._close_with_loop()
        return line

    async def _open(self) -> Line:
        line = Line(self.breaker, self.server.command_timeout)
        await self.server.open(lambda: line)
        try:
            *_, known = await line.send_all((*self.server.login(), ("SCRIPT", "EXISTS", *self.sources)))
            missing = [source for source, there in zip(self.sources.values(), known, strict=True) if not there]
            if missing:
                await line.send_all([("SCRIPT", "LOAD", source) for source in missing])
        except BaseException:
            line.abort("the greeting failed")
            raise
        return line

    async def _close_with_loop(self) -> None:
        """asyncio.run and its like end the loop's async generators before they close it: our hook."""
        if self._closer is None:
            self._closer = self._closing()
            await anext(self._closer)

    async def _closing(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            _clients.pop(asyncio.get_running_loop(), None)
            if self._line is not None:
                self._line.abort("the event loop ends")

    async def moved(self) -> None:
        """A slot has another node by now: nothing to do where there is one node."""

    async def close(self) -> None:
        """After what is under way. A later call connects anew."""
        line, self._line = self._line, None
        if line is not None and line.open:
            await line.drained()
            line.abort("closed")


class ClusterClient:
    """The way from one event loop to a cluster: a line to each node that has buckets of ours."""

    def __init__(self, server: Server, sources: Mapping[str, str]) -> None:
        self.server = server
        self.sources = sources
        self._nodes: dict[Address, Client] = {}
        self._slots: list[tuple[int, int, Address]] = []  # first, last, node
        self._owners: dict[str, Client] = {}  # by root

    def line(self, root: str) -> Line | None:
        owner = self._owners.get(root)
        return None if owner is None else owner.line(root)

    async def connected(self, root: str) -> Line:
        owner = self._owners.get(root)
        if owner is None:
            if not self._slots:
                await self._learn()
            owner = self._owners[root] = self._owner(root)
        try:
            return await owner.connected(root)
        except StoreUnavailable:
            await self.moved()  # a replica may have its slots soon
            raise

    def _owner(self, root: str) -> Client:
        slot = key_slot(root.encode())
        for first, last, node in self._slots:
            if first <= slot <= last:
                return self._node(node)
        raise StoreUnavailable(f"No node of the cluster has the slot {slot}.")

    def _node(self, address: Address) -> Client:
        if address not in self._nodes:
            node = self.server.at(address)
            self._nodes[address] = Client(node, breaker_for(node, self.server), self.sources)
        return self._nodes[address]

    async def _learn(self) -> None:
        """Ask whoever answers which node has which slots."""
        why = "no node of the cluster is known"
        for address in (*self._nodes, *self.server.cluster):
            try:
                line = await self._node(address).connected("")
                ranges = await line.send(pack(("CLUSTER", "SLOTS")))
            except StoreUnavailable as error:
                why = str(error)
                continue
            self._slots = [(first, last, (node[0] or address[0], node[1])) for first, last, node, *_ in ranges]
            return self._forget_gone({node for *_, node in self._slots})
        raise StoreUnavailable(why)

    def _forget_gone(self, nodes: set[Address]) -> None:
        for address in set(self._nodes) - nodes:
            _breakers.pop(self._nodes.pop(address).server, None)

    async def moved(self) -> None:
        """What was learnt of the slots is no longer true."""
        self._slots = []
        self._owners = {}

    async def close(self) -> None:
        await self.moved()
        for node in self._nodes.values():
            await node.close()


AnyClient = Client | ClusterClient
_clients: dict[asyncio.AbstractEventLoop, dict[Server, AnyClient]] = {}
_breakers: dict[Server, Breaker] = {}  # of each node


def breaker_for(node: Server, whole: Server) -> Breaker:
    """One for the process: what one loop learns of a server, the others need not find out."""
    return _breakers.setdefault(node, Breaker(str(node), whole))


def available(whole: Server) -> bool:
    return all(breaker.available for breaker in list(_breakers.values()) if breaker.whole == whole)


def client_for(server: Server, sources: Mapping[str, str]) -> AnyClient:
    """The running loop's own. Django makes a cache object per task: connections must not hang on those."""
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    client = clients.get(server)
    if client is None:
        for loop in [loop for loop in _clients if loop.is_closed()]:  # closed without telling our hook
            del _clients[loop]
        client = ClusterClient(server, sources) if server.cluster else one_client(server, sources)
        clients[server] = client
    return client


def one_client(server: Server, sources: Mapping[str, str]) -> Client:
    return Client(server, breaker_for(server, server), sources)
