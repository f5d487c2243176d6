"""The session store as sync code asks for it: the admin, the staff doors.

A method is one hop to the event loop, in which everything it wants from the store is asked for at once, so that it
goes out as one pipeline. All of them raise StoreUnavailable.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import models
from django.utils import timezone

from sessions_app.data import MAX_ID, SessionData
from sessions_app.signals import session_extended, staff_acted
from sessions_app.stores import StoreUnavailable, get_store

if TYPE_CHECKING:
    from sessions_app.models import Session

# The reason that `session_ended` gives when staff end a session.
EXPIRED_BY_STAFF = "expired_by_staff"
# Commands that are let loose together: a user's sessions are not bounded, a pipeline should be.
BATCH = 100

# Django types every request's user so; the doors have let nobody anonymous through.
Staff = AbstractBaseUser | AnonymousUser
Rows = list[tuple[SessionData, float]]


@dataclass(frozen=True, slots=True)
class Overview:
    """The store at a glance: its own statistics, and (minute, created, ended) for the last hour."""

    stats: dict[str, Any]
    activity: list[tuple[datetime, int, int]] = field(default_factory=list)

    @property
    def created(self) -> int:
        return sum(created for _, created, _ in self.activity)

    @property
    def ended(self) -> int:
        return sum(ended for _, _, ended in self.activity)


class LiveSessions(models.Manager["Session"]):
    def one(self, session_id: str) -> "Session | None":
        found = async_to_sync(read_one)(session_id)
        return self.model.of(*found) if found else None

    def page(
        self, cursor: str | None, limit: int, user_id: str | None = None, escalated: bool | None = None
    ) -> "tuple[list[Session], str | None]":
        """Most recently active first. ValueError on a cursor that no page gave."""
        rows, following = async_to_sync(get_store().page)(cursor, limit, user_id, escalated)
        return self._sessions(rows), following

    def page_with_overview(
        self, cursor: str | None, limit: int, escalated: bool | None = None
    ) -> "tuple[list[Session], str | None, Overview]":
        rows, following, overview = async_to_sync(read_page_with_overview)(cursor, limit, escalated)
        return self._sessions(rows), following, overview

    def search(
        self, wanted: str, cursor: str | None, limit: int, escalated: bool | None = None
    ) -> "tuple[list[Session], str | None, Overview]":
        """The session of that id, then those of the user of that id; no activity, to stay within four calls."""
        rows, following, overview = async_to_sync(search)(wanted, cursor, limit, escalated)
        return self._sessions(rows), following, overview

    def of_user(self, user_id: str) -> list[str]:
        return async_to_sync(get_store().sessions_of)(user_id)

    def stats(self) -> dict[str, Any]:
        return async_to_sync(get_store().get_stats)()

    def change(self, session_id: str, updates: dict[str, Any], by: Staff) -> bool:
        """False if it has ended. TypeError or ValueError when the store cannot keep what is given."""
        changed = async_to_sync(update)(session_id, updates)
        if changed:
            self._log([session_id], by, CHANGE, f"Changed {', '.join(sorted(updates))}.")
            self._tell("changed", session_id, by, fields=sorted(updates))
        return changed

    def expire(self, session_ids: Sequence[str], by: Staff) -> list[str]:
        """End these sessions, whose sockets close everywhere; the ids of those that had not ended before."""
        ended = async_to_sync(end_all)(session_ids, by.get_username())
        self._log(ended, by, DELETION, "Expired.")
        return ended

    def extend(self, session_ids: Sequence[str], seconds: int, by: Staff) -> list[str]:
        """Let them live that much longer than they would have; the ids of those that had not ended before."""
        extended: list[str] = []
        for start in range(0, len(session_ids), BATCH):
            lives = async_to_sync(longer_lives)(session_ids[start : start + BATCH], seconds)
            # Recorded before it is done: what a database that is away did not hear of must not have happened, or who
            # tries again adds as much once more.
            now = timezone.now()
            for session_id, remaining in lives.items():
                until = now + timedelta(seconds=remaining)
                session_extended.send(self.model, session_id=session_id, until=until, actor=by.get_username())
                self._tell("extended", session_id, by, seconds=seconds)
            self._log(list(lives), by, CHANGE, f"Extended by {seconds} seconds.")
            extended += async_to_sync(let_live)(lives)
        return extended

    def cleanup(self, by: Staff) -> int:
        """How many had expired."""
        expired = async_to_sync(get_store().cleanup_expired)()
        self._tell("swept", "", by, expired=expired)
        return expired

    def _sessions(self, rows: Rows) -> "list[Session]":
        return [self.model.of(data, remaining) for data, remaining in rows]

    def _tell(self, action: str, session_id: str, by: Staff, **details: Any) -> None:
        actor = by.get_username()
        staff_acted.send(self.model, action=action, session_id=session_id, actor=actor, details=details)

    def _log(self, session_ids: Sequence[str], by: Staff, flag: int, message: str) -> None:
        sessions = [self.model(session_id=session_id) for session_id in session_ids]
        LogEntry.objects.log_actions(by.pk, sessions, flag, message)  # type: ignore[arg-type]  # it has a pk


def possible(session_id: str) -> bool:
    """The store refuses other ids, which a person may well have typed: no session has them."""
    return 0 < len(session_id) <= MAX_ID


async def read_one(session_id: str) -> tuple[SessionData, float | None] | None:
    if not possible(session_id):
        return None
    store = get_store()
    data, remaining = await asyncio.gather(store.get(session_id), store.ttl(session_id))
    if data is None and not store.available:
        raise StoreUnavailable
    return (data, remaining) if data else None


async def read_page_with_overview(
    cursor: str | None, limit: int, escalated: bool | None
) -> tuple[Rows, str | None, Overview]:
    store = get_store()
    (rows, following), stats, activity = await asyncio.gather(
        store.page(cursor, limit, None, escalated), store.get_stats(), store.activity()
    )
    return rows, following, Overview(stats, activity)


async def search(
    wanted: str, cursor: str | None, limit: int, escalated: bool | None
) -> tuple[Rows, str | None, Overview]:
    store = get_store()
    (rows, following), stats, found = await asyncio.gather(
        store.page(cursor, limit, wanted, escalated), store.get_stats(), read_one(wanted)
    )
    if found and not cursor and escalated in (None, found[0].escalated):
        data, remaining = found
        rows = [(data, remaining or 0.0), *((other, left) for other, left in rows if other.session_id != wanted)]
    return rows, following, Overview(stats)


async def update(session_id: str, updates: dict[str, Any]) -> bool:
    if not possible(session_id):
        return False
    store = get_store()
    changed = await store.update(session_id, updates)
    if not changed and not store.available:
        raise StoreUnavailable
    return changed


async def end_all(session_ids: Sequence[str], actor: str) -> list[str]:
    store = get_store()
    ended: list[str] = []
    for start in range(0, len(session_ids), BATCH):
        batch = list(filter(possible, session_ids[start : start + BATCH]))
        answers = await asyncio.gather(*(store.end(each, EXPIRED_BY_STAFF, actor) for each in batch))
        ended += [session_id for session_id, was_alive in zip(batch, answers, strict=True) if was_alive]
    if not ended and not store.available:
        raise StoreUnavailable
    return ended


async def longer_lives(session_ids: Sequence[str], seconds: int) -> dict[str, float]:
    """The seconds that each is to have, of those that live."""
    store = get_store()
    asked = list(filter(possible, session_ids))
    left = await asyncio.gather(*(store.ttl(each) for each in asked))
    lives = {each: remaining + seconds for each, remaining in zip(asked, left, strict=True) if remaining}
    if not lives and not store.available:
        raise StoreUnavailable
    return lives


async def let_live(lives: dict[str, float]) -> list[str]:
    """Those that had not ended meanwhile. Shortens none that a message has given more."""
    store = get_store()
    left = await asyncio.gather(*map(store.ttl, lives))
    alive = {each: remaining for each, remaining in zip(lives, left, strict=True) if remaining}
    await asyncio.gather(*(store.touch(each, lives[each]) for each, now in alive.items() if now < lives[each]))
    if lives and not store.available:
        raise StoreUnavailable
    return list(alive)
