"""The two backends of the `sessions` cache alias: our django-redis client, and the indexed local memory.

A session is kept by its store, in a shape of the store's own. Through `caches["sessions"]` one may look (`ttl`,
`has_key`, `iter_keys`), `lock`, `delete` and `clear`; what would read or write a session past the store raises.
"""

import fnmatch
import heapq
import itertools
import threading
import time
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NoReturn

from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django_redis.client import DefaultClient
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel

from sessions_app.data import Fields
from sessions_app.lua import scripts
from sessions_app.servers import Server
from sessions_app.signals import Ending

BUCKETS = 16
MINUTES_KEPT = 120
NEVER = 2**63
MOST_EXPIRED = 100  # sessions that one write ends on its way; the sweeper ends the rest


def session_key(key: str, key_prefix: str, version: int | str = 1) -> str:
    """The name of a session's key: prefix, bucket, id. The braces are Redis Cluster's hash tag."""
    return f"{key_prefix}{{{bucket_of(key):x}}}:{key}"


def bucket_of(session_id: str) -> int:
    return zlib.crc32(session_id.encode()) % BUCKETS


def check_prefix(prefix: str) -> str:
    """ValueError on a brace: the hash tag must be the bucket."""
    if "{" in prefix or "}" in prefix:
        raise ValueError(f"REDIS_SESSION_KEY_PREFIX={prefix!r}: write one without braces.")
    return prefix


def refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError(
        "A live session is read and written through sessions_app.stores.get_store(), not through its cache."
    )


# ---- local memory -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Entry:
    fields: Fields
    ttl: int  # microseconds, like every time here
    expires: int
    noted: int = NEVER  # the earliest of its notes in the table's heap
    order: int = 0  # grows with every activity in the table


@dataclass
class SessionTable:
    """The sessions of one memory store, with their indexes. Whoever touches it holds `lock`."""

    max_sessions: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    sessions: OrderedDict[str, Entry] = field(default_factory=OrderedDict)  # least recently used first
    # By activity, the least recent first: an activity is always the newest there is, so that moving to the end sorts.
    active: OrderedDict[str, None] = field(default_factory=OrderedDict)
    escalated: OrderedDict[str, None] = field(default_factory=OrderedDict)
    users: dict[str, OrderedDict[str, None]] = field(default_factory=dict)
    # (earliest possible expiry, id): one or more for each session, corrected when they come up.
    expiries: list[tuple[int, str]] = field(default_factory=list)
    expired: dict[str, Ending] = field(default_factory=dict)  # by claim: ended, nobody told yet
    claimed: dict[str, tuple[float, Ending]] = field(default_factory=dict)  # by claim: being told, until when
    minutes: dict[int, list[int]] = field(default_factory=dict)  # minute: [created, ended]
    evicted: int = 0
    names: Iterator[int] = field(default_factory=itertools.count)
    locks: "weakref.WeakValueDictionary[str, threading.Lock]" = field(default_factory=weakref.WeakValueDictionary)

    def find(self, session_id: str, now: int) -> Entry | None:
        """The living session, marked as used."""
        entry = self.sessions.get(session_id)
        if entry is None or entry.expires <= now:
            return None
        self.sessions.move_to_end(session_id)
        return entry

    def put(self, session_id: str, fields: Fields, ttl: int, now: int) -> None:
        self.expire(now, MOST_EXPIRED)
        entry = self.sessions.get(session_id)
        if entry is not None and entry.expires <= now:
            self.end_expired(session_id, now)
            entry = None
        if entry is None:
            self.make_room()
            self.count(now, 0)
            entry = self.sessions[session_id] = Entry(fields, ttl, now + ttl)
        else:
            self.unindex(session_id, entry)
            entry.fields = fields
            entry.ttl = ttl
        self.sessions.move_to_end(session_id)
        self.index(session_id, entry)
        self.renew(session_id, entry, now + ttl)

    def renew(self, session_id: str, entry: Entry, expires: int) -> None:
        # A later expiry needs no new note: the earlier one is corrected when it comes up.
        if expires < entry.noted:
            heapq.heappush(self.expiries, (expires, session_id))
            entry.noted = expires
            if len(self.expiries) > 2 * len(self.sessions) + 100:  # mostly notes of what is gone
                self.expiries = [(each.noted, name) for name, each in self.sessions.items()]
                heapq.heapify(self.expiries)
        entry.expires = expires

    def make_room(self) -> None:
        """An eviction is a loss, not an end: nobody is told, and the next message rebuilds the session."""
        while len(self.sessions) >= self.max_sessions:
            session_id, entry = self.sessions.popitem(last=False)
            self.unindex(session_id, entry)
            self.evicted += 1

    def index(self, session_id: str, entry: Entry) -> None:
        entry.order = next(self.names)
        for index in self.indexes(entry):
            index[session_id] = None
            index.move_to_end(session_id)

    def unindex(self, session_id: str, entry: Entry) -> None:
        for index in self.indexes(entry):
            index.pop(session_id, None)
        user_id = entry.fields.get("user_id")
        if user_id is not None and not self.users[user_id]:
            del self.users[user_id]

    def indexes(self, entry: Entry) -> list[OrderedDict[str, None]]:
        indexes = [self.active]
        if entry.fields.get("escalated") == "1":
            indexes.append(self.escalated)
        user_id = entry.fields.get("user_id")
        if user_id is not None:
            indexes.append(self.users.setdefault(user_id, OrderedDict()))
        return indexes

    def remove(self, session_id: str, now: int, reason: str, actor: str | None) -> Ending | None:
        entry = self.sessions.pop(session_id, None)
        if entry is None:
            return None
        self.unindex(session_id, entry)
        self.count(now, 1)
        return Ending(session_id, reason, actor, f"{next(self.names)}")

    def expire(self, now: int, most: int = NEVER) -> None:
        """Take out what has expired, at most so many. Each session comes up here once a TTL, whatever its traffic."""
        while most > 0 and self.expiries and self.expiries[0][0] <= now:
            noted, session_id = heapq.heappop(self.expiries)
            entry = self.sessions.get(session_id)
            if entry is None or entry.noted != noted:
                continue  # the note of a session that is gone, or a later note stands for it
            if entry.expires > now:
                entry.noted = entry.expires
                heapq.heappush(self.expiries, (entry.expires, session_id))
            else:
                self.end_expired(session_id, now)
                most -= 1

    def end_expired(self, session_id: str, now: int) -> None:
        if ending := self.remove(session_id, now, "expired", None):
            self.expired[ending.claim] = ending

    def count(self, now: int, which: int) -> None:
        minute = now // 60_000_000
        if minute not in self.minutes:
            self.minutes = {old: both for old, both in self.minutes.items() if old > minute - MINUTES_KEPT}
            self.minutes[minute] = [0, 0]
        self.minutes[minute][which] += 1


_tables: dict[str, SessionTable] = {}
_tables_lock = threading.Lock()


def now_us() -> int:
    return time.time_ns() // 1000


class IndexedLocMemCache(LocMemCache):
    """Sessions in this process's memory. Caches of one LOCATION share them; `name` None shares with nobody."""

    def __init__(self, name: str | None, params: dict[str, Any]) -> None:
        super().__init__(name or "", params)
        check_prefix(self.key_prefix)
        with _tables_lock:
            table = _tables.get(name) if name is not None else None
            if table is None:
                table = SessionTable(self._max_entries)
            if name is not None:
                _tables[name] = table
        table.max_sessions = self._max_entries
        self.table = table

    add = get = set = touch = incr = decr = get_or_set = get_many = set_many = incr_version = decr_version = refuse

    def ttl(self, key: str, version: int | None = None) -> int:
        """Seconds left; 0 if there is none, as django-redis has it."""
        now = now_us()
        with self.table.lock:
            entry = self.table.sessions.get(key)
            return max(0, (entry.expires - now) // 1_000_000) if entry else 0

    def has_key(self, key: str, version: int | None = None) -> bool:
        with self.table.lock:
            entry = self.table.sessions.get(key)
            return entry is not None and entry.expires > now_us()

    def iter_keys(self, search: str, **kwargs: Any) -> Iterator[str]:
        with self.table.lock:
            now = now_us()
            living = [session_id for session_id, entry in self.table.sessions.items() if entry.expires > now]
        return (session_id for session_id in living if fnmatch.fnmatchcase(session_id, search))

    def keys(self, search: str, **kwargs: Any) -> list[str]:
        return list(self.iter_keys(search))

    def lock(self, key: str, **kwargs: Any) -> threading.Lock:
        with self.table.lock:
            return self.table.locks.setdefault(key, threading.Lock())

    def delete(self, key: str, version: int | None = None) -> bool:
        """Ends the session. The next sweep tells it."""
        with self.table.lock:
            now = now_us()
            self.table.expire(now)
            ending = self.table.remove(key, now, "deleted", None)
            if ending is None:
                return False
            self.table.claimed[ending.claim] = (0.0, ending)
            return True

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> int:  # type: ignore[override]
        # As django-redis has it, the number; Django's own gives None.
        return sum(self.delete(key) for key in keys)

    def clear(self) -> None:
        """Forget every session of this LOCATION. A loss, not an end: nobody is told."""
        with self.table.lock:
            table = self.table
            for container in (table.sessions, table.active, table.escalated, table.users):
                container.clear()
            for rest in (table.expired, table.claimed, table.minutes):
                rest.clear()
            table.expiries.clear()


# ---- django-redis -------------------------------------------------------------------------------------


class SessionsClient(DefaultClient):
    """django-redis on the server and the keys of RedisSessionStore."""

    add = get = set = touch = incr = decr = get_many = set_many = incr_version = decr_version = refuse
    expire = pexpire = expire_at = pexpire_at = persist = delete_pattern = refuse

    def __init__(self, server: Any, params: dict[str, Any], backend: BaseCache) -> None:
        options = {"SOCKET_CONNECT_TIMEOUT": 1.0, "SOCKET_TIMEOUT": 2.0, **params.get("OPTIONS", {})}
        # A string would be split at its commas, which here stand between sentinels or nodes.
        super().__init__([server] if isinstance(server, str) else server, {**params, "OPTIONS": options}, backend)
        self.options = options
        self.url = str(self._server[0])
        self.prefix = check_prefix(backend.key_prefix)

    def connect(self, index: int = 0) -> Any:
        server = Server.from_url(self._server[index], self.options)
        if server.sentinels or server.cluster:
            return through_others(server)
        return super().connect(index)

    def _root(self, bucket: int) -> str:
        return f"{self.prefix}{{{bucket:x}}}!"

    def _eval(self, name: str, key: str, *arguments: str) -> Any:
        root = self._root(bucket_of(key))
        return self.get_client().eval(scripts()[name].source, 2, root, self.make_key(key), *arguments)

    def pttl(self, key: str, version: int | None = None, client: Any = None) -> int:
        """Milliseconds left; 0 if there is none. (The key itself outlives its session by a grace.)"""
        return int(self._eval("left", key) or 0) // 1000

    def ttl(self, key: str, version: int | None = None, client: Any = None) -> int:
        return self.pttl(key) // 1000

    def has_key(self, key: str, version: int | None = None, client: Any = None) -> bool:
        return self._eval("left", key) is not None

    def iter_keys(
        self, search: str, itersize: int | None = None, client: Any = None, version: int | None = None
    ) -> Iterator[str]:
        """Over the indexes: a SCAN would go through everybody's keys."""
        now = time.time() * 1_000_000
        for bucket in range(BUCKETS):
            for member, expires in self.get_client().zscan_iter(self._root(bucket) + "x", count=itersize):
                session_id = member.decode()
                if expires > now and fnmatch.fnmatchcase(session_id, search):
                    yield session_id

    def keys(self, search: str, version: int | None = None, client: Any = None) -> list[str]:
        return list(self.iter_keys(search))

    def lock(self, key: str, version: int | None = None, **options: Any) -> Any:
        return self.get_client().lock(f"{self._root(bucket_of(key))}l:{key}", **options)

    def delete(self, key: str, version: int | None = None, prefix: str | None = None, client: Any = None) -> int:
        """Ends the session. The next sweep tells it."""
        return int(self._eval("finish", key, '["deleted",null]', "0") is not None)

    def delete_many(self, keys: Iterable[str], version: int | None = None, client: Any = None) -> int:
        return sum(self.delete(key) for key in keys)

    def clear(self, client: Any = None) -> None:
        """Forget every session of our prefix. A loss, not an end: nobody is told. (django-redis' own is FLUSHDB.)"""
        for bucket in range(BUCKETS):
            while self.get_client().eval(scripts()["clear"].source, 1, self._root(bucket), "200"):
                pass


@cache
def through_others(server: Server) -> Any:
    """A client that finds its server by sentinels or in a cluster, for the process: django-redis knows neither URL."""
    login: dict[str, Any] = {
        "username": server.username or None,
        "password": server.password or None,
        "socket_timeout": server.command_timeout,
        "socket_connect_timeout": server.connect_timeout,
    }
    if server.tls is not None:
        login |= {"ssl": True, **dict(server.tls)}
    if server.cluster:
        return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in server.cluster], **login)
    # The sentinels themselves take no password.
    sentinels = Sentinel(server.sentinels, sentinel_kwargs={"socket_timeout": server.connect_timeout}, **login)
    return sentinels.master_for(server.service, db=server.db)
