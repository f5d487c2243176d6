"""Reaching whoever is not there: letters, and a word to a customer for whom nobody came.

Every instance looks every few seconds for what is due, over partial indexes; one claims a letter by a comparison in its
row and sends it, off every request's path. A letter that failed is tried again later; one whose sender died in the
middle is left, since it may have gone out: nobody is written to twice for one event.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from smtplib import SMTPException
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from agent_app import chat
from agent_app.journal import journal
from agent_app.models import Attendance, Conversation, Mail, Seen
from agent_app.models.conversations import ASKED_FOR_EMAIL, Entry
from agent_app.models.mail import ticket_of
from agent_app.models.people import colleagues
from agent_app.models.refusal import Unavailable
from agent_app.models.turns import SayNobodyCame

logger = logging.getLogger(__name__)

LOOK_EVERY = 5.0  # seconds
AT_ONCE = 20
SEEN_EVERY = 0.5  # seconds: what many sockets have shown is written together
NOT_SENT = (SMTPException, OSError)

NOBODY_IS_THERE = (
    "I am sorry, nobody from our team is here right now. If you write {email} here, we will answer you by e-mail, too. "
    "Your ticket is **{ticket}**."
)
EVERYBODY_IS_BUSY = (
    "I am sorry that it takes so long: everybody is busy with other customers. You need not stay: if you write {email} "
    "here, we will answer you by e-mail, too. Your ticket is **{ticket}**."
)


# ---- what customers have seen ----


class SeenBy:
    """Notes how far customers' own devices were shown what people wrote; lossy, for at worst a letter too many goes."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._writing: asyncio.Task[None] | None = None

    def note(self, conversation_id: int, seq: int) -> None:
        self._seen[conversation_id] = max(seq, self._seen.get(conversation_id, 0))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._seen:
            await asyncio.sleep(SEEN_EVERY)
            seen, self._seen = self._seen, {}
            try:
                for conversation_id, seq in seen.items():
                    await journal.read(Seen.upto, conversation_id, seq)
            except Unavailable:
                logger.warning("mail.seen_not_kept count=%d", len(seen))


seen_by = SeenBy()


def note_read(conversation_id: int, entries: Sequence[Entry]) -> None:
    """The same for a customer who reads over REST, in the request's own thread. A database that is busy may miss it: at
    worst a letter tells of what was read.
    """
    last = max((entry.seq for entry in entries if entry.role == "staff"), default=0)
    if last:
        with suppress(OperationalError, InterfaceError):
            Seen.upto(conversation_id, last)


# ---- the part of the process ----


class Reaching:
    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._look_forever())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(min(LOOK_EVERY, settings.ESCALATION_TIMEOUT / 2))
            try:
                await say_nobody_came()
                await send_letters()
            except Unavailable:
                logger.debug("mail.did_not_look")  # said in the log by the journal
            except Exception:  # the outermost edge of the part: it must look again
                logger.exception("mail.failed")


reaching = Reaching()


# ---- nobody came ----


async def say_nobody_came() -> int:
    """Tells customers who have waited for ESCALATION_TIMEOUT, each once; how many were told by this call."""
    told = 0
    for conversation_id, ticket in await journal.read(told_nothing):
        words = EVERYBODY_IS_BUSY if await journal.read(anybody_online) else NOBODY_IS_THERE
        text = words.format(email=ASKED_FOR_EMAIL, ticket=ticket)
        act = SayNobodyCame(conversation_id, timedelta(seconds=settings.ESCALATION_TIMEOUT), text)
        done = await journal.do(act)
        if done.entries:
            chat.ring_outcome(done)
            told += 1
    return told


def told_nothing() -> list[tuple[int, str | None]]:
    since = timezone.now() - timedelta(seconds=settings.ESCALATION_TIMEOUT)
    due = Conversation.objects.in_line().filter(nobody_told=False, waiting_since__lte=since)
    return list(due.values_list("pk", "ticket")[:AT_ONCE])


def anybody_online() -> bool:
    return Attendance.objects.online(timezone.now()).exists()


# ---- letters ----


async def send_letters() -> int:
    """Sends what is due; how many letters went out."""
    sent = 0
    for letter in await journal.read(letters_due):
        if await journal.read(letter.claim):
            sent += await send(letter)
    return sent


def letters_due() -> list[Mail]:
    now = timezone.now()
    Mail.objects.owe_escalations(now)
    lost = Mail.objects.give_up_lost(now)
    if lost:
        logger.error("mail.in_doubt count=%d", lost)
    return list(Mail.objects.due(now).select_related("conversation")[:AT_ONCE])


async def send(letter: Mail) -> bool:
    """A letter that this process has claimed."""
    message = await journal.read(written, letter)
    if message is None:
        await journal.read(letter.settle, Mail.State.NOT_NEEDED)
        return False
    try:
        await asyncio.to_thread(message.send)
    except NOT_SENT as error:
        again = await journal.read(letter.fail)
        logger.warning("mail.not_sent event=%s error=%s again=%s", letter.event, type(error).__name__, again)
        return False
    await journal.read(letter.settle, Mail.State.SENT)
    logger.info("mail.sent event=%s", letter.event)
    return True


def written(letter: Mail) -> EmailMessage | None:
    """The letter as it is to go out now; None when nobody needs it any more, or there is no address."""
    conversation = Conversation.objects.get(pk=letter.conversation_id)
    if letter.kind == Mail.Kind.ESCALATION:
        return to_staff(letter, conversation)
    return to_customer(letter, conversation)


def to_staff(letter: Mail, conversation: Conversation) -> EmailMessage | None:
    if conversation.state != Conversation.State.WAITING:
        return None
    to = settings.STAFF_EMAIL or emails_of_staff()
    ticket = ticket_of(conversation)
    if not to or ticket is None:
        return None
    lines = [
        f"{conversation.user_id or 'A visitor'} asks for a person: {ticket.reason or 'no reason given'}.",
        f"Ticket {ticket.number}, {ticket.category}, priority {ticket.priority}.",
        *([f"{settings.SITE_URL}/desk/{conversation.thread_id}/"] if settings.SITE_URL else []),
    ]
    # Staff who know of each other are not the point of the letter: nobody sees the others' addresses.
    return message(letter, f"[{ticket.number}] A customer asks for a person", "\n\n".join(lines), bcc=to)


def emails_of_staff() -> list[str]:
    """Of those who are online; of all who may take chats over when nobody is."""
    people = colleagues().exclude(email="")
    there = people.filter(pk__in=Attendance.objects.online(timezone.now()).values("user"))
    return list(there.values_list("email", flat=True)) or list(people.values_list("email", flat=True))


def to_customer(letter: Mail, conversation: Conversation) -> EmailMessage | None:
    entries = conversation.messages.after(0).entries()
    last = max((entry.seq for entry in entries if entry.role == "staff"), default=0)
    seen = Seen.objects.filter(pk=conversation.pk).values_list("seq", flat=True).first() or 0
    wrote_since = any(entry.role == "customer" and entry.seq > last for entry in entries)
    to = conversation.email_of_customer()
    if to is None or seen >= last or wrote_since:
        return None
    text = "Somebody has answered you. Here is the whole chat.\n\n" + conversation.as_text(entries)
    return message(letter, "Your chat with us: an answer", text, to=[to])


def message(letter: Mail, subject: str, text: str, **to: Any) -> EmailMessage:
    """With an id of its own for the event, so that a mailbox that got it twice shows it once."""
    host = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].strip("> ") or "localhost"
    named = {"Message-ID": f"<supportdesk-{letter.event.replace(':', '-')}@{host}>"}
    return EmailMessage(subject, text, settings.DEFAULT_FROM_EMAIL, headers=named, **to)
