"""The chat socket, `/ws/chat/`: it parses frames, calls `chat`, and shows the conversation.

It is a Channels consumer without Channels' dispatch: that awaits a hop to the one shared thread on every frame
(`close_old_connections`), behind which a slow query would delay every socket of the process. A socket has one task
that reads and one that writes; it never owns a turn.
"""

import asyncio
import logging
from collections import Counter
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

import orjson
from channels.consumer import AsyncConsumer
from django.conf import settings

from agent_app import chat
from agent_app.doorbell import Ring, doorbell
from agent_app.follower import Follower
from agent_app.journal import journal
from agent_app.limits import Rate
from agent_app.models import Conversation
from agent_app.models.refusal import Refused
from agent_app.models.turns import Outcome
from agent_app.serializers import (
    clean_client_id,
    clean_comment,
    clean_message,
    clean_rating,
    clean_reason,
)

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

LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}

_open_sockets: Counter[int] = Counter()


class Hangup(Exception):
    """The socket ends with this code, after an error frame when there is something to say."""

    def __init__(self, code: int, refused: Refused | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.refused = refused


class ChatConsumer(AsyncConsumer):
    """One customer socket, for its whole life."""

    conversation: Conversation
    follower: Follower

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.scope, self._receive, self.base_send = scope, receive, send
        self._frames = Rate(max(FRAMES_A_MINUTE, 4 * settings.CHAT_RATE_LIMIT), keys=1)
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
            # The socket's outermost edge: the customer comes back by itself after 1012, and the log has the traceback.
            logger.exception("socket.failed")
            await self._hang_up(Hangup(1012, Refused("internal", "Something went wrong on our side: connect again.")))

    async def _serve(self) -> None:
        if (await self._receive())["type"] != "websocket.connect":
            return
        # Accepted first, for browsers show a refusal before that as 1006.
        await self.base_send({"type": "websocket.accept"})
        if not origin_is_allowed(self.scope):
            raise Hangup(BAD_ORIGIN)
        try:
            async with asyncio.timeout(HELLO_WITHIN):
                text = await self._next_frame()
        except TimeoutError:
            raise Hangup(NO_HELLO) from None
        if text is None:
            return
        await self._welcome(text)
        try:
            await self._converse()
        finally:
            self.follower.leave()
            _open_sockets[self.conversation.pk] -= 1
            if _open_sockets[self.conversation.pk] <= 0:
                del _open_sockets[self.conversation.pk]

    async def _converse(self) -> None:
        """Reads and writes until either ends; the other is ended, too."""
        writing = asyncio.ensure_future(self._write())
        reading = asyncio.ensure_future(self._read())
        self.follower.on_too_slow = writing.cancel
        try:
            await asyncio.wait([writing, reading], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reading, writing):
                task.cancel()
            results = await asyncio.gather(reading, writing, return_exceptions=True)
        if self.follower.too_slow:
            raise Hangup(TOO_SLOW)
        for result in results:
            if isinstance(result, Exception):
                raise result

    # ---- hello ----

    async def _welcome(self, text: str) -> None:
        token, last_seq = parse_hello(text)
        try:
            conversation = await chat.find_chat_by_token(token)
            if conversation is None:
                raise Hangup(BAD_TOKEN, Refused("unauthorized", "This token opens no chat. Start a new one."))
            self._take_place(conversation)
            try:
                await self._start(conversation, last_seq)
            except BaseException:
                _open_sockets[conversation.pk] -= 1
                raise
        except Refused as refused:
            # The customer comes back by itself after 1012.
            raise Hangup(1012 if refused.code == "unavailable" else BAD_TOKEN, refused) from None

    def _take_place(self, conversation: Conversation) -> None:
        if _open_sockets[conversation.pk] >= settings.CHAT_MAX_SOCKETS:
            message = f"This chat is open {settings.CHAT_MAX_SOCKETS} times already: close another window first."
            raise Hangup(TOO_FAST, Refused("rate_limited", message))
        _open_sockets[conversation.pk] += 1

    async def _start(self, conversation: Conversation, last_seq: int) -> None:
        """Joins the bell first, then reads, so that nothing is missed between."""
        self.follower = Follower(conversation.pk)
        self.follower.join()
        try:
            self.conversation = conversation = await chat.refresh(conversation)
        except BaseException:
            self.follower.leave()
            raise
        recovered = 0 <= conversation.last_seq - last_seq <= MOST_MISSED
        welcome = {
            "type": "welcome",
            "session_id": conversation.session_id,
            "state": conversation.state,
            "last_seq": conversation.last_seq,
            "recovered": recovered,
            "ping_interval": PING_INTERVAL,
            "limits": limits(),
        }
        if conversation.state in {Conversation.State.WAITING, Conversation.State.HUMAN}:
            welcome |= await journal.read(chat.about_state, conversation)
        if not recovered:
            welcome["history"] = f"/api/v1/chat/sessions/{conversation.session_id}/messages/?after=0"
        self.follower.put(welcome)
        cursor = last_seq if recovered else conversation.last_seq
        self.follower.start_from(cursor, conversation.state, conversation.last_seq)

    # ---- writing ----

    async def _write(self) -> None:
        async with aclosing(self.follower.frames()) as frames:
            async for frame in frames:
                await self.base_send({"type": "websocket.send", "text": as_text(frame)})
        # A chat that was over at the hello stays open for reading; one that ends now is closed after its last message.
        raise Hangup(CHAT_ENDED)

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
        if len(text) > MOST_FRAME or len(text.encode("utf-8", "surrogatepass")) > MOST_FRAME:
            raise Hangup(TOO_LARGE, Refused("too_large", f"A frame has at most {MOST_FRAME} bytes."))
        return text

    async def _read(self) -> None:
        while True:
            text = await self._next_frame()
            if text is None:
                return
            client_id: Any = None
            try:
                self._count_frame()
                frame = parse_frame(text)
                client_id = frame.get("client_id")
                await self._handle(frame)
            except Refused as refused:
                self.follower.put(error_frame(refused, client_id))
                self._count_refusal(refused)
            else:
                self._refused_in_a_row = 0

    def _count_frame(self) -> None:
        if not self._frames.take("frames"):
            raise Refused("rate_limited", "Too many frames: slow down.", retry_after=self._frames.retry_after("frames"))

    def _count_refusal(self, refused: Refused) -> None:
        if refused.code == "rate_limited":
            self._refused_in_a_row += 1
            if self._refused_in_a_row >= REFUSED_IN_A_ROW:
                raise Hangup(TOO_FAST, refused)

    async def _handle(self, frame: dict[str, Any]) -> None:
        handler = HANDLERS.get(frame["type"])
        if handler is None:
            known = ", ".join(sorted(HANDLERS))
            raise Refused("unknown_type", f"There is no such frame. Send one of: {known}.", field="type")
        await handler(self, frame)

    async def _send(self, frame: dict[str, Any]) -> None:
        text, attachments = clean_message(frame.get("text"), frame.get("attachments"))
        client_id = clean_client_id(frame.get("client_id"))
        self._acknowledge(await chat.send_message(self.conversation, text, client_id, attachments))

    def _acknowledge(self, sent: Outcome) -> None:
        assert sent.entry is not None  # noqa: S101 - a message that was not refused is there
        ack = {"type": "ack", "client_id": sent.entry.client_id, "seq": sent.entry.seq, "id": sent.entry.id}
        self.follower.put(ack)

    async def _stop(self, frame: dict[str, Any]) -> None:
        turn = frame.get("turn")
        if not isinstance(turn, str) or not 1 <= len(turn) <= 32:
            raise Refused("invalid", "Send turn as the string that the turn frame gave.", field="turn")
        await chat.stop_turn(self.conversation, turn)
        self.follower.put({"type": "ack", "turn": turn})

    async def _escalate(self, frame: dict[str, Any]) -> None:
        done = await chat.ask_for_person(self.conversation, clean_reason(frame.get("reason")))
        self.follower.put({"type": "ack", "ticket": done.ticket})

    async def _choice(self, frame: dict[str, Any]) -> None:
        client_id, choice = clean_client_id(frame.get("client_id")), frame.get("id")
        if not isinstance(choice, str):
            raise Refused("invalid", "Send id as the string that the choice has.", field="id")
        sent = await chat.send_message(self.conversation, await chat.choose(self.conversation, choice), client_id)
        self._acknowledge(sent)

    async def _feedback(self, frame: dict[str, Any]) -> None:
        seq, helpful = frame.get("seq"), frame.get("helpful")
        if seq is None:
            comment = clean_comment(frame.get("comment"))
            await chat.rate_chat(self.conversation, clean_rating(frame.get("rating")), comment)
            self.follower.put({"type": "ack"})
            return
        if not isinstance(seq, int) or isinstance(seq, bool) or not isinstance(helpful, bool):
            raise Refused("invalid", "Send seq and helpful (true or false), or a rating from 1 to 5.", field="helpful")
        await chat.judge_message(self.conversation, seq, helpful, clean_comment(frame.get("comment")))
        self.follower.put({"type": "ack", "seq": seq})

    async def _typing(self, frame: dict[str, Any]) -> None:
        on = frame.get("on")
        if not isinstance(on, bool):
            raise Refused("invalid", "Send on as true or false.", field="on")
        shown = {"type": "typing", "role": "customer", "on": on}
        doorbell.ring(Ring(self.conversation.pk, frames=(shown,), sender=self.follower.name))

    async def _ping(self, frame: dict[str, Any]) -> None:
        self.follower.put({"type": "pong"})


HANDLERS = {
    "send": ChatConsumer._send,
    "choice": ChatConsumer._choice,
    "feedback": ChatConsumer._feedback,
    "stop": ChatConsumer._stop,
    "escalate": ChatConsumer._escalate,
    "typing": ChatConsumer._typing,
    "ping": ChatConsumer._ping,
}


def parse_frame(text: str) -> dict[str, Any]:
    try:
        frame = orjson.loads(text)
    except ValueError:
        raise Refused("bad_json", "The frame is not valid JSON: send one JSON object.") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise Refused("bad_frame", "Send a JSON object with a type.")
    return frame


def parse_hello(text: str) -> tuple[str, int]:
    """(token, last_seq); whatever else comes first ends the socket."""
    try:
        frame = parse_frame(text)
    except Refused as refused:
        raise Hangup(BAD_HELLO, refused) from None
    token, last_seq = frame.get("token"), frame.get("last_seq", 0)
    if frame["type"] != "hello":
        raise Hangup(BAD_HELLO, Refused("bad_frame", "Say hello first: {type: hello, token, last_seq}."))
    if not isinstance(token, str) or not token:
        raise Hangup(BAD_TOKEN, Refused("unauthorized", "Send the session's token in the hello.", field="token"))
    if not isinstance(last_seq, int) or isinstance(last_seq, bool) or last_seq < 0:
        raise Hangup(BAD_HELLO, Refused("invalid", "Send last_seq as a whole number from 0.", field="last_seq"))
    return token, last_seq


def as_text(frame: dict[str, Any]) -> str:
    return orjson.dumps(frame).decode()


def error_frame(refused: Refused, client_id: Any = None) -> dict[str, Any]:
    frame = {"type": "error", **refused.to_wire()}
    if isinstance(client_id, str):
        frame["client_id"] = client_id
    return frame


def limits() -> dict[str, int]:
    return {
        "max_text": settings.CHAT_MAX_TEXT,
        "max_frame": MOST_FRAME,
        "rate_per_minute": settings.CHAT_RATE_LIMIT,
        "max_sockets": settings.CHAT_MAX_SOCKETS,
        "max_attachment_mb": settings.CHAT_MAX_ATTACHMENT_MB,
    }


def origin_is_allowed(scope: dict[str, Any]) -> bool:
    """Only browsers send an Origin; a page of a foreign site must not use its visitor's chat."""
    origins = [value for name, value in scope["headers"] if name == b"origin"]
    if not origins:
        return True
    origin = origins[0].decode("latin-1").lower()
    try:
        parts = urlsplit(origin)
        host = parts.hostname or ""
    except ValueError:
        return False
    ours = (settings.DEBUG and host in LOCAL_HOSTS) or any(host_matches(host, name) for name in settings.ALLOWED_HOSTS)
    if settings.ALLOWED_ORIGINS and origin not in {allowed.lower() for allowed in settings.ALLOWED_ORIGINS}:
        # Our own page is always welcome: the widget's iframe is one, on every site.
        return ours and parts.netloc == dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
    return ours or bool(settings.ALLOWED_ORIGINS)


def host_matches(host: str, allowed: str) -> bool:
    """As ALLOWED_HOSTS means it: a leading dot takes in subdomains, * everything."""
    allowed = allowed.lower().strip("[]")
    return allowed == "*" or host == allowed or (allowed.startswith(".") and f".{host}".endswith(allowed))
