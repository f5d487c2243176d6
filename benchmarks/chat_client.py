"""Clients light enough to load a server from one core: some 10 µs a frame."""

import asyncio
import base64
import os
from collections import deque

import orjson


class LightSocket(asyncio.Protocol):
    """Text frames in and out. Frames that the server sends in pieces or with extensions are not understood."""

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.closed = False
        self.code = 1006
        self._buffer = bytearray()
        self._open = False
        self._waiter: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport

    @classmethod
    async def connect(cls, port: int, path: str) -> "LightSocket":
        loop = asyncio.get_running_loop()
        _, socket = await loop.create_connection(cls, "127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        socket.transport.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while not socket._open:
            await socket._wait()
        return socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._wake()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self._buffer.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(bytes(self._buffer[:end]).decode())
            del self._buffer[: end + 4]
            self._open = True
        self._cut_frames()
        self._wake()

    def _cut_frames(self) -> None:
        buffer, start = self._buffer, 0
        while len(buffer) - start >= 2:
            length, head = buffer[start + 1] & 127, 2
            if length == 126:
                length, head = int.from_bytes(buffer[start + 2 : start + 4], "big"), 4
            elif length == 127:
                length, head = int.from_bytes(buffer[start + 2 : start + 10], "big"), 10
            if len(buffer) - start < head + length:
                break
            kind = buffer[start] & 15
            if kind == 1:
                self.frames.append(bytes(buffer[start + head : start + head + length]))
            elif kind == 8:
                self.code = int.from_bytes(buffer[start + head : start + head + 2], "big")
            elif kind == 9:
                asked = bytes(buffer[start + head : start + head + length])
                self.transport.write(bytes([0x8A, 0x80 | length]) + b"\0\0\0\0" + asked)
            start += head + length
        del buffer[:start]

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        if self.closed:
            raise ConnectionError(f"the server closed the socket with {self.code}")
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def send(self, text: bytes) -> None:
        """One masked frame; a mask of zeros leaves the text as it is."""
        length = len(text)
        head = bytes([0x81, 0x80 | length]) if length < 126 else b"\x81\xfe" + length.to_bytes(2, "big")
        self.transport.write(head + b"\0\0\0\0" + text)

    async def next(self) -> bytes:
        while not self.frames:
            await self._wait()
        return self.frames.popleft()

    async def until(self, mark: bytes) -> bytes:
        """The next frame that holds `mark`."""
        while True:
            frame = await self.next()
            if mark in frame:
                return frame
            if frame.startswith(b'{"type":"error"'):
                raise AssertionError(frame.decode())

    async def hello(self, token: str, last_seq: int = 0) -> dict[str, object]:
        self.send(orjson.dumps({"type": "hello", "token": token, "last_seq": last_seq}))
        welcome: dict[str, object] = orjson.loads(await self.until(b'"welcome"'))
        return welcome

    def close(self) -> None:
        self.transport.close()


class LightStream(asyncio.Protocol):
    """One kept connection that posts and reads the event stream which answers, to its last chunk. The server closes one
    that was quiet for some seconds; then the next post makes another.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._data = bytearray()
        self._done: asyncio.Future[None] | None = None
        self._closed = True
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._closed = False

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._done is not None and self._data.endswith(b"\r\n0\r\n\r\n") and not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError("the server closed the stream"))

    async def post(self, path: str, token: str, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        if self._closed:
            await loop.create_connection(lambda: self, "127.0.0.1", self._port)
        self._done = loop.create_future()
        self._data.clear()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nAccept: text/event-stream\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        await self._done
        assert b"event: done" in self._data, bytes(self._data)
