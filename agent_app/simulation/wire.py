"""The wire between an instance and its back end: where a run cuts it, loses an answer, or kills the instance."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
HOP_BY_HOP = {"connection", "transfer-encoding", "content-encoding", "content-length", "keep-alive", "host"}
LONGEST_HEAD = 32 * 1024  # bytes


class Wire:
    """An HTTP proxy on a free port of loopback, one request a connection, that does to writes what it is told."""

    def __init__(self, back_end: str) -> None:
        self.back_end = back_end  # its address, without a path
        self.port = 0
        self._server: asyncio.Server | None = None
        self._http = httpx.AsyncClient(timeout=30, trust_env=False)
        self.mend()

    def mend(self) -> None:
        """Whole again: everything goes through."""
        self.met: set[str] = set()  # the faults that a request has met since
        self.down = False
        self.answers_lost = 0  # of the next writes: done, and their answer cut off
        self.writes_refused = 0  # of the next writes: answered with 503, not done
        self.before_write: Callable[[], Awaitable[None]] | None = None  # called at the next write alone
        self.after_write: Callable[[], Awaitable[None]] | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LONGEST_HEAD)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._http.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await self._answer(reader)
            if answer is not None:
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, httpx.HTTPError):
            pass  # whoever asked has gone, or the back end has: a cut wire says nothing either way
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes | None:
        """None: nothing more comes over this connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        fields = [line.split(":", 1) for line in head[1:] if ":" in line]
        headers = {name.strip().lower(): value.strip() for name, value in fields}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        writes = method not in ("GET", "HEAD")
        if self.down:
            self.met.add("back_end")
            return None
        if writes and self.before_write is not None:
            act, self.before_write = self.before_write, None
            self.met.add("kill")
            await act()
            return None
        if writes and self.writes_refused:
            self.writes_refused -= 1
            self.met.add("writes_refused")
            return UNAVAILABLE
        passed_on = {name: value for name, value in headers.items() if name not in HOP_BY_HOP}
        response = await self._http.request(method, self.back_end + target, headers=passed_on, content=body)
        if writes and self.after_write is not None:
            act, self.after_write = self.after_write, None
            self.met.add("kill")
            await act()
            return None
        if writes and self.answers_lost:
            self.answers_lost -= 1
            self.met.add("answers_lost")
            return None
        return told(response)


def told(response: httpx.Response) -> bytes:
    lines = [f"HTTP/1.1 {response.status_code} {response.reason_phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items() if name.lower() not in HOP_BY_HOP]
    lines += [f"Content-Length: {len(response.content)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + response.content
