"""The two backends of the `sessions` cache alias: our django-redis client, and the indexed local memory.

A session is kept by its store, in a shape of the store's own. Through `caches["sessions"]` one may look (`ttl`,
`has_key`, `iter_keys`), `lock`, `delete` and `clear`; what would read or write a session past the store raises.
"""

import fnmatch
import threading
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NoReturn

from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django_redis.client import DefaultClient
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel

from sessions_app.lua import scripts
from sessions_app.servers import Server
from sessions_app.table import SessionTable, now_us

BUCKETS = 16


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


_tables: dict[str, SessionTable] = {}
_tables_lock = threading.Lock()


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
            ending = self.table.end(key, now, "deleted", None)
            if ending is None:
                return False
            self.table.claim(ending, 0.0)
            self.table.claimed.move_to_end(ending.claim, last=False)
            return True

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> int:  # type: ignore[override]
        # As django-redis has it, the number; Django's own gives None.
        return sum(self.delete(key) for key in keys)

    def clear(self) -> None:
        """Forget every session of this LOCATION. A loss, not an end: nobody is told."""
        with self.table.lock:
            self.table.clear()


# ---- django-redis -------------------------------------------------------------------------------------


class SessionsClient(DefaultClient):
    """django-redis on the server and the keys of RedisSessionStore."""

    add = get = set = touch = incr = decr = get_many = set_many = incr_version = decr_version = refuse
    expire = pexpire = expire_at = pexpire_at = persist = delete_pattern = refuse
    hset = hdel = hlen = hkeys = hexists = refuse
    sadd = scard = sdiff = sdiffstore = sinter = sinterstore = sismember = smismember = smembers = smove = refuse
    spop = srandmember = srem = sscan = sscan_iter = sunion = sunionstore = refuse
    zadd = zcard = zcount = zincrby = zpopmax = zpopmin = zrange = zrangebyscore = zrank = zrem = refuse
    zremrangebyscore = zrevrange = zrevrangebyscore = zscore = refuse

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
        for bucket in range(BUCKETS):
            root = self._root(bucket)
            now = int(self.get_client().eval(scripts()["now"].source, 1, root))  # our clock may be another
            for member, expires in self.get_client().zscan_iter(root + "x", count=itersize):
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
