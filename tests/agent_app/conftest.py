"""A running desk for each kind of session store, shared by the tests that speak to it from outside."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from agent_app import chat
from agent_app.journal import journal
from agent_app.knowledge.embedding import Vectors, load_embedder
from agent_app.knowledge.retrieval import KnowledgeIndex
from agent_app.tools.backend import inventory
from agent_app.tools.breaker import CircuitBreaker
from agent_app.tools.trail import trail
from tests.conftest import ValkeyServer
from tests.desk import Desk, prepared_index
from tests.held import held_settings
from tests.model_server import ModelServer
from tests.order_system import OrderSystem
from tests.talk import Talk

OPEN = {"CHAT_SESSION_RATE_LIMIT": "100000/min", "CHAT_DEBUG_METADATA": "true"}  # every test comes from one address


def store_settings(kind: str, valkey: ValkeyServer, database: int) -> dict[str, str]:
    if kind == "in_memory":
        return OPEN
    return {**OPEN, "USE_SHARED_CONTEXT": "true", "REDIS_URL": f"redis://127.0.0.1:{valkey.port}/{database}"}


@pytest.fixture(scope="session", params=["in_memory", "redis"])
def desk(
    request: pytest.FixtureRequest, valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    """A desk with the sample knowledge, as `make run` starts it."""
    folder = tmp_path_factory.mktemp(f"desk_{request.param}")
    running = prepared(Desk(folder, **store_settings(request.param, valkey, 7)))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def scripted_desk(valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk whose agent has one answer, in the middle of which a test can hold it (`tests.held`)."""
    folder = tmp_path_factory.mktemp("scripted")
    running = prepared(Desk(folder, **held_settings(folder), **store_settings("redis", valkey, 8)))
    yield running
    running.stop()


def prepared(running: Desk) -> Desk:
    running.start("--prepare")
    return running


class Embedding:
    """The default model; each text once in a run, for making vectors is most of what these tests cost."""

    def __init__(self, known: dict[str, np.ndarray]) -> None:
        self.known = known

    def __call__(self, texts: Sequence[str]) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known.update(zip(new, load_embedder("minilm").embed(new), strict=True))
        return np.stack([self.known[text] for text in texts])


@pytest.fixture(scope="session")
def shop() -> KnowledgeIndex:
    """The index of the sample shop, as every desk has it."""
    return KnowledgeIndex.from_bytes(prepared_index())


@pytest.fixture(scope="session")
def embed(shop: KnowledgeIndex) -> Embedding:
    return Embedding(dict(zip(shop.unit_texts(), shop.vectors, strict=True)))


@pytest.fixture(scope="session")
def model() -> Iterator[ModelServer]:
    """A scripted language model behind OpenAI's interface; each test writes its script."""
    server = ModelServer().start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def model_desk(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk that answers with that model, with little time for a turn."""
    settings = {**OPEN, **model.settings(), "AGENT_TURN_TIMEOUT": "16", "CHAT_RATE_LIMIT": "100000/min"}
    running = prepared(Desk(tmp_path_factory.mktemp("model"), **settings))
    yield running
    running.stop()


@pytest.fixture
def order_system(settings: Any) -> Iterator[OrderSystem]:
    """A company's own order system, with the agent's tools for it."""
    made = OrderSystem()
    settings.BACKENDS = {"inventory": {"url": made.url, "key": ""}}
    settings.AGENT_TOOL_REGISTRY_MODE = "registry"
    inventory.breaker = CircuitBreaker("inventory")
    yield made
    made.close()


@pytest.fixture
async def ana(order_system: OrderSystem) -> AsyncIterator[Talk]:
    """A chat of the customer whose orders are there."""
    conversation, _ = await chat.open_chat("C-1001", True, {})
    yield Talk(conversation)
    await trail.flush()
    await inventory.close()
    await asyncio.to_thread(journal.close)
