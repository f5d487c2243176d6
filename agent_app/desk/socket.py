"""The desk's socket, `/ws/desk/`: it parses frames, asks what its caller may, calls `staff`, and shows what happens.

One task reads, one writes, one looks whether the caller is still who they were, and each subscribed conversation has
one; whichever ends first ends the socket.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

from django.conf import settings

from agent_app import staff
from agent_app.desk import cards
from agent_app.desk.caller import ACTS, VIEW, VIEW_NOTES, Caller, Key, from_our_own_page, session_key
from agent_app.desk.live import live
from agent_app.desk.serializers import clean_words
from agent_app.desk.subscription import Subscription
from agent_app.doorbell import DESK, Ring, doorbell
from agent_app.follower import MOST_QUEUED, TooSlow
from agent_app.journal import journal
from agent_app.models import Attendance, Conversation
from agent_app.models.people import person
from agent_app.models.refusal import Refused, Unavailable
from agent_app.serializers import clean_client_id, clean_text
from agent_app.sockets import (
    BAD_HELLO,
    BAD_ORIGIN,
    BAD_TOKEN,
    MOST_FRAME,
    PING_INTERVAL,
    TOO_SLOW,
    FrameSocket,
    Hangup,
    as_text,
    parse_frame,
)

MOST_SUBSCRIPTIONS = 10
STILL_THE_SAME = 3.0  # seconds between two looks at whether the caller may still see what is shown
WRITING_LAPSES = 10.0  # seconds after which somebody who does not say so again has stopped writing
WATCHED = frozenset({"waiting", "human"})
STATES = frozenset(Conversation.State.values)

NOBODY = Refused("unauthorized", "Log in, or send an API token in the hello.")
NO_MORE = Refused("unauthorized", "You are not logged in any more: log in again.")
MAY_NOT_SEE = Refused("forbidden", "You may not see conversations: ask for the permission view_conversation.")


class DeskSocket(FrameSocket):
    """One open desk of one member of staff."""

    key: Key
    user: Any

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.watched = WATCHED
        self._ended: asyncio.Future[None] = self.loop.create_future()
        self._queue: deque[tuple[dict[str, Any], int]] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscriptions: dict[str, Subscription] = {}
        self._writing: dict[str, asyncio.TimerHandle] = {}
        text = await self._first_frame(from_our_own_page)
        if text is None:
            return
        caller = await self._let_in(text)
        try:
            await self._welcome(caller)
            await self._attend()
        except Unavailable as refused:
            raise Hangup(1012, refused) from None
        finally:
            doorbell.leave(DESK, self)
            live.leave(self)
            for timer in self._writing.values():
                timer.cancel()

    async def _attend(self) -> None:
        """Until the first of the socket's tasks ends; then all of them do."""
        for job in (self._read(), self._write(), self._watch()):
            self._run(job)
        try:
            await self._ended
        finally:
            for subscription in self._subscriptions.values():
                subscription.end()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _run(self, job: Any) -> asyncio.Task[None]:
        task = self.loop.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._has_ended)
        return task

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or self._ended.done():
            return
        error = task.exception()
        if isinstance(error, TooSlow):
            error = Hangup(TOO_SLOW)
        if error is not None:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    def _hang_up_soon(self, end: Hangup) -> None:
        if not self._ended.done():
            self._ended.set_exception(end)

    # ---- hello ----

    async def _let_in(self, text: str) -> Caller:
        self.key = Key(parse_hello(text), session_key(self.scope))
        try:
            return await self._caller(NOBODY)
        except Unavailable as refused:
            raise Hangup(1012, refused) from None

    async def _caller(self, otherwise: Refused, also: str | None = None) -> Caller:
        """Who this is now, with `view_conversation`; else the socket ends. Refused `forbidden` without `also`."""
        found, sees, may, notes = await journal.read(look_up, self.key, also)
        if found is None:
            raise Hangup(BAD_TOKEN, otherwise)
        if not sees:
            raise Hangup(BAD_ORIGIN, MAY_NOT_SEE)
        self.user, self._sees_notes = found.user, notes
        if not may:
            name = (also or "").split(".")[-1]
            raise Refused("forbidden", f"You may not do this: ask for the permission {name}.")
        return found

    async def _welcome(self, caller: Caller) -> None:
        """Joins first, then reads, so that nothing is missed between."""
        self.user_id = int(caller.user.pk)
        doorbell.join(DESK, self)
        await live.join(self)
        welcome = await journal.read(welcome_of, caller)
        # Ahead of what came in meanwhile.
        self._queue.appendleft((welcome, 0))
        self._wake.set()

    # ---- writing ----

    def put(self, frame: dict[str, Any]) -> None:
        if self._ended.done():
            return
        size = 400 * (1 + len(frame.get("conversations", ())))
        if self._queued + size > MOST_QUEUED:
            self._hang_up_soon(Hangup(TOO_SLOW))
            return
        self._queue.append((frame, size))
        self._queued += size
        self._wake.set()

    async def _write(self) -> None:
        while True:
            while self._queue:
                frame, size = self._queue.popleft()
                self._queued -= size
                await self._give(frame)
            self._wake.clear()
            await self._wake.wait()

    async def _give(self, frame: dict[str, Any]) -> None:
        """Sends one frame: a reader that is slow holds up whoever has something for it, whose queue then fills."""
        async with self._sending:
            await self.base_send({"type": "websocket.send", "text": as_text(frame)})

    async def _watch(self) -> None:
        """A logout or a permission that was taken away ends a socket that only listens, too."""
        while True:
            await asyncio.sleep(STILL_THE_SAME)
            with suppress(Unavailable):
                await self._caller(NO_MORE)

    # ---- what the desk tells ----

    def hear(self, ring: Ring) -> None:
        """The desk's own bell: of what it carries, only `reconnect` is for a socket itself."""
        for frame in ring.frames:
            if frame["type"] == "reconnect":
                self.put(frame)

    def has_note(self, conversation_id: int) -> None:
        for subscription in self._subscriptions.values():
            if subscription.conversation.pk == conversation_id:
                subscription.has_note()

    def has_details(self, conversation_id: int) -> None:
        for thread_id, subscription in self._subscriptions.items():
            if subscription.conversation.pk == conversation_id:
                self.put({"type": "details", "conversation": thread_id})

    def see_people(self, conversation_id: int, people: list[dict[str, Any]]) -> None:
        for thread_id, subscription in self._subscriptions.items():
            if subscription.conversation.pk == conversation_id:
                self.put({"type": "presence", "conversation": thread_id, "people": people})

    # ---- what staff send ----

    async def _handle(self, frame: dict[str, Any]) -> None:
        if frame["type"] in self.handlers and frame["type"] != "ping":
            await self._caller(NO_MORE, ACTS.get(frame["type"]))
        await super()._handle(frame)

    def error(self, refused: Refused, frame: dict[str, Any]) -> dict[str, Any]:
        shown = super().error(refused, frame)
        named = frame.get("conversation")
        return {**shown, "conversation": named} if isinstance(named, str) else shown

    async def _subscribe(self, frame: dict[str, Any]) -> None:
        thread_id = clean_conversation(frame)
        last_seq, last_note = clean_place(frame, "last_seq"), clean_place(frame, "last_note")
        if thread_id not in self._subscriptions and len(self._subscriptions) >= MOST_SUBSCRIPTIONS:
            message = f"{MOST_SUBSCRIPTIONS} conversations are open here: unsubscribe from one first."
            raise Refused("rate_limited", message)
        conversation = await staff.find(thread_id)
        self._end_subscription(thread_id)
        subscription = Subscription(conversation, last_note, self._give, lambda: self._sees_notes)
        subscription.follower.on_too_slow = lambda: self._hang_up_soon(Hangup(TOO_SLOW))
        live.looks(self, conversation.pk, person(self.user), "looking")
        self._subscriptions[thread_id] = subscription
        try:
            subscribed = await subscription.begin(last_seq)
        except Refused:
            self._end_subscription(thread_id)
            raise
        subscription.task = self._run(subscription.run(subscribed))

    async def _unsubscribe(self, frame: dict[str, Any]) -> None:
        thread_id = clean_conversation(frame)
        self._end_subscription(thread_id)
        self.put({"type": "ack", "conversation": thread_id, "action": "unsubscribe"})

    def _end_subscription(self, thread_id: str) -> None:
        subscription = self._subscriptions.pop(thread_id, None)
        if subscription is not None:
            subscription.end()
            self._stop_writing(thread_id)
            live.looks_away(self, subscription.conversation.pk)

    async def _take_over(self, frame: dict[str, Any]) -> None:
        self._stands(frame, await staff.take_over(self.user, clean_conversation(frame)))

    async def _release(self, frame: dict[str, Any]) -> None:
        self._stands(frame, await staff.release(self.user, clean_conversation(frame)))

    async def _resolve(self, frame: dict[str, Any]) -> None:
        self._stands(frame, await staff.resolve(self.user, clean_conversation(frame)))

    async def _assign(self, frame: dict[str, Any]) -> None:
        if "assignee" not in frame:
            raise Refused("invalid", "Send assignee: a person's id, me, or null.", field="assignee")
        thread_id = clean_conversation(frame)
        self._stands(frame, await staff.assign(self.user, thread_id, frame["assignee"]))

    def _stands(self, frame: dict[str, Any], standing: staff.Standing) -> None:
        wire = standing.to_wire()
        self.put({"type": "ack", "conversation": wire.pop("id"), "action": frame["type"], **wire})

    async def _reply(self, frame: dict[str, Any]) -> None:
        thread_id, client_id = clean_conversation(frame), clean_client_id(frame.get("client_id"))
        sent = await staff.reply(self.user, thread_id, clean_text(frame.get("text")), client_id)
        self._stop_writing(thread_id)
        self.put({"type": "ack", "conversation": thread_id, "client_id": client_id, "seq": sent.seq, "id": sent.id})

    async def _note(self, frame: dict[str, Any]) -> None:
        thread_id, client_id = clean_conversation(frame), clean_client_id(frame.get("client_id"))
        note = await staff.note(self.user, thread_id, clean_text(frame.get("text")), client_id)
        self.put({"type": "ack", "conversation": thread_id, "client_id": client_id, "note": note.pk})

    async def _typing(self, frame: dict[str, Any]) -> None:
        thread_id, on = clean_conversation(frame), clean_flag(frame, "on")
        conversation = await staff.typing(self.user, thread_id, on)
        if thread_id not in self._subscriptions:
            return
        if on:
            live.looks(self, conversation.pk, person(self.user), "writing")
            self._forget_timer(thread_id)
            self._writing[thread_id] = self.loop.call_later(WRITING_LAPSES, self._stop_writing, thread_id)
        else:
            self._stop_writing(thread_id)

    def _stop_writing(self, thread_id: str) -> None:
        if self._forget_timer(thread_id) and thread_id in self._subscriptions:
            live.looks(self, self._subscriptions[thread_id].conversation.pk, person(self.user), "looking")

    def _forget_timer(self, thread_id: str) -> bool:
        timer = self._writing.pop(thread_id, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    async def _presence(self, frame: dict[str, Any]) -> None:
        online = clean_flag(frame, "online")
        await staff.set_online(self.user, online)
        self.put({"type": "ack", "online": online})

    async def _watch_states(self, frame: dict[str, Any]) -> None:
        states = frame.get("states")
        if not isinstance(states, list) or not all(isinstance(state, str) and state in STATES for state in states):
            known = ", ".join(sorted(STATES))
            raise Refused("invalid", f"Send states as a list of some of {known}.", field="states")
        self.watched = frozenset(states)
        self.put({"type": "ack", "states": sorted(self.watched)})

    async def _canned(self, frame: dict[str, Any]) -> None:
        words = clean_words(frame.get("q", ""))
        self.put({"type": "canned", "replies": await staff.canned_replies(words)})

    async def _ping(self, frame: dict[str, Any]) -> None:
        self.put({"type": "pong"})


HANDLERS = {
    "subscribe": DeskSocket._subscribe,
    "unsubscribe": DeskSocket._unsubscribe,
    "takeover": DeskSocket._take_over,
    "release": DeskSocket._release,
    "resolve": DeskSocket._resolve,
    "assign": DeskSocket._assign,
    "reply": DeskSocket._reply,
    "note": DeskSocket._note,
    "typing": DeskSocket._typing,
    "presence": DeskSocket._presence,
    "watch": DeskSocket._watch_states,
    "canned": DeskSocket._canned,
    "ping": DeskSocket._ping,
}
DeskSocket.handlers = HANDLERS


# ---- asked of the database ----


def look_up(key: Key, also: str | None) -> tuple[Caller | None, bool, bool, bool]:
    """(who, may see conversations, may do `also`, may see notes), all of this moment."""
    caller = key.caller()
    if caller is None:
        return None, False, False, False
    return caller, caller.may(VIEW), also is None or caller.may(also), caller.may(VIEW_NOTES)


def welcome_of(caller: Caller) -> dict[str, Any]:
    attendance = Attendance.objects.filter(pk=caller.user.pk).first()
    return {
        "type": "welcome",
        "you": person(caller.user),
        "online": attendance is None or not attendance.away,
        "may": caller.acts(),
        "ping_interval": PING_INTERVAL,
        "limits": {
            "max_text": settings.CHAT_MAX_TEXT,
            "max_frame": MOST_FRAME,
            "max_subscriptions": MOST_SUBSCRIPTIONS,
        },
        "counts": cards.Counts().of(caller.user.pk),
        "staff": Attendance.objects.roll(),
    }


# ---- parsing ----


def parse_hello(text: str) -> str | None:
    """The API token, if it brings one; whatever else comes first ends the socket."""
    try:
        frame = parse_frame(text)
    except Refused as refused:
        raise Hangup(BAD_HELLO, refused) from None
    if frame["type"] != "hello":
        raise Hangup(BAD_HELLO, Refused("bad_frame", "Say hello first: {type: hello}, with an API token or logged in."))
    token = frame.get("token")
    if token is not None and (not isinstance(token, str) or not token):
        raise Hangup(BAD_TOKEN, Refused("unauthorized", "Send token as the API token's text.", field="token"))
    return token


def clean_conversation(frame: dict[str, Any]) -> str:
    named = frame.get("conversation")
    if not isinstance(named, str) or not 1 <= len(named) <= 32 or "\x00" in named:
        raise Refused("invalid", "Send conversation as the id that its card has.", field="conversation")
    return named


def clean_place(frame: dict[str, Any], name: str) -> int:
    place = frame.get(name, 0)
    if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < 2**63:
        raise Refused("invalid", f"Send {name} as a whole number from 0.", field=name)
    return place


def clean_flag(frame: dict[str, Any], name: str) -> bool:
    flag = frame.get(name)
    if not isinstance(flag, bool):
        raise Refused("invalid", f"Send {name} as true or false.", field=name)
    return flag
