"""Any sequence of calls, by two clients at once, against a plain dict."""

import asyncio
import math
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sessions_app.signals import session_ended
from sessions_app.stores import InMemorySessionStore, RedisSessionStore, SessionData, SessionStore
from tests.conftest import ValkeyServer
from tests.sessions_app.conftest import numbers

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("alone")]

ids = st.sampled_from(["a", "c\n{1}", "☃*"])
users = st.sampled_from([None, "u", "v{2}"])
names = st.sampled_from(["n", "to_json", "ü", "{}"])
huge = st.sampled_from([10**308, 10**400, -(10**400)])
numbers_kept = st.integers() | huge | st.floats(allow_nan=False, allow_infinity=False, width=32)
values = st.recursive(
    st.none() | st.booleans() | numbers_kept | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
metadatas = st.dictionaries(names, values, max_size=3)


@dataclass
class Model:
    """One session as it must be."""

    user_id: str | None = None
    message_count: int = 0
    escalated: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, delta: float) -> bool:
        """False, and nothing changed, where the store says ValueError."""
        if name == "message_count":
            self.message_count += int(delta)
            return True
        old = self.metadata.get(name, 0)
        if isinstance(old, bool) or not isinstance(old, int | float):
            return False
        try:
            new = old + delta
        except OverflowError:
            return False
        if isinstance(new, float) and not math.isfinite(new):
            return False
        self.metadata[name] = new
        return True


class StoreMachine(RuleBasedStateMachine):
    make: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clients: list[SessionStore] = []
        self.model: dict[str, Model] = {}
        self.recent: list[str] = []  # most recently active last
        self.expired: list[str] = []  # not swept yet
        self.told: list[tuple[str, str]] = []
        self.heard: list[tuple[str, str]] = []
        session_ended.connect(self.hear)

    def hear(self, sender: Any, session_id: str, reason: str, **kwargs: Any) -> None:
        self.heard.append((session_id, reason))

    def teardown(self) -> None:
        session_ended.disconnect(self.hear)
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(call)

    def active(self, session_id: str) -> None:
        if session_id in self.recent:
            self.recent.remove(session_id)
        self.recent.append(session_id)

    def gone(self, session_id: str) -> None:
        del self.model[session_id]
        self.recent.remove(session_id)

    @initialize()
    def begin(self) -> None:
        self.clients = type(self).make()
        for n, session_id in enumerate(["a", "c\n{1}"]):
            self.set(n, session_id, "u", bool(n), {})

    @rule(client=st.integers(0, 1), session_id=ids, user=users, escalated=st.booleans(), metadata=metadatas)
    def set(self, client: int, session_id: str, user: str | None, escalated: bool, metadata: dict[str, Any]) -> None:
        data = SessionData(session_id, user_id=user, escalated=escalated, metadata=metadata)
        assert self.run(self.clients[client].set(session_id, data)) is True
        self.model[session_id] = Model(user, 0, escalated, dict(metadata))
        self.active(session_id)

    @rule(client=st.integers(0, 1), session_id=ids, user=users)
    def get_or_create(self, client: int, session_id: str, user: str | None) -> None:
        data = self.run(self.clients[client].get_or_create(session_id, lambda: SessionData(session_id, user_id=user)))
        if session_id not in self.model:
            self.model[session_id] = Model(user)
            self.active(session_id)
        assert data.user_id == self.model[session_id].user_id

    @rule(client=st.integers(0, 1), session_id=ids, user=users, metadata=metadatas, escalated=st.none() | st.booleans())
    def update(
        self, client: int, session_id: str, user: str | None, metadata: dict[str, Any], escalated: bool | None
    ) -> None:
        updates: dict[str, Any] = {"user_id": user, "metadata": metadata}
        if escalated is not None:
            updates["escalated"] = escalated
        done = self.run(self.clients[client].update(session_id, updates))
        assert done is (session_id in self.model)
        if done:
            model = self.model[session_id]
            model.user_id = user
            model.escalated = model.escalated if escalated is None else escalated
            model.metadata.update(metadata)
            self.active(session_id)

    @rule(client=st.integers(0, 1), session_id=ids, name=names, delta=numbers_kept)
    def increment(self, client: int, session_id: str, name: str, delta: float) -> None:
        if session_id not in self.model:
            assert self.run(self.clients[client].increment_counter(session_id, name, delta)) == 0
        elif self.model[session_id].add(name, delta):
            value = self.run(self.clients[client].increment_counter(session_id, name, delta))
            assert value == self.model[session_id].metadata[name]
            self.active(session_id)
        else:
            with pytest.raises((ValueError, TypeError)):
                self.run(self.clients[client].increment_counter(session_id, name, delta))

    @rule(client=st.integers(0, 1), session_id=ids, deltas=st.dictionaries(names, numbers_kept, min_size=1, max_size=3))
    def add(self, client: int, session_id: str, deltas: dict[str, float]) -> None:
        call = self.clients[client].update(session_id, deltas, atomic=True)
        if session_id not in self.model:
            assert self.run(call) is False
            return
        changed = replace(self.model[session_id], metadata=dict(self.model[session_id].metadata))
        if all(changed.add(name, delta) for name, delta in deltas.items()):
            assert self.run(call) is True
            self.model[session_id] = changed
            self.active(session_id)
        else:
            with pytest.raises((ValueError, TypeError)):
                self.run(call)

    @rule(client=st.integers(0, 1), session_id=ids, total=st.none() | st.integers(0, 20))
    def count_message(self, client: int, session_id: str, total: int | None) -> None:
        data = self.run(self.clients[client].count_message(session_id, total))
        if session_id not in self.model:
            assert data is None
            return
        model = self.model[session_id]
        model.message_count = model.message_count + 1 if total is None else max(model.message_count, total)
        self.active(session_id)
        assert_same(data, model)

    @rule(session_id=ids, deltas=st.lists(st.integers(-5, 5), min_size=2, max_size=6))
    def both_at_once(self, session_id: str, deltas: list[int]) -> None:
        """Counters, texts and reads of two clients in one turn of the loop: none is lost."""
        if session_id not in self.model:
            return

        async def calls() -> None:
            await asyncio.gather(
                *(self.clients[n % 2].increment_counter(session_id, "both", d) for n, d in enumerate(deltas)),
                *(self.clients[n % 2].update(session_id, {f"k{n}": d}) for n, d in enumerate(deltas)),
                *(client.get(session_id) for client in self.clients),
            )

        model = self.model[session_id]
        self.run(calls())
        model.metadata["both"] = model.metadata.get("both", 0) + sum(deltas)
        model.metadata.update({f"k{n}": d for n, d in enumerate(deltas)})
        self.active(session_id)

    @rule(client=st.integers(0, 1), session_id=ids)
    def delete(self, client: int, session_id: str) -> None:
        assert self.run(self.clients[client].delete(session_id)) is (session_id in self.model)
        if session_id in self.model:
            self.gone(session_id)
            self.told.append((session_id, "deleted"))

    @precondition(lambda self: self.model)
    @rule(client=st.integers(0, 1), data=st.data())
    def time_passes_for(self, client: int, data: st.DataObject) -> None:
        session_id = data.draw(st.sampled_from(sorted(self.model)))
        assert self.run(self.clients[client].touch(session_id, 0.001)) is True
        time.sleep(0.0025)
        self.gone(session_id)
        self.expired.append(session_id)

    @rule()
    def both_sweep(self) -> None:
        async def sweeps() -> list[int]:
            return list(await asyncio.gather(*(client.cleanup_expired() for client in self.clients)))

        assert sum(self.run(sweeps())) == len(self.expired)
        self.told += [(session_id, "expired") for session_id in self.expired]
        self.expired = []

    @invariant()
    def the_same_to_both(self) -> None:
        assert sorted(self.heard) == sorted(self.told)
        for client in self.clients:
            found = self.run(client.get_many(self.model))
            assert set(found) == set(self.model)
            for session_id, model in self.model.items():
                assert_same(found[session_id], model)

    @invariant()
    def the_indexes_are_right(self) -> None:
        newest = self.recent[::-1]
        for client in self.clients[:1]:
            assert self.run(client.list_active()) == newest
            assert self.run(client.count_active()) == len(newest)
            rows, _ = self.run(client.page(escalated=True))
            assert [data.session_id for data, _ in rows] == [name for name in newest if self.model[name].escalated]
            for user in ("u", "v{2}"):
                assert self.run(client.sessions_of(user)) == [n for n in newest if self.model[n].user_id == user]
            assert self.run(self.pages(client)) == newest

    async def pages(self, client: SessionStore) -> list[str]:
        seen, cursor = [], None
        while True:
            rows, cursor = await client.page(cursor, limit=2)
            seen += [data.session_id for data, _ in rows]
            if cursor is None:
                return seen


def assert_same(data: SessionData, model: Model) -> None:
    assert (data.user_id, data.message_count, data.escalated) == (model.user_id, model.message_count, model.escalated)
    assert data.metadata == model.metadata
    assert {name: type(value) for name, value in data.metadata.items()} == {
        name: type(value) for name, value in model.metadata.items()
    }


def check(make: Any, examples: int) -> None:
    machine = type("Machine", (StoreMachine,), {"make": staticmethod(make)})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=examples < 100,
            suppress_health_check=list(HealthCheck),
        ),
    )


def of_memory() -> list[SessionStore]:
    store: SessionStore = InMemorySessionStore()
    return [store, store]


@pytest.fixture
def of_redis(valkey: ValkeyServer) -> Any:
    def make() -> list[SessionStore]:
        prefix = f"stateful{next(numbers)}:"
        # Two timeouts are two connections.
        return [RedisSessionStore(valkey.url, prefix, options={"SOCKET_TIMEOUT": seconds}) for seconds in (60, 61)]

    return make


def test_memory() -> None:
    check(of_memory, 40)


def test_redis(of_redis: Any) -> None:
    check(of_redis, 40)


@pytest.mark.slow
def test_memory_for_long() -> None:
    check(of_memory, 200)


@pytest.mark.slow
def test_redis_for_long(of_redis: Any) -> None:
    check(of_redis, 150)
