"""uvicorn's WebSocket protocol, able to take all the frames that a socket gets at once in one event.

A message brings its ack, itself and the start of a turn. ASGI sends each by itself, and each is a system call that
runs the kernel's TCP to the receiver's end; together they were a third of a turn's CPU.
"""

from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import State

# An ASGI extension, named in the scope: {"type": SEND_TEXTS, "texts": [UTF-8, …]} sends one text frame for each.
SEND_TEXTS = "supportdesk.send_texts"

SHORT = [bytes((0x81, length)) for length in range(126)]  # the heads of short frames


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Frames are written plain: `server.py` turns compression, the one extension there is, off."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            self.scope["extensions"][SEND_TEXTS] = {}

    async def send(self, message: Any) -> None:
        if message["type"] != SEND_TEXTS:
            await super().send(message)
            return
        if not self.writable.is_set():
            await self.writable.wait()
        if self.disconnected or self.conn.state is not State.OPEN:
            raise ClientDisconnected
        self.transport.write(framed(message["texts"]))


def framed(texts: Iterable[bytes]) -> bytes:
    """Whole, unmasked text frames (RFC 6455, 5.2)."""
    parts = []
    for text in texts:
        length = len(text)
        if length < 126:
            parts.append(SHORT[length])
        elif length < 1 << 16:
            parts.append(b"\x81\x7e" + length.to_bytes(2, "big"))
        else:
            parts.append(b"\x81\x7f" + length.to_bytes(8, "big"))
        parts.append(text)
    return b"".join(parts)
