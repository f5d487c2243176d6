"""An erasure as its operator runs it, in a process of their own: what open sockets hear of it."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from statistics import median
from typing import Any

import pytest

from tests.chat_client import PATIENCE, Chat
from tests.desk import CHECKOUT, Desk
from tests.held import held

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SECRET = "my name is Wronskij"


def manage(desk: Desk, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "manage.py", *words]
    return subprocess.Popen(
        command, cwd=CHECKOUT, env=desk.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


async def managed(desk: Desk, *words: str) -> dict[str, Any]:
    out, errors = await asyncio.to_thread(manage(desk, *words).communicate)
    assert out, errors
    said: dict[str, Any] = json.loads(out)
    return said


async def test_open_sockets_close_at_once_and_nothing_is_written_after(scripted_desk: Desk) -> None:
    """The agent is in the middle of an answer."""
    chat = await Chat.open(scripted_desk.url, user_id="anna", metadata={"order": "KV-77421"})
    async with chat.socket() as socket:
        with held(scripted_desk.environ, chat.session_id):
            await socket.until("welcome")
            await socket.send("send", client_id="c1", text=SECRET)
            await socket.until("delta")
            erasing = asyncio.create_task(managed(scripted_desk, "erase_customer", "anna", "--json"))
            assert await socket.close_code() == 4410
        receipt = await erasing
    assert (receipt["state"], receipt["removed"]["conversations"]) == ("erased", 1)
    assert (await chat.http.get("/messages/")).status_code == 404
    assert (await chat.http.post("/messages/", json={"text": "hello?"})).status_code == 404
    checked = await managed(scripted_desk, "erase_customer", "anna", "--verify", receipt["receipt"], "--json")
    assert (checked["sound"], checked["doubts"]) == (True, [])
    assert "Wronskij" not in scripted_desk.log.read_text()


ONE_AFTER_THE_OTHER = """
from io import StringIO
from django.core.management import call_command
for name in {names}:
    call_command("erase_customer", name, stdout=StringIO())
"""


async def test_a_ring_from_a_command_comes_before_the_poll(scripted_desk: Desk) -> None:
    """From the moment that the row is gone to the socket's end: less than the second that the ring is given, where the
    socket's own poll takes up to five. The median of several, since a busy machine may hold up any one.
    """
    names = [f"bella-{number}" for number in range(5)]
    chats = [await Chat.open(scripted_desk.url, user_id=name) for name in names]
    async with AsyncExitStack() as open_sockets:
        sockets = [await open_sockets.enter_async_context(chat.socket()) for chat in chats]
        for socket in sockets:
            await socket.until("welcome")
        erasing = manage(scripted_desk, "shell", "-v0", "-c", ONE_AFTER_THE_OTHER.format(names=names))
        closed_at = [asyncio.create_task(time_of(socket.close_code())) for socket in sockets]
        gone_at = [await asyncio.to_thread(time_until_gone, scripted_desk, chat.session_id) for chat in chats]
        ends = await asyncio.gather(*closed_at)
        await asyncio.to_thread(erasing.communicate)
    assert [code for code, _ in ends] == [4410] * len(chats)
    assert median(ended - gone for (_, ended), gone in zip(ends, gone_at, strict=True)) < 1.0


async def time_of(waiting: Any) -> tuple[int, float]:
    return await waiting, time.monotonic()


def time_until_gone(desk: Desk, session_id: str) -> float:
    deadline = time.monotonic() + PATIENCE
    while count(desk, f"select count(*) from agent_app_conversation where session_id = '{session_id}'"):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return time.monotonic()


def count(desk: Desk, query: str) -> int:
    if not desk.environ["DATABASE_URL"].startswith("sqlite"):
        pytest.skip("not for PostgreSQL: this test reads the file")
    with sqlite3.connect(desk.environ["DATABASE_URL"].removeprefix("sqlite:///"), timeout=30) as database:
        return int(database.execute(query).fetchone()[0])
