"""The contract of a session store. Both stores keep it to the letter; one suite of tests runs over both."""

import abc
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from sessions_app.data import Changes, SessionData, check_id
from sessions_app.signals import Ending, tell

# Seconds for which an end that a process has claimed is its own to tell. After that another one tells it again.
CLAIM_SECONDS = 30
MAX_TTL = 10**9  # seconds: an expiry stays exact, in microseconds, in a double


class StoreUnavailable(Exception):
    """The store cannot be asked: it is away, or it refuses. The text says why."""


Page = tuple[list[tuple[SessionData, float]], str | None]


class SessionStore(abc.ABC):
    """Live sessions, shared by everything that serves the same chats.

    `session_id` is any text of 1 to 200 characters (ValueError). A session is at most 256 KiB (ValueError), its
    metadata JSON (TypeError, naming the path). A `ttl` is in seconds, None means the store's default; 0 or less, and a
    billion or more, is a ValueError. When the store is away the calls of the hot path give what stands at each, and
    `available` tells; those for operators (`list_active`, `count_active`, `cleanup_expired`, `get_stats`, `page`,
    `sessions_of`, `activity`) raise StoreUnavailable.
    """

    default_ttl: float

    @property
    @abc.abstractmethod
    def available(self) -> bool:
        """False from a failure until the next success: tells "away" from "absent" right after a call.

        A write that the server refused (its memory is full, it is a replica) counts as a failure for a second.
        """

    # ---- one session ----------------------------------------------------------------------------------

    @abc.abstractmethod
    async def get(self, session_id: str) -> SessionData | None:
        """A private copy. Away: None."""

    @abc.abstractmethod
    async def set(self, session_id: str, session_data: SessionData, ttl: float | None = None) -> bool:
        """Replace the session whole; `ttl` stays its own. Away: False."""

    @abc.abstractmethod
    async def update(self, session_id: str, updates: Mapping[str, Any], atomic: bool = False) -> bool:
        """Change the named fields only; unknown names and `metadata` are merged key by key into metadata.

        With `atomic` the numeric values are added. All of it happens, or none. False if absent or away.
        """

    @abc.abstractmethod
    async def increment_counter(self, session_id: str, field: str, delta: float = 1) -> int | float:
        """The new value; 0 if absent or away. ValueError when the field is no number."""

    @abc.abstractmethod
    async def count_message(self, session_id: str, total: int | None = None) -> SessionData | None:
        """Count one message, or raise the count to `total`; renew the TTL; give the session. None if absent or away."""

    @abc.abstractmethod
    async def exists(self, session_id: str) -> bool:
        """Away: False."""

    @abc.abstractmethod
    async def touch(self, session_id: str, ttl: float | None = None) -> bool:
        """Renew the TTL, by the session's own or by `ttl`, which then is its own. False if absent or away."""

    @abc.abstractmethod
    async def ttl(self, session_id: str) -> float | None:
        """Seconds left. None if absent or away."""

    @abc.abstractmethod
    async def get_or_create(
        self, session_id: str, factory: Callable[[], SessionData], ttl: float | None = None
    ) -> SessionData:
        """The living session, or what `factory` gives, stored unless another was faster.

        Away: the factory's, unstored.
        """

    async def delete(self, session_id: str) -> bool:
        """End the session with the reason "deleted". False if absent or away."""
        return await self.end(session_id, "deleted")

    async def end(self, session_id: str, reason: str, actor: str | None = None) -> bool:
        """Delete the session, then send `session_ended`. False if absent or away."""
        check_id(session_id)
        ending = await self._end(session_id, reason, actor)
        if ending is None:
            return False
        await self._handle([ending])
        return True

    # ---- several --------------------------------------------------------------------------------------

    @abc.abstractmethod
    async def get_many(self, session_ids: Iterable[str]) -> dict[str, SessionData]:
        """Those found. Away: {}."""

    @abc.abstractmethod
    async def delete_many(self, session_ids: Iterable[str]) -> int:
        """How many there were. Away: 0."""

    @abc.abstractmethod
    async def sessions_of(self, user_id: str) -> list[str]:
        """Ids, most recently active first."""

    @abc.abstractmethod
    async def list_active(self, limit: int | None = None, offset: int = 0) -> list[str]:
        """Ids, most recently active first."""

    @abc.abstractmethod
    async def page(
        self,
        cursor: str | None = None,
        limit: int = 50,
        user_id: str | None = None,
        escalated: bool | None = None,
    ) -> Page:
        """((session, seconds left) …, next cursor), most recently active first. ValueError on a foreign cursor."""

    @abc.abstractmethod
    async def count_active(self) -> int: ...

    @abc.abstractmethod
    async def activity(self, minutes: int = 60) -> list[tuple[datetime, int, int]]:
        """(minute, sessions created, sessions ended) for each of the last minutes, oldest first; at most 120."""

    # ---- the store ------------------------------------------------------------------------------------

    @abc.abstractmethod
    async def get_stats(self) -> dict[str, Any]: ...

    @abc.abstractmethod
    async def ping(self) -> bool: ...

    @abc.abstractmethod
    async def close(self) -> None:
        """Let go of this event loop's connections. A later call makes new ones."""

    async def cleanup_expired(self) -> int:
        """Remove what has expired and tell it; tell again what a crash left untold. How many sessions had expired.

        Over all instances each expired session is counted once.
        """
        expired = 0
        while True:
            newly, endings = await self._claim()
            expired += newly
            if not endings:
                return expired
            await self._handle(endings)

    async def audit(self) -> int:
        """Look whether indexes and sessions fit each other, and mend what does not: how many did not."""
        return 0

    async def _handle(self, endings: list[Ending]) -> None:
        """Tell, then confirm. An end that is not confirmed is told again when its claim runs out."""
        told = await tell(type(self), endings)
        if told:
            await self._confirm(told)

    @abc.abstractmethod
    async def _end(self, session_id: str, reason: str, actor: str | None) -> Ending | None: ...

    @abc.abstractmethod
    async def _claim(self) -> tuple[int, list[Ending]]:
        """(how many newly expired, a batch of endings to tell, older unconfirmed ones included)."""

    @abc.abstractmethod
    async def _confirm(self, endings: list[Ending]) -> None: ...


def lifetime(ttl: float | None, default: float) -> int:
    """In microseconds. ValueError unless it is a positive number of seconds."""
    seconds = default if ttl is None else ttl
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"ttl is a number of seconds, not {seconds!r}.")
    if not 0 < seconds < MAX_TTL:  # false for NaN, too
        raise ValueError(f"ttl={seconds!r}: write a number of seconds greater than 0 and less than {MAX_TTL:,}.")
    return max(1000, int(seconds * 1_000_000))


def check_slice(limit: int | None, offset: int = 0, least: int = 0) -> None:
    if limit is not None and limit < least:
        raise ValueError(f"limit={limit!r}: write {least} or more.")
    if offset < 0:
        raise ValueError(f"offset={offset!r}: write 0 or more.")


def counter(field: str, delta: float) -> Changes:
    changes = Changes()
    changes.add(field, delta)
    return changes
