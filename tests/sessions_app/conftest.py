"""Each store of the contract, on data of its own."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from agent_app.apps import close_conversation
from sessions_app.signals import session_ended
from sessions_app.stores import InMemorySessionStore, RedisSessionStore, SessionStore
from tests.conftest import ValkeyServer

numbers = itertools.count()


@pytest.fixture
def prefix() -> str:
    return f"test{next(numbers)}:"


@pytest.fixture(params=["memory", "redis"])
def make_store(request: pytest.FixtureRequest, prefix: str) -> Callable[..., SessionStore]:
    """Makes a store; several of one test see the same sessions, where the kind of store can."""
    if request.param == "memory":
        return InMemorySessionStore
    valkey: ValkeyServer = request.getfixturevalue("valkey")
    return lambda **options: RedisSessionStore(valkey.url, prefix, **options)


@pytest.fixture
def store(make_store: Callable[..., SessionStore]) -> SessionStore:
    return make_store(default_ttl=300)


@pytest.fixture
def redis_store(valkey: ValkeyServer, prefix: str) -> RedisSessionStore:
    return RedisSessionStore(valkey.url, prefix, 300)


@pytest.fixture
def server(valkey: ValkeyServer) -> Iterator[redis.Redis]:
    """The server itself, past the store."""
    client = redis.Redis.from_url(valkey.url, decode_responses=True)
    yield client
    client.close()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """One that the test may kill and pause."""
    server = ValkeyServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def alone() -> Iterator[None]:
    """The chat listens to the ends, too, and would want its database."""
    uid = "agent_app.session_ended"
    assert session_ended.disconnect(dispatch_uid=uid)
    yield
    session_ended.connect(close_conversation, dispatch_uid=uid)


@pytest.fixture
def ended(alone: None) -> Iterator[list[tuple[str, str, str | None]]]:
    """The ends that were told, as (session_id, reason, actor)."""
    heard: list[tuple[str, str, str | None]] = []

    def hear(sender: Any, session_id: str, reason: str, actor: str | None, **kwargs: Any) -> None:
        heard.append((session_id, reason, actor))

    session_ended.connect(hear)
    yield heard
    session_ended.disconnect(hear)
