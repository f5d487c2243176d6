"""Real processes on one database: the one that is in the middle of a confirmed write is killed, the other goes on.

Whole servers are killed while the order system has the write; forked processes at each await of it.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from tests.agent_app.conftest import OPEN
from tests.chat_client import Chat
from tests.conftest import ValkeyServer
from tests.desk import CHECKOUT, Desk, database_of_its_own
from tests.order_system import Answer, OrderSystem

pytestmark = [pytest.mark.integration, pytest.mark.slow]

KEY = "the key that this site signs its customers' identities with"
PATIENCE = 120.0


@pytest.fixture
def shop() -> Iterator[OrderSystem]:
    made = OrderSystem()
    yield made
    made.close()


@pytest.fixture
def desks(tmp_path: Path, valkey: ValkeyServer, shop: OrderSystem) -> Iterator[list[Desk]]:
    settings = {
        **OPEN,
        "DATABASE_URL": database_of_its_own(tmp_path),
        "USE_SHARED_CONTEXT": "true",
        "REDIS_URL": f"redis://127.0.0.1:{valkey.port}/{13}",
        "IDENTITY_SECRET": KEY,
        "AGENT_TOOL_REGISTRY_MODE": "registry",
        "INVENTORY_URL": shop.url,
        "TURN_LEASE": "6",
        "TURN_RECOVERY_INTERVAL": "1",
    }
    running = [Desk(tmp_path, **settings) for _ in range(2)]
    for desk in running:
        desk.start()
    yield running
    for desk in running:
        desk.stop()


class Held:
    """The order system at the moment of the write: before it takes effect, or after, with the answer not sent yet."""

    def __init__(self, shop: OrderSystem, after_effect: bool) -> None:
        self.shop, self.after_effect = shop, after_effect
        self.arrived, self.go_on, self.ended = threading.Event(), threading.Event(), threading.Event()

    def __call__(self) -> Answer:
        method, path, key = self.shop.requests[-1]
        if method == "GET":
            self.shop.script.insert(0, self)  # the look-up before it; the next request is the write
            return self.shop.own_answer(method, path, key)
        done = self.shop.own_answer(method, path, key) if self.after_effect else None
        self.arrived.set()
        assert self.go_on.wait(PATIENCE)
        done = done or self.shop.own_answer(method, path, key)
        self.ended.set()
        return done


@pytest.mark.parametrize("late", [False, True], ids=["effect before the death", "effect after the other's"])
async def test_the_write_is_done_once_and_the_other_says_so(desks: list[Desk], shop: OrderSystem, late: bool) -> None:
    first, other = desks
    ana = await Chat.open(first.url, identity=jwt.encode({"sub": "C-1001", "exp": time.time() + 300}, KEY, "HS256"))
    offer = (await ana.say("cancel order 1050"))["reply"]["confirm"]
    held = Held(shop, after_effect=not late)
    shop.script.append(held)
    click = asyncio.create_task(ana.http.post("/choice/", json={"id": offer["id"], "client_id": "yes"}))
    assert await asyncio.to_thread(held.arrived.wait, PATIENCE)

    assert first.process is not None
    first.process.kill()
    first.process.wait(60)
    with pytest.raises(httpx.TransportError):
        await click

    ana.http.base_url = httpx.URL(f"{other.url}/api/v1/chat/sessions/{ana.session_id}")
    reply = await reply_after(ana, offer["id"])
    # The dead one's request is still with the order system, and comes to its end now.
    held.go_on.set()
    assert await asyncio.to_thread(held.ended.wait, PATIENCE)
    assert reply["text"].startswith("Order 1050 is cancelled.")
    assert shop.effects == [offer["id"]]
    assert [key for method, _, key in shop.requests if method == "POST"] == [offer["id"]] * 2
    again = await ana.http.post("/choice/", json={"id": offer["id"], "client_id": "yes"})
    assert again.status_code == 200, again.text
    once_more = await ana.say("yes")
    assert shop.effects == [offer["id"]], once_more
    log = await ana.history()
    assert len([m for m in log if m["role"] == "agent" and m["text"].startswith("Order 1050 is cancelled.")]) == 1


LONGEST_KILLING = 1800  # seconds; fifty times at each await take some twenty minutes


def test_killed_at_each_await_it_is_done_once_and_never_claimed_before() -> None:
    """Once at each; `python -m tests.faults.killed_writes --times 50` kills as often as was promised."""
    command = [
        sys.executable,
        "-m",
        "tests.faults.killed_writes",
        "--json",
        "--times",
        os.environ.get("KILLED_WRITES", "1"),
    ]
    killing = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, timeout=LONGEST_KILLING)
    tally = json.loads(killing.stdout)
    assert tally["problems"] == []
    assert (tally["doubles"], tally["lost"], tally["false_claims"]) == (0, 0, 0)
    assert tally["awaits"] > 10
    assert tally["fewest_kills_of_an_await"] >= 1
    assert killing.returncode == 0


async def reply_after(ana: Chat, confirmation: str) -> dict[str, Any]:
    """The agent's answer to the click, once the one who has taken over has stored it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            log = await ana.history()
            asked = [m["seq"] for m in log if m["role"] == "customer"][-1]
            for message in log:
                if message["role"] == "agent" and message["reply_to"] >= asked:
                    return message
            await asyncio.sleep(0.1)  # it happens in another process, that tells only who asks it
