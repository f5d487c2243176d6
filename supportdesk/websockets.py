"""uvicorn's WebSocket protocol, with the frames of one turn of the loop written together."""

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

FULL = 64 * 1024  # bytes that wait for the end of the turn at the most, so that the transport can say when it is full


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """A message brings its ack, itself and the start of a turn: three frames, one system call.

    A system call costs more than all of Python's work on a frame (it runs the kernel's TCP to the receiver's end).
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(Corked(transport, self.loop))  # type: ignore[arg-type]


class Corked:
    """A transport whose writes wait for the next turn of the loop and then go out as one."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self.uncork)
        self._waiting.append(data)
        self._size += len(data)
        if self._size > FULL:
            self.uncork()

    def uncork(self) -> None:
        if self._waiting:
            data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
            self._waiting.clear()
            self._size = 0
            self._transport.write(data)

    def close(self) -> None:
        self.uncork()
        self._transport.close()
