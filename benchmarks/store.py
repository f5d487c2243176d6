"""The session store against its peers, in one run on one server, and how it grows.

    python benchmarks/store.py              all of it: ten minutes, 1.5 GB of memory
    python benchmarks/store.py --quick      fewer rounds and little growth, for a look: two or three minutes
    python benchmarks/store.py --only bars  the ratios alone

Peers are measured in short interleaved rounds; figures are medians over the rounds, ratios those of each round. CPU
is that of this process with all its threads, per operation. Each part ends with the bars that the store must
reach. valkey-glide and openai-agents come with requirements/bench.txt; without it their rows are left out.
"""

import argparse
import asyncio
import gc
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django
from django.conf import settings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
if not settings.configured:
    settings.configure(
        CACHES={
            "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
            "through_threads": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "set by main", "TIMEOUT": None},
        },
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        SESSION_CACHE_ALIAS="through_threads",
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.sessions"],
        SECRET_KEY="benchmark",
        USE_TZ=True,
    )

import redis  # noqa: E402 - Django's settings come first
import redis.asyncio  # noqa: E402
import uvloop  # noqa: E402
from django.core.cache import caches  # noqa: E402
from django.core.cache.backends.locmem import LocMemCache  # noqa: E402

from sessions_app.data import MAX_BYTES  # noqa: E402
from sessions_app.lua import scripts  # noqa: E402
from sessions_app.stores import InMemorySessionStore, RedisSessionStore, SessionData  # noqa: E402
from tests.conftest import ValkeyServer  # noqa: E402

KEYS = 200  # sessions that the tasks work on
PREFIX = "agent:session:"

# Growth is measured, not the timeout of a busy machine.
PATIENT = {"SOCKET_TIMEOUT": 60}
IN_BARS = ("this store", "redis-py", "pipeline", "valkey-glide")  # the peers that the bars name

Operation = Callable[[int], Awaitable[Any]]


def a_session(name: str, user_id: str = "user-0123456789") -> SessionData:
    return SessionData(
        name,
        user_id=user_id,
        thread_id="0f8fad5b-d9cb-469f-a165-70867728950e",
        metadata={"source": "widget", "language": "en", "page": "/returns"},
        request_id="7c9e6679-7425-40de-944b-e07fc1f90ae7",
    )


@dataclass
class Figures:
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    def row(self) -> str:
        cpu, p50, p99 = (statistics.median(values) for values in (self.cpu, self.p50, self.p99))
        return f"{self.rate:>10,.0f} {cpu:>8.1f} {p50:>8.2f} {p99:>8.2f}"


async def measure(operation: Operation, tasks: int, seconds: float, figures: Figures, batch: int = 1) -> None:
    """`batch`: how many operations one call does (a pipeline written by hand)."""
    await operation(0)  # connections are made outside the measured time
    gc.collect()
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def work(n: int) -> None:
        while True:
            started = time.perf_counter()
            if started >= end:
                return
            await operation(n)
            took.append(time.perf_counter() - started)
            n = (n + tasks) % KEYS

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work(n) for n in range(tasks)))
    elapsed, used = time.perf_counter() - began, time.process_time() - cpu
    done = len(took) * batch
    took.sort()
    figures.rates.append(done / elapsed)
    figures.cpu.append(used / done * 1e6)
    figures.p50.append(took[len(took) // 2] * 1e3)
    figures.p99.append(took[int(len(took) * 0.99)] * 1e3)


# ---- the peers ----------------------------------------------------------------------------------------


class Peers:
    """name: operation, for each row of the table."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.store = RedisSessionStore(url, PREFIX, 1800)
        self.raw = redis.asyncio.Redis.from_url(url, max_connections=300)
        self.names = [f"session-{n:04d}-0123456789abcdef" for n in range(KEYS)]
        self.data = [a_session(name) for name in self.names]
        self.rows: dict[str, dict[str, Operation]] = {
            row: {} for row in ("create", "read", "increment", "update", "count_message")
        }

    def keys(self, n: int) -> tuple[str, str]:
        _, root, key = self.store._place(self.names[n])
        return root, key

    async def prepare(self) -> None:
        for name, data in zip(self.names, self.data, strict=True):
            await self.store.set(name, data)
        self.of_store()
        self.of_redis_py()
        self.of_django()
        if importlib.util.find_spec("glide"):
            await self.of_glide()
        if importlib.util.find_spec("agents"):
            self.of_agents()

    def of_store(self) -> None:
        store, names, data = self.store, self.names, self.data
        self.rows["create"]["this store"] = lambda n: store.set(names[n], data[n])
        self.rows["read"]["this store"] = lambda n: store.get(names[n])
        self.rows["increment"]["this store"] = lambda n: store.increment_counter(names[n], "turns")
        self.rows["update"]["this store"] = lambda n: store.update(names[n], {"language": "de"})
        self.rows["count_message"]["this store"] = lambda n: store.count_message(names[n])

    def of_redis_py(self) -> None:
        """The store's own scripts and hashes, asked for one command a call, and fifty a pipeline."""
        raw, all_scripts = self.raw, scripts()
        grace = self.store._grace
        increment, message = all_scripts["increment"].sha, all_scripts["message"].sha
        arguments = [(*self.keys(n), "m:turns", "1", str(MAX_BYTES), grace) for n in range(KEYS)]

        async def fifty(n: int) -> None:
            async with raw.pipeline(transaction=False) as pipeline:
                for k in range(50):
                    pipeline.evalsha(increment, 2, *arguments[(n + k) % KEYS])
                await pipeline.execute()

        async def fifty_reads(n: int) -> None:
            async with raw.pipeline(transaction=False) as pipeline:
                for k in range(50):
                    pipeline.hgetall(self.keys((n + k) % KEYS)[1])
                await pipeline.execute()

        self.rows["read"]["redis-py HGETALL, raw"] = lambda n: raw.hgetall(self.keys(n)[1])
        self.rows["increment"]["redis-py EVALSHA"] = lambda n: raw.evalsha(increment, 2, *arguments[n])
        self.rows["count_message"]["redis-py EVALSHA"] = lambda n: raw.evalsha(message, 2, *self.keys(n), "", grace)
        self.rows["increment"]["pipeline of 50 by hand"] = fifty
        self.rows["read"]["pipeline of 50 by hand"] = fifty_reads

    def of_django(self) -> None:
        from django.contrib.sessions.backends.cache import SessionStore as CachedSession

        cache, names = caches["through_threads"], self.names
        plain = self.data[0].to_dict()
        for name in names:
            cache.set(name, plain)
            cache.set(name + ":turns", 0)
        saved = CachedSession()
        saved.update(plain)
        saved.save()
        session_key = saved.session_key

        async def load(n: int) -> None:
            await CachedSession(session_key).aload()

        async def save(n: int) -> None:
            session = CachedSession(session_key)
            session._session_cache = plain  # what load() would have given
            await session.asave()

        self.rows["create"]["django-redis, threads"] = lambda n: cache.aset(names[n], plain)
        self.rows["read"]["django-redis, threads"] = lambda n: cache.aget(names[n])
        self.rows["increment"]["django-redis, threads"] = lambda n: cache.aincr(names[n] + ":turns")
        self.rows["read"]["Django's cached session"] = load
        self.rows["update"]["Django's cached session"] = save

    async def of_glide(self) -> None:
        from glide import GlideClient, GlideClientConfiguration, NodeAddress

        port = int(self.url.rsplit(":", 1)[1].partition("/")[0])
        glide = await GlideClient.create(GlideClientConfiguration([NodeAddress("127.0.0.1", port)]))
        sha = scripts()["increment"].sha
        commands: list[list[str | bytes]] = [
            ["EVALSHA", sha, "2", *self.keys(n), "m:turns", "1", str(MAX_BYTES), self.store._grace] for n in range(KEYS)
        ]
        self.rows["increment"]["valkey-glide EVALSHA"] = lambda n: glide.custom_command(commands[n])
        self.rows["read"]["valkey-glide HGETALL, raw"] = lambda n: glide.hgetall(self.keys(n)[1])

    def of_agents(self) -> None:
        from agents.extensions.memory.redis_session import RedisSession

        sessions = [RedisSession(name, redis_client=self.raw, key_prefix="agents") for name in self.names]

        async def add(n: int) -> None:
            await sessions[n].add_items([{"role": "user", "content": "Where is my order?"}])
            await sessions[n].pop_item()

        self.rows["update"]["openai-agents, add and pop"] = add
        self.rows["read"]["openai-agents, 1 item"] = lambda n: sessions[n].get_items(limit=1)


async def compare(peers: Peers, rounds: int, seconds: float, only: set[tuple[str, int]] | None) -> dict[Any, Figures]:
    found: dict[Any, Figures] = {}
    for row, operations in peers.rows.items():
        for tasks in (1, 50, 200):
            if only is not None and (row, tasks) not in only:
                continue
            names = [name for name in operations if tasks == 50 or not name.startswith("pipeline")]
            if only is not None:
                names = [name for name in names if name.startswith(IN_BARS)]
            for n in range(rounds):
                # Turned round every time: nobody always runs after the same neighbour.
                for name in names if n % 2 else names[::-1]:
                    figures = found.setdefault((row, tasks, name), Figures())
                    by_hand = name.startswith("pipeline")
                    await measure(operations[name], 1 if by_hand else tasks, seconds, figures, 50 if by_hand else 1)
            print(f"\n{row}, {tasks} task{'s' * (tasks > 1)}{'ops/s':>26} {'CPU µs':>8} {'p50 ms':>8} {'p99 ms':>8}")
            for name in names:
                print(f"  {name:<30}{found[row, tasks, name].row()}")
    return found


# ---- in memory ----------------------------------------------------------------------------------------


async def in_memory(rounds: int, seconds: float) -> dict[str, float]:
    store = InMemorySessionStore(default_ttl=1800)
    bare = LocMemCache("bench", {})
    names = [f"session-{n:04d}-0123456789abcdef" for n in range(KEYS)]
    for name in names:
        await store.set(name, a_session(name))
        stored = await store.get(name)
        bare.set(name, stored)

    async def repeat(operation: Operation) -> float:
        count, end, began = 0, time.perf_counter() + seconds, time.perf_counter()
        while time.perf_counter() < end:
            for n in range(KEYS):
                await operation(n)
            count += KEYS
        return count / (time.perf_counter() - began)

    def repeat_bare() -> float:
        count, end, began = 0, time.perf_counter() + seconds, time.perf_counter()
        while time.perf_counter() < end:
            for name in names:
                bare.get(name)
            count += KEYS
        return count / (time.perf_counter() - began)

    data = a_session("x")
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        rates.setdefault("create", []).append(await repeat(lambda n: store.set(names[n], data)))
        rates.setdefault("increment", []).append(await repeat(lambda n: store.increment_counter(names[n], "turns")))
        rates.setdefault("count_message", []).append(await repeat(lambda n: store.count_message(names[n])))
        rates.setdefault("read", []).append(await repeat(lambda n: store.get(names[n])))
        rates.setdefault("bare locmem.get", []).append(repeat_bare())
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print("\nin memory, 1 task" + f"{'ops/s':>26}")
    for name, rate in medians.items():
        print(f"  {name:<30}{rate:>10,.0f}")
    return medians


# ---- growth -------------------------------------------------------------------------------------------


async def fill(store: RedisSessionStore, first: int, last: int, ttl: float | None = None) -> None:
    for start in range(first, last, 500):
        names = [f"grown-{n:07d}-0123456789ab" for n in range(start, min(start + 500, last))]
        # Each of a user of its own, whose list of sessions is a key of its own: what a session costs most often.
        stored = await asyncio.gather(*(store.set(name, a_session(name, f"user-{name[6:13]}"), ttl) for name in names))
        assert all(stored)


async def median_of(call: Callable[[], Awaitable[Any]], times: int = 20) -> float:
    took = []
    for _ in range(times):
        started = time.perf_counter()
        await call()
        took.append(time.perf_counter() - started)
    return statistics.median(took) * 1e3


@dataclass
class Growth:
    """Milliseconds, one for each round, by act and number of sessions."""

    took: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    bytes_each: dict[int, float] = field(default_factory=dict)

    def note(self, act: str, size: int, took: float) -> None:
        self.took.setdefault(act, {}).setdefault(size, []).append(took)

    def ratio(self, act: str) -> float:
        """Largest to smallest, round by round: what slows the machine for a second slows both."""
        of_size = self.took[act]
        pairs = zip(of_size[max(of_size)], of_size[min(of_size)], strict=True)
        return statistics.median(large / small for large, small in pairs)


async def growth(server: ValkeyServer, sizes: tuple[int, ...], rounds: int) -> Growth:
    """Each size in a database of its own, measured in turn."""
    admin: Any = redis.Redis(port=server.port)
    admin.execute_command("FLUSHALL SYNC")  # what is freed in the background would count against the first size
    grown, stores, third = Growth(), {}, {}
    for db, size in enumerate(sizes):
        empty = admin.info("memory")["used_memory"]
        store = RedisSessionStore(server.url.replace("/0", f"/{db}"), PREFIX, 7200, options=PATIENT)
        await fill(store, 0, size)
        grown.bytes_each[size] = (admin.info("memory")["used_memory"] - empty) / size
        stores[size] = store
    for n in range(rounds):
        for size in sizes if n % 2 else sizes[::-1]:
            store = stores[size]
            _, cursor = await store.page()
            _, third[size] = await store.page(cursor)
            gc.collect()
            grown.note("page of 50", size, await median_of(store.page))
            grown.note("page 3", size, await median_of(lambda: store.page(third[size])))  # noqa: B023 - awaited here
            grown.note("count", size, await median_of(store.count_active))
            if n % 3 == 0:
                await fill(store, 10_000_000, 10_001_000, ttl=0.5)
                await asyncio.sleep(0.6)
                started = time.perf_counter()
                assert await store.cleanup_expired() == 1000
                grown.note("cleanup of 1,000", size, (time.perf_counter() - started) * 1e3)
    print("\ngrowth, ms" + "".join(f"{size:>14,}" for size in sizes) + f"{'ratio':>10}")
    for act, of_size in grown.took.items():
        medians = (statistics.median(of_size[size]) for size in sizes)
        print(f"  {act:<18}" + "".join(f"{value:>14,.2f}" for value in medians) + f"{grown.ratio(act):>10.2f}")
    print("  bytes a session   " + "".join(f"{value:>14,.0f}" for value in grown.bytes_each.values()))
    return grown


async def sweeping(server: ValkeyServer, rounds: int) -> tuple[float, float]:
    """p99 of get at 50 tasks: idle, and while 10,000 sessions expire and are swept."""
    redis.Redis(port=server.port).flushall()
    store = RedisSessionStore(server.url, PREFIX, 7200, options=PATIENT)
    names = [f"session-{n}" for n in range(KEYS)]
    for name in names:
        await store.set(name, a_session(name))
    idle, busy = Figures(), Figures()
    for _ in range(rounds):
        await fill(store, 0, 10_000, ttl=0.8)
        await measure(lambda n: store.get(names[n]), 50, 0.5, idle)
        await asyncio.sleep(0.5)
        sweep = asyncio.create_task(store.cleanup_expired())
        while not sweep.done():
            await measure(lambda n: store.get(names[n]), 50, 0.25, busy)
        assert await sweep == 10_000
    return statistics.median(idle.p99), statistics.median(busy.p99)


# ---- the bars -----------------------------------------------------------------------------------------


def bars() -> None:
    print("\nthe bars" + f"{'reached':>68}")


def bar(name: str, value: float, bound: float, at_least: bool = True, note: str = "") -> None:
    good = value >= bound if at_least else value <= bound
    print(f"  {name:<66}{value:>10,.2f}  {'≥' if at_least else '≤'} {bound:<8,g} {'ok' if good else 'SHORT':<6}{note}")


def ratios(found: dict[Any, Figures]) -> None:
    def against(name: str, row: str, tasks: int, peer: str, bound: float) -> None:
        mine, theirs = found[row, tasks, "this store"], found[row, tasks, peer]
        # Round by round: what slows the machine for a second slows both. The CPU says what is left when others have
        # taken their share of the cores, which hits two busy processes (client and server) harder than one.
        rate = statistics.median(a / b for a, b in zip(mine.rates, theirs.rates, strict=True))
        cpu = statistics.median(b / a for a, b in zip(mine.cpu, theirs.cpu, strict=True))
        bar(f"{name} × {peer}", rate, bound, note=f"by client CPU {cpu:.1f}")

    against("increment, 50 tasks,", "increment", 50, "redis-py EVALSHA", 2.5)
    against("increment, 50 tasks,", "increment", 50, "pipeline of 50 by hand", 0.6)
    against("get, 50 tasks, decoded,", "read", 50, "redis-py HGETALL, raw", 2.0)
    against("increment, 1 task,", "increment", 1, "redis-py EVALSHA", 0.9)
    if ("read", 50, "valkey-glide HGETALL, raw") in found:
        against("increment, 50 tasks,", "increment", 50, "valkey-glide EVALSHA", 1.2)
        against("get, 50 tasks, decoded,", "read", 50, "valkey-glide HGETALL, raw", 1.2)
    for row, original in (("create", 100), ("read", 200), ("increment", 150)):
        bar(f"{row}, 1 task, × the original's {original}/s", found[row, 1, "this store"].rate / original, 20)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=["bars", "memory", "growth", "sweeping"])
    options = parser.parse_args()
    rounds, seconds = (5, 0.1) if options.quick else (15, 0.2)
    server = ValkeyServer(Path(tempfile.mkdtemp()))
    server.start()
    settings.CACHES["through_threads"]["LOCATION"] = server.url
    try:
        await run(server, options, rounds, seconds)
    finally:
        server.stop()


async def run(server: ValkeyServer, options: argparse.Namespace, rounds: int, seconds: float) -> None:
    """Each part is followed by its bars, so that a run cut short has said what it found."""
    if options.only in (None, "bars"):
        peers = Peers(server.url)
        await peers.prepare()
        wanted = {(row, tasks) for row in ("read", "increment") for tasks in (1, 50)} | {("create", 1)}
        found = await compare(peers, rounds, seconds, wanted if options.only else None)
        bars()
        ratios(found)
    if options.only in (None, "bars", "memory"):
        memory = await in_memory(min(rounds, 7), seconds)
        bars()
        bar("in memory: get × bare locmem.get", memory["read"] / memory["bare locmem.get"], 0.6)
        for row, original in (("create", 500), ("read", 1000), ("increment", 2000)):
            bar(f"in memory: {row} × the original's {original}/s", memory[row] / original, 20)
    if options.only in (None, "bars", "sweeping"):
        idle, busy = await sweeping(server, min(rounds, 7))
        bars()
        bar(f"p99 of get while 10,000 are swept ({busy:.2f} ms) × idle ({idle:.2f})", busy / idle, 3, False)
    if options.only in (None, "growth"):
        grown = await growth(server, (1_000, 20_000) if options.quick else (1_000, 100_000, 1_000_000), rounds)
        small, *_, large = grown.bytes_each
        bars()
        for act in ("page of 50", "count"):
            bar(f"{act} at {large:,} sessions × at {small:,}", grown.ratio(act), 2, False)
        bar("bytes of a fresh session, indexes included", grown.bytes_each[large], 1024, False)


if __name__ == "__main__":
    django.setup()
    uvloop.run(main())
