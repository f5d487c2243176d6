"""How a session ends: claimed, told, confirmed; and by whom it is swept."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync

from sessions_app.cache import bucket_of
from sessions_app.signals import session_ended
from sessions_app.stores import InMemorySessionStore, RedisSessionStore, SessionData, SessionStore, base
from sessions_app.stores.coalescing import Line
from sessions_app.sweeper import Sweeper
from tests.conftest import ValkeyServer

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("alone")]

Ended = list[tuple[str, str, str | None]]


@pytest.fixture
def listen() -> Iterator[Callable[[Callable[..., Any]], None]]:
    receivers: list[Callable[..., Any]] = []

    def connect(receiver: Callable[..., Any]) -> None:
        receivers.append(receiver)
        session_ended.connect(receiver)

    yield connect
    for receiver in receivers:
        session_ended.disconnect(receiver)


async def expired(store: SessionStore, count: int) -> set[str]:
    names = {f"s{n}" for n in range(count)}
    await asyncio.gather(*(store.set(name, SessionData(name, user_id="u"), 0.01) for name in names))
    await asyncio.sleep(0.02)
    return names


async def test_expired_sessions_are_counted_and_told_once(store: SessionStore, ended: Ended) -> None:
    names = await expired(store, 300)
    await store.set("alive", SessionData("alive"))
    assert await store.cleanup_expired() == 300
    assert await store.cleanup_expired() == 0
    assert sorted(ended) == sorted((name, "expired", None) for name in names)
    assert await store.list_active() == ["alive"]


async def test_sweepers_side_by_side_count_each_session_once(store: SessionStore, ended: Ended) -> None:
    names = await expired(store, 300)
    counts = await asyncio.gather(*(store.cleanup_expired() for _ in range(5)))
    assert sum(counts) == 300
    assert sorted(ended) == sorted((name, "expired", None) for name in names)


async def test_an_end_that_a_new_session_of_the_same_id_would_hide_is_told(store: SessionStore, ended: Ended) -> None:
    await expired(store, 1)
    await store.set("s0", SessionData("s0", user_id="v"))
    assert await store.cleanup_expired() == 1
    assert ended == [("s0", "expired", None)]
    data = await store.get("s0")
    assert data is not None
    assert data.user_id == "v"
    assert await store.sessions_of("u") == []


async def test_a_receiver_that_fails_hears_it_again_when_the_claim_runs_out(
    store: SessionStore, listen: Callable[..., None]
) -> None:
    heard = []

    def fails_once(sender: Any, session_id: str, **kwargs: Any) -> None:
        heard.append(session_id)
        if len(heard) == 1:
            raise RuntimeError("the database is away")

    listen(fails_once)
    await store.set("s", SessionData("s"))
    assert await store.delete("s") is True
    assert await store.cleanup_expired() == 0
    assert heard == ["s"]
    let_claims_run_out(store)
    assert await store.cleanup_expired() == 0
    assert heard == ["s", "s"]
    let_claims_run_out(store)
    await store.cleanup_expired()
    assert heard == ["s", "s"]


def let_claims_run_out(store: SessionStore) -> None:
    """As if CLAIM_SECONDS had passed."""
    if isinstance(store, InMemorySessionStore):
        claimed = store._table.claimed
        claimed.update({claim: (0.0, ending) for claim, (_, ending) in claimed.items()})
    elif isinstance(store, RedisSessionStore):
        server = redis.Redis(host=store._scripts.server.host, port=store._scripts.server.port)
        for root in store._scripts.roots:
            for claim in server.zrange(root + "c", 0, -1):
                server.zadd(root + "c", {claim: 1})


async def test_a_crash_in_the_middle_of_handling_is_made_good(store: SessionStore, ended: Ended) -> None:
    await expired(store, 3)
    newly, claimed = await store._claim()  # and here the process dies
    assert (newly, len(claimed)) == (3, 3)
    assert await store.cleanup_expired() == 0
    assert ended == []
    let_claims_run_out(store)
    assert await store.cleanup_expired() == 0
    assert sorted(ended) == [(f"s{n}", "expired", None) for n in range(3)]


async def test_a_caller_that_is_cancelled_while_it_tells_leaves_the_end_to_a_sweep(
    store: SessionStore, listen: Callable[..., None]
) -> None:
    heard, started = [], asyncio.Event()

    async def slow(sender: Any, session_id: str, **kwargs: Any) -> None:
        heard.append(session_id)
        started.set()
        await asyncio.sleep(0.01)

    listen(slow)
    await store.set("s", SessionData("s"))
    ending = asyncio.create_task(store.delete("s"))
    await started.wait()
    ending.cancel()
    await asyncio.wait([ending])
    let_claims_run_out(store)
    await store.cleanup_expired()
    assert heard == ["s", "s"]


async def test_sync_receivers_run_off_the_loop_and_async_ones_on_it(
    store: SessionStore, listen: Callable[..., None]
) -> None:
    loop, where = asyncio.get_running_loop(), {}

    def sync(sender: Any, **kwargs: Any) -> None:
        where["sync"] = threading.current_thread() is threading.main_thread()

    async def on_loop(sender: Any, **kwargs: Any) -> None:
        where["async"] = asyncio.get_running_loop() is loop

    listen(sync)
    listen(on_loop)
    await store.set("s", SessionData("s"))
    await store.delete("s")
    assert where == {"sync": False, "async": True}


def test_sync_code_ends_a_session(store: SessionStore, ended: Ended) -> None:
    async_to_sync(store.set)("s", SessionData("s"))
    assert async_to_sync(store.end)("s", "ended", actor="ann") is True
    assert ended == [("s", "ended", "ann")]


async def test_eviction_is_a_loss_and_no_end(ended: Ended) -> None:
    store = InMemorySessionStore(max_sessions=3)
    for name in "abc":
        await store.set(name, SessionData(name, user_id="u"))
    await store.get("a")
    await store.increment_counter("b", "n")
    await store.set("d", SessionData("d"))
    assert await store.get("c") is None
    assert sorted(await store.list_active()) == ["a", "b", "d"]
    assert await store.cleanup_expired() == 0
    assert ended == []


USES: list[Callable[[SessionStore], Awaitable[Any]]] = [
    lambda store: store.get("hot"),
    lambda store: store.get_many(["hot"]),
    lambda store: store.exists("hot"),
    lambda store: store.update("hot", {"a": 1}),
    lambda store: store.increment_counter("hot", "n"),
    lambda store: store.count_message("hot"),
    lambda store: store.touch("hot"),
    lambda store: store.get_or_create("hot", lambda: SessionData("hot")),
    lambda store: store.set("hot", SessionData("hot")),
]


@pytest.mark.parametrize("use", USES)
async def test_whatever_uses_a_session_saves_it_from_eviction(
    use: Callable[[SessionStore], Awaitable[Any]],
) -> None:
    store = InMemorySessionStore(max_sessions=3)
    for name in ("hot", "b", "c"):
        await store.set(name, SessionData(name))
    for n in range(5):
        await use(store)
        await store.set(f"new{n}", SessionData(f"new{n}"))
    assert await store.exists("hot") is True
    assert await store.exists("b") is False
    assert await store.count_active() == 3


async def test_sweeper(store: SessionStore, ended: Ended) -> None:
    sweeper = Sweeper(store, interval=0.02)
    await sweeper.start()
    await sweeper.start()
    await expired(store, 2)
    async with asyncio.timeout(60):
        while len(ended) < 2:  # noqa: ASYNC110 - the receiver is sync
            await asyncio.sleep(0.01)
    await sweeper.stop()
    await sweeper.stop()
    await expired(store, 1)
    assert len(ended) == 2
    assert await sweeper.sweep_once() == 1


# ---- Redis: the data behind it ------------------------------------------------------------------------


async def test_a_hash_that_is_gone_is_mended_and_told_to_nobody(
    redis_store: RedisSessionStore, server: redis.Redis, ended: Ended
) -> None:
    for n in range(6):
        await redis_store.set(f"s{n}", SessionData(f"s{n}", user_id="u", escalated=True))
    for n in range(3):
        server.delete(key_of(redis_store, f"s{n}"))
    rows, _ = await redis_store.page(user_id="u")
    assert [data.session_id for data, _ in rows] == ["s5", "s4", "s3"]
    assert await redis_store.count_active() == 3
    assert redis_store.mended == 3
    assert await redis_store.audit() == 0
    assert ended == []


async def test_lost_indexes_are_mended(redis_store: RedisSessionStore, server: redis.Redis) -> None:
    for n in range(40):
        await redis_store.set(f"s{n}", SessionData(f"s{n}", user_id="u", escalated=True))
    server.delete(*(root + index for root in redis_store._scripts.roots for index in "ae"))
    assert await redis_store.list_active() == []
    assert await redis_store.audit() == 40
    assert await redis_store.list_active() == [f"s{n}" for n in range(39, -1, -1)]
    assert await redis_store.audit() == 0
    server.delete(*(root + "x" for root in redis_store._scripts.roots))
    assert await redis_store.count_active() == 0
    assert await redis_store.audit() == 40
    assert await redis_store.count_active() == 40


async def test_a_message_mends_the_indexes_of_its_session(redis_store: RedisSessionStore, server: redis.Redis) -> None:
    await redis_store.set("s", SessionData("s", user_id="u"))
    server.delete(*(root + index for root in redis_store._scripts.roots for index in ("x", "a", "u:u")))
    await redis_store.count_message("s")
    assert (await redis_store.count_active(), await redis_store.sessions_of("u")) == (1, ["s"])


async def test_the_hash_outlives_its_session_by_the_grace(
    valkey: ValkeyServer, prefix: str, server: redis.Redis, ended: Ended
) -> None:
    store = RedisSessionStore(valkey.url, prefix, 10, grace=20)
    await store.set("s", SessionData("s"))
    assert 20_000 < server.pttl(key_of(store, "s")) <= 30_001
    await store.count_message("s")
    await store.touch("s", 5)
    assert 5_000 < server.pttl(key_of(store, "s")) <= 25_001


async def test_an_end_is_told_though_the_hash_is_gone(
    valkey: ValkeyServer, prefix: str, server: redis.Redis, ended: Ended
) -> None:
    store = RedisSessionStore(valkey.url, prefix, 10, grace=0)
    await expired(store, 2)
    assert server.exists(key_of(store, "s0")) == 0
    assert await store.cleanup_expired() == 2
    assert sorted(ended) == [("s0", "expired", None), ("s1", "expired", None)]


async def test_nothing_is_left_behind(redis_store: RedisSessionStore, server: redis.Redis, prefix: str) -> None:
    for n in range(50):
        await redis_store.set(f"s{n}", SessionData(f"s{n}", user_id=f"u{n}", escalated=bool(n % 2)), 0.02)
    await redis_store.delete("s1")
    await asyncio.sleep(0.03)
    await redis_store.cleanup_expired()
    left = {key.partition("!")[2][:2] for key in server.scan_iter(match=prefix + "*", count=1000)}
    assert left <= {"m:"}  # the chart's counters, which expire by themselves


def test_claims_last_longer_than_telling_should() -> None:
    assert base.CLAIM_SECONDS >= 10


def key_of(store: RedisSessionStore, session_id: str) -> str:
    return store._place(session_id)[2]


async def test_an_entry_that_a_lost_hash_left_names_nobody_elses_session(
    redis_store: RedisSessionStore, server: redis.Redis
) -> None:
    await redis_store.set("s", SessionData("s", user_id="old", escalated=True))
    server.delete(key_of(redis_store, "s"))
    await redis_store.set("s", SessionData("s", user_id="new"))
    assert await redis_store.page(user_id="old") == ([], None)
    assert redis_store.mended == 1
    assert await redis_store.page(user_id="old") == ([], None)
    assert await redis_store.audit() == 1  # the entry among the escalated
    assert redis_store.mended == 2
    assert await redis_store.sessions_of("new") == ["s"]


@pytest.mark.parametrize("drift", ["lost", "foreign"])
async def test_asking_for_a_users_sessions_mends_the_list(
    redis_store: RedisSessionStore, server: redis.Redis, drift: str
) -> None:
    for n in range(5):
        await redis_store.set(f"s{n}", SessionData(f"s{n}", user_id="u"))
    for n in range(2):
        server.delete(key_of(redis_store, f"s{n}"))
        if drift == "foreign":
            await redis_store.set(f"s{n}", SessionData(f"s{n}", user_id="other"))
    assert await redis_store.sessions_of("u") == ["s4", "s3", "s2"]
    assert redis_store.mended == 2
    listed = [name for root in redis_store._scripts.roots for name in server.zrange(root + "u:u", 0, -1)]
    assert sorted(listed) == ["s2", "s3", "s4"]
    assert await redis_store.sessions_of("u") == ["s4", "s3", "s2"]
    assert redis_store.mended == 2
    assert await redis_store.audit() == 0


async def test_listing_mends_what_has_lost_its_hash(redis_store: RedisSessionStore, server: redis.Redis) -> None:
    for n in range(5):
        await redis_store.set(f"s{n}", SessionData(f"s{n}"))
    server.delete(key_of(redis_store, "s3"))
    assert await redis_store.list_active() == ["s4", "s2", "s1", "s0"]
    assert redis_store.mended == 1
    assert await redis_store.audit() == 0


async def test_a_session_that_waits_for_the_sweeper_is_no_drift(own_valkey: ValkeyServer, ended: Ended) -> None:
    """Nor does it cost a round trip more: a list of a user's sessions is two turns."""
    store = RedisSessionStore(own_valkey.url, "l:")
    await store.set("alive", SessionData("alive", user_id="u"))
    await expired(store, 3)
    scripts_before = run_scripts(own_valkey)
    before = Line.turns
    assert await store.sessions_of("u") == ["alive"]
    assert Line.turns - before == 2
    assert run_scripts(own_valkey) == scripts_before
    assert store.mended == 0
    assert await store.cleanup_expired() == 3


def run_scripts(server: ValkeyServer) -> int:
    stats = redis.Redis(port=server.port).info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


async def test_a_users_list_always_goes_by_itself(redis_store: RedisSessionStore, server: redis.Redis) -> None:
    await redis_store.set("s", SessionData("s", user_id="u"), 100)
    users = redis_store._scripts.roots[bucket_of("s")] + "u:u"

    async def touched() -> None:
        server.zadd(users, {"s": 1})
        await redis_store.touch("s")

    async def mended() -> None:
        await redis_store.audit()

    for act in (
        lambda: redis_store.increment_counter("s", "n"),
        lambda: redis_store.increment_counter("s", "f", 0.5),
        lambda: redis_store.update("s", {"a": 1}),
        lambda: redis_store.count_message("s"),
        touched,
        mended,
    ):
        server.delete(users)
        await act()
        assert 600_001 < server.pttl(users) <= 700_001  # the session's 100 s and the hash's grace
    assert await redis_store.sessions_of("u") == ["s"]


async def test_a_sweep_that_fails_does_not_end_the_sweeper(caplog: pytest.LogCaptureFixture) -> None:
    swept = asyncio.Event()

    class Failing(InMemorySessionStore):
        sweeps = 0

        async def cleanup_expired(self) -> int:
            self.sweeps += 1
            if self.sweeps == 1:
                raise RuntimeError("once")
            swept.set()
            return 0

    sweeper = Sweeper(Failing(), 0.01)
    await sweeper.start()
    async with asyncio.timeout(60):
        await swept.wait()
    await sweeper.stop()
    assert "sessions.sweep_failed" in caplog.text


async def test_what_an_id_says_is_no_cause(redis_store: RedisSessionStore, ended: Ended) -> None:
    name = 'x\n["expired",null]\ny'
    await redis_store.set(name, SessionData(name))
    await redis_store._run("finish", name, '["deleted",null]', "0")  # as the cache's delete does
    assert await redis_store.cleanup_expired() == 0
    assert ended == [(name, "deleted", None)]
