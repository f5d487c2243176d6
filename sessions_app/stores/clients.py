"""The ways from an event loop to its servers: one line to a server, or one to each node of a cluster."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

from redis.crc import key_slot

from sessions_app.servers import Address, Server
from sessions_app.stores.base import StoreUnavailable
from sessions_app.stores.breaker import Breaker, breaker_for, forget
from sessions_app.stores.coalescing import Line, pack


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
        except (OSError, TimeoutError, UnicodeError, StoreUnavailable) as error:  # UnicodeError: of a strange host
            why = f"no connection ({str(error) or 'no answer in time'})"
            self.breaker.failed(why)
            raise StoreUnavailable(f"{self.server}: {why}.") from error
        finally:
            self._connecting = None
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
        line.greeted = True
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
            forget(self._nodes.pop(address).server)

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


def client_for(server: Server, sources: Mapping[str, str]) -> AnyClient:
    """The running loop's own. Django makes a cache object per task: connections must not hang on those."""
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    client = clients.get(server)
    if client is None:
        for loop in [loop for loop in list(_clients) if loop.is_closed()]:  # closed without telling our hook
            _clients.pop(loop, None)  # another thread may have been faster
        client = ClusterClient(server, sources) if server.cluster else one_client(server, sources)
        clients[server] = client
    return client


def one_client(server: Server, sources: Mapping[str, str]) -> Client:
    return Client(server, breaker_for(server, server), sources)
