"""A message that kills whoever answers it must not kill them all."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import WebSocketException

from tests.agent_app.conftest import OPEN
from tests.chat_client import Chat
from tests.conftest import ValkeyServer
from tests.desk import Desk, database_of_its_own
from tests.poison import DEADLY

pytestmark = [pytest.mark.integration, pytest.mark.slow]

INSTANCES = 5  # three may die of it, the fourth gives the honest reply, one is beyond suspicion
PATIENCE = 240.0  # seconds for everything: three deaths, each with a lease to run out


@pytest.fixture
def desks(tmp_path: Path, valkey: ValkeyServer) -> Iterator[list[Desk]]:
    """Instances that share database, store and files, each a process of its own."""
    settings = {
        **OPEN,
        "DATABASE_URL": database_of_its_own(tmp_path),
        "USE_SHARED_CONTEXT": "true",
        "REDIS_URL": f"redis://127.0.0.1:{valkey.port}/{12}",
        "AGENT_RESPONDER": "tests.poison.PoisonedResponder",
        "TURN_LEASE": "3",
        "TURN_RECOVERY_INTERVAL": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [".", os.environ.get("PYTHONPATH", "")])),
    }
    running = [Desk(tmp_path, **settings) for _ in range(INSTANCES)]
    for desk in running:
        desk.launch()
    for desk in running:
        desk.wait()
    yield running
    for desk in running:
        desk.stop()


def alive(desks: list[Desk]) -> list[Desk]:
    return [desk for desk in desks if desk.process is not None and desk.process.poll() is None]


async def reply_of(desks: list[Desk], chat: Chat) -> dict[str, Any]:
    """The agent's answer, heard from whichever instance is left: the one that is listened to may die, too."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                async with chat.socket(desk_url=alive(desks)[-1].url) as socket:
                    return await socket.until("message", role="agent")
            except (OSError, TimeoutError, WebSocketException):
                continue


async def answer_of_any(desks: list[Desk], text: str) -> str:
    """Of an instance that lives: one that is asked may take the poison meanwhile, and die of it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                chat = await Chat.open(alive(desks)[-1].url)
                return str((await chat.say(text))["reply"]["text"])
            except httpx.TransportError:
                continue


async def attach(chat: Chat, text: str) -> str:
    response = await chat.http.post("/attachments/", files={"file": ("note.txt", text.encode(), "text/plain")})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


@pytest.mark.parametrize("way", ["message", "attachment"])
async def test_a_poison_message_ends_in_an_honest_reply_and_a_person(desks: list[Desk], way: str) -> None:
    poisoned = await Chat.open(desks[0].url)
    body: dict[str, Any] = {"text": DEADLY, "client_id": "1"}
    if way == "attachment":
        body = {"text": "What is this?", "client_id": "1", "attachments": [await attach(poisoned, f"Note: {DEADLY}.")]}
    with pytest.raises(httpx.TransportError):
        await poisoned.http.post("/messages/", json=body)

    assert await answer_of_any(desks, "How are you?") == "I am well."
    reply = await reply_of(desks, poisoned)
    assert "could not" in reply["text"]
    assert "ESC-" in reply["text"]
    left = alive(desks)
    assert len(left) == INSTANCES - 3
    async with httpx.AsyncClient(timeout=PATIENCE, headers=poisoned.http.headers) as http:
        state = (await http.get(f"{left[0].url}/api/v1/chat/sessions/{poisoned.session_id}/")).json()
    assert state["state"] == "waiting"
    for desk in left:
        later = await Chat.open(desk.url)
        assert (await later.say("And now?"))["reply"]["text"] == "I am well."
