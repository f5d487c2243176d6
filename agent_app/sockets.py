"""What every socket does: it is accepted, waits for its hello, reads frames within limits, and ends with a code.

It is a Channels consumer without Channels' dispatch: that awaits a hop to the one shared thread on every frame
(`close_old_connections`), behind which a slow query would delay every socket of the process.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ClassVar

import orjson
from channels.consumer import AsyncConsumer
from django.conf import settings

from agent_app.limits import Bucket
from agent_app.models.refusal import Refused

logger = logging.getLogger(__name__)

BAD_HELLO, BAD_TOKEN, BAD_ORIGIN, NO_HELLO, CHAT_ENDED, TOO_LARGE, TOO_FAST, TOO_SLOW = (
    4400,
    4401,
    4403,
    4408,
    4410,
    4413,
    4429,
    4001,
)

MOST_FRAME = 64 * 1024  # bytes
HELLO_WITHIN = 10.0  # seconds
PING_INTERVAL = 25  # seconds; the client pings
MOST_MISSED = 500  # messages that a resume sends; past that the history is read over REST
FRAMES_A_MINUTE = 600  # of any kind, or four for each message that is allowed
REFUSED_IN_A_ROW = 20  # frames refused as too fast until the socket is closed
CLOSE_WITHIN = 5.0  # seconds for what is queued when a socket ends

# Our server's extension of ASGI (`supportdesk.websockets`): all frames of one moment in one event.
SEND_TEXTS = "supportdesk.send_texts"


class Hangup(Exception):
    """The socket ends with this code, after an error frame when there is something to say."""

    def __init__(self, code: int, refused: Refused | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.refused = refused


class FrameSocket(AsyncConsumer):
    """One socket, for its whole life. A subclass says how it serves, where frames are put, and what it takes."""

    handlers: ClassVar[Mapping[str, Callable[[Any, dict[str, Any]], Awaitable[None]]]] = {}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.scope, self._receive, self.base_send = scope, receive, send
        self._sends_together = SEND_TEXTS in scope.get("extensions", ())
        self._frames = Bucket(max(FRAMES_A_MINUTE, 4 * settings.CHAT_RATE_LIMIT))
        self._refused_in_a_row = 0
        try:
            await self._serve()
        except Hangup as end:
            await self._hang_up(end)
        except (OSError, RuntimeError):
            # uvicorn raises when a frame is sent into a socket that is closing (its ClientDisconnected is a plain
            # OSError): there is nobody left to tell.
            logger.debug("socket.gone")
        except Exception:
            # The socket's outermost edge: the client comes back by itself after 1012, and the log has the traceback.
            logger.exception("socket.failed")
            await self._hang_up(Hangup(1012, Refused("internal", "Something went wrong on our side: connect again.")))

    async def _serve(self) -> None:
        raise TypeError(f"{type(self).__name__} does not say how it serves")

    def put(self, frame: dict[str, Any]) -> None:
        """Queues a frame for this socket alone (an ack, a pong, an error)."""
        raise TypeError(f"{type(self).__name__} does not say where frames are put")

    async def _first_frame(self, may_open: Callable[[dict[str, Any]], bool]) -> str | None:
        """The hello, in time, from a page that may open this socket; None when the client has gone."""
        if (await self._receive())["type"] != "websocket.connect":
            return None
        # Accepted first, for browsers show a refusal before that as 1006.
        await self.base_send({"type": "websocket.accept"})
        if not may_open(self.scope):
            raise Hangup(BAD_ORIGIN)
        try:
            async with asyncio.timeout(HELLO_WITHIN):
                return await self._next_frame()
        except TimeoutError:
            raise Hangup(NO_HELLO) from None

    async def _send_frames(self, frames: Iterable[dict[str, Any]]) -> None:
        texts = [orjson.dumps(frame) for frame in frames]
        if self._sends_together:
            await self.base_send({"type": SEND_TEXTS, "texts": texts})
            return
        for text in texts:  # a server other than ours
            await self.base_send({"type": "websocket.send", "text": text.decode()})

    async def _hang_up(self, end: Hangup) -> None:
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                if end.refused is not None:
                    await self.base_send({"type": "websocket.send", "text": as_text(error_frame(end.refused))})
                await self.base_send({"type": "websocket.close", "code": end.code})
        except (TimeoutError, ConnectionError, RuntimeError):
            logger.debug("socket.not_closed code=%d", end.code)  # the server cuts it when this returns

    # ---- reading ----

    async def _next_frame(self) -> str | None:
        """The next text frame; None when the client has gone."""
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            return None
        text: str | None = event.get("text")
        if text is None:
            raise Hangup(BAD_HELLO, Refused("bad_frame", "Send JSON in text frames, not binary."))
        if 4 * len(text) > MOST_FRAME < len(text.encode("utf-8", "surrogatepass")):
            raise Hangup(TOO_LARGE, Refused("too_large", f"A frame has at most {MOST_FRAME} bytes."))
        return text

    async def _read(self) -> None:
        while True:
            text = await self._next_frame()
            if text is None:
                return
            frame: dict[str, Any] = {}
            try:
                self._count_frame()
                frame = parse_frame(text)
                await self._handle(frame)
            except Refused as refused:
                self.put(self.error(refused, frame))
                self._count_refusal(refused)
            else:
                self._refused_in_a_row = 0

    def _count_frame(self) -> None:
        if not self._frames.take():
            raise Refused("rate_limited", "Too many frames: slow down.", retry_after=self._frames.retry_after())

    def _count_refusal(self, refused: Refused) -> None:
        if refused.code == "rate_limited":
            self._refused_in_a_row += 1
            if self._refused_in_a_row >= REFUSED_IN_A_ROW:
                raise Hangup(TOO_FAST, refused)

    async def _handle(self, frame: dict[str, Any]) -> None:
        handler = self.handlers.get(frame["type"])
        if handler is None:
            known = ", ".join(sorted(self.handlers))
            raise Refused("unknown_type", f"There is no such frame. Send one of: {known}.", field="type")
        await handler(self, frame)

    def error(self, refused: Refused, frame: dict[str, Any]) -> dict[str, Any]:
        """The error frame for what was asked by `frame`."""
        return error_frame(refused, frame.get("client_id"))


def parse_frame(text: str) -> dict[str, Any]:
    try:
        frame = orjson.loads(text)
    except ValueError:
        raise Refused("bad_json", "The frame is not valid JSON: send one JSON object.") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise Refused("bad_frame", "Send a JSON object with a type.")
    return frame


def as_text(frame: dict[str, Any]) -> str:
    return orjson.dumps(frame).decode()


def error_frame(refused: Refused, client_id: Any = None) -> dict[str, Any]:
    frame = {"type": "error", **refused.to_wire()}
    if isinstance(client_id, str):
        frame["client_id"] = client_id
    return frame
