"""Taking a turn: the one use case that every door calls.

A door hands over a customer's message; it is stored, numbered and acknowledged (`send_message`). The commit that
stored it also says whose turn it is to answer: nobody's, if one is being written already, or this instance's. Then
the `TurnRunner` lets the agent answer, shows the text as it is written, and stores the answer, which the database
accepts only while the turn is still its own. A door never owns a turn: it may wait for one, and it may die.

Whatever dies, the log is the queue: each instance looks for customers who wait and turns that nobody holds.
"""

import asyncio
import contextlib
import contextvars
import itertools
import logging
import math
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from agent_app.agent import catalogue
from agent_app.agent.consent import consent_of, without
from agent_app.agent.events import (
    Answer,
    ChatMessage,
    Decision,
    Deed,
    Escalation,
    Text,
    Thinking,
    ToolEnded,
    ToolStarted,
    TurnContext,
)
from agent_app.agent.loop import CustomerSupportAgent
from agent_app.agent.responder import Tool
from agent_app.deeds import carry_out, in_doubt, said_of
from agent_app.doorbell import Ring, call_on, doorbell, running_loop
from agent_app.escalation import people_are_away, policy
from agent_app.follower import Follower
from agent_app.journal import journal
from agent_app.limits import Rate
from agent_app.models import Attachment, AuditEntry, Conversation, Entry, Feedback, Ticket, UnansweredQuestion
from agent_app.models.audit import SYSTEM
from agent_app.models.conversations import hash_token
from agent_app.models.people import display_name
from agent_app.models.refusal import Refused, Unavailable
from agent_app.models.turns import (
    LAST_ATTEMPT,
    AgentReply,
    AskForPerson,
    Close,
    CustomerMessage,
    DecideWrite,
    Expire,
    FindUnsettled,
    ForgetLease,
    GiveBack,
    KeepAlive,
    Lease,
    NewConfirmation,
    NewTicket,
    Outcome,
    Renew,
    StopTurn,
    TakeTurn,
)
from agent_app.tools.attachments import Checked
from agent_app.tools.backend import close_all, statuses
from agent_app.tools.registry import build_agent
from agent_app.tools.trail import trail
from sessions_app.stores import SessionData, StoreUnavailable, get_store

logger = logging.getLogger(__name__)

RECENT = 20  # messages of the log that the agent sees
DELTA_EVERY = 0.05  # seconds between two pieces of text, after the first, which goes at once
COUNT_EVERY = 1.0  # seconds between two rounds of counting messages that start no turn
REPLY_AGAIN = 0.5  # seconds until an answer that could not be stored is tried again
RECOVERED_AT_ONCE = 50
EXPIRED_AT_ONCE = 200
THOROUGH_LOOK = 12  # every so many looks for orphans, that for those which no index knows
FORGOTTEN_AT_ONCE = 1000
FORGOTTEN_TOGETHER = 20
FORGET_AFTER = timedelta(minutes=1)  # since a lease ran out

ASKED_FOR_PERSON = (
    "I have asked a person to join this chat. Your ticket is **{ticket}**. "
    "You can go on writing here; I will help as far as I can until somebody comes."
)
STOPPED = "I stopped writing, as you asked."
GAVE_UP = (
    "I am sorry: I tried to answer this several times and could not. I have asked a person to look at it "
    "(ticket **{ticket}**); your messages are safe."
)

ENDED = Refused("closed", "This chat has ended. Start a new one to go on.")
NOT_THE_AGENTS = ("human", "closed")  # states in which no answer of the agent comes

NO_ATTACHMENT = Refused("not_found", "There is no such file in this chat.")
UNKNOWN = Refused("not_found", "There is no such chat for this token. Start a new one.")


class TurnLost(Exception):
    """The turn is no longer ours: nothing more may be said in it."""


# ---- opening and finding ----


async def open_chat(
    user_id: str | None, verified: bool, metadata: dict[str, Any], email: str | None = None
) -> tuple[Conversation, str]:
    """A new chat with an empty log, and its token, which is not kept: only its digest is."""
    token = Conversation.new_token()
    conversation = Conversation(
        session_id=Conversation.new_session_id(),
        token_hash=hash_token(token),
        user_id=user_id,
        verified=verified,
        email=email,
        metadata=metadata,
        live_until=timezone.now() + timedelta(seconds=settings.SESSION_TTL),
    )
    await journal.read(conversation.save, force_insert=True)
    await get_store().set(conversation.session_id, live_session(conversation))
    logger.info("Created new session session=%s", conversation.session_id)
    return conversation, token


def live_session(conversation: Conversation) -> SessionData:
    """The live session as the conversation tells it: what a new one holds, and what a lost one is rebuilt from."""
    return SessionData(
        session_id=conversation.session_id,
        user_id=conversation.user_id,
        thread_id=conversation.thread_id,
        message_count=conversation.customer_count,
        escalated=conversation.ticket is not None,
        metadata=conversation.metadata,
    )


async def find_chat(session_id: str, token: str) -> Conversation:
    """The chat that this token opens. Unknown and foreign look the same: Refused `not_found`."""
    try:
        return await journal.read(Conversation.objects.of_customer, session_id, token)
    except Conversation.DoesNotExist:
        raise UNKNOWN from None


async def find_chat_by_token(token: str) -> Conversation | None:
    return await journal.read(Conversation.objects.filter(token_hash=hash_token(token)).first)


async def refresh(conversation: Conversation) -> Conversation:
    """The row as it is now; Refused `not_found` when it was erased meanwhile."""
    found = await journal.read(Conversation.objects.filter(pk=conversation.pk).first)
    if found is None:
        raise UNKNOWN
    return found


# ---- what a customer does ----


async def send_message(
    conversation: Conversation,
    text: str,
    client_id: str | None = None,
    attachments: Sequence[str] = (),
    decision: Decision | None = None,
) -> Outcome:
    """Stores a customer's message and sees to its answer. Once this returns, the message is durable and has its number.

    `attachments` are ids that `attach` gave. The same `client_id` again gives the message that is there. Raises
    Refused: `closed`, `conflict`, `rate_limited`, `not_found`, `unavailable` (then it may be sent again, under the
    same `client_id`).
    """
    files = await journal.read(Attachment.objects.send, conversation, attachments) if attachments else []
    asked_at = time.monotonic()
    within_rate = message_rate().left(conversation.session_id) >= 1
    done = await journal.do(
        CustomerMessage(
            conversation.pk,
            text,
            client_id,
            holder=None if engine.turns.draining else doorbell.instance,
            attachments=files,
            within_rate=within_rate,
            decision=asdict(decision) if decision is not None else None,
        )
    )
    if done.changed_state:
        await after_close(conversation.session_id, done)
    raise_refusal(done, conversation.session_id)
    if not done.repeated:
        message_rate().take(conversation.session_id)
    if done.entries:
        # In the next step of the loop, so that the sender's ack goes out before its own message comes back.
        started = (turn_started(done.lease),) if done.lease is not None else ()
        asyncio.get_running_loop().call_soon(ring_outcome, done, started)
    if done.lease is not None:
        engine.turns.begin(done.lease, asked_at, announced=bool(done.entries))
    elif done.entries and done.state == Conversation.State.HUMAN:
        engine.counter.count(conversation.session_id, done.customer_count)
    return done


async def attach(conversation: Conversation, upload: Checked) -> dict[str, Any]:
    """Keeps an upload for a message to come; its attachment object."""
    if conversation.is_closed:
        raise ENDED
    made = await journal.read(Attachment.objects.store, conversation, upload.name, upload.content_type, upload.data)
    logger.info("attachment.stored session=%s bytes=%d", conversation.session_id, made.size)
    return made.to_wire(conversation.session_id)


async def withdraw_attachment(conversation: Conversation, attachment_id: str) -> None:
    """Takes back an upload that was not sent."""
    try:
        withdrawn = await journal.read(Attachment.objects.withdraw, conversation, attachment_id)
    except Attachment.DoesNotExist:
        raise NO_ATTACHMENT from None
    if not withdrawn:
        raise Refused("conflict", "This file was sent with a message, and stays with it.")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a click says: the text of the customer's message, and of a confirmation whether it is agreed to."""

    text: str
    decision: Decision | None = None


async def choose(conversation: Conversation, choice_id: str) -> Choice:
    """A click on what the agent offered: a choice's id; a confirmation's, which agrees to it, or that and ":no".

    Refused when it was not offered lately in this chat. Whether a confirmation is still open its turn finds out.
    """
    now = await refresh(conversation)
    confirmation, no, _ = choice_id.partition(":no")
    for entry in reversed(await journal.tail(conversation.pk, now.last_seq, RECENT)):
        if entry.confirm and entry.confirm["id"] == confirmation:
            return Choice(catalogue.NO if no else catalogue.YES, Decision(confirmation, agreed=not no))
        for choice in entry.choices or ():
            if choice["id"] == choice_id:
                return Choice(str(choice["label"]))
    raise Refused("invalid", "This choice is not open any more: write what you want instead.", field="id")


async def rate_chat(conversation: Conversation, rating: int, comment: str) -> None:
    await journal.read(Feedback.objects.rate, conversation, rating, comment)


async def judge_message(conversation: Conversation, seq: int, helpful: bool, comment: str = "") -> None:
    if not await journal.read(Feedback.objects.judge, conversation, seq, helpful, comment):
        raise Refused("not_found", "There is no answer with this seq.", field="seq")


async def ask_for_person(conversation: Conversation, reason: str) -> Outcome:
    """The customer's wish for a person: the chat becomes `waiting`, with a ticket. Asked again: the same ticket."""
    number = Ticket.new_number()
    text = f"{ASKED_FOR_PERSON.format(ticket=number)} {people_are_away(timezone.now())}".rstrip()
    act = AskForPerson(conversation.pk, NewTicket(number, reason), text)
    done = await journal.do(act)
    if done.changed_state and done.state == Conversation.State.CLOSED:
        await after_close(conversation.session_id, done)
    raise_refusal(done, conversation.session_id)
    if done.changed_state:
        await after_escalation(conversation.session_id, done, actor="customer")
    return done


async def stop_turn(conversation: Conversation, turn: str) -> None:
    """Ends the answer that is being written, on whatever instance; a stop of another turn changes nothing."""
    done = await journal.do(StopTurn(conversation.pk, turn))
    if done.stopped:
        doorbell.ring(Ring(conversation.pk, stop=turn))


async def end_chat(conversation_id: int, reason: str, actor: str | None = None) -> bool:
    """Closes a chat, then deletes its live session and closes its sockets; False if it was closed before."""
    session_id = await journal.read(session_id_of, conversation_id)
    if session_id is None:
        return False
    done = await journal.do(Close(conversation_id, reason, actor or SYSTEM))
    if not done.changed_state:
        return False
    await after_close(session_id, done)
    return True


async def expire_due(limit: int = EXPIRED_AT_ONCE) -> tuple[list[int], int]:
    """Closes chats whose time has run out, `limit` at the most. Gives those that it found, and how many of them this
    call closed: another instance may have been quicker.
    """
    due = await journal.read(due_chats, limit)
    results = await asyncio.gather(*(expire(conversation_id, session_id) for conversation_id, session_id in due))
    return [conversation_id for conversation_id, _ in due], sum(results)


async def expire(conversation_id: int, session_id: str) -> bool:
    """Closes the chat if its own row says that its time has run out."""
    done = await journal.do(Expire(conversation_id))
    if done.changed_state:
        await after_close(session_id, done)
    return done.changed_state


async def keep_chat(session_id: str, until: datetime) -> bool:
    """Keeps a chat alive until then at least; False if it is closed or unknown."""
    conversation_id = await journal.read(conversation_id_of, session_id)
    if conversation_id is None:
        return False
    return (await journal.do(KeepAlive(conversation_id, until))).refused is None


async def session_has_ended(session_id: str, reason: str, actor: str | None) -> None:
    """The session store's word that a session is gone. An expiry is only a hint: the conversation's row decides."""
    conversation_id = await open_chats.of_session(session_id)
    if conversation_id is not None and reason == "expired":
        await expire(conversation_id, session_id)
    elif conversation_id is not None and await end_chat(conversation_id, reason, actor):
        return
    elif actor is not None:  # what staff did is on record, whatever came of it
        await journal.read(AuditEntry.record, "session.ended", session_id, actor, reason=reason)


def raise_refusal(done: Outcome, session_id: str) -> None:
    if done.refused == "closed":
        raise ENDED
    if done.refused == "not_found":
        raise UNKNOWN
    if done.refused == "conflict":
        raise Refused("conflict", "Another text was sent under this client_id. Use a new client_id.", field="client_id")
    if done.refused == "rate_limited":
        after = message_rate().retry_after(session_id)
        raise Refused("rate_limited", f"Too many messages. Send the next one in {after} s.", retry_after=after)


async def after_close(session_id: str, done: Outcome) -> None:
    """Closing commits first, then rings, then deletes from the store."""
    ring_outcome(done)
    await get_store().delete(session_id)


async def after_escalation(session_id: str, done: Outcome, actor: str) -> None:
    position = await journal.read(place_in_line, done.conversation_id)
    doorbell.ring(Ring(done.conversation_id, done.last_seq, done.state, done.entries, about={"position": position}))
    await get_store().update(session_id, {"escalated": True})
    logger.info("chat.escalated session=%s ticket=%s by=%s", session_id, done.ticket, actor)


def ring_outcome(done: Outcome, frames: tuple[dict[str, Any], ...] = (), about: dict[str, Any] | None = None) -> None:
    doorbell.ring(Ring(done.conversation_id, done.last_seq, done.state, done.entries, frames, about))


def turn_started(lease: Lease) -> dict[str, Any]:
    return {"type": "turn", "turn": lease.turn, "status": "started"}


# ---- waiting for an answer ----


@dataclass(frozen=True, slots=True)
class Exchange:
    """A customer's message and what came of it: `reply` is None while a person has the chat, or `pending`."""

    sent: Outcome
    reply: Entry | None
    pending: bool
    state: str


async def ask(
    conversation: Conversation,
    text: str,
    client_id: str | None,
    seconds: float,
    attachments: Sequence[str] = (),
    decision: Decision | None = None,
) -> Exchange:
    """Sends a message and waits for the agent's answer to it, whoever writes it, for `seconds` at the most."""
    async with following(conversation.pk) as follower:
        sent = await send_message(conversation, text, client_id, attachments, decision)
        assert sent.entry is not None  # noqa: S101 - a message that was not refused is there
        follower.start_from(sent.entry.seq, sent.state, sent.last_seq)
        if sent.state in NOT_THE_AGENTS:
            reply = await reply_in_log(conversation.pk, sent.entry.seq, sent.last_seq)
            return Exchange(sent, reply, False, sent.state)
        try:
            async with asyncio.timeout(seconds):
                reply = await next_reply(follower, sent.entry.seq)
                return Exchange(sent, reply, False, follower.state_now)
        except TimeoutError:
            return Exchange(sent, None, True, follower.state_now)


async def ask_and_follow(
    conversation: Conversation, text: str, client_id: str | None, attachments: Sequence[str] = ()
) -> tuple[Outcome, Follower]:
    """Sends a message and gives a follower of what comes after it; the caller leaves it."""
    with ExitStack() as unless_sent:
        follower = Follower(conversation.pk)
        follower.join()
        unless_sent.callback(follower.leave)
        sent = await send_message(conversation, text, client_id, attachments)
        unless_sent.pop_all()
    assert sent.entry is not None  # noqa: S101 - a message that was not refused is there
    follower.start_from(sent.entry.seq, sent.state, sent.last_seq)
    return sent, follower


@asynccontextmanager
async def following(conversation_id: int) -> AsyncIterator[Follower]:
    follower = Follower(conversation_id)
    follower.join()
    try:
        yield follower
    finally:
        follower.leave()


async def next_reply(follower: Follower, seq: int) -> Entry | None:
    """The answer that covers message `seq`; None once a person has the chat, or it has ended."""
    async with aclosing(follower.frames()) as frames:
        async for frame in frames:
            if is_reply(frame, seq):
                return (await log_between(follower.conversation_id, frame["seq"] - 1, frame["seq"]))[0]
            if frame["type"] == "state" and frame["state"] in NOT_THE_AGENTS:
                return None
    return None


async def frames_until_answered(follower: Follower, sent: Outcome, seq: int) -> AsyncGenerator[dict[str, Any], None]:
    """What happens after message `seq` up to the answer that covers it, or until a person has the chat."""
    if sent.state in NOT_THE_AGENTS:
        reply = await reply_in_log(follower.conversation_id, seq, sent.last_seq)
        if reply is not None:
            yield {"type": "message", **reply.to_wire()}
        return
    async with aclosing(follower.frames()) as frames:
        async for frame in frames:
            yield frame
            if is_reply(frame, seq):
                break
            if frame["type"] == "state" and frame["state"] in NOT_THE_AGENTS:
                return
    for frame in follower.take_queued():
        yield frame


def is_reply(frame: dict[str, Any], seq: int) -> bool:
    return frame["type"] == "message" and frame["role"] == "agent" and frame["reply_to"] >= seq


async def reply_in_log(conversation_id: int, seq: int, upto: int) -> Entry | None:
    entries = await log_between(conversation_id, seq, upto)
    return next((entry for entry in entries if entry.role == "agent" and (entry.reply_to or 0) >= seq), None)


async def whole_log(conversation: Conversation) -> list[Entry]:
    return await journal.read(conversation.messages.after(0).entries)


async def log_between(conversation_id: int, after: int, upto: int) -> Sequence[Entry]:
    held = journal.recent.between(conversation_id, after, upto)
    return held if held is not None else await journal.entries(conversation_id, after, upto - after)


# ---- the live session ----


async def count_message(session_id: str, total: int) -> SessionData | None:
    """The one round trip to the session store: the count set, the TTL renewed, the session back.

    A session that the store lost is rebuilt from the conversation; None when the store is away.
    """
    store = get_store()
    session = await store.count_message(session_id, total)
    if session is None and store.available:
        session = await rebuild_session(session_id)
    return session


async def session_statistics() -> dict[str, Any]:
    """For the debugging metadata; says so when the store is away."""
    try:
        return await get_store().get_stats()
    except StoreUnavailable:
        return {"unavailable": True}


async def rebuild_session(session_id: str) -> SessionData | None:
    """Creates the session only where there is none, then looks again: a chat closed meanwhile must not live on."""
    conversation = await journal.read(Conversation.objects.filter(session_id=session_id).first)
    if conversation is None or conversation.is_closed:
        return None
    store = get_store()
    session = await store.get_or_create(session_id, lambda: live_session(conversation))
    now = await journal.read(Conversation.objects.filter(pk=conversation.pk).first)
    if now is None or now.is_closed:  # erased, or ended
        await store.delete(session_id)
        return None
    logger.info("session.rebuilt session=%s", session_id)
    return session


class Counter:
    """Counts messages that start no turn, after their acknowledgement. The totals are absolute, so that of several
    for one session only the newest is sent, and one that is lost is made good by the next.
    """

    def __init__(self) -> None:
        self._totals: dict[str, int] = {}
        self._counting: asyncio.Task[None] | None = None

    def count(self, session_id: str, total: int) -> None:
        self._totals[session_id] = total
        if self._counting is None or self._counting.done():
            self._counting = asyncio.get_running_loop().create_task(self._count(), context=contextvars.Context())

    async def _count(self) -> None:
        while self._totals:
            await asyncio.sleep(COUNT_EVERY)  # gathers what many sockets sent into one round trip
            totals, self._totals = self._totals, {}
            try:
                await asyncio.gather(*(count_message(session_id, total) for session_id, total in totals.items()))
            except Refused:
                logger.warning("session.not_counted")  # erased, or the database is away: nothing is owed


# ---- answering ----


class Turn:
    """One answer in the making on this instance."""

    def __init__(self, lease: Lease, asked_at: float, announced: bool) -> None:
        self.lease = lease
        self.announced = announced  # its start was rung together with the message that began it
        self.own_until = asked_at + settings.TURN_LEASE  # by our own clock, from before the request: never too late
        self.said: list[str] = []
        self.interrupted: str | None = None  # "stop" or "lost"
        self.acting = False  # a confirmed write is decided and runs: a stop waits for what comes of it
        self.deed: Deed | None = None
        self.settles: tuple[str, str] | None = None  # what became of a confirmation, for the reply's commit
        self.scope: asyncio.Timeout | None = None
        self.task: asyncio.Task[None] | None = None
        self._shown = 0
        self._shown_at = -math.inf
        self._flush: asyncio.TimerHandle | None = None

    def go_on(self, lease: Lease) -> None:
        """The lease was kept for messages that came in meanwhile: another answer begins."""
        self.lease = lease
        self.announced = False
        self.said = []
        self.interrupted = None
        self.deed = self.settles = None
        self._shown = 0
        self._shown_at = -math.inf

    def interrupt(self, why: str) -> None:
        """Ends the agent's work at its next await; `lost` goes before `stop`."""
        if self.interrupted != "lost":
            self.interrupted = why
        if self.acting and why == "stop":
            return
        if self.scope is not None and not self.scope.expired():
            self.scope.reschedule(0)

    # ---- showing the text as it is written ----

    def say(self, text: str) -> None:
        self.said.append(text)
        if self._flush is None:
            wait = self._shown_at + DELTA_EVERY - time.monotonic()
            if wait <= 0:
                self.show()
            else:
                self._flush = asyncio.get_running_loop().call_later(wait, self.show)

    def show(self) -> None:
        self._flush = None
        self._shown_at = time.monotonic()
        text = "".join(self.said)
        if len(text) > self._shown:
            frame = {"type": "delta", "turn": self.lease.turn, "at": self._shown, "text": text[self._shown :]}
            self._shown = len(text)
            doorbell.ring(Ring(self.lease.conversation_id, frames=(frame,)))

    def finish_showing(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None

    def tell(self, status: str, **more: Any) -> None:
        frame = {"type": "turn", "turn": self.lease.turn, "status": status, **more}
        doorbell.ring(Ring(self.lease.conversation_id, frames=(frame,)))


class TurnRunner:
    """Answers the turns that this process holds, one a conversation, each in a task with a clean context."""

    def __init__(self) -> None:
        self.draining = False
        self.finished = 0
        self._turns: dict[int, Turn] = {}
        self._agent: CustomerSupportAgent | None = None

    @property
    def agent(self) -> CustomerSupportAgent:
        if self._agent is None:
            self._agent = build_agent()
        return self._agent

    @property
    def running(self) -> int:
        return len(self._turns)

    def begin(self, lease: Lease, asked_at: float, announced: bool = False) -> None:
        """Starts answering, from any loop or thread. `asked_at`: our monotonic clock before the lease was asked for."""
        loop = engine.loop()
        if running_loop() is loop:
            self._begin(lease, asked_at, announced)
        else:
            call_on(loop, self._begin, lease, asked_at, announced)

    def _begin(self, lease: Lease, asked_at: float, announced: bool = False) -> None:
        before = self._turns.get(lease.conversation_id)
        if before is not None:
            if before.lease.fence >= lease.fence:
                return
            before.interrupt("lost")  # it slept through its lease
        turn = Turn(lease, asked_at, announced)
        self._turns[lease.conversation_id] = turn
        # A clean context: the caller's request id, database state and async_to_sync ties are not the turn's.
        turn.task = asyncio.get_running_loop().create_task(self._run(turn), context=contextvars.Context())

    async def _run(self, turn: Turn) -> None:
        loop = asyncio.get_running_loop()
        keeper: list[asyncio.Task[None]] = []
        renewal = loop.call_later(settings.TURN_LEASE / 3, lambda: keeper.append(loop.create_task(keep_lease(turn))))
        try:
            while await self._answer(turn):
                pass
        except TurnLost:
            logger.info("turn.lost thread=%s turn=%s", turn.lease.thread_id, turn.lease.turn)
            turn.tell("ended", reason="taken_over")
        except Unavailable:
            logger.warning("turn.unstored thread=%s turn=%s", turn.lease.thread_id, turn.lease.turn)
        except Exception:
            logger.exception("turn.broken thread=%s turn=%s", turn.lease.thread_id, turn.lease.turn)
        finally:
            renewal.cancel()
            turn.finish_showing()
            for task in keeper:
                task.cancel()
            if self._turns.get(turn.lease.conversation_id) is turn:
                del self._turns[turn.lease.conversation_id]

    async def _answer(self, turn: Turn) -> bool:
        """One answer from start to commit; True when the lease goes on with messages that came in meanwhile."""
        started = time.monotonic()
        lease = turn.lease
        number = lease.ticket or Ticket.new_number()
        if lease.attempt >= LAST_ATTEMPT:
            answer = await cut_short(turn, GAVE_UP.format(ticket=number))
            why = Escalation("no answer after several attempts", "urgent", "high", 1.0)
            answer = replace(answer, escalation=why)
        else:
            answer = await self._ask_agent(turn, number)
        turn.finish_showing()
        done = await store_reply(turn, answer, number)
        if done.refused is not None:
            if done.lease is None:
                raise TurnLost
            turn.go_on(done.lease)
            return True
        reason = "stopped" if done.stopped else "answered"
        ended = {"type": "turn", "turn": lease.turn, "status": "ended", "reason": reason}
        if done.changed_state:
            await after_escalation(lease.session_id, done, actor="agent")
            turn.tell("ended", reason=reason)
        else:
            doorbell.ring(Ring(lease.conversation_id, done.last_seq, done.state, done.entries, (ended,)))
        self.finished += 1
        if answer.unanswered:
            await remember_unanswered(answer.unanswered, lease.conversation_id)
        logger.debug("turn.finished thread=%s ms=%d", lease.thread_id, (time.monotonic() - started) * 1000)
        if done.lease is None:
            return False
        turn.go_on(done.lease)
        return True

    async def _ask_agent(self, turn: Turn, ticket: str) -> Answer:
        if not turn.announced:
            turn.tell("started")
        try:
            async with asyncio.timeout(settings.AGENT_TURN_TIMEOUT) as turn.scope:
                if turn.interrupted:
                    turn.interrupt(turn.interrupted)
                context = await heed_consent(turn, await turn_context(turn.lease, ticket), self.agent.tools)
                if turn.interrupted == "stop" and turn.deed is not None:
                    return await cut_short(turn, turn.deed.text)
                async with aclosing(self.agent.answer(context)) as events:
                    async for event in events:
                        match event:
                            case Text(text):
                                turn.say(text)
                            case Thinking():
                                turn.tell("thinking")
                            case ToolStarted(tool):
                                turn.tell("tool", tool=tool)
                            case ToolEnded():
                                pass
                            case Answer():
                                return event
        except TimeoutError:
            if turn.interrupted == "lost":
                raise TurnLost from None
            if turn.interrupted == "stop":
                return await cut_short(turn, "".join(turn.said) or STOPPED)
            logger.error("turn.timed_out thread=%s turn=%s", turn.lease.thread_id, turn.lease.turn)
        finally:
            turn.scope = None
        answer = await cut_short(turn, "\n\n".join(filter(None, ["".join(turn.said), GAVE_UP.format(ticket=ticket)])))
        return replace(answer, escalation=Escalation("timeout", "general", "high", 1.0))

    def hear(self, ring: Ring) -> None:
        """A stop that was rung, here or elsewhere; hears every ring, and nearly none is one."""
        if ring.stop is None and ring.state not in NOT_THE_AGENTS:
            return
        turn = self._turns.get(ring.conversation_id)
        if turn is None:
            return
        if ring.stop == turn.lease.turn:
            turn.interrupt("stop")
        elif ring.state in NOT_THE_AGENTS:
            turn.interrupt("lost")

    async def drain(self, seconds: float) -> None:
        """Takes no new turn, lets the running ones finish, and gives back those that do not."""
        self.draining = True
        tasks = [turn.task for turn in self._turns.values() if turn.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        left = [turn for turn in self._turns.values() if turn.task is not None]
        for turn in left:
            if turn.task is not None:
                turn.task.cancel()
        await asyncio.gather(*(give_back(turn.lease) for turn in left))


async def turn_context(lease: Lease, ticket: str) -> TurnContext:
    """What the agent sees: the live session's metadata and the recent log."""
    session = await count_message(lease.session_id, lease.customer_count)
    entries = await journal.tail(
        lease.conversation_id, lease.asked_upto, max(RECENT, lease.asked_upto - lease.answered_upto)
    )
    return TurnContext(
        thread_id=lease.thread_id,
        session_id=lease.session_id,
        state=lease.state,
        user_id=lease.user_id,
        verified=lease.verified,
        metadata=session.metadata if session is not None else {},
        messages=tuple([entry.as_seen or as_chat_message(entry) for entry in entries]),
        answered_upto=lease.answered_upto,
        ticket=ticket,
        deadline=time.monotonic() + settings.AGENT_TURN_TIMEOUT - 1,
        max_reply=settings.AGENT_MAX_REPLY,
        away=people_are_away(timezone.now()),
    )


async def heed_consent(turn: Turn, context: TurnContext, tools: Mapping[str, Tool]) -> TurnContext:
    """Does what the customer said to a confirmation, and takes that message out of what is still to be answered."""
    consent = consent_of(context)
    if consent is None:
        return context
    lease, word = turn.lease, consent.decision
    turn.acting = True
    try:
        decided = await journal.do(DecideWrite(lease.conversation_id, lease, word.confirmation, word.agreed))
        if decided.refused is not None:
            raise TurnLost
        turn.deed = said_of(decided.intent, consent)
        if turn.deed is None:
            assert decided.intent is not None  # noqa: S101 - there is something to say of one that is not there
            turn.tell("tool", tool=decided.intent.tool)
            done = await carry_out(decided.intent, context, tools)
            turn.deed, turn.settles = done.deed, done.settles
    finally:
        turn.acting = False
    return replace(without(context, consent.message), deed=turn.deed)


async def cut_short(turn: Turn, text: str) -> Answer:
    """An answer that ends before its time, with what was done about a confirmation, or what nobody knows about it: by
    this turn, or by a holder who died in the middle.
    """
    deed = turn.deed
    if deed is None:
        found = await journal.do(FindUnsettled(turn.lease.conversation_id, turn.lease))
        if found.refused is not None:
            raise TurnLost
        if found.intent is None:
            return Answer(text)
        deed = in_doubt(found.intent, catalogue.CUT_SHORT)
    whole = text if text.startswith(deed.text) else f"{deed.text}\n\n{text}"
    return Answer(whole, tools_used=deed.tools_used, confirm=deed.confirm)


def as_chat_message(entry: Entry) -> ChatMessage:
    """Kept on the entry: a long chat's twenty newest messages are seen again in every turn."""
    seen = ChatMessage(
        entry.seq,
        entry.role,
        entry.text,
        tuple(entry.choices or ()),
        tuple(entry.citations),
        tuple(entry.attachments),
        entry.confirm,
        Decision(**entry.details) if entry.role == "customer" and entry.details else None,
        author=entry.author,
    )
    entry.as_seen = seen
    return seen


async def store_reply(turn: Turn, answer: Answer, ticket: str) -> Outcome:
    """Stores the answer. While the database is away it is tried again, under the same id, until the lease is out."""
    escalation, asks = answer.escalation, answer.confirm
    act = AgentReply(
        turn.lease.conversation_id,
        turn.lease,
        answer.text[: settings.AGENT_MAX_REPLY],
        citations=list(answer.citations),
        choices=list(answer.choices) or None,
        confirm={"id": asks.id, "summary": asks.summary} if asks else None,
        offer=NewConfirmation(asks.id, asks.tool, dict(asks.arguments), asks.summary)
        if asks is not None and not asks.begun
        else None,
        settles=turn.settles,
        details=details_of(answer),
        escalation=NewTicket(ticket, escalation.reason, escalation.category, escalation.priority)
        if escalation
        else None,
        stopped=turn.interrupted == "stop",
    )
    while True:
        try:
            return await journal.do(act)
        except Unavailable:
            if time.monotonic() > turn.own_until:
                raise
            act.tried = True
            await asyncio.sleep(REPLY_AGAIN)


def details_of(answer: Answer) -> dict[str, Any]:
    about: dict[str, Any] = {"tools_used": list(answer.tools_used), "confidence": answer.confidence}
    if answer.tools_failed:
        about["tools_failed"] = dict(answer.tools_failed)
    if answer.model is not None:
        about["model"] = answer.model
    return about


async def keep_lease(turn: Turn) -> None:
    """Renews the lease every third of its length, and ends the turn when that is refused or our own clock runs out."""
    while True:
        asked_at = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, turn.own_until - asked_at)):
                done = await journal.do(Renew(turn.lease.conversation_id, turn.lease))
        except (Unavailable, TimeoutError):
            if time.monotonic() >= turn.own_until:
                turn.interrupt("lost")
                return
            await asyncio.sleep(REPLY_AGAIN)
            continue
        if done.refused is not None:
            turn.interrupt("lost")
            return
        turn.own_until = asked_at + settings.TURN_LEASE
        if done.stopped:
            turn.interrupt("stop")
        await asyncio.sleep(settings.TURN_LEASE / 3)


async def give_back(lease: Lease) -> None:
    try:
        await journal.do(GiveBack(lease.conversation_id, lease))
    except Unavailable:
        logger.warning("turn.not_given_back thread=%s", lease.thread_id)  # it is taken over when the lease is out
    else:
        doorbell.ring(Ring(lease.conversation_id, lease.asked_upto))


async def remember_unanswered(question: str, conversation_id: int) -> None:
    try:
        await journal.read(UnansweredQuestion.objects.remember, question, conversation_id)
    except Unavailable:
        logger.warning("knowledge.question_not_kept")


# ---- the engine: what runs beside the doors ----


class Engine:
    """Starts and stops the chat's parts in this process. Without a server (a command, a test) turns run on a thread
    of their own.
    """

    def __init__(self) -> None:
        self.turns = TurnRunner()
        self.counter = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._starting = threading.Lock()
        doorbell.overhear(self.turns.hear)
        journal.unclaimed = self.turns.begin

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.turns.draining = False
        _ = self.turns.agent, policy()  # what is set wrongly stops the start, not the first customer
        await doorbell.start()
        self._recovery = self._loop.create_task(self._recover())

    async def drain(self, seconds: float) -> None:
        """Before the sockets close: they are told to come back elsewhere, running turns finish or are given back."""
        doorbell.send_away()
        await self.turns.drain(seconds)

    async def stop(self) -> None:
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.gather(self._recovery, return_exceptions=True)
        await doorbell.stop()
        with contextlib.suppress(Unavailable):
            await trail.flush()
        await close_all()
        self._loop = None
        await asyncio.to_thread(journal.close)

    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that turns run on: the server's, or one of our own where there is no server."""
        with self._starting:
            if self._loop is None or self._loop.is_closed():
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="turns", daemon=True).start()
            return self._loop

    def status(self) -> dict[str, dict[str, Any]]:
        return {
            "journal": {
                "state": "ok" if journal.available else "down",
                "commits": journal.commits,
                "log_reads": journal.log_reads,
            },
            "doorbell": {
                "state": "ok" if doorbell.available else "degraded",
                "listeners": doorbell.listeners,
                "neighbours": doorbell.neighbours,
            },
            "turns": {"state": "ok", "running": self.turns.running, "finished": self.turns.finished},
            **{f"backend_{name}": as_part(breaker) for name, breaker in statuses().items()},
        }

    async def _recover(self) -> None:
        """Takes over turns that nobody holds, closes chats whose time is over, and forgets leases that are."""
        looks, more = itertools.count(), False
        while True:
            try:
                more = await self._take_orphans(thoroughly=next(looks) % THOROUGH_LOOK == 0 or more)
                await expire_due()
                await forget_leases()
            except Unavailable:
                pass  # said in the log by the journal; the next look tries again
            except Exception:
                logger.exception("recovery.failed")
            await asyncio.sleep(settings.TURN_RECOVERY_INTERVAL)

    async def _take_orphans(self, thoroughly: bool) -> bool:
        """Whether the next look should be a thorough one, too."""
        if self.turns.draining:
            return False
        orphans = await journal.read(orphaned_chats, RECOVERED_AT_ONCE)
        given_up = await journal.read(given_up_chats, RECOVERED_AT_ONCE) if thoroughly else []
        for conversation_id in orphans + given_up:
            asked_at = time.monotonic()
            done = await journal.do(TakeTurn(conversation_id, doorbell.instance))
            if done.lease is not None:
                logger.info("turn.taken_over thread=%s attempt=%d", done.lease.thread_id, done.lease.attempt)
                self.turns.begin(done.lease, asked_at)
                if done.stopped:
                    doorbell.ring(Ring(conversation_id, stop=done.lease.turn))
        return len(given_up) == RECOVERED_AT_ONCE


def as_part(breaker: dict[str, Any]) -> dict[str, Any]:
    """A back end that is away makes answers poorer, and the desk no less ready."""
    return {**breaker, "state": "ok" if breaker["state"] == "closed" else "degraded", "circuit": breaker["state"]}


def orphaned_chats(limit: int) -> list[int]:
    return list(Conversation.objects.orphaned(timezone.now()).values_list("pk", flat=True)[:limit])


def given_up_chats(limit: int) -> list[int]:
    return list(Conversation.objects.given_up().values_list("pk", flat=True)[:limit])


def due_chats(limit: int) -> list[tuple[int, str]]:
    return list(Conversation.objects.expired(timezone.now()).values_list("pk", "session_id")[:limit])


async def forget_leases() -> None:
    """Of turns that ended a while ago: a chat that goes on would only get another one."""
    over = await journal.read(old_leases, FORGOTTEN_AT_ONCE)
    for start in range(0, len(over), FORGOTTEN_TOGETHER):  # customers' messages go between
        some = over[start : start + FORGOTTEN_TOGETHER]
        await asyncio.gather(*(journal.do(ForgetLease(conversation_id)) for conversation_id in some))


def old_leases(limit: int) -> list[int]:
    return list(Conversation.objects.had_a_turn(timezone.now() - FORGET_AFTER).values_list("pk", flat=True)[:limit])


def place_in_line(conversation_id: int) -> int:
    """1 for the one who has waited longest."""
    since = Conversation.objects.filter(pk=conversation_id).values_list("waiting_since", flat=True).first()
    return Conversation.objects.in_line().filter(waiting_since__lt=since).count() + 1 if since else 1


def about_state(conversation: Conversation) -> dict[str, Any]:
    """What a customer may know beside the state: who answers, or the place in the line, and the ticket."""
    said: dict[str, Any] = {}
    if conversation.state == Conversation.State.HUMAN and conversation.assignee is not None:
        said["who"] = display_name(conversation.assignee)
    if conversation.state == Conversation.State.WAITING:
        said["position"] = place_in_line(conversation.pk)
    if conversation.ticket is not None:
        said["ticket"] = conversation.ticket
    return said


def session_id_of(conversation_id: int) -> str | None:
    return Conversation.objects.filter(pk=conversation_id).values_list("session_id", flat=True).first()


def conversation_id_of(session_id: str) -> int | None:
    return Conversation.objects.filter(session_id=session_id).values_list("pk", flat=True).first()


def open_conversations_of(session_ids: list[str]) -> dict[str, int]:
    found = Conversation.objects.open().filter(session_id__in=session_ids)
    return dict(found.values_list("session_id", "pk"))


class OpenChats:
    """Which chats of ended sessions are still open: what is asked in one turn of the loop is one query, since a sweep
    tells of many ends side by side, nearly all of chats that are closed already.
    """

    def __init__(self) -> None:
        self._asked: dict[asyncio.AbstractEventLoop, tuple[list[str], asyncio.Task[dict[str, int]]]] = {}

    async def of_session(self, session_id: str) -> int | None:
        loop = asyncio.get_running_loop()
        if loop not in self._asked:
            asked: list[str] = []
            self._asked[loop] = asked, loop.create_task(self._look(loop, asked), context=contextvars.Context())
        session_ids, looking = self._asked[loop]
        session_ids.append(session_id)
        return (await asyncio.shield(looking)).get(session_id)

    async def _look(self, loop: asyncio.AbstractEventLoop, asked: list[str]) -> dict[str, int]:
        await asyncio.sleep(0)
        del self._asked[loop]
        return await journal.read(open_conversations_of, asked)


open_chats = OpenChats()


_rates: dict[str, Rate] = {}


def message_rate() -> Rate:
    return _rates.get("message") or _rates.setdefault("message", Rate(settings.CHAT_RATE_LIMIT))


def upload_rate() -> Rate:
    return _rates.setdefault("upload", Rate(settings.CHAT_RATE_LIMIT))


def opening_rate() -> Rate:
    return _rates.setdefault("opening", Rate(settings.CHAT_SESSION_RATE_LIMIT))


engine = Engine()
