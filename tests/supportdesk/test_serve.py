"""`manage.py serve` from its start to its end, as a process that gets signals."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connection
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.chat_client import PATIENCE, connect
from tests.conftest import free_port
from tests.desk import CHECKOUT, Desk

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SLOW_ANSWER = {"AGENT_RESPONDER": "agent_app.agent.scripted.ScriptedResponder", "AGENT_SCRIPTED_DELAY": "8"}


@pytest.fixture
def slow_desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk whose every answer takes some seconds."""
    desk = Desk(tmp_path, **SLOW_ANSWER)
    desk.start("--prepare")
    yield desk
    desk.stop(signal.SIGKILL)


def open_chat(desk: Desk) -> dict[str, Any]:
    return httpx.post(f"{desk.url}/api/v1/chat/sessions/", json={}, timeout=PATIENCE).json()


async def hello(socket: ClientConnection, token: str) -> None:
    await socket.send(json.dumps({"type": "hello", "token": token, "last_seq": 0}))
    assert (await frame(socket))["type"] == "welcome"


async def frame(socket: ClientConnection) -> dict[str, Any]:
    return json.loads(await asyncio.wait_for(socket.recv(), PATIENCE))


async def frames_until_closed(socket: ClientConnection) -> tuple[list[dict[str, Any]], int]:
    frames = []
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            frames.append(await frame(socket))
    assert closed.value.rcvd is not None
    return frames, closed.value.rcvd.code


async def test_sigterm_lets_the_running_answer_finish_and_tells_every_socket(slow_desk: Desk) -> None:
    chat = open_chat(slow_desk)
    async with connect(f"{slow_desk.sockets}/ws/chat/") as socket:
        await hello(socket, chat["token"])
        await socket.send(json.dumps({"type": "send", "client_id": "1", "text": "Where is my order?"}))
        while (await frame(socket))["type"] != "turn":
            pass
        slow_desk.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
        while (await frame(socket))["type"] != "reconnect":
            pass
        ready = await asyncio.to_thread(httpx.get, f"{slow_desk.url}/readyz", timeout=PATIENCE)
        assert (ready.status_code, ready.json()["parts"]["draining"]) == (503, {"state": "down"})
        frames, code = await frames_until_closed(socket)
    assert code == 1012
    assert [frame["role"] for frame in frames if frame["type"] == "message"] == ["agent"]
    assert await asyncio.to_thread(slow_desk.stop) == 0


async def test_an_event_stream_does_not_hold_up_the_end(slow_desk: Desk) -> None:
    chat = open_chat(slow_desk)
    headers = {"Authorization": f"Bearer {chat['token']}"}
    address = f"{slow_desk.url}/api/v1/chat/sessions/{chat['session_id']}/events/"
    async with httpx.AsyncClient(timeout=20) as client, client.stream("GET", address, headers=headers) as stream:
        assert stream.status_code == 200
        assert stream.headers["X-Request-ID"]
        began = asyncio.get_running_loop().time()
        assert await asyncio.to_thread(slow_desk.stop) == 0
        assert asyncio.get_running_loop().time() - began < 10


async def test_a_socket_at_an_unknown_path_is_refused_without_a_traceback(desk: Desk) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        await connect(f"{desk.sockets}/ws/nothing/")
    assert refusal.value.response.status_code == 403
    assert "Traceback" not in desk.log.read_text()


def test_the_log_names_events_and_no_address(desk: Desk) -> None:
    open_chat(desk)
    log = desk.log.read_text()
    assert "Using InMemorySessionStore" in log
    assert "Agent initialized with 4 tools (legacy mode)" in log
    assert "Created new session" in log
    assert "user admin, password admin" in log
    assert "127.0.0.1" not in log.replace(f"http://127.0.0.1:{desk.port}/", "")


def test_json_log_lines(tmp_path: Path) -> None:
    desk = Desk(tmp_path, LOG_FORMAT="json")
    desk.start("--prepare")
    desk.stop()
    lines = [json.loads(line) for line in desk.log.read_text().splitlines() if line.startswith("{")]
    assert any(line["message"] == "Using InMemorySessionStore" and line["level"] == "INFO" for line in lines)


def serve(folder: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A start that is expected to fail."""
    environ = Desk(folder, **settings).environ
    command = [sys.executable, "manage.py", "serve", *options]
    return subprocess.run(command, cwd=CHECKOUT, env=environ, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"SESSION_TIMEOUT_MINUTES": "2"},
            "SESSION_TIMEOUT_MINUTES=2 is out of bounds: write a whole number from 5 to",
        ),
        ({"AGENT_TOOLS": "os.path.join"}, "AGENT_TOOLS='os.path.join' is no tool"),
        ({"DEBUG": "false"}, "SECRET_KEY is not set and DEBUG is off"),
        ({"DEBUG": "false", "SECRET_KEY": "x" * 50}, "ALLOWED_HOSTS is empty and DEBUG is off"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(tmp_path: Path, settings: dict[str, str], sentence: str) -> None:
    done = serve(tmp_path, **settings)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_policy_that_cannot_be_used_stops_the_start_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("rules: [{name: a, category: other, priority: low, score: 1, phrases: [x]}]")
    done = serve(tmp_path, ESCALATION_POLICY=str(tmp_path / "policy.yaml"))
    assert done.returncode != 0
    assert "policy.yaml cannot be used: category 'other' is none of legal, urgent, complaint, general" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_lacks_migrations_stops_the_start(tmp_path: Path) -> None:
    done = serve(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/empty.sqlite3")
    assert done.returncode != 0
    assert "run manage.py migrate" in done.stderr


def test_a_database_that_is_away_does_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path, DATABASE_URL=f"postgres://nobody@127.0.0.1:{free_port()}/none")
    desk.start()
    answer = httpx.get(f"{desk.url}/readyz", timeout=PATIENCE)
    assert (answer.status_code, answer.json()["parts"]["database"]["state"]) == (503, "down")
    assert desk.stop() == 0


@pytest.mark.skipif(connection.vendor != "sqlite", reason="not for PostgreSQL: it has no file to lock")
def test_a_file_that_another_process_has_locked_does_not_either(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with sqlite3.connect(desk.environ["DATABASE_URL"].removeprefix("sqlite:///"), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        desk.start()
        other.execute("ROLLBACK")
    assert open_chat(desk)["state"] == "ai"
    assert desk.stop() == 0


def test_what_cannot_be_prepared_is_said_in_one_line(tmp_path: Path) -> None:
    done = serve(tmp_path, "--prepare", DATABASE_URL=f"sqlite:///{tmp_path / 'nowhere' / 'desk.sqlite3'}")
    assert done.returncode != 0
    assert "The database cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_second_interrupt_does_not_wait_for_the_answer(slow_desk: Desk) -> None:
    chat = open_chat(slow_desk)
    async with connect(f"{slow_desk.sockets}/ws/chat/") as socket:
        await hello(socket, chat["token"])
        await socket.send(json.dumps({"type": "send", "client_id": "1", "text": "Where is my order?"}))
        while (await frame(socket))["type"] != "turn":
            pass
        slow_desk.process.send_signal(signal.SIGINT)  # type: ignore[union-attr]
        while (await frame(socket))["type"] != "reconnect":
            pass
        slow_desk.process.send_signal(signal.SIGINT)  # type: ignore[union-attr]
        frames, code = await frames_until_closed(socket)
    assert code == 1012
    assert not [frame for frame in frames if frame["type"] == "message"]


def test_a_taken_port_is_said(tmp_path: Path, desk: Desk) -> None:
    done = serve(tmp_path, "--prepare", PORT=str(desk.port))
    assert done.returncode != 0
    assert "address already in use" in done.stderr
