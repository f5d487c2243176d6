"""Code as it was written for the store that this one takes the place of: names, fixtures, naive datetimes."""

import asyncio
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from sessions_app.stores import InMemorySessionStore, RedisSessionStore, SessionData, SessionStore
from tests.conftest import ValkeyServer

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("alone")]


def utcnow() -> datetime:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return datetime.utcnow()  # noqa: DTZ003, RUF100 - what that code says


@pytest.fixture(params=["memory", "redis"])
def session_store(request: pytest.FixtureRequest) -> Iterator[SessionStore]:
    """A sync fixture that cleans up in an event loop of its own."""
    store: Any
    if request.param == "memory":
        store = InMemorySessionStore(max_sessions=5, default_ttl=300)
    else:
        valkey: ValkeyServer = request.getfixturevalue("valkey")
        store = RedisSessionStore(
            redis_url=valkey.url.replace("/0", "/15"), key_prefix="test:session:", default_ttl=300
        )

    async def clean() -> None:
        for session_id in await store.list_active():
            await store.delete(session_id)

    asyncio.run(clean())
    yield store
    asyncio.run(clean())
    asyncio.run(store.close())


async def test_lifecycle(session_store: SessionStore) -> None:
    data = SessionData(
        session_id="test-1",
        user_id="user-1",
        thread_id="thread-1",
        message_count=0,
        escalated=False,
        metadata={"source": "web"},
        created_at=utcnow(),
        updated_at=utcnow(),
        last_activity=utcnow(),
    )
    assert await store_ok(session_store, data)
    found = await session_store.get(session_id="test-1")
    assert found is not None
    assert found.user_id == "user-1"
    assert found.metadata["source"] == "web"
    assert await session_store.update(session_id="test-1", updates={"escalated": True, "last_activity": utcnow()})
    assert await session_store.update(session_id="test-1", updates={"message_count": 2}, atomic=True)
    assert await session_store.increment_counter(session_id="test-1", field="message_count", delta=3) == 5
    assert await session_store.exists(session_id="test-1")
    assert await session_store.list_active(limit=10, offset=0) == ["test-1"]
    assert await session_store.count_active() == 1
    stats = await session_store.get_stats()
    assert stats["active_sessions"] == 1
    assert await session_store.ping() is True
    assert await session_store.delete(session_id="test-1")
    assert await session_store.get(session_id="test-1") is None


async def store_ok(store: SessionStore, data: SessionData) -> bool:
    return await store.set(session_id=data.session_id, session_data=data, ttl=60)


async def test_dicts_and_json() -> None:
    data = SessionData(session_id="s", created_at=utcnow())
    again = SessionData.from_dict(data.to_dict())
    assert again.created_at is not None
    assert again.created_at.replace(tzinfo=None) == data.created_at
    assert SessionData.from_json(data.to_json()) == again
    assert again.created_at - again.created_at == timedelta(0)


async def test_expiry_and_eviction() -> None:
    store = InMemorySessionStore(max_sessions=5, default_ttl=300)
    for n in range(8):
        await store.set(session_id=f"s{n}", session_data=SessionData(session_id=f"s{n}"))
    assert await store.count_active() == 5
    assert await store.get("s0") is None
    await store.set("short", SessionData("short"), ttl=0.01)
    await asyncio.sleep(0.02)
    assert await store.cleanup_expired() == 1
