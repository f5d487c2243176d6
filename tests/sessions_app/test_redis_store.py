"""What only the Redis store has: keys, scripts, versions, the way to the server."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from redis.crc import key_slot

from sessions_app.servers import Server
from sessions_app.stores import RedisSessionStore, SessionData, StoreUnavailable
from sessions_app.stores.coalescing import Line, Refused, pack
from tests.conftest import ValkeyServer
from tests.sessions_app.test_lifecycle import key_of

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("alone")]


async def test_scripts_survive_a_flush(redis_store: RedisSessionStore, server: redis.Redis) -> None:
    await redis_store.set("s", SessionData("s"))
    server.script_flush()
    assert await redis_store.increment_counter("s", "n") == 1
    server.script_flush()
    results = await asyncio.gather(*(redis_store.increment_counter("s", "n") for _ in range(50)))
    assert sorted(results) == list(range(2, 52))


async def test_two_constructors_see_the_same_sessions(valkey: ValkeyServer, prefix: str) -> None:
    first, second = RedisSessionStore(valkey.url, prefix), RedisSessionStore(redis_url=valkey.url, key_prefix=prefix)
    await first.set("s", SessionData("s"))
    assert await second.exists("s")


@pytest.mark.parametrize(("one", "other"), [("sess", "session:"), ("a[b", "a[bc"), ("x*", "x*y"), ("p:", "p::")])
async def test_prefixes_do_not_mix(valkey: ValkeyServer, prefix: str, one: str, other: str) -> None:
    stores = [RedisSessionStore(valkey.url, prefix + name) for name in (one, other)]
    for n, store in enumerate(stores):
        for name in ("s", "ion:s", "c"):
            await store.set(name, SessionData(name, message_count=n))
    for n, store in enumerate(stores):
        assert sorted(await store.list_active()) == ["c", "ion:s", "s"]
        data = await store.get("s")
        assert data is not None
        assert data.message_count == n
    await stores[0].delete_many(["s", "ion:s", "c"])
    assert (await stores[0].count_active(), await stores[1].count_active()) == (0, 3)


def test_a_prefix_has_no_braces() -> None:
    with pytest.raises(ValueError, match="without braces"):
        RedisSessionStore(key_prefix="a{b}")


async def test_all_keys_of_a_session_are_in_one_cluster_slot(
    redis_store: RedisSessionStore, server: redis.Redis, prefix: str
) -> None:
    await redis_store.set("s{1}{2}", SessionData("s{1}{2}", user_id="u{3}", escalated=True))
    keys = list(server.scan_iter(match=prefix + "*", count=1000))
    assert len(keys) == 6
    assert len({key_slot(key.encode()) for key in keys}) == 1


async def test_an_older_reader_keeps_what_a_newer_writer_added(
    redis_store: RedisSessionStore, server: redis.Redis
) -> None:
    await redis_store.set("s", SessionData("s", metadata={"a": 1}))
    key = key_of(redis_store, "s")
    server.hset(key, mapping={"version": "2", "mood": "calm"})
    data = await redis_store.get("s")
    assert data is not None
    assert data.metadata == {"a": 1}
    data.metadata["b"] = 2
    await redis_store.set("s", data)
    await redis_store.update("s", {"c": 3})
    await redis_store.count_message("s")
    assert server.hmget(key, "version", "mood") == ["2", "calm"]
    await redis_store.delete("s")
    await redis_store.set("s", data)
    assert server.hmget(key, "version", "mood") == ["1", None]


async def test_pages_over_many_of_one_microsecond(redis_store: RedisSessionStore, server: redis.Redis) -> None:
    names = [f"s{n}" for n in range(300)]
    for name in names:
        await redis_store.set(name, SessionData(name))
    for root in redis_store._scripts.roots:
        server.zadd(root + "a", dict.fromkeys(server.zrange(root + "a", 0, -1), 1000000))
    seen, cursor = [], None
    while True:
        rows, cursor = await redis_store.page(cursor, limit=5)
        seen += [data.session_id for data, _ in rows]
        if cursor is None:
            break
    assert seen == sorted(names, reverse=True)


async def test_an_error_is_its_callers_alone(
    redis_store: RedisSessionStore, server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(20):
        await redis_store.set(f"s{n}", SessionData(f"s{n}"))
    server.delete(key_of(redis_store, "s7"))
    server.set(key_of(redis_store, "s7"), "a hand in the data")
    results = await asyncio.gather(*(redis_store.increment_counter(f"s{n}", "n") for n in range(20)))
    assert results == [0 if n == 7 else 1 for n in range(20)]
    assert "WRONGTYPE" in caplog.text


async def test_a_cancelled_caller_disturbs_nobody(redis_store: RedisSessionStore) -> None:
    for n in range(50):
        await redis_store.set(f"s{n}", SessionData(f"s{n}", user_id=f"u{n}"))
    reads = [asyncio.create_task(redis_store.get(f"s{n}")) for n in range(50)]
    await asyncio.sleep(0)
    for read in reads[::3]:
        read.cancel()
    results = await asyncio.gather(*reads, return_exceptions=True)
    for n, result in enumerate(results):
        if n % 3 == 0:
            assert isinstance(result, asyncio.CancelledError)
        else:
            assert isinstance(result, SessionData)
            assert result.user_id == f"u{n}"


async def test_a_caller_cancelled_while_connecting_disturbs_nobody(valkey: ValkeyServer, prefix: str) -> None:
    store = RedisSessionStore(valkey.url.replace("/0", "/7"), prefix)
    calls = [asyncio.create_task(store.set(f"s{n}", SessionData(f"s{n}"))) for n in range(5)]
    await asyncio.sleep(0)
    calls[0].cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert results[1:] == [True] * 4


async def test_commands_of_one_turn_share_a_write(own_valkey: ValkeyServer) -> None:
    store, server = RedisSessionStore(own_valkey.url), redis.Redis(port=own_valkey.port)
    await store.set("s", SessionData("s"))
    before = int(server.info("stats")["total_reads_processed"])
    await asyncio.gather(*(store.increment_counter("s", "n") for _ in range(100)))
    reads = int(server.info("stats")["total_reads_processed"]) - before
    assert reads <= 5  # two of them are the questions themselves


async def test_nothing_walks_the_keyspace_and_reading_writes_nothing(own_valkey: ValkeyServer) -> None:
    store, server = RedisSessionStore(own_valkey.url), redis.Redis(port=own_valkey.port)
    ids = [f"s{n}" for n in range(20)]

    async def commands(*calls: Awaitable[Any]) -> set[str]:
        server.config_resetstat()
        for call in calls:
            await call
        stats: Any = server.info("commandstats")
        return {name.removeprefix("cmdstat_") for name in stats} - {"config|resetstat"}

    for name in ids:
        await store.set(name, SessionData(name, user_id="u", escalated=True))
    assert await commands(store.get("s1"), store.get("s1"), store.get("absent")) == {"time", "hgetall"}
    assert await commands(store.exists("s1"), store.ttl("s1")) == {"time", "hget"}
    assert await commands(store.get_many(ids)) == {"time", "hgetall"}
    listed = await commands(
        store.page(limit=5),
        store.page(user_id="u"),
        store.page(escalated=True),
        store.list_active(),
        store.sessions_of("u"),
    )
    assert listed == {"time", "hgetall", "hmget", "zrevrangebyscore"}
    all_of_it = await commands(
        *(call(store, ids) for name, _, call in CALLS), store.cleanup_expired(), store.audit(), store.delete("s1")
    )
    assert {"evalsha", "hincrby", "zadd"} <= all_of_it
    assert not all_of_it & {"scan", "keys", "flushdb", "flushall", "randomkey", "sort"}


CALLS: list[tuple[str, int, Callable[[RedisSessionStore, list[str]], Awaitable[Any]]]] = [
    ("get", 1, lambda store, ids: store.get(ids[0])),
    ("get_or_create of a living one", 1, lambda store, ids: store.get_or_create(ids[0], lambda: SessionData(ids[0]))),
    ("count_message", 1, lambda store, ids: store.count_message(ids[0])),
    ("atomic update", 1, lambda store, ids: store.update(ids[0], {"n": 1, "plan": "gold"}, atomic=True)),
    ("get_many", 1, lambda store, ids: store.get_many(ids)),
    ("count_active", 1, lambda store, ids: store.count_active()),
    ("page", 2, lambda store, ids: store.page(limit=100)),
    ("page of a user", 2, lambda store, ids: store.page(limit=100, user_id="u")),
    ("page of the escalated", 2, lambda store, ids: store.page(limit=100, escalated=True)),
    ("list_active", 2, lambda store, ids: store.list_active()),
    ("list_active in part", 2, lambda store, ids: store.list_active(limit=50, offset=10)),
    ("sessions_of", 2, lambda store, ids: store.sessions_of("u")),
    ("activity", 2, lambda store, ids: store.activity()),
    ("get_stats", 2, lambda store, ids: store.get_stats()),
    ("delete_many", 2, lambda store, ids: store.delete_many(ids)),
]


@pytest.mark.parametrize(("turns", "call"), [row[1:] for row in CALLS], ids=[row[0] for row in CALLS])
@pytest.mark.parametrize("sessions", [2, 100, 300])
async def test_round_trips(
    redis_store: RedisSessionStore,
    sessions: int,
    turns: int,
    call: Callable[[RedisSessionStore, list[str]], Awaitable[Any]],
) -> None:
    """However many sessions: what a call wants at once, it asks for at once."""
    ids = [f"s{n}" for n in range(sessions)]
    await asyncio.gather(*(redis_store.set(name, SessionData(name, user_id="u", escalated=True)) for name in ids))
    before = Line.turns
    await call(redis_store, ids)
    assert Line.turns - before == turns


async def test_more_callers_than_the_line_holds(redis_store: RedisSessionStore) -> None:
    await redis_store.set("s", SessionData("s"))
    results = await asyncio.gather(*(redis_store.increment_counter("s", "n") for _ in range(12_000)))
    assert sorted(results) == list(range(1, 12_001))


async def test_an_unknown_error_names_its_code(redis_store: RedisSessionStore) -> None:
    line = await redis_store._scripts.line(0)
    with pytest.raises(Refused) as caught:
        await line.send(pack(("NO-SUCH-COMMAND",)))
    assert caught.value.code == "ERR"
    assert isinstance(caught.value, StoreUnavailable)


# ---- the way to the server ----------------------------------------------------------------------------


async def test_password_and_database(own_valkey: ValkeyServer) -> None:
    admin = redis.Redis(port=own_valkey.port)
    admin.config_set("requirepass", "p@ss:w/rd")
    url = f"redis://:p%40ss%3Aw%2Frd@127.0.0.1:{own_valkey.port}/5"
    store = RedisSessionStore(url)
    assert await store.set("s", SessionData("s"))
    wrong = RedisSessionStore(f"redis://:wrong@127.0.0.1:{own_valkey.port}/5")
    assert await wrong.set("s", SessionData("s")) is False
    assert wrong.available is False
    with pytest.raises(StoreUnavailable, match="WRONGPASS"):
        await wrong.count_active()
    checked = redis.Redis(port=own_valkey.port, db=5, password="p@ss:w/rd")
    assert checked.exists(key_of(store, "s")) == 1


async def test_unix_socket(tmp_path: Path) -> None:
    path = f"{tmp_path}/v.sock"
    server = ValkeyServer(tmp_path, "--unixsocket", path)
    server.start()
    store = RedisSessionStore(f"unix://{path}?db=3")
    assert await store.set("s", SessionData("s"))
    assert await store.exists("s")
    server.stop()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost:6379/15", Server(db=15)),
        ("redis://u:p%40@h:1/2", Server("h", 1, db=2, username="u", password="p@")),
        ("rediss://h:1/0?ssl_ca_certs=/ca.pem", Server("h", 1, tls=(("ssl_ca_certs", "/ca.pem"),))),
        ("unix:///run/v.sock?db=1", Server(path="/run/v.sock", db=1)),
        (
            "redis+sentinel://:p@a:1,b/main/3",
            Server(db=3, password="p", sentinels=(("a", 1), ("b", 26379)), service="main"),
        ),
        ("redis+sentinel://a:1/main?db=4", Server(db=4, sentinels=(("a", 1),), service="main")),
        ("redis+cluster://a:1/0", Server("a", 1, cluster=(("a", 1),))),
        ("redis+cluster://a:1,[::1]:2", Server("a", 1, cluster=(("a", 1), ("::1", 2)))),
        ("rediss+cluster://a", Server("a", 6379, tls=(), cluster=(("a", 6379),))),
    ],
)
def test_urls(url: str, expected: Server) -> None:
    assert Server.from_url(url) == expected


@pytest.mark.parametrize(
    ("url", "wrong", "form"),
    [
        ("http://x", "scheme 'http'", "redis://"),
        ("localhost:6379", "no scheme", "redis://"),
        ("redis+other://x", "scheme", "redis+cluster"),
        ("redis+sentinel://a:1", "service is missing", "redis+sentinel://"),
        ("redis+sentinel://a:1/main/abc", "database 'abc'", "/service/db"),
        ("redis+cluster://", "a host is missing", "redis+cluster://"),
        ("redis+cluster://a:1,b:2/3", "a cluster has the database 0 alone, not 3", "redis+cluster://"),
        ("rediss+cluster://a:1?db=2", "a cluster has the database 0 alone, not 2", "rediss+cluster://"),
        ("redis+cluster://a:1/abc", "database 'abc'", "redis+cluster://"),
        ("redis://h:port/0", "the port", "redis://"),
        ("redis://u:sec/ret@h/0", "the port", "redis://"),
        ("redis://h:1/abc", "database 'abc'", "host:port/db"),
        ("rediss://h:1/-1", "database '-1'", "rediss://"),
        ("redis://h:1?db=-1", "database '-1'", "redis://"),
        ("unix:///a.sock?db=-1", "database '-1'", "unix://"),
        ("unix://", "the path of the socket", "unix://"),
    ],
)
def test_urls_that_are_none(url: str, wrong: str, form: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"REDIS_URL.*{wrong}") as caught:
        Server.from_url(url)
    assert form in str(caught.value)
    assert "sec" not in str(caught.value)


def test_from_cache_wants_a_cache_of_ours() -> None:
    with pytest.raises(ImproperlyConfigured, match="default"):
        RedisSessionStore.from_cache("default")
    assert caches["default"] is not None


def test_connections_go_with_their_loop(
    redis_store: RedisSessionStore, server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    before = len(server.client_list())
    for _ in range(3):
        asyncio.run(redis_store.ping())
    deadline = time.monotonic() + 60
    while len(server.client_list()) > before:  # the server may hear of it a moment later
        assert time.monotonic() < deadline
    assert caplog.text == ""
