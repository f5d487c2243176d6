"""One conversation shown to one open desk: its messages, what passes by, and the notes, which no follower carries."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, aclosing
from typing import Any

from agent_app import staff
from agent_app.desk.presence import presence
from agent_app.follower import TRY_AGAIN, Follower
from agent_app.journal import journal
from agent_app.models import Conversation, Note
from agent_app.models.refusal import Unavailable
from agent_app.sockets import MOST_MISSED, error_frame

NOTES_EVERY = 5.0  # seconds; heals what a lost ring left
OVERLAP = 20  # ids: in PostgreSQL a note may be seen before one with a smaller id

Give = Callable[[dict[str, Any]], Awaitable[None]]


class Subscription:
    def __init__(
        self, conversation: Conversation, last_note: int, give: Give, may_see_notes: Callable[[], bool]
    ) -> None:
        self.conversation = conversation
        self.follower = Follower(conversation.pk)
        self.task: asyncio.Task[None] | None = None
        self._give = give
        self._may_see_notes = may_see_notes
        self._last_note = last_note
        self._notes_given: set[int] | None = None  # None: not looked yet, and what the client knows is not known
        self._has_note = asyncio.Event()

    async def begin(self, last_seq: int) -> dict[str, Any]:
        """Joins the bell first, then reads. Gives what the client is told: from where it goes on."""
        with ExitStack() as unless_found:
            self.follower.join()
            unless_found.callback(self.follower.leave)
            self.conversation = now = await staff.find(self.conversation.thread_id)
            unless_found.pop_all()
        recovered = 0 <= now.last_seq - last_seq <= MOST_MISSED
        self.follower.start_from(last_seq if recovered else now.last_seq, now.state, now.last_seq)
        standing = staff.standing_of(now).to_wire()
        told = {
            "type": "subscribed",
            "conversation": standing.pop("id"),
            **standing,
            "recovered": recovered,
            "people": presence.people(now.pk),
        }
        if not recovered:
            told["history"] = f"/api/v1/desk/conversations/{now.thread_id}/messages/?after=0"
        return told

    def end(self) -> None:
        self.follower.leave()
        if self.task is not None:
            self.task.cancel()

    def has_note(self) -> None:
        self._has_note.set()

    async def run(self, subscribed: dict[str, Any]) -> None:
        await self._give(subscribed)
        notes = asyncio.ensure_future(self._show_notes())
        try:
            await self._show_messages()
            await notes  # a chat that has ended stays to be read, and notes may be added to it
        finally:
            notes.cancel()

    async def _show_messages(self) -> None:
        async with aclosing(self.follower.frames()) as frames:
            async for frame in frames:
                if self._is_for_staff(frame):
                    await self._give(self._named(frame))
        if self.follower.state == "erased":
            await self._give({**error_frame(staff.NO_SUCH_CHAT), "conversation": self.conversation.thread_id})

    def _is_for_staff(self, frame: dict[str, Any]) -> bool:
        """The desk's own bell tells a desk to come back, and that a colleague writes."""
        return frame["type"] != "reconnect" and not (frame["type"] == "typing" and frame["role"] == "staff")

    def _named(self, frame: dict[str, Any]) -> dict[str, Any]:
        return {"type": frame["type"], "conversation": self.conversation.thread_id, **frame}

    async def _show_notes(self) -> None:
        while True:
            self._has_note.clear()
            if self._may_see_notes():
                try:
                    notes = await journal.read(notes_of, self.conversation.pk, self._last_note - OVERLAP)
                except Unavailable:
                    await asyncio.sleep(TRY_AGAIN)
                    continue
                if self._notes_given is None:
                    self._notes_given = {note.pk for note in notes if note.pk <= self._last_note}
                for note in notes:
                    if note.pk not in self._notes_given:
                        self._notes_given.add(note.pk)
                        self._last_note = max(self._last_note, note.pk)
                        await self._give(self._named({"type": "note", **note.to_wire()}))
            try:
                async with asyncio.timeout(NOTES_EVERY):
                    await self._has_note.wait()
            except TimeoutError:
                continue


def notes_of(conversation_id: int, after: int) -> list[Note]:
    return list(Note.objects.filter(conversation=conversation_id).later_than(max(after, 0)))
