"""What only the memory store has: its table, one lock, and how much happens under it."""

import asyncio
import threading
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from sessions_app.stores import InMemorySessionStore, SessionData
from sessions_app.stores.memory import AT_ONCE
from sessions_app.table import MOST_EXPIRED, Recency

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("alone")]


@pytest.fixture
def store() -> InMemorySessionStore:
    return InMemorySessionStore(max_sessions=100_000)


async def fill(store: InMemorySessionStore, count: int, ttl: float | None = None, **fields: Any) -> None:
    for n in range(count):
        await store.set(f"s{n}", SessionData(f"s{n}", **fields), ttl)


# ---- pages --------------------------------------------------------------------------------------------


class Small(Recency):
    BLOCK = 8
    SMALL = 3


@given(st.lists(st.tuples(st.sampled_from(["add", "add", "move", "remove"]), st.integers(0, 10**6)), max_size=300))
def test_recency_is_a_sorted_list(steps: list[tuple[str, int]]) -> None:
    index, model, newest = Small(), [], 0
    for act, number in steps:
        if act != "remove":
            newest += 1
            index.add(newest)
            model.append(newest)
        if act != "add" and model:
            index.remove(model.pop(number % len(model)))
        cursor = number % (newest + 2)
        assert list(index.before(cursor)) == model[: bisect_left(model, cursor)][::-1]
    assert list(index.before()) == model[::-1]
    assert len(index.starts) == len(index.blocks) <= 1 + len(model)


def test_blocks_that_empty_become_few() -> None:
    index = Recency()
    for order in range(100_000):
        index.add(order)
    for order in range(100_000):
        if order % 100:
            index.remove(order)
    assert list(index.before(50_001))[:2] == [50_000, 49_900]
    assert len(index.blocks) <= 2 * 1000 / Recency.SMALL


async def least_cpu(call: Callable[[], Awaitable[Any]]) -> float:
    """Of many tries: what others do to the machine only ever adds."""
    took = []
    for _ in range(30):
        started = time.thread_time_ns()
        await call()
        took.append(time.thread_time_ns() - started)
    return min(took)


@pytest.mark.parametrize("index", [{}, {"user_id": "u"}, {"escalated": True}])
async def test_a_deep_page_costs_what_the_first_does(store: InMemorySessionStore, index: dict[str, Any]) -> None:
    await fill(store, 30_000, **index)
    _, after_first = await store.page(**index)
    deep = str(store._table.sessions["s100"].order)
    assert [data.session_id for data, _ in (await store.page(deep, limit=2, **index))[0]] == ["s99", "s98"]
    first = await least_cpu(lambda: store.page(after_first, **index))
    assert await least_cpu(lambda: store.page(deep, **index)) <= 3 * first


# ---- expiry -------------------------------------------------------------------------------------------


async def test_notes_of_expiries_do_not_pile_up(store: InMemorySessionStore) -> None:
    for n in range(2000):
        name = f"s{n % 5}"
        await store.set(name, SessionData(name), 300 - n / 10)
        if n % 3 == 0:
            await store.delete_many([name])
    table = store._table
    assert len(table.expiries) <= 2 * len(table.sessions) + 100


async def test_one_write_ends_few_expired_sessions_and_the_sweeper_the_rest(store: InMemorySessionStore) -> None:
    await fill(store, 250, ttl=50)
    with time_machine.travel(time.time() + 60):
        await store.set("new", SessionData("new"))
        assert len(store._table.expired) == MOST_EXPIRED
        await store.set("s249", SessionData("s249"))  # in the place of one that has expired: its end is told, too
        assert await store.cleanup_expired() == 250
        assert sorted(await store.list_active()) == ["new", "s249"]


@pytest.mark.parametrize("act", ["cleanup_expired", "count_active", "list_active", "page", "get_stats"])
async def test_many_that_expired_are_taken_out_some_at_a_time(store: InMemorySessionStore, act: str) -> None:
    await fill(store, 5_000, ttl=50)
    await store.set("s", SessionData("s"), 500)
    left = [len(store._table.sessions)]
    with time_machine.travel(time.time() + 60):
        sweep = asyncio.create_task(getattr(store, act)())
        while not sweep.done():
            await asyncio.sleep(0)
            left.append(len(store._table.sessions))
        await sweep
    assert left[-1] == 1
    assert max(before - after for before, after in pairwise(left)) <= AT_ONCE


async def test_renewed_sessions_whose_old_notes_come_up_hide_no_expired_one(store: InMemorySessionStore) -> None:
    await fill(store, 1_000, ttl=50)
    for n in range(1_000):
        await store.touch(f"s{n}", 500)
    await store.set("gone", SessionData("gone"), 55)
    with time_machine.travel(time.time() + 60):
        assert await store.count_active() == 1_000
        assert await store.cleanup_expired() == 1


async def test_a_session_that_has_expired_cannot_be_deleted(
    store: InMemorySessionStore, ended: list[tuple[str, str, str | None]]
) -> None:
    await fill(store, 2, ttl=50)
    with time_machine.travel(time.time() + 60):
        assert await store.delete("s1") is False
        assert await store.cleanup_expired() == 2
    assert sorted(ended) == [("s0", "expired", None), ("s1", "expired", None)]


class Watched:
    """A lock that, the moment it is free, lets another thread do something."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.lock = threading.Lock()
        self.then: Callable[[], None] | None = then

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *error: object) -> None:
        self.lock.release()
        then, self.then = self.then, None
        if then is not None:
            thread = threading.Thread(target=then)
            thread.start()
            thread.join()


async def test_an_increment_gives_its_own_sum_though_another_thread_counts_at_once(store: InMemorySessionStore) -> None:
    await store.set("s", SessionData("s"))
    counted: list[SessionData | None] = []
    store._table.lock = Watched(lambda: counted.append(asyncio.run(store.count_message("s"))))  # type: ignore[assignment]
    assert await store.increment_counter("s", "message_count") == 1
    [data] = counted
    assert data is not None
    assert data.message_count == 2
