"""What every store promises, asked of every store."""

import asyncio
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any

import pytest

from sessions_app.data import MAX_BYTES, encode, size_of
from sessions_app.stores import InMemorySessionStore, SessionData, SessionStore

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("alone")]

PATIENCE = 60.0  # seconds for anything that should happen
CLOCKS_DIFFER = 0.05  # seconds by which the server's clock may go another way than ours


async def fresh(store: SessionStore, session_id: str = "s", ttl: float | None = None, **fields: object) -> SessionData:
    await store.set(session_id, SessionData.from_dict({"session_id": session_id, **fields}), ttl)
    data = await store.get(session_id)
    assert data is not None
    return data


async def run_out(store: SessionStore, *session_ids: str) -> None:
    """As if their time had passed: however slow the machine is, they were there until now."""
    for session_id in session_ids:
        assert await store.touch(session_id, 0.001) is True
    async with asyncio.timeout(PATIENCE):
        for session_id in session_ids:
            while await store.ttl(session_id) is not None:  # noqa: ASYNC110 - the server's clock tells nobody
                await asyncio.sleep(0.001)


def ids(page: list[tuple[SessionData, float]]) -> list[str]:
    return [data.session_id for data, _ in page]


# ---- one session --------------------------------------------------------------------------------------


async def test_set_and_get(store: SessionStore) -> None:
    given = SessionData("s", "u", "t", 3, True, {"list": [], "big": 2**53 + 1, "ü": {"x": None}}, "r")
    assert await store.set("s", given) is True
    data = await store.get("s")
    assert data is not None
    assert (data.user_id, data.thread_id, data.message_count, data.escalated) == ("u", "t", 3, True)
    assert (data.metadata, data.request_id) == (given.metadata, "r")
    assert data.created_at is not None
    assert data.created_at == data.updated_at == data.last_activity
    assert data.created_at.tzinfo is UTC
    assert abs(data.created_at - datetime.now(tz=UTC)) < timedelta(seconds=PATIENCE)
    assert given.created_at is None


async def test_absent(store: SessionStore) -> None:
    assert await store.get("s") is None
    assert await store.update("s", {"user_id": "u"}) is False
    assert await store.delete("s") is False
    assert await store.exists("s") is False
    assert await store.increment_counter("s", "message_count") == 0
    assert await store.count_message("s") is None
    assert await store.touch("s") is False
    assert await store.ttl("s") is None
    assert await store.end("s", "ended") is False
    assert await store.get_many(["s"]) == {}
    assert await store.delete_many(["s"]) == 0
    assert await store.sessions_of("u") == []
    assert await store.list_active() == []
    assert await store.page() == ([], None)
    assert await store.count_active() == 0
    assert await store.cleanup_expired() == 0
    assert store.available is True


async def test_set_replaces_all_but_created_at_when_given(store: SessionStore) -> None:
    first = await fresh(store, metadata={"a": 1}, user_id="u", escalated=True)
    second = await fresh(store, metadata={"b": 2}, created_at=first.created_at)
    assert (second.metadata, second.user_id, second.escalated) == ({"b": 2}, None, False)
    assert second.created_at == first.created_at
    assert await store.sessions_of("u") == []
    assert (await store.page(escalated=True))[0] == []


async def test_naive_datetimes_are_utc(store: SessionStore) -> None:
    await store.set(session_id="s", session_data=SessionData("s", created_at=datetime(2026, 1, 2, 3, 4, 5, 6)))
    data = await store.get("s")
    assert data is not None
    assert data.created_at == datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


async def test_what_get_gives_is_private(store: SessionStore) -> None:
    data = await fresh(store, metadata={"list": [1]})
    data.metadata["list"].append(2)
    data.user_id = "changed"
    again = await store.get("s")
    assert again is not None
    assert (again.metadata, again.user_id) == ({"list": [1]}, None)


async def test_what_set_took_is_private(store: SessionStore) -> None:
    given = SessionData("s", metadata={"list": [1]})
    await store.set("s", given)
    given.metadata["list"].append(2)
    data = await store.get("s")
    assert data is not None
    assert data.metadata == {"list": [1]}


async def test_update_changes_the_named_fields_only(store: SessionStore) -> None:
    before = await fresh(store, user_id="u", metadata={"a": 1, "b": {"x": 1}})
    assert await store.update(
        "s", {"escalated": True, "metadata": {"b": [], "c": 3}, "plan": "gold", "session_id": "z"}
    )
    after = await store.get("s")
    assert after is not None
    assert (after.session_id, after.user_id, after.escalated) == ("s", "u", True)
    assert after.metadata == {"a": 1, "b": [], "c": 3, "plan": "gold"}
    assert after.created_at == before.created_at
    assert after.updated_at is not None
    assert before.updated_at is not None
    assert after.updated_at > before.updated_at


async def test_update_to_none_removes(store: SessionStore) -> None:
    await fresh(store, user_id="u", thread_id="t")
    assert await store.update("s", {"user_id": None})
    data = await store.get("s")
    assert data is not None
    assert (data.user_id, data.thread_id) == (None, "t")
    assert await store.sessions_of("u") == []


async def test_update_does_not_shadow_a_method(store: SessionStore) -> None:
    await fresh(store)
    await store.update("s", {"to_json": 1})
    data = await store.get("s")
    assert data is not None
    assert data.metadata == {"to_json": 1}
    assert "to_json" in data.to_json()


async def test_atomic_update_adds_numbers(store: SessionStore) -> None:
    await fresh(store, message_count=2, metadata={"n": 1, "f": 0.5, "big": 2**70, "edge": 2**53})
    updates = {"message_count": 3, "n": 2, "f": 1, "big": 1, "edge": 1, "new": 4, "half": 0.5, "user_id": "u"}
    assert await store.update("s", updates, atomic=True)
    data = await store.get("s")
    assert data is not None
    assert (data.message_count, data.user_id) == (5, "u")
    assert data.metadata == {"n": 3, "f": 1.5, "big": 2**70 + 1, "edge": 2**53 + 1, "new": 4, "half": 0.5}


async def test_atomic_update_of_what_is_no_number_changes_nothing(store: SessionStore) -> None:
    before = await fresh(store, metadata={"word": "x", "n": 1})
    with pytest.raises(ValueError, match="word is 'x', not a number"):
        await store.update("s", {"n": 1, "user_id": "u", "word": 1}, atomic=True)
    assert await store.get("s") == before


@pytest.mark.parametrize(
    ("old", "delta"), [(0.5, 10**400), (10**400, 0.5), (1e308, 1e308), (1e308, 10**308), (-1e308, -1e308)]
)
async def test_a_sum_past_what_a_float_holds_changes_nothing(store: SessionStore, old: float, delta: float) -> None:
    before = await fresh(store, metadata={"big": old, "n": 1})
    with pytest.raises(ValueError, match="big would be larger than a float can be"):
        await store.update("s", {"n": 1, "user_id": "u", "big": delta}, atomic=True)
    with pytest.raises(ValueError, match="big would be larger than a float can be"):
        await store.increment_counter("s", "big", delta)
    assert await store.get("s") == before


async def test_a_number_of_too_many_digits_is_refused(store: SessionStore) -> None:
    before = await fresh(store, metadata={"n": 1, "long": 9 * 10**4299})
    for name, delta in (("n", 10**5000), ("absent", 10**5000), ("long", 10**4299)):
        with pytest.raises(ValueError, match="digits"):
            await store.update("s", {"user_id": "u", name: delta}, atomic=True)
        with pytest.raises(ValueError, match="digits"):
            await store.increment_counter("s", name, delta)
    with pytest.raises(ValueError, match="digits"):
        await store.increment_counter("never", "n", 10**5000)
    assert await store.get("s") == before


async def test_twenty_concurrent_updates_of_different_keys_all_survive(store: SessionStore) -> None:
    await fresh(store)
    await asyncio.gather(*(store.update("s", {"metadata": {f"k{n}": n}}) for n in range(20)))
    data = await store.get("s")
    assert data is not None
    assert data.metadata == {f"k{n}": n for n in range(20)}


async def test_two_concurrent_updates_of_different_fields_both_survive(store: SessionStore) -> None:
    await fresh(store)
    await asyncio.gather(store.update("s", {"user_id": "u"}), store.update("s", {"thread_id": "t"}))
    data = await store.get("s")
    assert data is not None
    assert (data.user_id, data.thread_id) == ("u", "t")


# ---- counters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "before", "delta", "after"),
    [
        ("message_count", 0, 1, 1),
        ("unknown", None, 1, 1),
        ("unknown", None, 2.5, 2.5),
        ("n", 5, -7, -2),
        ("n", 1.5, 1, 2.5),
        ("n", 1, 0.5, 1.5),
        ("n", 2**53, 1, 2**53 + 1),
        ("n", 2**63 - 1, 1, 2**63),
        ("n", -(2**63), -1, -(2**63) - 1),
        ("n", 10**30, 1, 10**30 + 1),
        ("n", 1, 2**70, 2**70 + 1),
        ("n", 0, 0, 0),
    ],
)
async def test_increment_is_exact(
    store: SessionStore, field: str, before: float | None, delta: float, after: float
) -> None:
    await fresh(store, metadata={} if before is None or field == "message_count" else {field: before})
    value = await store.increment_counter("s", field, delta)
    assert value == after
    assert type(value) is type(after)
    data = await store.get("s")
    assert data is not None
    assert (data.message_count if field == "message_count" else data.metadata[field]) == after


@pytest.mark.parametrize(
    "field", ["user_id", "escalated", "created_at", "metadata", "session_id", "word", "yes", "none"]
)
async def test_increment_of_what_is_no_number_changes_nothing(store: SessionStore, field: str) -> None:
    before = await fresh(store, metadata={"word": "5", "yes": True, "none": None})
    with pytest.raises(ValueError, match=field):
        await store.increment_counter("s", field)
    assert await store.get("s") == before


async def test_message_count_stays_within_64_bits(store: SessionStore) -> None:
    before = await fresh(store, message_count=2**63 - 1)
    with pytest.raises(ValueError, match="64 bits"):
        await store.increment_counter("s", "message_count")
    assert await store.get("s") == before


async def test_a_hundred_increments_among_reads(store: SessionStore) -> None:
    await fresh(store, ttl=77)
    await asyncio.gather(*(store.increment_counter("s", "n") if n % 2 else store.get("s") for n in range(200)))
    data = await store.get("s")
    assert data is not None
    assert data.metadata == {"n": 100}
    left = await store.ttl("s")
    assert left is not None
    assert 7 < left <= 77


async def test_concurrent_additions_of_floats(store: SessionStore) -> None:
    await fresh(store)
    await asyncio.gather(*(store.increment_counter("s", "f", 0.5) for _ in range(20)))
    assert await store.increment_counter("s", "f", 0) == 10.0


async def test_count_message(store: SessionStore) -> None:
    before = await fresh(store, ttl=50, user_id="u")
    await store.touch("s", 20)
    data = await store.count_message("s")
    assert data is not None
    assert data.message_count == 1
    assert data.last_activity is not None
    assert before.last_activity is not None
    assert data.last_activity > before.last_activity
    assert data == await store.get("s")
    left = await store.ttl("s")
    assert left is not None
    assert left <= 20


async def test_count_message_never_lowers_the_count(store: SessionStore) -> None:
    await fresh(store)
    counts = []
    for total in (5, 3, None, 9):
        data = await store.count_message("s", total)
        assert data is not None
        counts.append(data.message_count)
    assert counts == [5, 5, 6, 9]


# ---- the life of a session ----------------------------------------------------------------------------


async def test_expired_is_absent_before_any_sweep(store: SessionStore) -> None:
    await fresh(store, user_id="u", escalated=True)
    await fresh(store, "t")
    await run_out(store, "s")
    assert await store.get("s") is None
    assert await store.exists("s") is False
    assert await store.update("s", {"user_id": "v"}) is False
    assert await store.increment_counter("s", "n") == 0
    assert await store.count_message("s") is None
    assert await store.touch("s") is False
    assert await store.ttl("s") is None
    assert await store.get_many(["s", "t"]) == {"t": await store.get("t")}
    assert await store.list_active() == ["t"]
    assert ids((await store.page())[0]) == ["t"]
    assert await store.sessions_of("u") == []
    assert (await store.page(escalated=True))[0] == []
    assert await store.count_active() == 1
    assert await store.delete("s") is False


async def test_ttl_is_the_sessions_own(store: SessionStore) -> None:
    await fresh(store, ttl=100)
    await store.increment_counter("s", "n")
    await store.update("s", {"user_id": "u"})
    await store.get("s")
    left = await store.ttl("s")
    assert left is not None
    assert 0 < left < 100
    await fresh(store, "t")
    left = await store.ttl("t")
    assert left is not None
    assert 200 < left <= 300


@pytest.mark.slow
async def test_ttl_of_one_second_ends_within_1_3_seconds(store: SessionStore) -> None:
    before = time.monotonic()
    await store.set("s", SessionData("s"), 1)
    after = time.monotonic()
    asked, lives = before, True
    while lives:  # however late this is: what it finds is held against when it asked and when it heard
        assert asked < after + 1.3
        asked = time.monotonic()
        lives = await store.exists("s")
        assert lives or time.monotonic() > before + 1
        await asyncio.sleep(0.01)
    assert await store.get("s") is None


async def test_touch_renews(store: SessionStore) -> None:
    before = await fresh(store, ttl=100)
    assert await store.touch("s", 1000) is True
    assert await store.get("s") == before
    for _ in range(2):
        left = await store.ttl("s")
        assert left is not None
        assert 900 < left <= 1000
        assert await store.touch("s") is True


async def test_touch_may_shorten(store: SessionStore) -> None:
    await fresh(store, ttl=60)
    await store.touch("s", 0.02)
    await asyncio.sleep(0.03)
    assert await store.cleanup_expired() == 1


async def test_sliding_reads_renew(make_store: Callable[..., SessionStore]) -> None:
    store = make_store(sliding=True)
    await fresh(store, ttl=100)
    await asyncio.sleep(0.3)
    asked = time.monotonic()
    data = await store.get("s")
    assert data is not None
    assert data.session_id == "s"
    left = await store.ttl("s")
    assert left is not None
    assert left > 100 - (time.monotonic() - asked) - CLOCKS_DIFFER


async def test_without_sliding_reads_do_not_renew(store: SessionStore) -> None:
    await fresh(store, ttl=100)
    began = time.monotonic()
    await asyncio.sleep(0.3)
    slept = time.monotonic() - began
    await store.get("s")
    left = await store.ttl("s")
    assert left is not None
    assert left < 100 - slept + CLOCKS_DIFFER


@pytest.mark.parametrize("ttl", [0, -1, -0.5, float("nan"), float("inf"), 1e9, 10**9, 10**400])
async def test_a_ttl_is_positive_and_below_a_billion(
    store: SessionStore, make_store: Callable[..., SessionStore], ttl: float
) -> None:
    bounds = r"ttl=.*greater than 0 and less than 1,000,000,000"
    with pytest.raises(ValueError, match=bounds):
        await store.set("s", SessionData("s"), ttl)
    with pytest.raises(ValueError, match=bounds):
        await store.touch("s", ttl)
    with pytest.raises(ValueError, match=bounds):
        await store.get_or_create("s", lambda: SessionData("s"), ttl)
    with pytest.raises(ValueError, match=bounds):
        make_store(default_ttl=ttl)
    assert await store.exists("s") is False


async def test_the_longest_ttl_is_kept(store: SessionStore) -> None:
    await fresh(store, ttl=1e9 - 1)
    left = await store.ttl("s")
    assert left is not None
    assert 1e9 - 1000 < left <= 1e9 - 1
    assert await store.list_active() == ["s"]


async def test_get_or_create(store: SessionStore) -> None:
    made = await store.get_or_create("s", lambda: SessionData("s", user_id="first"), ttl=70)
    assert made == await store.get("s")
    assert made.user_id == "first"
    found = await store.get_or_create("s", lambda: SessionData("s", user_id="second"))
    assert found == made
    left = await store.ttl("s")
    assert left is not None
    assert left <= 70


async def test_get_or_create_makes_one_of_many(store: SessionStore) -> None:
    made = await asyncio.gather(
        *(store.get_or_create("s", lambda n=n: SessionData("s", user_id=f"u{n}")) for n in range(20))  # type: ignore[misc]
    )
    assert len({data.user_id for data in made}) == 1
    assert await store.count_active() == 1


async def test_delete(store: SessionStore, ended: list[tuple[str, str, str | None]]) -> None:
    await fresh(store, user_id="u", escalated=True)
    assert await store.delete("s") is True
    assert await store.delete("s") is False
    assert await store.get("s") is None
    assert (await store.count_active(), await store.sessions_of("u"), await store.list_active()) == (0, [], [])
    assert ended == [("s", "deleted", None)]


async def test_end_tells_why_and_by_whom(store: SessionStore, ended: list[tuple[str, str, str | None]]) -> None:
    await fresh(store)
    assert await store.end("s", "expired by staff", actor="ann\n☃") is True
    assert ended == [("s", "expired by staff", "ann\n☃")]
    assert await store.cleanup_expired() == 0
    assert len(ended) == 1


async def test_several_at_once(store: SessionStore, ended: list[tuple[str, str, str | None]]) -> None:
    for name in ("a", "b", "c"):
        await fresh(store, name)
    found = await store.get_many(["a", "x", "c", "a"])
    assert {name: data.session_id for name, data in found.items()} == {"a": "a", "c": "c"}
    assert await store.delete_many(["a", "x", "b", "a"]) == 2
    assert await store.list_active() == ["c"]
    assert sorted(ended) == [("a", "deleted", None), ("b", "deleted", None)]


# ---- lists --------------------------------------------------------------------------------------------


async def test_list_active_is_by_last_activity(store: SessionStore) -> None:
    for name in "abcd":
        await fresh(store, name)
    await store.count_message("b")
    await store.increment_counter("a", "n")
    await store.get("c")
    assert await store.list_active() == ["a", "b", "d", "c"]
    assert await store.list_active(2) == ["a", "b"]
    assert await store.list_active(limit=2, offset=1) == ["b", "d"]
    assert await store.list_active(offset=3) == ["c"]
    assert await store.list_active(limit=0) == []


async def test_pages(store: SessionStore) -> None:
    names = [f"s{n:02}" for n in range(25)]
    for name in names:
        await fresh(store, name)
    seen, cursor = [], None
    while True:
        rows, cursor = await store.page(cursor, limit=7)
        seen += ids(rows)
        if cursor is None:
            break
        assert len(rows) == 7
    assert seen == names[::-1]


async def test_pages_stay_right_while_sessions_come_and_go(store: SessionStore) -> None:
    names = [f"s{n:02}" for n in range(20)]
    for name in names:
        await fresh(store, name)
    first, cursor = await store.page(limit=8)
    await store.delete("s11")  # the next one
    await store.delete("s12")  # where the cursor stands
    await store.count_message("s05")  # moves before the cursor
    await fresh(store, "new")
    second, cursor = await store.page(cursor, limit=8)
    third, last = await store.page(cursor, limit=8)
    assert ids(first) == [f"s{n:02}" for n in range(19, 11, -1)]
    assert ids(second) + ids(third) == [f"s{n:02}" for n in range(10, -1, -1) if n != 5]
    assert last is None


async def test_pages_stay_right_while_sessions_expire(store: SessionStore) -> None:
    for n in range(20):
        await fresh(store, f"s{n:02}", user_id="u")
    first, cursor = await store.page(limit=8, user_id="u")
    for n in (13, 12, 11, 10, 2):  # about where the cursor stands
        await store.touch(f"s{n:02}", 0.001)
    await asyncio.sleep(0.003)
    second, cursor = await store.page(cursor, limit=8, user_id="u")
    third, last = await store.page(cursor, limit=8, user_id="u")
    assert ids(first) == [f"s{n:02}" for n in range(19, 11, -1)]
    assert ids(second) + ids(third) == [f"s{n:02}" for n in range(9, -1, -1) if n != 2]
    assert len(second) == 8
    assert last is None
    assert await store.cleanup_expired() == 5


async def test_page_by_user_and_by_escalated(store: SessionStore) -> None:
    for n in range(12):
        await fresh(store, f"s{n}", user_id=f"u{n % 2}", escalated=n % 3 == 0)
    assert ids((await store.page(user_id="u0"))[0]) == ["s10", "s8", "s6", "s4", "s2", "s0"]
    assert ids((await store.page(escalated=True))[0]) == ["s9", "s6", "s3", "s0"]
    assert ids((await store.page(escalated=False, limit=3))[0]) == ["s11", "s10", "s8"]
    rows, cursor = await store.page(user_id="u0", escalated=True, limit=1)
    assert ids(rows) == ["s6"]
    assert ids((await store.page(cursor, user_id="u0", escalated=True, limit=1))[0]) == ["s0"]
    assert await store.sessions_of("u1") == ["s11", "s9", "s7", "s5", "s3", "s1"]
    await store.update("s1", {"user_id": "u0", "escalated": True})
    assert (await store.sessions_of("u0"))[0] == "s1"
    assert "s1" not in await store.sessions_of("u1")
    assert ids((await store.page(escalated=True, limit=1))[0]) == ["s1"]
    await store.update("s1", {"escalated": False})
    assert ids((await store.page(escalated=True, limit=1))[0]) == ["s9"]


async def test_page_tells_the_time_left(store: SessionStore) -> None:
    await fresh(store, ttl=50)
    [(data, left)], _ = await store.page()
    assert data == await store.get("s")
    assert 0 < left <= 50


async def test_a_foreign_cursor_is_refused(store: SessionStore) -> None:
    with pytest.raises(ValueError, match="cursor"):
        await store.page("what?")


async def test_activity_counts_created_and_ended(store: SessionStore) -> None:
    for name in "abc":
        await fresh(store, name)
    await fresh(store, "a")
    await store.delete("a")
    await run_out(store, "b")
    await store.cleanup_expired()
    chart = await store.activity()
    assert len(chart) == 60
    assert chart == sorted(chart)
    assert (sum(row[1] for row in chart), sum(row[2] for row in chart)) == (3, 2)
    assert datetime.now(tz=UTC) - chart[-1][0] < timedelta(seconds=60 + PATIENCE)


# ---- input --------------------------------------------------------------------------------------------

STRANGE_IDS = ["a\nb", "{x}", "a}b{c", "*", "[a-z]?", "☃", "a b", "\x00", "x" * 200, "!x", ":", "{1}!a"]


@pytest.mark.parametrize("session_id", STRANGE_IDS)
async def test_ids_are_plain_text(
    store: SessionStore, session_id: str, ended: list[tuple[str, str, str | None]]
) -> None:
    data = await fresh(store, session_id, user_id=session_id)
    assert data.session_id == session_id
    assert await store.count_message(session_id) is not None
    assert await store.list_active() == [session_id]
    assert await store.sessions_of(session_id) == [session_id]
    assert await store.delete(session_id)
    assert ended == [(session_id, "deleted", None)]
    assert await store.count_active() == 0


@pytest.mark.parametrize("session_id", ["", "x" * 201, "\ud800"])
async def test_ids_out_of_bounds_are_refused_everywhere(store: SessionStore, session_id: str) -> None:
    data = SessionData("s")
    for call in (
        store.get(session_id),
        store.set(session_id, data),
        store.update(session_id, {}),
        store.delete(session_id),
        store.exists(session_id),
        store.increment_counter(session_id, "n"),
        store.count_message(session_id),
        store.touch(session_id),
        store.ttl(session_id),
        store.get_or_create(session_id, lambda: data),
        store.get_many([session_id]),
        store.end(session_id, "ended"),
    ):
        with pytest.raises(ValueError):
            await call
    assert await store.count_active() == 0


async def test_too_large_is_refused_with_the_size(store: SessionStore) -> None:
    text = "x" * 100_000
    with pytest.raises(ValueError, match=r"3000\d\d bytes"):
        await store.set("s", SessionData("s", metadata={"a": text, "b": text, "c": text}))
    assert await store.exists("s") is False
    await fresh(store, metadata={"a": text, "b": text})
    with pytest.raises(ValueError, match=r"3000\d\d bytes"):
        await store.update("s", {"c": text})
    with pytest.raises(ValueError, match=r"3000\d\d bytes"):
        await store.increment_counter("s", text)
    data = await store.get("s")
    assert data is not None
    assert set(data.metadata) == {"a", "b"}


async def test_many_metadata_keys(store: SessionStore) -> None:
    metadata = {f"k{n}": n for n in range(9000)}
    data = await fresh(store, metadata=metadata)
    assert data.metadata == metadata
    assert await store.update("s", {"metadata": {f"k{n}": -n for n in range(9000)}})
    data = await fresh(store, metadata={"a": 1})
    assert data.metadata == {"a": 1}


async def test_what_is_not_json_is_refused_with_its_path(store: SessionStore) -> None:
    await fresh(store)
    with pytest.raises(TypeError, match=r"metadata\.a\[0\] is a set"):
        await store.set("s", SessionData("s", metadata={"a": [{1}]}))
    with pytest.raises(TypeError, match="plan is a object"):
        await store.update("s", {"plan": object()})
    with pytest.raises(TypeError, match=r"metadata\.f is inf"):
        await store.update("s", {"metadata": {"f": float("inf")}})


# ---- several stores, threads and loops ----------------------------------------------------------------


def test_two_event_loops_in_a_row(store: SessionStore) -> None:
    asyncio.run(fresh(store, metadata={"n": 1}))
    assert asyncio.run(store.increment_counter("s", "n")) == 2


def test_several_threads_with_a_loop_each(store: SessionStore) -> None:
    async def add() -> None:
        await asyncio.gather(*(store.increment_counter("s", "n") for _ in range(50)))

    async def threads() -> None:
        await fresh(store)
        await asyncio.gather(*(asyncio.to_thread(asyncio.run, add()) for _ in range(4)))

    asyncio.run(threads())
    assert asyncio.run(store.increment_counter("s", "n", 0)) == 200


async def test_stats(store: SessionStore) -> None:
    await fresh(store)
    await fresh(store, "t")
    await run_out(store, "t")
    stats = await store.get_stats()
    assert stats["active_sessions"] == 1
    assert json.dumps(stats)
    if isinstance(store, InMemorySessionStore):
        assert stats == {
            "store_type": "in_memory",
            "total_sessions": 2,
            "active_sessions": 1,
            "expired_sessions": 1,
            "max_sessions": 10000,
            "utilization": "0.0%",
        }
    else:
        assert set(stats) == {
            "store_type",
            "active_sessions",
            "redis_version",
            "connected_clients",
            "used_memory_human",
            "total_commands_processed",
        }
        assert stats["store_type"] == "redis"


async def test_ping_and_close(store: SessionStore) -> None:
    assert await store.ping() is True
    await store.close()
    assert await store.ping() is True
    assert await store.audit() == 0


async def test_a_refused_increment_leaves_the_counter(store: SessionStore) -> None:
    await fresh(store, metadata={"n": 0, "long": ""})
    room = MAX_BYTES - size_of(encode(SessionData("s", metadata={"n": 0, "long": ""})))
    assert await store.update("s", {"long": "x" * room}) is True
    assert await store.increment_counter("s", "n", 10) == 10
    with pytest.raises(ValueError, match="bytes"):
        await store.increment_counter("s", "other", 5)
    data = await store.get("s")
    assert data is not None
    assert (data.metadata["n"], "other" in data.metadata) == (10, False)


@pytest.mark.parametrize("total", [-1, 2**63, 1.5, True, "3"])
async def test_a_total_is_a_whole_number_of_64_bits(store: SessionStore, total: Any) -> None:
    await fresh(store, message_count=3)
    with pytest.raises((TypeError, ValueError), match="total"):
        await store.count_message("s", total)
    data = await store.get("s")
    assert data is not None
    assert data.message_count == 3


async def test_the_largest_total_is_kept_exactly(store: SessionStore) -> None:
    await fresh(store)
    data = await store.count_message("s", 2**63 - 1)
    assert data is not None
    assert data.message_count == 2**63 - 1


async def test_get_many_does_not_slide(make_store: Callable[..., SessionStore]) -> None:
    store = make_store(default_ttl=300, sliding=True)
    await store.set("s", SessionData("s"))
    before = await store.ttl("s")
    assert list(await store.get_many(["s"])) == ["s"]
    after = await store.ttl("s")
    assert before is not None
    assert after is not None
    assert after < before


async def test_limits_have_a_least(store: SessionStore) -> None:
    await fresh(store)
    for limit in (0, -1):
        with pytest.raises(ValueError, match="limit"):
            await store.page(limit=limit)
    with pytest.raises(ValueError, match="limit"):
        await store.list_active(limit=-1)
    with pytest.raises(ValueError, match="offset"):
        await store.list_active(offset=-1)
    assert await store.list_active(limit=0) == []


@pytest.mark.parametrize(
    "cursor",
    [
        *(urlsafe_b64encode(text).decode() for text in (b'["nan","x"]', b'["inf","x"]', b'[1,2]', b"[-1,\"x\"]", b"5")),
        ["nan", "x"], 5, b"5", "", "x" * 30, "9" * 30, "ü",
    ],
)  # fmt: skip
async def test_a_forged_cursor_is_refused(store: SessionStore, cursor: Any) -> None:
    await fresh(store)
    with pytest.raises(ValueError, match="cursor"):
        await store.page(cursor)


@pytest.mark.parametrize(
    ("count", "total", "after"),
    [
        (2**53, None, 2**53 + 1),
        (2**53, 2**53 + 1, 2**53 + 1),
        (2**53 + 1, 2**53, 2**53 + 1),
        (999, 1000, 1000),
        (1000, 999, 1000),
        (-5, 3, 3),
        (-5, None, -4),
        (2**63 - 1, None, 2**63 - 1),
        (2**63 - 1, 2**63 - 2, 2**63 - 1),
    ],
)
async def test_messages_are_counted_exactly(store: SessionStore, count: int, total: int | None, after: int) -> None:
    await fresh(store, message_count=count)
    data = await store.count_message("s", total)
    assert data is not None
    assert data.message_count == after
    assert await store.get("s") == data
    assert await store.increment_counter("s", "message_count", -1) == after - 1


async def test_delete_many_of_an_id_that_is_none_ends_nothing(
    store: SessionStore, ended: list[tuple[str, str, str | None]]
) -> None:
    for name in "abc":
        await fresh(store, name)
    with pytest.raises(ValueError, match="session id"):
        await store.delete_many(["a", "", "b"])
    assert sorted(await store.list_active()) == ["a", "b", "c"]
    assert await store.delete_many(["a", "b", "a"]) == 2
    assert sorted(ended) == [("a", "deleted", None), ("b", "deleted", None)]


class Plan(int, Enum):
    GOLD = 3


class Channel(str, Enum):  # noqa: UP042 - older code has these
    WEB = "web"


async def test_members_of_enumerations_are_their_values(store: SessionStore) -> None:
    given = SessionData("s", Channel.WEB, message_count=Plan.GOLD, metadata={"plan": Plan.GOLD, "from": Channel.WEB})
    assert await store.set("s", given)
    data = await store.get("s")
    assert data is not None
    assert type(data.user_id) is str
    assert (data.user_id, data.message_count) == ("web", 3)
    assert data.metadata == {"plan": 3, "from": "web"}
    assert await store.increment_counter("s", "n", Plan.GOLD) == 3
    assert await store.update("s", {"n": Plan.GOLD}, atomic=True)
    assert await store.increment_counter("s", "n") == 7


async def test_what_alone_is_too_large_never_sets_out(store: SessionStore) -> None:
    """A server closes the connection that everybody shares when a text has half a gigabyte."""
    text = "x" * (MAX_BYTES + 1)
    for name in ("absent", "s"):
        for call in (
            store.update(name, {"a": text}),
            store.update(name, {"metadata": {"a": text}}),
            store.update(name, {"user_id": text}),
            store.update(name, {text: 1}, atomic=True),
            store.increment_counter(name, text),
            store.increment_counter(name, text, 0.5),
        ):
            with pytest.raises(ValueError, match=r"2621\d\d bytes"):
                await call
        await fresh(store)


@pytest.mark.parametrize("wrong", [5, 1.5, date(2026, 1, 2)])
async def test_what_is_no_datetime_is_refused(store: SessionStore, wrong: Any) -> None:
    await fresh(store)
    with pytest.raises(TypeError, match="no datetime"):
        await store.set("s", SessionData("s", created_at=wrong))
    with pytest.raises(TypeError, match="no datetime"):
        await store.update("s", {"created_at": wrong})


async def test_a_long_list_keeps_its_order(store: SessionStore) -> None:
    """It is asked for in parts."""
    names = [f"s{n}" for n in range(4500)]
    for name in names:
        await store.set(name, SessionData(name, user_id="u"))
    assert await store.list_active() == names[::-1]
    assert await store.sessions_of("u") == names[::-1]
    assert list(await store.get_many(names)) == names
    assert len((await store.page(limit=4200))[0]) == 4200
    assert await store.delete_many(names) == 4500
    assert await store.count_active() == 0
