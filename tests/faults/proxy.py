"""A TCP proxy on loopback that does to connections what networks do: cuts them, delays them, leaves them half open."""

import asyncio
import contextlib
import socket
import struct

CHUNK = 64 * 1024
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close without the usual goodbye


class Link:
    """One client's connection and the server's behind it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.mute = False  # nothing more reaches the client

    def cut(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.transport.abort()


class Proxy:
    """Passes bytes on, until told otherwise. What it is told holds for the connections there are and for new ones."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = 0
        self.delay = 0.0  # seconds before each piece goes on
        self.half_open = False  # connections stay, nothing arrives
        self.lost_answers = 0  # connections that were cut under the answer to `lose_answer_to`
        self._lose: bytes | None = None
        self._lose_request = False
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()

    async def start(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> int:
        """Resets every connection; how many."""
        links = tuple(self._links)
        for link in links:
            link.cut()
        return len(links)

    def hold(self) -> None:
        """Leaves connections half open: nothing arrives, and nobody is told."""
        self.half_open = True
        self._open.clear()

    def let_go(self) -> None:
        """What was held arrives after all, as after a partition."""
        self.half_open = False
        self._open.set()

    def lose_answer_to(self, request: bytes, *, and_request: bool = False) -> None:
        """The next time a client sends these bytes they arrive (or not), and the connection is cut unanswered."""
        self._lose, self._lose_request = request, and_request

    async def _connected(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            to_client.transport.abort()
            return
        link = Link(to_client, to_server)
        self._links.add(link)
        both = (self._pass(link, from_client, to_server, True), self._pass(link, from_server, to_client, False))
        tasks = [asyncio.ensure_future(one) for one in both]
        self._tasks.update(tasks)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks.difference_update(tasks)
            self._links.discard(link)
            for end in (to_client, to_server):
                end.close()

    async def _pass(self, link: Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter, request: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._open.wait()
                if request and self._lose is not None and self._lose in piece:
                    await self._lose_answer(link, piece, sink)
                    return
                if request or not link.mute:
                    sink.write(piece)
                    await sink.drain()

    async def _lose_answer(self, link: Link, piece: bytes, sink: asyncio.StreamWriter) -> None:
        self._lose = None
        self.lost_answers += 1
        link.mute = True
        if not self._lose_request:
            sink.write(piece)
            await sink.drain()
            sink.write_eof()  # the server has it all before the connection is reset
            await asyncio.sleep(0.01)
        link.cut()
