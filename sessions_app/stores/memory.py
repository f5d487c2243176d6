"""Live sessions in this process: for development and for tests, and for one process on its own."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice, takewhile
from time import monotonic
from typing import Any, Self, cast

from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured

from sessions_app.cache import IndexedLocMemCache
from sessions_app.data import (
    Changes,
    SessionData,
    check_id,
    check_size,
    check_total,
    checked,
    decode,
    encode,
    from_microseconds,
    loads,
    sum_of,
)
from sessions_app.signals import Ending
from sessions_app.stores.base import CLAIM_SECONDS, Page, SessionStore, check_slice, counter, lifetime
from sessions_app.table import Entry, Recency, SessionTable, now_us

CLAIMS = 200  # endings told in one batch
LARGEST = 2**63 - 1
AT_ONCE = 200  # sessions that may have expired looked at under one hold of the lock


class InMemorySessionStore(SessionStore):
    """Safe from several threads and event loops: everything happens under the table's one lock, and briefly."""

    available = True

    def __init__(self, max_sessions: int = 10000, default_ttl: float = 1800, sliding: bool = False) -> None:
        if max_sessions < 1:
            raise ValueError(f"max_sessions={max_sessions}: write 1 or more.")
        lifetime(default_ttl, default_ttl)
        self.default_ttl = default_ttl
        self.sliding = sliding
        self._table: SessionTable = IndexedLocMemCache(None, {"OPTIONS": {"MAX_ENTRIES": max_sessions}}).table

    @classmethod
    def from_cache(cls, alias: str = "sessions", sliding: bool = False) -> Self:
        """A store that shares its sessions with every cache of the alias's LOCATION in this process."""
        cache = caches[alias]
        if not isinstance(cache, IndexedLocMemCache):
            raise ImproperlyConfigured(f"CACHES[{alias!r}] is no sessions_app.cache.IndexedLocMemCache.")
        store = cls(cache.table.max_sessions, cache.default_timeout or 1800, sliding)
        store._table = cache.table
        return store

    @property
    def max_sessions(self) -> int:
        return self._table.max_sessions

    # ---- one session ----------------------------------------------------------------------------------

    async def get(self, session_id: str) -> SessionData | None:
        return self._get(session_id, self.sliding)

    def _get(self, session_id: str, sliding: bool) -> SessionData | None:
        check_id(session_id)
        now = now_us()
        table = self._table
        with table.lock:
            entry = table.find(session_id, now)
            if entry is None:
                return None
            if sliding:
                table.renew(session_id, entry, now + entry.ttl)
            return decode(session_id, entry.fields)

    async def set(self, session_id: str, session_data: SessionData, ttl: float | None = None) -> bool:
        check_id(session_id)
        life = lifetime(ttl, self.default_ttl)
        fields = encode(session_data)
        now = now_us()
        with self._table.lock:
            self._put(session_id, fields, life, now)
        return True

    def _put(self, session_id: str, fields: dict[str, str], life: int, now: int) -> None:
        fields.setdefault("created_at", str(now))
        fields["updated_at"] = fields["last_activity"] = str(now)
        self._table.put(session_id, fields, life, now)

    async def update(self, session_id: str, updates: Mapping[str, Any], atomic: bool = False) -> bool:
        check_id(session_id)
        return self._change(session_id, Changes.of(updates, atomic)) is not None

    async def increment_counter(self, session_id: str, field: str, delta: float = 1) -> int | float:
        check_id(session_id)
        changes = counter(field, delta)
        [name] = changes.added
        sums = self._change(session_id, changes)
        if sums is None:
            return 0
        value: int | float = loads(sums[name])
        return value

    def _change(self, session_id: str, changes: Changes) -> dict[str, str] | None:
        """The sums of what was added, or None if the session is absent."""
        now = now_us()
        table = self._table
        with table.lock:
            entry = table.find(session_id, now)
            if entry is None:
                return None
            fields = changed(entry.fields, changes)
            fields["updated_at"] = fields["last_activity"] = str(now)
            if changes.texts:
                table.unindex(entry)
                entry.fields = fields
                table.index(session_id, entry)
            else:
                entry.fields = fields
                table.note_activity(entry)
            # Not the fields themselves: another thread may change them as soon as the lock is free.
            return {name: fields[name] for name in changes.added}

    async def count_message(self, session_id: str, total: int | None = None) -> SessionData | None:
        check_id(session_id)
        check_total(total)
        now = now_us()
        table = self._table
        with table.lock:
            entry = table.find(session_id, now)
            if entry is None:
                return None
            fields = entry.fields
            count = int(fields["message_count"])
            fields["message_count"] = str(min(count + 1, LARGEST) if total is None else max(count, total))
            fields["updated_at"] = fields["last_activity"] = str(now)
            table.note_activity(entry)
            table.renew(session_id, entry, now + entry.ttl)
            return decode(session_id, fields)

    async def exists(self, session_id: str) -> bool:
        check_id(session_id)
        with self._table.lock:
            return self._table.find(session_id, now_us()) is not None

    async def touch(self, session_id: str, ttl: float | None = None) -> bool:
        check_id(session_id)
        life = None if ttl is None else lifetime(ttl, ttl)
        now = now_us()
        with self._table.lock:
            entry = self._table.find(session_id, now)
            if entry is None:
                return False
            entry.ttl = life or entry.ttl
            self._table.renew(session_id, entry, now + entry.ttl)
            return True

    async def ttl(self, session_id: str) -> float | None:
        check_id(session_id)
        now = now_us()
        with self._table.lock:
            entry = self._table.find(session_id, now)
            return None if entry is None else (entry.expires - now) / 1_000_000

    async def get_or_create(
        self, session_id: str, factory: Callable[[], SessionData], ttl: float | None = None
    ) -> SessionData:
        life = lifetime(ttl, self.default_ttl)
        found = await self.get(session_id)
        if found is not None:
            return found
        fields = encode(factory())  # outside the lock: it is the caller's code
        now = now_us()
        with self._table.lock:
            entry = self._table.find(session_id, now)
            if entry is not None:
                return decode(session_id, entry.fields)
            self._put(session_id, fields, life, now)
            return decode(session_id, fields)

    # ---- several --------------------------------------------------------------------------------------

    async def get_many(self, session_ids: Iterable[str]) -> dict[str, SessionData]:
        found = {session_id: self._get(session_id, False) for session_id in session_ids}
        return {session_id: data for session_id, data in found.items() if data is not None}

    async def delete_many(self, session_ids: Iterable[str]) -> int:
        ids = checked(session_ids)
        endings = [await self._end(session_id, "deleted", None) for session_id in ids]
        ended = [ending for ending in endings if ending is not None]
        await self._handle(ended)
        return len(ended)

    async def sessions_of(self, user_id: str) -> list[str]:
        await self._expire(now_us())
        with self._table.lock:
            return [self._table.ids[order] for order in self._table.users.get(user_id, Recency()).before()]

    async def list_active(self, limit: int | None = None, offset: int = 0) -> list[str]:
        check_slice(limit, offset)
        await self._expire(now_us())
        with self._table.lock:
            end = None if limit is None else offset + limit
            return [self._table.ids[order] for order in islice(self._table.active.before(), offset, end)]

    async def page(
        self,
        cursor: str | None = None,
        limit: int = 50,
        user_id: str | None = None,
        escalated: bool | None = None,
    ) -> Page:
        check_slice(limit, least=1)
        after = position(cursor)
        now = now_us()
        await self._expire(now)
        with self._table.lock:
            found = list(islice(self._matching(after, user_id, escalated), limit + 1))
            rows = [
                (decode(session_id, entry.fields), (entry.expires - now) / 1_000_000)
                for session_id, entry in found[:limit]
            ]
        return rows, str(found[limit - 1][1].order) if len(found) > limit else None

    def _matching(self, after: int | None, user_id: str | None, escalated: bool | None) -> Iterator[tuple[str, Entry]]:
        table = self._table
        index = table.escalated if escalated else table.active
        if user_id is not None:
            index = table.users.get(user_id, Recency())
        wanted = None if escalated is None else str(int(escalated))
        for order in index.before(after):
            session_id = table.ids[order]
            entry = table.sessions[session_id]
            if wanted in (None, entry.fields["escalated"]):
                yield session_id, entry

    async def count_active(self) -> int:
        await self._expire(now_us())
        with self._table.lock:
            return len(self._table.sessions)

    async def activity(self, minutes: int = 60) -> list[tuple[datetime, int, int]]:
        now = now_us() // 60_000_000
        with self._table.lock:
            counts = {minute: tuple(both) for minute, both in self._table.minutes.items()}
        return [
            (from_microseconds(minute * 60_000_000), *counts.get(minute, (0, 0)))  # type: ignore[misc]
            for minute in range(now - minutes + 1, now + 1)
        ]

    # ---- the store ------------------------------------------------------------------------------------

    async def get_stats(self) -> dict[str, Any]:
        table = self._table
        await self._expire(now_us())
        with table.lock:
            active, expired = len(table.sessions), len(table.expired)
        return {
            "store_type": "in_memory",
            "total_sessions": active + expired,
            "active_sessions": active,
            "expired_sessions": expired,
            "max_sessions": table.max_sessions,
            "utilization": f"{100 * active / table.max_sessions:.1f}%",
        }

    async def ping(self) -> bool:
        return True

    async def close(self) -> None:
        """Nothing is open."""

    async def _end(self, session_id: str, reason: str, actor: str | None) -> Ending | None:
        check_id(session_id)
        now = now_us()
        with self._table.lock:
            ending = self._table.end(session_id, now, reason, actor)
            if ending is not None:
                self._table.claim(ending, monotonic() + CLAIM_SECONDS)
            return ending

    async def _expire(self, now: int) -> None:
        """End all that has expired by `now`; other threads and tasks have their turns in between."""
        while True:
            with self._table.lock:
                if not self._table.expire(now, AT_ONCE):
                    return
            await asyncio.sleep(0)

    async def _claim(self) -> tuple[int, list[Ending]]:
        await asyncio.sleep(0)  # when nobody listens nothing else in a sweep gives way
        await self._expire(now_us())
        table, now = self._table, monotonic()
        with table.lock:
            newly = list(islice(table.expired.values(), CLAIMS))
            for ending in newly:
                del table.expired[ending.claim]
            out = takewhile(lambda claim: claim[0] <= now, table.claimed.values())
            late = [ending for _, ending in islice(out, CLAIMS)]
            for ending in newly + late:
                table.claim(ending, now + CLAIM_SECONDS)
        return len(newly), newly + late

    async def _confirm(self, endings: list[Ending]) -> None:
        with self._table.lock:
            for ending in endings:
                self._table.claimed.pop(ending.claim, None)


def changed(fields: dict[str, str], changes: Changes) -> dict[str, str]:
    """A copy of `fields` with all of `changes`, or ValueError."""
    new: dict[str, str | None] = {**fields, **changes.texts}
    for name, delta in changes.added.items():
        new[name] = sum_of(name, new.get(name), delta)
    if not changes.texts and new.keys() == fields.keys():
        return cast(dict[str, str], new)  # numbers that were there before: no larger by more than digits
    kept = {name: text for name, text in new.items() if text is not None}
    check_size(kept)
    return kept


def position(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (isinstance(cursor, str) and cursor.isdecimal() and len(cursor) < 20):
        raise ValueError("This cursor is not one of this store's.")
    return int(cursor)
