"""The chat socket, `/ws/chat/`: it parses frames, calls `chat`, and shows the conversation.

A socket has one task that reads and one that writes; it never owns a turn.
"""

import asyncio
from collections import Counter
from contextlib import ExitStack, aclosing
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from agent_app import chat
from agent_app.doorbell import Ring, doorbell
from agent_app.follower import Follower
from agent_app.journal import journal
from agent_app.models import Conversation
from agent_app.models.refusal import Refused
from agent_app.models.turns import Outcome
from agent_app.reaching import seen_by
from agent_app.serializers import (
    clean_client_id,
    clean_comment,
    clean_message,
    clean_rating,
    clean_reason,
)
from agent_app.sockets import (
    BAD_HELLO,
    BAD_TOKEN,
    CHAT_ENDED,
    MOST_FRAME,
    MOST_MISSED,
    PING_INTERVAL,
    TOO_FAST,
    TOO_SLOW,
    FrameSocket,
    Hangup,
    parse_frame,
)

LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}

_open_sockets: Counter[int] = Counter()


class ChatConsumer(FrameSocket):
    """One customer socket."""

    conversation: Conversation
    follower: Follower

    def put(self, frame: dict[str, Any]) -> None:
        self.follower.put(frame)

    async def _serve(self) -> None:
        text = await self._first_frame(origin_is_allowed)
        if text is None:
            return
        with ExitStack() as held:  # the socket's place and its ear at the bell, given back however it ends
            await self._welcome(text, held)
            await self._converse()

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

    async def _welcome(self, text: str, held: ExitStack) -> None:
        token, last_seq = parse_hello(text)
        try:
            conversation = await chat.find_chat_by_token(token)
            if conversation is None:
                raise Hangup(BAD_TOKEN, Refused("unauthorized", "This token opens no chat. Start a new one."))
            take_place(conversation.pk)
            held.callback(give_place_back, conversation.pk)
            await self._start(conversation, last_seq, held)
        except Refused as refused:
            # The customer comes back by itself after 1012.
            raise Hangup(1012 if refused.code == "unavailable" else BAD_TOKEN, refused) from None

    async def _start(self, conversation: Conversation, last_seq: int, held: ExitStack) -> None:
        """Joins the bell first, then reads, so that nothing is missed between."""
        self.follower = Follower(conversation.pk)
        self.follower.join()
        held.callback(self.follower.leave)
        self.conversation = conversation = await chat.refresh(conversation)
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
        async with aclosing(self.follower.waves()) as waves:
            async for wave in waves:
                await self._send_frames(wave)
                for frame in wave:
                    if frame["type"] == "message" and frame["role"] == "staff":
                        seen_by.note(self.conversation.pk, frame["seq"])
        # A chat that was over at the hello stays open for reading; one that ends now is closed after its last message.
        raise Hangup(CHAT_ENDED)

    # ---- what a client sends ----

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
        chosen = await chat.choose(self.conversation, choice, client_id)
        sent = await chat.send_message(self.conversation, chosen.text, client_id, decision=chosen.decision)
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
ChatConsumer.handlers = HANDLERS


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


def take_place(conversation_id: int) -> None:
    """One more socket of this chat; Hangup when it has as many as it may have."""
    if _open_sockets[conversation_id] >= settings.CHAT_MAX_SOCKETS:
        message = f"This chat is open {settings.CHAT_MAX_SOCKETS} times already: close another window first."
        raise Hangup(TOO_FAST, Refused("rate_limited", message))
    _open_sockets[conversation_id] += 1


def give_place_back(conversation_id: int) -> None:
    _open_sockets[conversation_id] -= 1
    if _open_sockets[conversation_id] <= 0:
        del _open_sockets[conversation_id]
