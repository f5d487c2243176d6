"""What every open desk of this process is told by itself: changes of the list, who looks at what, who is there.

Rings say that something has changed; gathered for a moment, the cards of what changed are read once and go to every
socket. What a lost ring left out is found by a look at the newest changes every few seconds.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from django.utils import timezone

from agent_app.desk import cards
from agent_app.desk.presence import TELL_EVERY, presence
from agent_app.doorbell import DESK, Ring, call_on, doorbell, running_loop
from agent_app.journal import journal
from agent_app.models import Attendance, Conversation
from agent_app.models.people import SIGN_EVERY
from agent_app.models.refusal import Unavailable

logger = logging.getLogger(__name__)

GATHER_FOR = 0.2  # seconds: changes that come together are read and told together
LOOK_EVERY = 5.0  # seconds
LOOK_BACK = timedelta(seconds=30)
MOST_AT_ONCE = 200
REMEMBERED = 20_000  # conversations, and how each was told last
TRY_AGAIN = 1.0  # seconds

Told = tuple[str, int | None, int]  # state, assignee, last_seq


class Desk(Protocol):
    """An open desk: one socket of one person."""

    user_id: int
    watched: frozenset[str]

    def put(self, frame: dict[str, Any]) -> None: ...

    def has_note(self, conversation_id: int) -> None: ...

    def has_details(self, conversation_id: int) -> None: ...

    def see_people(self, conversation_id: int, people: list[dict[str, Any]]) -> None: ...


@dataclass(frozen=True, slots=True)
class Change:
    conversation_id: int
    now: Told
    card: dict[str, Any]


class LiveDesk:
    def __init__(self) -> None:
        self._desks: set[Desk] = set()
        self._changed: set[int] = set()
        self._for_all: set[int] = set()  # of the changed: those that everyone is told, whatever they watch
        self._told: OrderedDict[int, Told] = OrderedDict()
        self._here: dict[int, dict[Desk, dict[str, Any]]] = {}  # who of this process's people looks at what
        self._roll: list[dict[str, Any]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()

    # ---- a part of the process ----

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        doorbell.overhear(self.hear)
        jobs = (self._tell_forever(), self._look_forever(), self._sign_forever())
        self._tasks = [self._loop.create_task(job) for job in jobs]

    async def stop(self) -> None:
        doorbell.overhear_no_more(self.hear)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks, self._loop = [], None

    # ---- desks ----

    async def join(self, desk: Desk) -> None:
        self._desks.add(desk)
        await journal.read(Attendance.objects.note_signs, {desk.user_id})

    def leave(self, desk: Desk) -> None:
        self._desks.discard(desk)
        for conversation_id in [each for each, desks in self._here.items() if desk in desks]:
            self.looks_away(desk, conversation_id)

    def looks(self, desk: Desk, conversation_id: int, who: dict[str, Any], doing: str) -> None:
        """This person has the conversation open: `looking` or `writing`."""
        self._here.setdefault(conversation_id, {})[desk] = {**who, "doing": doing}
        self._tell_presence(conversation_id)

    def looks_away(self, desk: Desk, conversation_id: int) -> None:
        desks = self._here.get(conversation_id, {})
        if desks.pop(desk, None) is not None:
            if not desks:
                del self._here[conversation_id]
            self._tell_presence(conversation_id)

    def _tell_presence(self, conversation_id: int) -> None:
        people: dict[int, dict[str, Any]] = {}
        for each in self._here.get(conversation_id, {}).values():
            if each["id"] not in people or each["doing"] == "writing":
                people[each["id"]] = each
        presence.tell(conversation_id, people.values())

    # ---- hearing ----

    def hear(self, ring: Ring) -> None:
        """Every ring of every conversation comes by here: quick, and from any thread."""
        if self._loop is None or (not self._desks and ring.conversation_id != DESK):
            return
        if running_loop() is self._loop:
            self._take(ring)
        else:
            call_on(self._loop, self._take, ring)

    def _take(self, ring: Ring) -> None:
        if ring.conversation_id == DESK:
            for frame in ring.frames:
                self._take_word(frame)
        elif ring.last_seq or ring.state is not None:
            self._changed.add(ring.conversation_id)
            self._wake.set()

    def _take_word(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "present":
                if presence.hear(frame):
                    self._people_changed(frame["of"])
            case "changed":
                self._change_for_all(frame["of"])
            case "note":
                for desk in self._desks:
                    desk.has_note(frame["of"])
            case "details":
                for desk in self._desks:
                    desk.has_details(frame["of"])
            case "staff":
                self._roll = None
                self._wake.set()

    def _people_changed(self, conversation_id: int) -> None:
        people = presence.people(conversation_id)
        for desk in self._desks:
            desk.see_people(conversation_id, people)
        self._change_for_all(conversation_id)

    def _change_for_all(self, conversation_id: int) -> None:
        if self._desks:
            self._for_all.add(conversation_id)
            self._changed.add(conversation_id)
            self._wake.set()

    # ---- telling ----

    async def _tell_forever(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_FOR)
            self._wake.clear()
            try:
                while self._changed:
                    await self._tell_changes()
                if self._roll is None:
                    await self._call_roll()
            except Unavailable:
                await asyncio.sleep(TRY_AGAIN)
                self._wake.set()
            except Exception:  # the outermost edge of the part: the next change must be told all the same
                logger.exception("desk.not_told")

    async def _tell_changes(self) -> None:
        ids = set(list(self._changed)[:MOST_AT_ONCE])
        for_all = self._for_all & ids
        self._changed -= ids
        self._for_all -= ids
        try:
            changes = await journal.read(changes_of, ids)
            counts = await journal.read(cards.Counts)
        except Unavailable:
            self._changed |= ids
            self._for_all |= for_all
            raise
        everyones = [change for change in changes if self._is_for_all(change, for_all)]
        for desk in tuple(self._desks):
            shown = [change.card for change in changes if change in everyones or change.now[0] in desk.watched]
            if shown:
                desk.put({"type": "inbox", "conversations": shown, "counts": counts.of(desk.user_id)})

    def _is_for_all(self, change: Change, for_all: set[int]) -> bool:
        """New, or of another state or assignee than it was told last; a message alone is for those who watch."""
        before = self._told.get(change.conversation_id)
        self._told[change.conversation_id] = change.now
        self._told.move_to_end(change.conversation_id)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return before is None or before[:2] != change.now[:2] or change.conversation_id in for_all

    async def _call_roll(self) -> None:
        roll = await journal.read(Attendance.objects.roll)
        if roll != self._roll:
            self._roll = roll
            for desk in tuple(self._desks):
                desk.put({"type": "staff", "people": roll})

    # ---- healing ----

    async def _look_forever(self) -> None:
        """Finds what lost rings left out, and what was not told again."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            for conversation_id in presence.lapse():
                self._people_changed(conversation_id)
            if not self._desks:
                continue
            try:
                for conversation_id, now in (await journal.read(newest_changes)).items():
                    if self._told.get(conversation_id) != now:
                        self._changed.add(conversation_id)
                        self._wake.set()
                await self._call_roll()
            except Unavailable:
                logger.debug("desk.did_not_look")  # said in the log by the journal

    async def _sign_forever(self) -> None:
        """Tells again who looks at what, and that these people are there."""
        signed = 0.0
        while True:
            await asyncio.sleep(TELL_EVERY)
            for conversation_id in list(self._here):
                self._tell_presence(conversation_id)
            now = asyncio.get_running_loop().time()
            if self._desks and now - signed >= SIGN_EVERY - TELL_EVERY:
                signed = now
                try:
                    await journal.read(Attendance.objects.note_signs, {desk.user_id for desk in self._desks})
                except Unavailable:
                    logger.debug("desk.not_signed")


def changes_of(ids: Iterable[int]) -> list[Change]:
    looking = presence.looking()
    return [
        Change(each.pk, (each.state, each.assignee_id, each.last_seq), cards.card(each, looking))
        for each in cards.of_ids(ids)
    ]


def newest_changes() -> dict[int, Told]:
    """How the conversations stand that changed in the last moments."""
    lately = Conversation.objects.moved_since(timezone.now() - LOOK_BACK).newest_first(MOST_AT_ONCE)
    rows = lately.values_list("pk", "state", "assignee", "last_seq")
    return {pk: (state, assignee, last_seq) for pk, state, assignee, last_seq in rows}


live = LiveDesk()
