"""Live sessions as seen through their cache alias, the store that the settings name, and the check at start."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import redis
import time_machine
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.checks import run_checks
from django_redis.cache import RedisCache
from pytest_django.fixtures import Settings

from sessions_app.cache import session_key
from sessions_app.stores import (
    REDIS_AVAILABLE,
    InMemorySessionStore,
    RedisSessionStore,
    SessionData,
    SessionStore,
    forget_store,
    get_store,
)
from tests.conftest import ValkeyServer

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("alone")]


@pytest.fixture(params=["memory", "redis"])
def aliased(request: pytest.FixtureRequest, settings: Settings, prefix: str) -> Iterator[SessionStore]:
    """The store of the settings, as `supportdesk.settings` writes them."""
    common = {"KEY_PREFIX": prefix, "KEY_FUNCTION": "sessions_app.cache.session_key", "TIMEOUT": 300}
    if request.param == "memory":
        sessions = {
            "BACKEND": "sessions_app.cache.IndexedLocMemCache",
            "LOCATION": prefix,
            "OPTIONS": {"MAX_ENTRIES": 1000},
        }
    else:
        sessions = {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": request.getfixturevalue("valkey").url,
            "OPTIONS": {"CLIENT_CLASS": "sessions_app.cache.SessionsClient"},
        }
    settings.CACHES = {**settings.CACHES, "sessions": {**common, **sessions}}
    yield get_store()
    forget_store()


@pytest.fixture
def cache(aliased: SessionStore) -> BaseCache:
    return caches["sessions"]


async def fill(store: SessionStore, *names: str, ttl: float | None = None) -> None:
    for name in names:
        await store.set(name, SessionData(name, user_id="u"), ttl)


async def test_ttl_and_has_key(aliased: SessionStore, cache: Any) -> None:
    await fill(aliased, "s", ttl=100)
    await fill(aliased, "gone", ttl=0.01)
    await asyncio.sleep(0.02)
    assert 98 <= cache.ttl("s") <= 100
    assert (cache.has_key("s"), "s" in cache) == (True, True)
    assert (cache.ttl("gone"), cache.has_key("gone"), cache.has_key("never")) == (0, False, False)


async def test_iter_keys(aliased: SessionStore, cache: Any) -> None:
    await fill(aliased, "a1", "a2", "b1", "[x]", "gone")
    await aliased.touch("gone", 0.005)
    await asyncio.sleep(0.01)
    assert sorted(cache.iter_keys("*")) == ["[x]", "a1", "a2", "b1"]
    assert sorted(cache.iter_keys("a?")) == ["a1", "a2"]
    assert cache.keys("b*") == ["b1"]


async def test_delete_takes_the_session_out_of_the_indexes_and_the_next_sweep_tells(
    aliased: SessionStore, cache: Any, ended: list[tuple[str, str, str | None]]
) -> None:
    await fill(aliased, "a", "b", "c")
    assert cache.delete("a") is True
    assert cache.delete("a") is False
    assert cache.delete_many(["b", "x"]) == 1
    assert await aliased.list_active() == ["c"]
    assert await aliased.sessions_of("u") == ["c"]
    assert await aliased.cleanup_expired() == 0
    assert sorted(ended) == [("a", "deleted", None), ("b", "deleted", None)]


async def test_a_lock(aliased: SessionStore, cache: Any) -> None:
    await fill(aliased, "s")
    with cache.lock("s"):
        assert cache.lock("s").acquire(blocking=False) is False
    assert await aliased.exists("s")
    assert await aliased.list_active() == ["s"]


REFUSED: list[Callable[[Any], Any]] = [
    lambda cache: cache.get("s"),
    lambda cache: cache.set("s", 1),
    lambda cache: cache.add("s", 1),
    lambda cache: cache.incr("s"),
    lambda cache: cache.touch("s", 5),
    lambda cache: cache.get_many(["s"]),
    lambda cache: cache.set_many({"s": 1}),
]


@pytest.mark.parametrize("call", REFUSED)
async def test_what_goes_past_the_store_raises_a_sentence(
    aliased: SessionStore, cache: Any, call: Callable[[Any], Any]
) -> None:
    await fill(aliased, "s")
    before = await aliased.get("s")
    with pytest.raises(TypeError, match=r"through sessions_app\.stores\.get_store\(\)"):
        call(cache)
    assert await aliased.get("s") == before


# What django-redis offers beyond these reads or writes a value, past the store.
OPEN = {
    "clear", "client", "close", "delete", "delete_many", "has_key", "iter_keys", "keys", "lock", "pttl", "ttl",
}  # fmt: skip


@pytest.mark.parametrize("aliased", ["redis"], indirect=True)
async def test_whatever_django_redis_offers_raises_a_sentence(aliased: SessionStore, cache: Any) -> None:
    await fill(aliased, "s")
    before = await aliased.get("s")
    offered = {name for name, value in vars(RedisCache).items() if callable(value) and not name.startswith("_")}
    assert {"hset", "hkeys", "sadd", "smembers", "zadd", "zrange", "get", "set", "expire", "persist"} <= offered
    for name in sorted(offered - OPEN):
        with pytest.raises(TypeError, match=r"through sessions_app\.stores\.get_store\(\)"):
            getattr(cache, name)("s", "field", 1)
    for name in sorted(name for name in vars(BaseCache) if name.startswith("a") and name[1:] in offered - OPEN):
        with pytest.raises(TypeError, match=r"through sessions_app\.stores\.get_store\(\)"):
            await getattr(cache, name)(["s"] if name == "aget_many" else {"s": 1} if name == "aset_many" else "s", 1)
    assert await aliased.get("s") == before


@pytest.mark.parametrize("aliased", ["redis"], indirect=True)
@pytest.mark.parametrize("ahead", [-86400, 86400])
async def test_keys_are_judged_by_the_servers_clock(aliased: SessionStore, cache: Any, ahead: int) -> None:
    await fill(aliased, "alive")
    await fill(aliased, "gone", ttl=0.001)
    while await aliased.exists("gone"):
        pass
    with time_machine.travel(time.time() + ahead):
        assert cache.keys("*") == ["alive"]


async def test_clear_takes_our_prefix_alone(
    aliased: SessionStore, cache: Any, valkey: ValkeyServer, ended: list[Any]
) -> None:
    await fill(aliased, *(f"s{n}" for n in range(500)))
    raw = redis.Redis.from_url(valkey.url)
    raw.set("another", "1")
    other = RedisSessionStore(valkey.url, "another-prefix:")
    await fill(other, "s1")
    cache.clear()
    assert (await aliased.count_active(), await aliased.list_active()) == (0, [])
    assert await aliased.sessions_of("u") == []
    assert await other.exists("s1")
    assert raw.get("another") == b"1"
    assert await aliased.cleanup_expired() == 0
    assert ended == []


async def test_both_constructors_give_the_same_keys(valkey: ValkeyServer, aliased: SessionStore, prefix: str) -> None:
    if isinstance(aliased, RedisSessionStore):
        direct = RedisSessionStore(redis_url=valkey.url, key_prefix=prefix, default_ttl=300)
        await fill(direct, "s")
        assert await aliased.exists("s")
        assert redis.Redis.from_url(valkey.url).exists(session_key("s", prefix)) == 1
    else:
        await fill(aliased, "s")
        assert await InMemorySessionStore.from_cache("sessions").exists("s")


async def test_two_memory_stores_of_their_own_share_nothing() -> None:
    first, second = InMemorySessionStore(max_sessions=5, default_ttl=300), InMemorySessionStore()
    await fill(first, "s")
    assert await second.exists("s") is False
    assert await get_store().exists("s") is False


def test_get_store_is_one_and_says_so_once(aliased: SessionStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    forget_store()
    assert get_store() is get_store()
    said = [message for message in caplog.messages if message.startswith("Using ")]
    expected = "Using InMemorySessionStore"
    if isinstance(aliased, RedisSessionStore):
        expected = "Using RedisSessionStore for shared context"
    assert said == [expected]
    assert REDIS_AVAILABLE is True


def test_the_alias_gives_the_ttl(aliased: SessionStore) -> None:
    assert aliased.default_ttl == 300


def test_memory_in_production_is_a_warning(settings: Settings) -> None:
    settings.DEBUG = False
    assert "sessions_app.W001" in {message.id for message in run_checks(tags=["caches"])}
    settings.DEBUG = True
    assert "sessions_app.W001" not in {message.id for message in run_checks(tags=["caches"])}


def test_threads_make_one_store() -> None:
    together = Barrier(8)

    def get(_: int) -> SessionStore:
        together.wait()
        return get_store()

    forget_store()
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(get, range(8)))
    forget_store()
    assert len(set(map(id, stores))) == 1
