"""Taking a turn: the one use case that every door calls.

A door hands over a customer's message; it is stored, numbered and acknowledged (`send_message`). The commit that
stored it also says whose turn it is to answer: nobody's, if one is being written already, or this instance's. Then
the `TurnRunner` (`answering`) lets the agent answer, shows the text as it is written, and stores the answer, which the
database accepts only while the turn is still its own. A door never owns a turn: it may wait for one, and it may die.

Whatever dies, the log is the queue: each instance looks for customers who wait and turns that nobody holds (`engine`).
"""

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from agent_app.agent import catalogue
from agent_app.agent.events import Decision
from agent_app.answering import RECENT, after_escalation, turn_started, turns
from agent_app.doorbell import Ring, doorbell
from agent_app.escalation import people_are_away
from agent_app.follower import Follower
from agent_app.journal import journal
from agent_app.limits import Rate
from agent_app.models import Attachment, AuditEntry, Conversation, Entry, Feedback, Message, Ticket
from agent_app.models.audit import SYSTEM
from agent_app.models.conversations import hash_token
from agent_app.models.people import display_name
from agent_app.models.refusal import Refused, Unavailable
from agent_app.models.turns import (
    NOT_THE_AGENTS,
    AskForPerson,
    Close,
    CustomerMessage,
    Expire,
    KeepAlive,
    NewTicket,
    Outcome,
    StopTurn,
)
from agent_app.session import counter, live_session
from agent_app.tools.attachments import Checked
from sessions_app.stores import get_store

logger = logging.getLogger(__name__)

EXPIRED_AT_ONCE = 200

ASKED_FOR_PERSON = (
    "I have asked a person to join this chat. Your ticket is **{ticket}**. "
    "You can go on writing here; I will help as far as I can until somebody comes."
)

ENDED = Refused("closed", "This chat has ended. Start a new one to go on.")
NO_ATTACHMENT = Refused("not_found", "There is no such file in this chat.")
UNKNOWN = Refused("not_found", "There is no such chat for this token. Start a new one.")


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
    # Counted before the commit, which others of this chat do not wait for; given back where nothing new was stored.
    within_rate = message_rate().take(conversation.session_id)
    message = CustomerMessage(
        conversation.pk,
        text,
        client_id,
        holder=None if turns.draining else doorbell.instance,
        attachments=files,
        within_rate=within_rate,
        decision=asdict(decision) if decision is not None else None,
    )
    try:
        done = await journal.do(message)
    except Unavailable:  # not for a caller who hangs up: then it may well be stored
        if within_rate:
            message_rate().give_back(conversation.session_id)
        raise
    if within_rate and (done.entry is None or done.entry.id != message.id):
        message_rate().give_back(conversation.session_id)
    if done.changed_state:
        await after_close(conversation.session_id, done)
    raise_refusal(done, conversation.session_id)
    if done.entries:
        # In the next step of the loop, so that the sender's ack goes out before its own message comes back.
        started = (turn_started(done.lease),) if done.lease is not None else ()
        asyncio.get_running_loop().call_soon(ring_outcome, done, started)
    if done.lease is not None:
        turns.begin(done.lease, asked_at, announced=bool(done.entries))
    elif done.entries and done.state == Conversation.State.HUMAN:
        counter.count(conversation.session_id, done.customer_count)
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


async def choose(conversation: Conversation, choice_id: str, client_id: str | None = None) -> Choice:
    """A click on what the agent offered: a choice's id; a confirmation's, which agrees to it, or that and ":no".

    Refused when it was not offered lately in this chat; where it was sent before under this `client_id`, lately then.
    Whether a confirmation is still open its turn finds out.
    """
    now = await refresh(conversation)
    sent_before = await journal.read(seq_sent_as, conversation.pk, client_id) if client_id is not None else None
    then = await journal.tail(conversation.pk, sent_before, RECENT) if sent_before is not None else ()
    lately = await journal.tail(conversation.pk, now.last_seq, RECENT)
    confirmation, no, _ = choice_id.partition(":no")
    for entry in reversed([*then, *lately]):
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


def ring_outcome(done: Outcome, frames: tuple[dict[str, Any], ...] = (), about: dict[str, Any] | None = None) -> None:
    doorbell.ring(Ring(done.conversation_id, done.last_seq, done.state, done.entries, frames, about))


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
        if no_more_will_come(sent, sent.entry.seq):
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
    if no_more_will_come(sent, seq):
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


def no_more_will_come(sent: Outcome, seq: int) -> bool:
    """Message `seq`, perhaps a repeated one, was answered, or became a person's: before a release, too."""
    return sent.state in NOT_THE_AGENTS or sent.answered_upto >= seq


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


# ---- what is asked of the rows ----


def due_chats(limit: int) -> list[tuple[int, str]]:
    return list(Conversation.objects.expired(timezone.now()).values_list("pk", "session_id")[:limit])


def about_state(conversation: Conversation) -> dict[str, Any]:
    """What a customer may know beside the state: who answers, or the place in the line, and the ticket."""
    said: dict[str, Any] = {}
    if conversation.state == Conversation.State.HUMAN and conversation.assignee is not None:
        said["who"] = display_name(conversation.assignee)
    if conversation.state == Conversation.State.WAITING:
        said["position"] = Conversation.objects.place_in_line(conversation.pk)
    if conversation.ticket is not None:
        said["ticket"] = conversation.ticket
    return said


def seq_sent_as(conversation_id: int, client_id: str) -> int | None:
    sent = Message.objects.filter(conversation_id=conversation_id, role="customer", client_id=client_id)
    return sent.values_list("seq", flat=True).first()


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
