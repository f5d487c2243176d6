"""Live sessions in Redis or Valkey, shared by every instance."""

import asyncio
import heapq
import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Self, TypeVar

import orjson
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured

from sessions_app.cache import BUCKETS, SessionsClient, bucket_of, check_prefix
from sessions_app.data import (
    MAX_BYTES,
    Changes,
    Fields,
    SessionData,
    check_id,
    check_total,
    checked,
    decode,
    encode,
    from_microseconds,
    loads,
    sum_of,
)
from sessions_app.servers import Server
from sessions_app.signals import Ending
from sessions_app.stores.base import CLAIM_SECONDS, Page, SessionStore, StoreUnavailable, check_slice, counter, lifetime
from sessions_app.stores.coalescing import Refused
from sessions_app.stores.scripts import Scripts

logger = logging.getLogger(__name__)

CLAIM = str(CLAIM_SECONDS * 1_000_000)
CLAIMS = "25"  # sessions ended in one script: about 0.3 ms for which the server does nothing else
MOST = str(MAX_BYTES)
AT_ONCE = 2000  # commands of one caller that wait side by side
AUDITED = 200  # index entries looked at in one script

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Row = tuple[SessionData, float]
Place = tuple[float, str]  # last activity in microseconds, id: where a page goes on


class RedisSessionStore(SessionStore):
    """One hash a session, changed by scripts alone. Safe from several event loops: each has its own connection."""

    def __init__(
        self,
        redis_url: str = "redis://localhost:6379/0",
        key_prefix: str = "agent:session:",
        default_ttl: float = 1800,
        sliding: bool = False,
        grace: float = 600,
        options: dict[str, Any] | None = None,
    ) -> None:
        """`grace`: seconds for which the hash outlives its session, so that a sweeper can still read whose it was."""
        lifetime(default_ttl, default_ttl)
        self.default_ttl = default_ttl
        self.key_prefix = check_prefix(key_prefix)
        self.sliding = sliding
        self.mended = 0  # index entries that did not fit their session, found by this process
        self._grace = str(int(grace * 1_000_000))
        roots = [f"{key_prefix}{{{bucket:x}}}!" for bucket in range(BUCKETS)]
        self._scripts = Scripts(Server.from_url(redis_url, options), roots)

    @classmethod
    def from_cache(cls, alias: str = "sessions", sliding: bool = False, grace: float = 600) -> Self:
        """A store on the server and the keys of a django-redis cache with our client."""
        cache = caches[alias]
        client = getattr(cache, "client", None)
        if not isinstance(client, SessionsClient):
            raise ImproperlyConfigured(f"CACHES[{alias!r}] is no django-redis cache with SessionsClient.")
        return cls(client.url, cache.key_prefix, cache.default_timeout or 1800, sliding, grace, client.options)

    @property
    def available(self) -> bool:
        return self._scripts.available

    def _place(self, session_id: str) -> tuple[int, str, str]:
        """(bucket, its root, the session's key)."""
        check_id(session_id)
        bucket = bucket_of(session_id)
        root = self._scripts.roots[bucket]
        return bucket, root, f"{root[:-1]}:{session_id}"

    async def _run(self, name: str, session_id: str, *arguments: str) -> Any:
        bucket, root, key = self._place(session_id)
        return await self._scripts.run(bucket, name, root, key, *arguments)

    async def _read(self, session_id: str) -> Fields | None:
        bucket, _, key = self._place(session_id)
        flat, now = await self._scripts.read(bucket, "HGETALL", key)
        return living(flat, now)

    # ---- one session ----------------------------------------------------------------------------------

    async def get(self, session_id: str) -> SessionData | None:
        try:
            if self.sliding:
                with suppress(Refused):  # a full memory, a replica: it can be read all the same
                    return decoded(session_id, await self._run("touch", session_id, "", self._grace))
            fields = await self._read(session_id)
        except StoreUnavailable:
            return None
        return None if fields is None else decode(session_id, fields)

    async def set(self, session_id: str, session_data: SessionData, ttl: float | None = None) -> bool:
        try:
            await self._save("set", session_id, session_data, ttl)
        except StoreUnavailable:
            return False
        return True

    async def _save(self, mode: str, session_id: str, data: SessionData, ttl: float | None) -> list[str]:
        life = str(lifetime(ttl, self.default_ttl))
        texts = [text for pair in encode(data).items() for text in pair]
        flat: list[str] = await self._run("save", session_id, mode, life, self._grace, *texts)
        return flat

    async def get_or_create(
        self, session_id: str, factory: Callable[[], SessionData], ttl: float | None = None
    ) -> SessionData:
        lifetime(ttl, self.default_ttl)
        found = await self.get(session_id)
        if found is not None:
            return found
        made = factory()
        try:
            return decode(session_id, paired(await self._save("create", session_id, made, ttl)))
        except StoreUnavailable:
            return made

    async def update(self, session_id: str, updates: Mapping[str, Any], atomic: bool = False) -> bool:
        check_id(session_id)
        changes = Changes.of(updates, atomic)
        try:
            return await self._change(session_id, changes) is not None
        except StoreUnavailable:
            return False

    async def increment_counter(self, session_id: str, field: str, delta: float = 1) -> int | float:
        check_id(session_id)
        changes = counter(field, delta)
        [name] = changes.added
        try:
            if isinstance(delta, int):
                answer = await self._run("increment", session_id, name, str(changes.added[name]), MOST, self._grace)
                if answer is None or isinstance(answer, str):
                    return int(answer or 0)
                check_answer(answer)
            written = await self._change(session_id, changes)
        except StoreUnavailable:
            return 0
        if written is None:
            return 0
        value: int | float = loads(written[name])
        return value

    async def _change(self, session_id: str, changes: Changes) -> Fields | None:
        """What was added here and written, or None if the session is absent.

        The server adds small whole numbers. Others are added here, and written if the old ones still stand.
        """
        slow = {name for name, delta in changes.added.items() if isinstance(delta, float)}
        while True:
            texts, added, old = dict(changes.texts), dict(changes.added), {}
            if slow:
                fields = await self._read(session_id)
                if fields is None:
                    return None
                old = {name: fields.get(name, "") for name in slow}
                texts |= {
                    name: sum_of(name, texts.get(name, fields.get(name)), added.pop(name)) for name in sorted(slow)
                }
            answer = await self._run("update", session_id, MOST, self._grace, *update_arguments(texts, added, old))
            if answer is None:
                return None
            if answer == "done":
                return {name: text for name in slow if (text := texts[name]) is not None}
            check_answer(answer)
            if answer != "changed":
                slow.add(answer[1])

    async def count_message(self, session_id: str, total: int | None = None) -> SessionData | None:
        check_total(total)
        try:
            flat = await self._run("message", session_id, "" if total is None else str(total), self._grace)
        except StoreUnavailable:
            return None
        return decoded(session_id, flat)

    async def exists(self, session_id: str) -> bool:
        return await self.ttl(session_id) is not None

    async def touch(self, session_id: str, ttl: float | None = None) -> bool:
        life = "" if ttl is None else str(lifetime(ttl, ttl))
        try:
            return await self._run("touch", session_id, life, self._grace) is not None
        except StoreUnavailable:
            return False

    async def ttl(self, session_id: str) -> float | None:
        try:
            return await self._left(session_id)
        except StoreUnavailable:
            return None

    async def _left(self, session_id: str) -> float | None:
        bucket, _, key = self._place(session_id)
        expires, now = await self._scripts.read(bucket, "HGET", key, "expires")
        left = int(expires or 0) - now
        return left / 1_000_000 if left > 0 else None

    # ---- several --------------------------------------------------------------------------------------

    async def get_many(self, session_ids: Iterable[str]) -> dict[str, SessionData]:
        ids = list(dict.fromkeys(session_ids))
        try:
            rows = await self._rows(ids)
        except StoreUnavailable:
            return {}
        return {row[0].session_id: row[0] for row in rows if row is not None}

    async def _rows(self, session_ids: list[str]) -> list[Row | None]:
        return await of_each(session_ids, self._row)

    async def _row(self, session_id: str) -> Row | None:
        bucket, _, key = self._place(session_id)
        flat, now = await self._scripts.read(bucket, "HGETALL", key)
        fields = living(flat, now)
        return None if fields is None else (decode(session_id, fields), (int(fields["expires"]) - now) / 1_000_000)

    async def delete_many(self, session_ids: Iterable[str]) -> int:
        endings = await of_each(checked(session_ids), lambda session_id: self._end(session_id, "deleted", None))
        ended = [ending for ending in endings if ending is not None]
        await self._handle(ended)
        return len(ended)

    async def sessions_of(self, user_id: str) -> list[str]:
        return await self._ids(f"u:{user_id}", None, user_id)

    async def list_active(self, limit: int | None = None, offset: int = 0) -> list[str]:
        check_slice(limit, offset)
        ids = await self._ids("a", None if limit is None else offset + limit)
        return ids[offset:]

    async def _ids(self, index: str, wanted: int | None, user_id: str | None = None) -> list[str]:
        """Of the living sessions in an index, most recently active first: all of them, or `wanted`."""
        ids: list[str] = []
        after: Place | None = None
        while True:
            batch = await self._batch(index, after, wanted)
            stand = await of_each(batch, lambda entry: self._stands(entry[1], user_id))
            ids += [session_id for (_, session_id), stands in zip(batch, stand, strict=True) if stands]
            await self._mend(index, [entry[1] for entry, stands in zip(batch, stand, strict=True) if stands is None])
            if wanted is None or len(batch) < wanted or len(ids) >= wanted:
                return ids[:wanted]
            after = batch[-1]

    async def _stands(self, session_id: str, user_id: str | None) -> bool | None:
        """Whether the session lives; None when the entry is wrong: its hash was lost, or is another user's by now."""
        bucket, _, key = self._place(session_id)
        (expires, owner), now = await self._scripts.read(bucket, "HMGET", key, "expires", "user_id")
        return int(expires) > now if expires and user_id in (None, owner) else None

    async def _batch(self, index: str, after: Place | None, wanted: int | None) -> list[Place]:
        """The entries of an index over all buckets, newest first, that come after `after`."""
        highest = "+inf" if after is None else f"{after[0]:.0f}"
        count = -1 if wanted is None else wanted + 1  # one of them stands where the last page ended
        while True:
            flats = await self._scripts.everywhere(
                index, "ZREVRANGEBYSCORE", highest, "-inf", "WITHSCORES", "LIMIT", "0", str(count)
            )
            of_buckets = [places(flat, after) for flat in flats]
            if wanted is None or all(
                len(flat) < 2 * count or len(found) >= wanted for flat, found in zip(flats, of_buckets, strict=True)
            ):
                break
            count *= 2  # many of one microsecond stand there
        entries = [place for found in of_buckets for place in found]
        return sorted(entries, reverse=True) if wanted is None else heapq.nlargest(wanted, entries)

    async def page(
        self,
        cursor: str | None = None,
        limit: int = 50,
        user_id: str | None = None,
        escalated: bool | None = None,
    ) -> Page:
        check_slice(limit, least=1)
        after = read_cursor(cursor)
        index = f"u:{user_id}" if user_id is not None else "e" if escalated else "a"
        rows: list[Row] = []
        while True:
            batch = await self._batch(index, after, limit + 1)
            found = [
                row if row is not None and user_id in (None, row[0].user_id) else None
                for row in await self._rows([session_id for _, session_id in batch])
            ]
            await self._mend(index, [entry[1] for entry, row in zip(batch, found, strict=True) if row is None])
            for entry, row in zip(batch, found, strict=True):
                if row is not None and escalated in (None, row[0].escalated):
                    if len(rows) == limit:
                        return rows, write_cursor(after)
                    rows.append(row)
                after = entry
            if len(batch) <= limit:
                return rows, None

    async def count_active(self) -> int:
        return sum(await self._scripts.run_everywhere("living"))

    async def activity(self, minutes: int = 60) -> list[tuple[datetime, int, int]]:
        _, now = await self._scripts.read(0, "PING")
        last = now // 60_000_000
        counts: dict[str, int] = {}
        hours = range((last - minutes + 1) // 60, last // 60 + 1)
        for flats in await asyncio.gather(*(self._scripts.everywhere(f"m:{hour}", "HGETALL") for hour in hours)):
            for name, count in (each for flat in flats for each in pairs(flat)):
                counts[name] = counts.get(name, 0) + int(count)
        return [
            (from_microseconds(minute * 60_000_000), counts.get(f"c{minute}", 0), counts.get(f"e{minute}", 0))
            for minute in range(last - minutes + 1, last + 1)
        ]

    # ---- the store ------------------------------------------------------------------------------------

    async def get_stats(self) -> dict[str, Any]:
        active = await self.count_active()  # first: INFO has an answer even where sessions have none
        text, _ = await self._scripts.read(0, "INFO", "everything")
        info = dict(row.split(":", 1) for row in text.splitlines() if ":" in row)
        return {
            "store_type": "redis",
            "active_sessions": active,
            "redis_version": info.get("valkey_version") or info["redis_version"],
            "connected_clients": int(info["connected_clients"]),
            "used_memory_human": info["used_memory_human"],
            "total_commands_processed": int(info["total_commands_processed"]),
        }

    async def ping(self) -> bool:
        try:
            reply, _ = await self._scripts.read(0, "PING")
        except StoreUnavailable:
            return False
        return bool(reply == "PONG")

    async def close(self) -> None:
        await self._scripts.client().close()

    async def audit(self) -> int:
        mended = 0
        for index in ("x", "a", "e"):
            for bucket in range(BUCKETS):
                mended += await self._audit(bucket, index)
        return mended

    async def _audit(self, bucket: int, index: str) -> int:
        mended, cursor = 0, "0"
        while True:
            root = self._scripts.roots[bucket]
            (cursor, flat), _ = await self._scripts.read(bucket, "ZSCAN", root + index, cursor, "COUNT", str(AUDITED))
            mended += await self._mend(index, flat[::2])
            if cursor == "0":
                return mended

    async def _mend(self, index: str, session_ids: list[str]) -> int:
        by_bucket: dict[int, list[str]] = {}
        for session_id in session_ids:
            by_bucket.setdefault(bucket_of(session_id), []).append(session_id)
        mended = 0
        for bucket, ids in by_bucket.items():
            root = self._scripts.roots[bucket]
            with suppress(Refused):  # a read-only replica: what was read is right all the same
                mended += await self._scripts.run(bucket, "mend", root, index, self._grace, *ids)
        if mended:
            self.mended += mended
            logger.warning("session_store.mended index=%s entries=%d", index[:1], mended)
        return mended

    async def _end(self, session_id: str, reason: str, actor: str | None) -> Ending | None:
        cause = orjson.dumps([reason, actor]).decode()
        try:
            claim = await self._run("finish", session_id, cause, CLAIM)
        except StoreUnavailable:
            return None
        return None if claim is None else Ending(session_id, reason, actor, claim)

    async def _claim(self) -> tuple[int, list[Ending]]:
        newly, endings = 0, []
        # Bucket by bucket: a pipeline of all would keep the server from everybody else for milliseconds.
        for bucket, root in enumerate(self._scripts.roots):
            expired, mended, *claims = await self._scripts.run(bucket, "claim", root, CLAIMS, CLAIM)
            newly += expired
            self.mended += mended
            endings += [ending_of(claim) for claim in claims]
        return newly, endings

    async def _confirm(self, endings: list[Ending]) -> None:
        """Away: they are told again when their claims run out."""
        try:
            await of_each(endings, self._confirm_one)
        except StoreUnavailable:
            logger.warning("session_store.unconfirmed ends=%d", len(endings))

    async def _confirm_one(self, ending: Ending) -> None:
        bucket = bucket_of(ending.session_id)
        await self._scripts.read(bucket, "ZREM", self._scripts.roots[bucket] + "c", ending.claim)


async def of_each(asked: Sequence[Asked], ask: Callable[[Asked], Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """The answers, in parts: a list of a million must not keep a million tasks, nor everybody else, waiting."""
    answers: list[Answer] = []
    for first in range(0, len(asked), AT_ONCE):
        answers += await asyncio.gather(*map(ask, asked[first : first + AT_ONCE]))
    return answers


def pairs(flat: list[str]) -> Iterable[tuple[str, str]]:
    each = iter(flat)
    return zip(each, each, strict=True)


def places(flat: list[str], after: Place | None) -> list[Place]:
    found = [(float(score), session_id) for session_id, score in pairs(flat)]
    return found if after is None else [place for place in found if place < after]


def paired(flat: list[str]) -> Fields:
    each = iter(flat)
    return dict(zip(each, each, strict=True))


def decoded(session_id: str, flat: list[str] | None) -> SessionData | None:
    return None if flat is None else decode(session_id, paired(flat))


def living(flat: list[str], now: int) -> Fields | None:
    if not flat:
        return None
    fields = paired(flat)
    return fields if int(fields.get("expires", 0)) > now else None


def update_arguments(texts: Mapping[str, str | None], added: Mapping[str, float], old: Fields) -> list[str]:
    """The four lists of update.lua, each after its length."""
    written = [text for name, value in texts.items() if value is not None for text in (name, value)]
    removed = [name for name, value in texts.items() if value is None]
    sums = [text for name, delta in added.items() for text in (name, str(delta))]
    standing = [text for pair in old.items() for text in pair]
    return [text for part in (written, removed, sums, standing) for text in (str(len(part)), *part)]


def check_answer(answer: Any) -> None:
    """ValueError when a script says {"size", bytes}."""
    if answer[0] == "size":
        raise ValueError(f"The session would have {answer[1]} bytes: at most {MAX_BYTES} are kept.")


def ending_of(claim: str) -> Ending:
    """A claim is the time of the end, the cause as JSON, and the id (the only one that may hold a line break)."""
    _, cause, session_id = claim.split("\n", 2)
    reason, actor = orjson.loads(cause)
    return Ending(session_id, reason, actor, claim)


def write_cursor(after: Place | None) -> str | None:
    return None if after is None else urlsafe_b64encode(orjson.dumps([int(after[0]), after[1]])).decode().rstrip("=")


def read_cursor(cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    try:
        score, session_id = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if type(score) is int and 0 <= score < 2**63 and isinstance(session_id, str):
            return float(score), session_id
    except (ValueError, TypeError):
        pass
    raise ValueError("This cursor is not one of this store's.")
