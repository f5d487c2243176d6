"""What staff do with a chat: the desk's use cases, as `chat` has the customer's.

Each act is one transaction of the journal, so that of two people who act at once one wins, with its entry in the audit
log and the letter that it owes. The ring, which may be lost, follows the commit, and only the first time.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction

from agent_app import chat
from agent_app.doorbell import DESK, Ring, doorbell
from agent_app.journal import journal
from agent_app.models import Attendance, AuditEntry, CannedReply, Conversation, Fact, Note
from agent_app.models.conversations import Entry
from agent_app.models.people import colleagues, display_name, person
from agent_app.models.refusal import Refused
from agent_app.models.turns import Assign, Outcome, Release, StaffReply, TakeOver
from sessions_app.stores import get_store

JOINED = "{name} has joined the chat."
LEFT = "{name} has left the chat; the assistant answers again."
PASSED_ON = "{name} has taken over the chat."

MOST_CANNED = 200
MOST_TOLD = 50  # chats of one customer
NO_SUCH_CHAT = Refused("not_found", "There is no such conversation: it may have been erased.")
HAS_ENDED = Refused("closed", "This chat has ended: it can only be read, and notes can be added.")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a conversation stands after an act."""

    thread_id: str
    state: str
    assignee: dict[str, Any] | None
    ticket: str | None
    last_seq: int

    def to_wire(self) -> dict[str, Any]:
        return {
            "id": self.thread_id,
            "state": self.state,
            "assignee": self.assignee,
            "ticket": self.ticket,
            "last_seq": self.last_seq,
        }


async def find(thread_id: str) -> Conversation:
    """Refused `not_found` for a conversation that is not there (any more)."""
    found = await journal.read(Conversation.objects.select_related("assignee").named(thread_id).first)
    if found is None:
        raise NO_SUCH_CHAT
    return found


# ---- acts ----


async def take_over(user: Any, thread_id: str) -> Standing:
    """The chat is this person's from now on; of two at once one has it, the other gets `conflict` with who."""
    conversation, name = await find(thread_id), display_name(user)
    act = TakeOver(conversation.pk, user.pk, JOINED.format(name=name), name, actor=user.get_username())
    done = await journal.do(act)
    await raise_refusal(done, user)
    if done.changed_state:
        # Said in a frame where it was a person's before, whose account is gone: the state itself has not changed.
        passed_on = ({"type": "state", "state": done.state, "who": name},) if conversation.state == done.state else ()
        chat.ring_outcome(done, passed_on, about={"who": name})
        await get_store().update(conversation.session_id, {"escalated": True})
    return await standing(conversation, done)


async def release(user: Any, thread_id: str) -> Standing:
    """Gives the chat back to the agent, which answers what comes from now on."""
    conversation, name = await find(thread_id), display_name(user)
    act = Release(conversation.pk, user.pk, LEFT.format(name=name), name, actor=user.get_username())
    done = await journal.do(act)
    await raise_refusal(done, user)
    if done.changed_state:
        chat.ring_outcome(done)
        await get_store().update(conversation.session_id, {"escalated": False})
    return await standing(conversation, done)


async def assign(user: Any, thread_id: str, assignee: int | str | None) -> Standing:
    """Gives the chat to a colleague (an id, or "me"): at once when a person has it, else as a mark. None: no mark."""
    conversation = await find(thread_id)
    to = None if assignee is None else await colleague(user.pk if assignee == "me" else assignee)
    name = display_name(to) if to is not None else ""
    said = PASSED_ON.format(name=name)
    act = Assign(conversation.pk, to.pk if to else None, said, name, actor=user.get_username())
    done = await journal.do(act)
    await raise_refusal(done, user)
    if not done.repeated:
        passed_on = ({"type": "state", "state": done.state, "who": name},) if done.entries else ()
        chat.ring_outcome(done, passed_on)
        doorbell.ring(Ring(DESK, frames=({"type": "changed", "of": conversation.pk},)))
    return await standing(conversation, done)


async def reply(user: Any, thread_id: str, text: str, client_id: str | None = None) -> Entry:
    """A message to the customer, from the person who has the chat; the same `client_id` gives the same message."""
    conversation = await find(thread_id)
    done = await journal.do(
        StaffReply(
            conversation.pk,
            user.pk,
            text,
            display_name(user),
            client_id,
            actor=user.get_username(),
            letter_after=timedelta(seconds=settings.REPLY_EMAIL_AFTER),  # unless they see the reply by then
        )
    )
    if done.refused == "conflict" and done.repeated:
        raise Refused("conflict", "Another text was sent under this client_id. Use a new client_id.", field="client_id")
    await raise_refusal(done, user)
    assert done.entry is not None  # noqa: S101 - a message that was not refused is there
    if done.entries:
        chat.ring_outcome(done)
    return done.entry


async def note(user: Any, thread_id: str, text: str, client_id: str | None = None) -> Note:
    """A private note, for staff alone. The same `client_id` again gives the same note."""
    conversation = await find(thread_id)
    written, new = await journal.read(write_note, conversation, user, text, client_id)
    if written.text != text:
        raise Refused("conflict", "Another text was sent under this client_id. Use a new client_id.", field="client_id")
    if new:
        # Only that there is one: whoever may read notes reads it from the database.
        doorbell.ring(Ring(DESK, frames=({"type": "note", "of": conversation.pk},)))
    return written


async def forget(user: Any, thread_id: str, fact_id: int) -> None:
    """Deletes what the agent remembers in this chat, whichever chat of this customer it was said in."""
    conversation = await find(thread_id)
    shown_in = await journal.read(delete_fact, conversation, user, fact_id)
    if not shown_in:
        raise Refused("not_found", "The agent does not remember this (any more).")
    doorbell.ring(Ring(DESK, frames=tuple({"type": "details", "of": each} for each in shown_in)))


async def resolve(user: Any, thread_id: str) -> Standing:
    """Ends the chat, whoever has it; resolving again changes nothing."""
    conversation = await find(thread_id)
    await chat.end_chat(conversation.pk, "resolved", user.get_username())
    return standing_of(await find(thread_id))


async def typing(user: Any, thread_id: str, on: bool) -> Conversation:
    """Shown to the customer when the person who has the chat writes."""
    conversation = await find(thread_id)
    if conversation.state == Conversation.State.HUMAN and conversation.assignee_id == user.pk:
        doorbell.ring(Ring(conversation.pk, frames=({"type": "typing", "role": "staff", "on": on},)))
    return conversation


async def set_online(user: Any, online: bool) -> None:
    await journal.read(Attendance.objects.set_away, user, not online)
    doorbell.ring(Ring(DESK, frames=({"type": "staff"},)))


async def canned_replies(words: str) -> list[dict[str, Any]]:
    found = CannedReply.objects.fitting(words)[:MOST_CANNED]
    return [reply.to_wire() for reply in await journal.read(list, found)]


# ---- what follows ----


def write_note(conversation: Conversation, user: Any, text: str, client_id: str | None) -> tuple[Note, bool]:
    with transaction.atomic():
        written, new = Note.objects.write(conversation, user, text, client_id)
        if new:
            AuditEntry.record("desk.noted", conversation.session_id, user.get_username(), note=written.pk)
    return written, new


def delete_fact(conversation: Conversation, user: Any, fact_id: int) -> set[int]:
    """The newest chats that it is shown beside; none when it is not there any more."""
    with transaction.atomic():
        fact = Fact.objects.known_to(conversation).filter(pk=fact_id).first()
        if fact is None or not Fact.objects.filter(pk=fact_id).delete()[0]:
            return set()
        AuditEntry.record("desk.forgotten", conversation.session_id, user.get_username(), fact=fact_id)
    shown_in = {conversation.pk, fact.conversation_id}
    if fact.user_id:
        theirs = Conversation.objects.filter(user_id=fact.user_id, verified=True)
        shown_in |= set(theirs.newest_first(MOST_TOLD).values_list("pk", flat=True))
    return shown_in


async def raise_refusal(done: Outcome, user: Any) -> None:
    if done.refused is None:
        return
    if done.refused == "closed":
        raise HAS_ENDED
    if done.refused == "not_found":
        raise NO_SUCH_CHAT
    who = await journal.read(person_named, done.assignee_id) if done.state == Conversation.State.HUMAN else None
    if who is None:
        raise Refused("conflict", "Nobody has this chat yet: take it over first.")
    message = f"{who['name']} has this chat. Ask them, or have it assigned to you."
    if who["id"] == user.pk:  # who would assign it to nobody
        message = "You have this chat: release it, or assign it to somebody."
    raise Refused("conflict", message, who=who)


async def standing(conversation: Conversation, done: Outcome) -> Standing:
    assignee = await journal.read(person_named, done.assignee_id)
    return Standing(conversation.thread_id, done.state, assignee, done.ticket, done.last_seq)


def standing_of(conversation: Conversation) -> Standing:
    assignee = person(conversation.assignee) if conversation.assignee is not None else None
    return Standing(conversation.thread_id, conversation.state, assignee, conversation.ticket, conversation.last_seq)


def person_named(user_id: int | None) -> dict[str, Any] | None:
    user = get_user_model().objects.filter(pk=user_id).first() if user_id is not None else None
    return person(user) if user is not None else None


async def colleague(user_id: Any) -> Any:
    """A member of staff who may take chats over."""
    found = None
    if isinstance(user_id, int) and not isinstance(user_id, bool):
        found = await journal.read(colleagues().filter(pk=user_id).first)
    if found is None:
        raise Refused(
            "invalid", "Send assignee as the id of somebody who may take chats over, me, or null.", field="assignee"
        )
    return found
