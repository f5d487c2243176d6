"""The server dies, hangs, forgets and refuses: nothing hangs past its bound, nothing raises on the hot path,
operators hear of it, no reply reaches a wrong caller, and everything heals by itself."""

import asyncio
import contextlib
import logging
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessions_app.servers import Server
from sessions_app.stores import RedisSessionStore, SessionData, SessionStore, StoreUnavailable
from sessions_app.stores.breaker import Breaker
from sessions_app.stores.coalescing import MAX_WAITING
from tests.conftest import ValkeyServer

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("alone"), pytest.mark.slow]

CONNECTS, ANSWERS = 0.5, 1.0
FAST = {"SOCKET_CONNECT_TIMEOUT": CONNECTS, "SOCKET_TIMEOUT": ANSWERS}


LATE = 0.4  # seconds by which a busy machine may be late
PAUSE = 5.0  # seconds: longer than whoever waits for an answer, and is late, would wait


def until_silent(port: int) -> None:
    probe = redis.Redis(port=port, socket_timeout=0.5, retry=Retry(NoBackoff(), 0))
    with contextlib.suppress(redis.TimeoutError, redis.ResponseError):  # or it says that it is busy
        while probe.ping():
            pass


@pytest.fixture
def store(own_valkey: ValkeyServer) -> RedisSessionStore:
    return RedisSessionStore(own_valkey.url, "f:", 300, options=FAST)


@pytest.fixture
def admin(own_valkey: ValkeyServer) -> redis.Redis:
    return redis.Redis(port=own_valkey.port, decode_responses=True)


async def assert_degraded(store: RedisSessionStore) -> None:
    """What the design promises of a store that is away."""
    made = SessionData("new", user_id="made")
    assert await store.set("s", SessionData("s")) is False
    assert await store.get("s") is None
    assert await store.update("s", {"user_id": "u"}) is False
    assert await store.update("s", {"n": 0.5}, atomic=True) is False
    assert await store.delete("s") is False
    assert await store.exists("s") is False
    assert await store.increment_counter("s", "n") == 0
    assert await store.increment_counter("s", "n", 0.5) == 0
    assert await store.count_message("s") is None
    assert store.available is False
    assert await store.touch("s") is False
    assert await store.ttl("s") is None
    assert await store.get_many(["s"]) == {}
    assert await store.delete_many(["s"]) == 0
    assert await store.get_or_create("new", lambda: made) is made
    assert await store.end("s", "ended") is False
    assert await store.ping() is False
    await assert_operators_hear(store)


async def assert_operators_hear(store: RedisSessionStore) -> None:
    calls: list[Callable[[], Awaitable[Any]]] = [
        store.list_active,
        store.count_active,
        store.page,
        store.get_stats,
        store.cleanup_expired,
        store.activity,
        lambda: store.sessions_of("u"),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            await call()


async def healed(store: RedisSessionStore) -> None:
    async with asyncio.timeout(60):
        while not await store.ping():  # noqa: ASYNC110 - the store has no event for it; a probe a second
            await asyncio.sleep(0.02)


async def test_killed_and_restarted_empty(
    store: RedisSessionStore, own_valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await store.set("s", SessionData("s"))
    own_valkey.stop()
    await assert_degraded(store)
    started = time.perf_counter()
    for _ in range(200):
        await store.count_message("s")
    assert time.perf_counter() - started < LATE  # at once, but for the circuit's probe
    own_valkey.start()
    await healed(store)
    assert store.available is True
    assert await store.get("s") is None
    assert await store.set("s", SessionData("s"))
    assert await store.increment_counter("s", "n") == 1
    assert len(re.findall("session_store.away", caplog.text)) == 1
    assert len(re.findall("session_store.back", caplog.text)) == 1


async def test_a_restart_between_two_calls_is_not_noticed(store: RedisSessionStore, own_valkey: ValkeyServer) -> None:
    await store.set("s", SessionData("s"))
    own_valkey.stop()
    own_valkey.start()
    await asyncio.sleep(0.01)  # for the loop to hear that the connection is closed
    assert await store.set("s", SessionData("s"))
    assert await store.count_message("s") is not None


@pytest.mark.parametrize("pause", [f"CLIENT PAUSE {PAUSE * 1000:.0f} ALL", f"DEBUG SLEEP {PAUSE}"])
async def test_paused(tmp_path: Path, pause: str) -> None:
    server = ValkeyServer(tmp_path, "--enable-debug-command", "yes")
    server.start()
    store = RedisSessionStore(server.url, "f:", 300, options=FAST)
    await store.set("s", SessionData("s"))
    with socket.create_connection(("127.0.0.1", server.port)) as other:
        other.sendall(pause.encode() + b"\r\n")
        until_silent(server.port)
    started = time.perf_counter()
    counted = await asyncio.gather(*(store.count_message("s") for _ in range(20)))
    assert counted == [None] * 20
    assert time.perf_counter() - started < ANSWERS + LATE
    assert store.available is False
    while await store.ping() is False and time.perf_counter() - started < PAUSE / 2:
        asked = time.perf_counter()
        assert await store.get("s") is None
        assert time.perf_counter() - asked < ANSWERS + LATE
    await healed(store)
    data = await store.count_message("s")
    assert data is not None
    # The messages of the pause were sent, and may have been counted when the server woke.
    assert data.message_count in (1, 21)
    server.stop()


async def test_loading_is_away(store: RedisSessionStore, own_valkey: ValkeyServer, admin: redis.Redis) -> None:
    """A replica that has never seen its primary answers MASTERDOWN to everything, as a loading server does."""
    await store.set("s", SessionData("s"))
    admin.config_set("replica-serve-stale-data", "no")
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")
    await assert_degraded(store)
    admin.execute_command("REPLICAOF", "NO", "ONE")
    await healed(store)
    assert await store.exists("s")
    assert store.available is True


async def test_read_only_replica(store: RedisSessionStore, admin: redis.Redis) -> None:
    await store.set("gone", SessionData("gone"), 0.01)
    await asyncio.sleep(0.02)
    for name in ("s", "lost"):
        await store.set(name, SessionData(name, user_id="u"))
    admin.delete(store._place("lost")[2])
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")
    data = await store.get("s")
    assert data is not None
    assert data.user_id == "u"
    assert await store.set("t", SessionData("t")) is False
    assert await store.count_message("s") is None
    assert store.available is False
    assert await store.increment_counter("s", "n") == 0
    assert await store.update("s", {"n": 1}) is False
    assert await store.touch("s") is False
    assert await store.delete("s") is False
    with pytest.raises(StoreUnavailable, match="READONLY"):
        await store.cleanup_expired()
    # What they meet that does not fit cannot be mended there; what they read is right all the same.
    assert await store.list_active() == ["s"]
    assert await store.sessions_of("u") == ["s"]
    assert [row.session_id for row, _ in (await store.page())[0]] == ["s"]
    assert store.mended == 0
    admin.execute_command("REPLICAOF", "NO", "ONE")
    assert await store.sessions_of("u") == ["s"]
    assert store.mended == 1
    assert await store.count_message("s") is not None
    assert store.available is True


async def test_memory_is_full(store: RedisSessionStore, admin: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await store.set("s", SessionData("s"))
    admin.config_set("maxmemory", "1")
    for _ in range(20):
        assert await store.set("t", SessionData("t")) is False
        assert await store.count_message("s") is None
        assert store.available is False
        assert await store.increment_counter("s", "n") == 0
    data = await store.get("s")
    assert data is not None
    assert (data.message_count, data.metadata) == (0, {})
    assert await store.count_active() == 1
    assert store.available is False
    admin.config_set("maxmemory", "0")
    assert await store.count_message("s") is not None
    assert store.available is True
    assert len(re.findall("session_store.refuses .*code=OOM", caplog.text)) == 1


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message.split()[0] for message in caplog.messages if message.startswith("session_store.")]


async def test_a_database_that_is_none_is_said_once(own_valkey: ValkeyServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store = RedisSessionStore(own_valkey.url.replace("/0", "/99"), options=FAST)
    started = time.perf_counter()
    while time.perf_counter() - started < 1.5:  # the circuit's probe asks again
        assert await store.count_message("s") is None
        await asyncio.sleep(0.001)
    assert said(caplog) == ["session_store.away"]
    assert "DB index is out of range" in caplog.text


async def test_a_server_that_greets_and_then_is_away_is_said_once(
    store: RedisSessionStore, admin: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await store.set("s", SessionData("s"))
    caplog.set_level(logging.INFO)
    admin.config_set("replica-serve-stale-data", "no")
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")
    for _ in range(3):
        await assert_degraded(store)
    assert said(caplog) == ["session_store.away"]
    admin.execute_command("REPLICAOF", "NO", "ONE")
    await healed(store)
    assert await store.exists("s")
    assert said(caplog) == ["session_store.away", "session_store.back"]


async def test_a_full_memory_that_lets_deletes_through_is_said_once(
    store: RedisSessionStore, admin: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(10):
        await store.set(f"s{n}", SessionData(f"s{n}"))
    caplog.set_level(logging.INFO)
    admin.config_set("maxmemory", "1")
    for n in range(10):
        assert await store.set("t", SessionData("t")) is False
        assert await store.delete(f"s{n}") is True
        assert store.available is False
    assert said(caplog) == ["session_store.refuses"]


async def test_a_memory_on_its_edge_is_said_once(
    store: RedisSessionStore, admin: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await store.set("s", SessionData("s"))
    caplog.set_level(logging.INFO)
    for _ in range(5):
        admin.config_set("maxmemory", "1")
        assert await store.set("t", SessionData("t")) is False
        assert store.available is False
        admin.config_set("maxmemory", "0")
        assert await store.count_message("s") is not None
        assert store.available is True
    assert said(caplog) == ["session_store.refuses"]
    (await store._scripts.line(0)).breaker._refused_at -= Breaker.SETTLED_SECONDS  # as if they had passed
    assert await store.count_message("s") is not None
    assert await store.count_message("s") is not None
    assert said(caplog) == ["session_store.refuses", "session_store.accepts"]
    admin.config_set("maxmemory", "1")
    assert await store.set("t", SessionData("t")) is False
    assert said(caplog) == ["session_store.refuses", "session_store.accepts", "session_store.refuses"]


async def test_a_refusal_does_not_hide_that_a_session_is_absent(store: RedisSessionStore, admin: redis.Redis) -> None:
    """Where nobody's session is left nobody writes, until somebody is told that a session is absent, not away."""
    admin.config_set("maxmemory", "1")
    assert await store.set("s", SessionData("s")) is False
    assert store.available is False
    admin.config_set("maxmemory", "0")
    (await store._scripts.line(0)).breaker._refused_at -= Breaker.PROBE_SECONDS  # as if it had passed
    assert await store.count_message("s") is None
    assert store.available is True
    admin.config_set("maxmemory", "1")
    assert (await store.get_or_create("s", lambda: SessionData("s"))).session_id == "s"
    assert store.available is False


async def test_too_few_replicas(store: RedisSessionStore, admin: redis.Redis) -> None:
    await store.set("s", SessionData("s"))
    admin.config_set("min-replicas-to-write", "1")
    assert await store.count_message("s") is None
    assert store.available is False
    assert await store.get("s") is not None
    assert await store.delete("s") is False
    admin.config_set("min-replicas-to-write", "0")
    assert await store.count_message("s") is not None
    assert store.available is True


async def test_somebody_elses_script_runs_for_ever(store: RedisSessionStore, own_valkey: ValkeyServer) -> None:
    await store.set("s", SessionData("s"))
    admin = redis.Redis(port=own_valkey.port, socket_timeout=60)
    admin.config_set("busy-reply-threshold", 100)
    with socket.create_connection(("127.0.0.1", own_valkey.port)) as other:
        other.sendall(b"EVAL 'while true do end' 0\r\n")
        until_silent(own_valkey.port)
        started = time.perf_counter()
        await assert_degraded(store)
        assert time.perf_counter() - started < 3 * ANSWERS + 3 * LATE
        admin.script_kill()
    await healed(store)
    assert await store.count_message("s") is not None
    assert store.available is True


WRITES: list[tuple[Callable[[SessionStore], Awaitable[Any]], Any]] = [
    (lambda store: store.update("s", {"user_id": "v"}), False),
    (lambda store: store.update("s", {"f": 0.5}, atomic=True), False),
    (lambda store: store.increment_counter("s", "n"), 0),
    (lambda store: store.increment_counter("s", "f", 0.5), 0),
    (lambda store: store.count_message("s"), None),
    (lambda store: store.touch("s", 100), False),
    (lambda store: store.delete("s"), False),
]


@pytest.mark.parametrize(("write", "absent"), WRITES)
async def test_a_session_that_expires_while_a_write_waits_stays_dead(
    own_valkey: ValkeyServer,
    admin: redis.Redis,
    write: Callable[[SessionStore], Awaitable[Any]],
    absent: Any,
    ended: list[tuple[str, str, str | None]],
) -> None:
    # Two timeouts are two connections: behind a write that waits, its own answers nothing more.
    store, other = (RedisSessionStore(own_valkey.url, "f:", 300, options={"SOCKET_TIMEOUT": n}) for n in (60, 61))
    await store.set("s", SessionData("s", user_id="u", metadata={"n": 1, "f": 1.5}), 0.8)
    admin.execute_command("CLIENT", "PAUSE", "60000", "WRITE")  # reads go on: an addition of a float begins with one
    writing = asyncio.create_task(write(store))
    while await other.exists("s"):  # noqa: ASYNC110 - the server's clock tells nobody
        await asyncio.sleep(0.01)
    admin.execute_command("CLIENT", "UNPAUSE")
    assert await writing == absent
    assert store.available is True
    assert await store.get("s") is None
    assert await store.cleanup_expired() == 1
    assert ended == [("s", "expired", None)]
    assert {key.partition("!")[2][:2] for key in admin.scan_iter(match="f:*")} <= {"m:"}


async def test_a_hand_in_the_data_is_said_once_a_minute(
    store: RedisSessionStore, admin: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await store.set("s", SessionData("s"))
    for n in range(3):
        admin.set(store._place(f"t{n}")[2], "a hand in the data")
    for n in range(9):
        assert await store.count_message(f"t{n % 3}") is None
        assert await store.count_message("s") is not None
    assert said(caplog) == ["session_store.error"]
    (await store._scripts.line(0)).breaker._errors["WRONGTYPE"] -= Breaker.ERROR_SECONDS  # as if it had passed
    assert await store.count_message("t1") is None
    assert said(caplog) == ["session_store.error"] * 2


async def test_sessions_end_though_memory_is_full(
    store: RedisSessionStore, admin: redis.Redis, ended: list[tuple[str, str, str | None]]
) -> None:
    await store.set("s", SessionData("s"))
    await store.set("t", SessionData("t"), 0.01)
    await asyncio.sleep(0.02)
    admin.config_set("maxmemory", "1")
    assert await store.delete("s") is True
    assert await store.cleanup_expired() == 1
    assert sorted(ended) == [("s", "deleted", None), ("t", "expired", None)]


# ---- a wire that can be cut ---------------------------------------------------------------------------


class Wire:
    """A proxy that lets through so many bytes of replies, then cuts."""

    def __init__(self, port: int) -> None:
        self.server_port = port
        self.port = 0
        self.bytes_left: int | None = None
        self.garbage = b""

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        try:
            await asyncio.gather(self.requests(reader, up_writer), self.replies(up_reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            up_writer.close()

    async def requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        raise ConnectionResetError

    async def replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.garbage:
                data, self.garbage = self.garbage, b""
            writer.write(data[: self.bytes_left])
            if self.bytes_left is not None and self.bytes_left < len(data):
                self.bytes_left = None
                await writer.drain()
                raise ConnectionResetError
        raise ConnectionResetError


@asynccontextmanager
async def wire(server: ValkeyServer) -> AsyncIterator[Wire]:
    made = Wire(server.port)
    listener = await asyncio.start_server(made.carry, "127.0.0.1", 0)
    made.port = listener.sockets[0].getsockname()[1]
    yield made
    listener.close()


@pytest.mark.parametrize("after", [0, 1, 17, 300, 1500, 5001])
async def test_cut_in_mid_reply(valkey: ValkeyServer, prefix: str, after: int) -> None:
    async with wire(valkey) as cut:
        store = RedisSessionStore(f"redis://127.0.0.1:{cut.port}/0", prefix, options=FAST)
        for n in range(50):
            await store.set(f"s{n}", SessionData(f"s{n}", user_id=f"u{n}"))
        cut.bytes_left = after
        results = await asyncio.gather(*(store.get(f"s{n}") for n in range(50)))
        for n, data in enumerate(results):
            assert data is None or (data.session_id, data.user_id) == (f"s{n}", f"u{n}")
        assert None in results
        again = await asyncio.gather(*(store.get(f"s{n}") for n in range(50)))
        assert [data.user_id for data in again if data] == [f"u{n}" for n in range(50)]
        assert store.available is True
        await store.close()


@pytest.mark.parametrize("after", [0, 1, 17, 90, 200])
async def test_writes_cut_in_mid_reply(valkey: ValkeyServer, prefix: str, after: int) -> None:
    """Each caller hears its own result or that nobody knows; what was heard is what is kept."""
    async with wire(valkey) as cut:
        store = RedisSessionStore(f"redis://127.0.0.1:{cut.port}/0", prefix, options=FAST)
        for n in range(50):
            await store.set(f"s{n}", SessionData(f"s{n}"))
        cut.bytes_left = after
        results = await asyncio.gather(*(store.increment_counter(f"s{n}", "n", n + 1) for n in range(50)))
        assert 0 in results
        for n, heard in enumerate(results):
            assert heard in (0, n + 1)
            kept = await store.increment_counter(f"s{n}", "n", 0)
            assert kept == n + 1 if heard else kept in (0, n + 1)
        assert store.available is True
        await store.close()


@pytest.mark.parametrize("after", [0, 5, 700, 3000])
async def test_a_page_cut_in_mid_reply_is_no_short_page(valkey: ValkeyServer, prefix: str, after: int) -> None:
    async with wire(valkey) as cut:
        store = RedisSessionStore(f"redis://127.0.0.1:{cut.port}/0", prefix, options=FAST)
        for n in range(50):
            await store.set(f"s{n}", SessionData(f"s{n}"))
        cut.bytes_left = after
        with pytest.raises(StoreUnavailable):
            await store.page()
        assert [row.session_id for row, _ in (await store.page())[0]] == [f"s{n}" for n in range(49, -1, -1)]
        await store.close()


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n" * 100])
async def test_replies_that_make_no_sense(valkey: ValkeyServer, prefix: str, garbage: bytes) -> None:
    async with wire(valkey) as odd:
        store = RedisSessionStore(f"redis://127.0.0.1:{odd.port}/0", prefix, options=FAST)
        await store.set("s", SessionData("s"))
        odd.garbage = garbage
        await asyncio.gather(*(store.exists("s") for _ in range(5)))
        assert await store.exists("s") is True
        await store.close()


async def test_a_server_that_accepts_and_says_nothing() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    store = RedisSessionStore(f"redis://127.0.0.1:{port}/0", options=FAST)
    started = time.perf_counter()
    await assert_degraded(store)
    # Three tries to connect, then at once; the circuit's probe may be due once.
    assert time.perf_counter() - started < 4 * ANSWERS + LATE
    listener.close()


@pytest.mark.slow
async def test_killed_again_and_again_under_load(store: RedisSessionStore, own_valkey: ValkeyServer) -> None:
    wrong: list[str] = []
    stop = asyncio.Event()

    async def client(n: int) -> None:
        name = f"s{n}"
        while not stop.is_set():
            data = await store.get_or_create(name, lambda: SessionData(name, user_id=name))
            counted = await store.count_message(name)
            wrong.extend(d.session_id for d in (data, counted) if d and (d.session_id, d.user_id) != (name, name))
            await asyncio.sleep(0 if store.available else 0.01)

    async with asyncio.TaskGroup() as group:
        for n in range(50):
            group.create_task(client(n))
        for _ in range(6):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(own_valkey.stop)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(own_valkey.start)
        async with asyncio.timeout(60):
            while await store.count_active() < 50 if store.available else True:  # noqa: ASYNC110 - as in healed()
                await asyncio.sleep(0.05)
        stop.set()
    assert wrong == []
    assert await store.count_active() == 50


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "\u2024"])
async def test_a_host_that_is_no_name_counts_as_away(host: str) -> None:
    store = RedisSessionStore(options={})
    store._scripts.server = Server(host)
    assert await store.get("s") is None
    assert await store.set("s", SessionData("s")) is False
    assert store.available is False


async def test_an_end_to_tell_does_not_keep_the_sweeper_of_a_full_server_from_what_has_expired(
    store: RedisSessionStore, admin: redis.Redis, ended: list[tuple[str, str, str | None]]
) -> None:
    names = [f"s{n}" for n in range(40)]
    for name in names:
        await store.set(name, SessionData(name), 0.01)
    await store.set("told late", SessionData("told late"))
    bucket = store._place("told late")[0]
    await asyncio.sleep(0.02)
    assert await store.cleanup_expired() == 40
    await store._run("finish", "told late", '["deleted",null]', "0")  # as the cache's delete does
    others = [name for name in names if store._place(name)[0] != bucket]
    for name in others:
        await store.set(name, SessionData(name), 0.01)
    await asyncio.sleep(0.02)
    ended.clear()
    admin.config_set("maxmemory", "1")
    assert await store.cleanup_expired() == len(others)
    assert sorted(ended) == sorted([("told late", "deleted", None), *((name, "expired", None) for name in others)])


async def test_a_full_server_and_a_replica_are_read_all_the_same_where_reading_renews(
    own_valkey: ValkeyServer, admin: redis.Redis
) -> None:
    store = RedisSessionStore(own_valkey.url, "f:", 300, sliding=True, options=FAST)
    await store.set("s", SessionData("s", user_id="u"))
    admin.config_set("maxmemory", "1")
    data = await store.get("s")
    assert data is not None
    assert data.user_id == "u"
    admin.config_set("maxmemory", "0")
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")
    assert await store.get("s") == data
    assert await store.get("absent") is None


async def test_many_more_callers_than_there_is_room_for(
    store: RedisSessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are called in by turns, and not all each time: each is woken a few times, however many wait outside."""
    patient = RedisSessionStore(f"redis://{store._scripts.server}", "f:", 300, options={"SOCKET_TIMEOUT": 60})
    await patient.set("s", SessionData("s", metadata={"text": "x" * 2000}))
    answered: list[int] = []
    loop = asyncio.get_running_loop()
    call_soon, steps = loop.call_soon, 0

    def counting(*arguments: Any, **options: Any) -> asyncio.Handle:
        nonlocal steps
        steps += 1
        return call_soon(*arguments, **options)

    async def ask(n: int) -> None:
        assert await patient.get("s") is not None
        answered.append(n)

    async def steps_of_each(count: int) -> float:
        answered.clear()
        began = steps
        await asyncio.gather(*map(ask, range(count)))
        assert all(abs(place - n) < 1000 for place, n in enumerate(answered))
        return (steps - began) / count

    monkeypatch.setattr(loop, "call_soon", counting)  # a wake-up is one: the time that they take is the machine's
    few = await steps_of_each(MAX_WAITING)
    assert few >= 2  # begun, and told the reply
    assert await steps_of_each(3 * MAX_WAITING) < few + 3


async def test_a_caller_that_is_cancelled_when_it_is_called_in_gives_its_place_on(store: RedisSessionStore) -> None:
    await store.set("s", SessionData("s"))
    inside = [asyncio.create_task(store.get("s")) for _ in range(MAX_WAITING)]
    outside = [asyncio.create_task(store.get("s")) for _ in range(2 * MAX_WAITING)]
    last = asyncio.create_task(store.get("s"))
    await asyncio.wait(inside, return_when=asyncio.FIRST_COMPLETED)
    for task in outside:
        task.cancel()
    assert await asyncio.wait_for(last, 60) is not None
    assert all(task.result() is not None for task in inside)
