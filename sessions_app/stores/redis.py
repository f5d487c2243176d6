"""Live sessions in Redis or Valkey, shared by every instance."""

import asyncio
import heapq
import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any, Self

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
    decode,
    encode,
    from_microseconds,
    loads,
    sum_of,
)
from sessions_app.servers import Server
from sessions_app.signals import Ending
from sessions_app.stores.base import CLAIM_SECONDS, Page, SessionStore, StoreUnavailable, counter, lifetime
from sessions_app.stores.coalescing import Client, Line, Refused, breaker_for, client_for, pack

logger = logging.getLogger(__name__)

CLAIM = str(CLAIM_SECONDS * 1_000_000)
CLAIMS = "25"  # sessions ended in one script: about 0.3 ms for which the server does nothing else
LUA = Path(__file__).parent / "lua"
NAMES = ("save", "message", "increment", "update", "touch", "finish", "claim", "living")


class Script:
    def __init__(self, name: str) -> None:
        self.source = (LUA / "common.lua").read_text() + (LUA / f"{name}.lua").read_text()
        self.sha = sha1(self.source.encode(), usedforsecurity=False).hexdigest()


@cache
def scripts() -> dict[str, Script]:
    loaded = {name: Script(name) for name in NAMES}
    logger.info("Loaded Lua scripts: %s", ", ".join(loaded))
    return loaded


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
        self._server = Server.from_url(redis_url, options)
        self._breaker = breaker_for(self._server)
        self._roots = [f"{key_prefix}{{{bucket:x}}}!" for bucket in range(BUCKETS)]
        self._scripts = scripts()
        self._greeting = [("SCRIPT", "LOAD", script.source) for script in self._scripts.values()]
        self._here: tuple[asyncio.AbstractEventLoop | None, Client | None] = (None, None)

    @classmethod
    def from_cache(cls, alias: str = "sessions", sliding: bool = False, grace: float = 600) -> Self:
        """A store on the server and the keys of a django-redis cache with our client."""
        cache = caches[alias]
        client = getattr(cache, "client", None)
        if not isinstance(client, SessionsClient):
            raise ImproperlyConfigured(f"CACHES[{alias!r}] is no django-redis cache with SessionsClient.")
        return cls(client.url, cache.key_prefix, cache.default_timeout, sliding, grace, client.options)

    @property
    def available(self) -> bool:
        return self._breaker.available

    # ---- asking the server ----------------------------------------------------------------------------

    def _client(self) -> Client:
        loop = asyncio.get_running_loop()
        here, client = self._here
        if here is not loop or client is None:
            client = client_for(self._server, self._greeting)
            self._here = (loop, client)
        return client

    def _place(self, session_id: str) -> tuple[int, str, str]:
        """(bucket, its root, the session's key)."""
        check_id(session_id)
        bucket = bucket_of(session_id)
        root = self._roots[bucket]
        return bucket, root, f"{root[:-1]}:{session_id}"

    async def _line(self, bucket: int) -> Line:
        client = self._client()
        return client.line(bucket) or await client.connected(bucket)

    async def _run(self, bucket: int, name: str, *texts: str) -> Any:
        """`texts`: root, key if there is one, arguments. Loads a script that the server has forgotten."""
        script = self._scripts[name]
        keys = "1" if name in ("claim", "living") else "2"
        line = await self._line(bucket)
        try:
            reply = await line.send(pack(("EVALSHA", script.sha, keys, *texts)))
        except Refused as refused:
            if refused.code != "NOSCRIPT":
                self._breaker.refused(refused.code)
                raise
            reply = await line.send(pack(("EVAL", script.source, keys, *texts)))
        if self._breaker.refusing:
            self._breaker.accepted()
        return reply

    async def _read(self, session_id: str) -> tuple[Fields | None, int]:
        """(the living session's fields, the server's time)."""
        bucket, _, key = self._place(session_id)
        line = await self._line(bucket)
        flat = await line.read(pack(("HGETALL", key)))
        return living(flat, line.server_now), line.server_now

    # ---- one session ----------------------------------------------------------------------------------

    async def get(self, session_id: str) -> SessionData | None:
        try:
            if self.sliding:
                await self.touch(session_id)
            fields, _ = await self._read(session_id)
        except StoreUnavailable:
            return None
        return None if fields is None else decode(session_id, fields)

    async def set(self, session_id: str, session_data: SessionData, ttl: float | None = None) -> bool:
        try:
            await self._save("set", session_id, session_data, ttl)
        except StoreUnavailable:
            return False
        return True

    async def _save(self, mode: str, session_id: str, session_data: SessionData, ttl: float | None) -> list[str] | None:
        bucket, root, key = self._place(session_id)
        life = str(lifetime(ttl, self.default_ttl))
        texts = [text for pair in encode(session_data).items() for text in pair]
        found: list[str] | None = await self._run(bucket, "save", root, key, mode, life, self._grace, *texts)
        return found

    async def get_or_create(
        self, session_id: str, factory: Callable[[], SessionData], ttl: float | None = None
    ) -> SessionData:
        lifetime(ttl, self.default_ttl)
        found = await self.get(session_id)
        if found is not None:
            return found
        made = factory()
        try:
            flat = await self._save("create", session_id, made, ttl)
            if flat:
                return decode(session_id, paired(flat))
        except StoreUnavailable:
            return made
        return await self.get(session_id) or made

    async def update(self, session_id: str, updates: Mapping[str, Any], atomic: bool = False) -> bool:
        changes = Changes.of(updates, atomic)
        try:
            return await self._change(session_id, changes)
        except StoreUnavailable:
            return False

    async def _change(self, session_id: str, changes: Changes) -> bool:
        """Numbers that the server cannot add exactly are added here, and written if the old ones still stand."""
        bucket, root, key = self._place(session_id)
        slow: set[str] = set()
        while True:
            texts, added, expected = dict(changes.texts), dict(changes.added), {}
            if slow:
                fields, _ = await self._read(session_id)
                if fields is None:
                    return False
                for name in slow:
                    expected[name] = fields.get(name, "")
                    texts[name] = sum_of(name, texts.get(name, fields.get(name)), added.pop(name))
            arguments = update_arguments(texts, added, expected)
            answer = await self._run(bucket, "update", root, key, str(MAX_BYTES), self._grace, *arguments)
            if answer is None or answer == "done":
                return answer is not None
            if answer[0] == "size":
                raise too_large(answer[1])
            if answer[0] == "slow":
                slow.add(answer[1])

    async def increment_counter(self, session_id: str, field: str, delta: float = 1) -> int | float:
        changes = counter(field, delta)
        [name] = changes.added
        try:
            return await self._increment(session_id, name, delta, changes)
        except StoreUnavailable:
            return 0

    async def _increment(self, session_id: str, name: str, delta: float, changes: Changes) -> int | float:
        bucket, root, key = self._place(session_id)
        if isinstance(delta, int):
            answer = await self._run(bucket, "increment", root, key, name, str(delta), str(MAX_BYTES), self._grace)
            if answer is None:
                return 0
            if isinstance(answer, str):
                return int(answer)
            if answer[0] == "size":
                raise too_large(answer[1])
        return await self._increment_here(session_id, name, delta)

    async def _increment_here(self, session_id: str, name: str, delta: float) -> int | float:
        """Floats and integers past 64 bits: added in Python, written if the old value still stands."""
        bucket, root, key = self._place(session_id)
        while True:
            fields, _ = await self._read(session_id)
            if fields is None:
                return 0
            new = sum_of(name, fields.get(name), delta)
            arguments = update_arguments({name: new}, {}, {name: fields.get(name, "")})
            answer = await self._run(bucket, "update", root, key, str(MAX_BYTES), self._grace, *arguments)
            if answer == "done":
                value: int | float = loads(new)
                return value
            if answer is None:
                return 0
            if answer[0] == "size":
                raise too_large(answer[1])

    async def count_message(self, session_id: str, total: int | None = None) -> SessionData | None:
        bucket, root, key = self._place(session_id)
        try:
            flat = await self._run(bucket, "message", root, key, "" if total is None else str(total), self._grace)
        except StoreUnavailable:
            return None
        return None if flat is None else decode(session_id, paired(flat))

    async def exists(self, session_id: str) -> bool:
        return await self.ttl(session_id) is not None

    async def touch(self, session_id: str, ttl: float | None = None) -> bool:
        bucket, root, key = self._place(session_id)
        life = "" if ttl is None else str(lifetime(ttl, ttl))
        try:
            return await self._run(bucket, "touch", root, key, life, self._grace) is not None
        except StoreUnavailable:
            return False

    async def ttl(self, session_id: str) -> float | None:
        bucket, _, key = self._place(session_id)
        try:
            line = await self._line(bucket)
            expires = await line.read(pack(("HGET", key, "expires")))
        except StoreUnavailable:
            return None
        left = int(expires or 0) - line.server_now
        return left / 1_000_000 if left > 0 else None

    # ---- several --------------------------------------------------------------------------------------

    async def get_many(self, session_ids: Iterable[str]) -> dict[str, SessionData]:
        try:
            rows = await self._rows(list(dict.fromkeys(session_ids)))
        except StoreUnavailable:
            return {}
        return {session_id: data for session_id, (data, _) in rows.items()}

    async def _rows(self, session_ids: list[str]) -> dict[str, tuple[SessionData, float]]:
        """id: (session, seconds left) of those that live."""
        asked = []
        for session_id in session_ids:
            bucket, _, key = self._place(session_id)
            line = await self._line(bucket)
            asked.append((session_id, line, line.read(pack(("HGETALL", key)))))
        rows = {}
        for session_id, line, reply in asked:
            fields = living(await reply, line.server_now)
            if fields is not None:
                left = int(fields["expires"]) - line.server_now
                rows[session_id] = (decode(session_id, fields), left / 1_000_000)
        return rows

    async def delete_many(self, session_ids: Iterable[str]) -> int:
        ids = list(dict.fromkeys(session_ids))
        endings = await asyncio.gather(*(self._end(session_id, "deleted", None) for session_id in ids))
        ended = [ending for ending in endings if ending is not None]
        await self._handle(ended)
        return len(ended)

    async def _everywhere(self, *command: str, index: str = "") -> list[Any]:
        """The replies of all buckets to a command on one of their indexes, in one round trip."""
        replies = []
        lines = []
        for bucket, root in enumerate(self._roots):
            line = await self._line(bucket)
            lines.append(line)
            replies.append(line.read(pack((command[0], root + index, *command[1:]))))
        try:
            return [await reply for reply in replies]
        except Refused as refused:
            self._breaker.refused(refused.code)
            raise

    async def sessions_of(self, user_id: str) -> list[str]:
        return [session_id for session_id, _ in await self._ranked(f"u:{user_id}", None, None)]

    async def list_active(self, limit: int | None = None, offset: int = 0) -> list[str]:
        wanted = None if limit is None else offset + limit
        ranked = await self._ranked("a", None, wanted)
        return [session_id for session_id, _ in ranked[offset:wanted]]

    async def _ranked(self, index: str, after: tuple[float, str] | None, wanted: int | None) -> list[tuple[str, float]]:
        """(id, last activity) of the living sessions of an index past `after`, the newest first: all, or `wanted`."""
        found: list[tuple[str, float]] = []
        while True:
            batch = await self._batch(index, after, wanted)
            rows = await self._rows([session_id for session_id, _ in batch])
            found += [(session_id, score) for session_id, score in batch if session_id in rows]
            if wanted is None or len(batch) < wanted or len(found) >= wanted:
                return found if wanted is None else found[:wanted]
            after = (batch[-1][1], batch[-1][0])

    async def _batch(self, index: str, after: tuple[float, str] | None, wanted: int | None) -> list[tuple[str, float]]:
        highest = "+inf" if after is None else f"{after[0]:.0f}"
        count = -1 if wanted is None else wanted + 1
        flats = await self._everywhere(
            "ZREVRANGEBYSCORE", highest, "-inf", "WITHSCORES", "LIMIT", "0", str(count), index=index
        )
        entries = [(float(score), session_id) for flat in flats for session_id, score in pairs(flat)]
        if after is not None:
            entries = [entry for entry in entries if entry < after]
        best = sorted(entries, reverse=True) if wanted is None else heapq.nlargest(wanted, entries)
        return [(session_id, score) for score, session_id in best]

    async def page(
        self,
        cursor: str | None = None,
        limit: int = 50,
        user_id: str | None = None,
        escalated: bool | None = None,
    ) -> Page:
        after = read_cursor(cursor)
        index = f"u:{user_id}" if user_id is not None else "e" if escalated else "a"
        rows: list[tuple[SessionData, float]] = []
        while True:
            batch = await self._batch(index, after, limit + 1)
            found = await self._rows([session_id for session_id, _ in batch])
            for session_id, score in batch:
                row = found.get(session_id)
                if row is None or (escalated is not None and row[0].escalated != escalated):
                    after = (score, session_id)
                    continue
                if len(rows) == limit and after is not None:
                    return rows, write_cursor(after)
                rows.append(row)
                after = (score, session_id)
            if len(batch) <= limit:
                return rows, None

    async def count_active(self) -> int:
        counts = await asyncio.gather(*(self._run(bucket, "living", root) for bucket, root in enumerate(self._roots)))
        return sum(counts)

    async def activity(self, minutes: int = 60) -> list[tuple[datetime, int, int]]:
        line = await self._line(0)
        await line.read(pack(("PING",)))
        now = line.server_now // 60_000_000
        created: dict[int, int] = {}
        ended: dict[int, int] = {}
        for hour in range((now - minutes + 1) // 60, now // 60 + 1):
            for flat in await self._everywhere("HGETALL", index=f"m:{hour}"):
                for name, count in pairs(flat):
                    counts = created if name[0] == "c" else ended
                    minute = int(name[1:])
                    counts[minute] = counts.get(minute, 0) + int(count)
        return [
            (from_microseconds(minute * 60_000_000), created.get(minute, 0), ended.get(minute, 0))
            for minute in range(now - minutes + 1, now + 1)
        ]

    # ---- the store ------------------------------------------------------------------------------------

    async def get_stats(self) -> dict[str, Any]:
        line = await self._line(0)
        text: str = await line.send(pack(("INFO", "everything")))
        info = dict(row.split(":", 1) for row in text.splitlines() if ":" in row)
        return {
            "store_type": "redis",
            "active_sessions": await self.count_active(),
            "redis_version": info.get("valkey_version") or info.get("redis_version", ""),
            "connected_clients": int(info.get("connected_clients", 0)),
            "used_memory_human": info.get("used_memory_human", ""),
            "total_commands_processed": int(info.get("total_commands_processed", 0)),
        }

    async def ping(self) -> bool:
        try:
            line = await self._line(0)
            return bool(await line.send(pack(("PING",))) == "PONG")
        except StoreUnavailable:
            return False

    async def close(self) -> None:
        await self._client().close()

    async def _end(self, session_id: str, reason: str, actor: str | None) -> Ending | None:
        bucket, root, key = self._place(session_id)
        cause = orjson.dumps([reason, actor]).decode()
        try:
            claim = await self._run(bucket, "finish", root, key, cause, CLAIM)
        except StoreUnavailable:
            return None
        return None if claim is None else Ending(session_id, reason, actor, claim)

    async def _claim(self) -> tuple[int, list[Ending]]:
        newly, endings = 0, []
        for bucket, root in enumerate(self._roots):
            expired, mended, *claims = await self._run(bucket, "claim", root, CLAIMS, CLAIM)
            newly += expired
            self.mended += mended
            endings += [ending_of(claim) for claim in claims]
        return newly, endings

    async def _confirm(self, endings: list[Ending]) -> None:
        """Away: they are told again when their claims run out."""
        try:
            for ending in endings:
                bucket, root, _ = self._place(ending.session_id)
                await (await self._line(bucket)).send(pack(("ZREM", root + "c", ending.claim)))
        except StoreUnavailable:
            logger.warning("session_store.unconfirmed ends=%d", len(endings))


def pairs(flat: list[str]) -> Iterable[tuple[str, str]]:
    each = iter(flat)
    return zip(each, each, strict=True)


def paired(flat: list[str]) -> Fields:
    each = iter(flat)
    return dict(zip(each, each, strict=True))


def living(flat: list[str], now: int) -> Fields | None:
    if not flat:
        return None
    fields = paired(flat)
    return fields if int(fields.get("expires", 0)) > now else None


def update_arguments(
    texts: dict[str, str | None], added: dict[str, int | float], expected: dict[str, str]
) -> list[str]:
    """The four lists of update.lua, each after its length."""
    written = [text for name, value in texts.items() if value is not None for text in (name, value)]
    removed = [name for name, value in texts.items() if value is None]
    # A float goes as its text, which sends update.lua back here with "slow".
    sums = [text for name, delta in added.items() for text in (name, repr(delta))]
    standing = [text for pair in expected.items() for text in pair]
    return [text for part in (written, removed, sums, standing) for text in (str(len(part)), *part)]


def too_large(size: int) -> ValueError:
    return ValueError(f"The session would have {size} bytes: at most {MAX_BYTES} are kept.")


def ending_of(claim: str) -> Ending:
    """A claim is the time of the end, the cause as JSON, and the id (the only one that may hold a line break)."""
    _, cause, session_id = claim.split("\n", 2)
    reason, actor = orjson.loads(cause)
    return Ending(session_id, reason, actor, claim)


def write_cursor(after: tuple[float, str]) -> str:
    return urlsafe_b64encode(orjson.dumps([int(after[0]), after[1]])).decode().rstrip("=")


def read_cursor(cursor: str | None) -> tuple[float, str] | None:
    if cursor is None:
        return None
    try:
        score, session_id = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return float(score), str(session_id)
    except (ValueError, TypeError):
        raise ValueError("This cursor is not one of this store's.") from None
