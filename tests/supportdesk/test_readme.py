"""The README's tour, run as printed against a running desk."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.desk import CHECKOUT, Desk

pytestmark = pytest.mark.integration


def printed(language: str, desk: Desk) -> list[str]:
    """The README's code blocks of one language, for this desk's port."""
    text = (CHECKOUT / "README.md").read_text()
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block.replace("127.0.0.1:8000", f"127.0.0.1:{desk.port}") for block in blocks]


def test_the_tour_with_curl(desk: Desk, tmp_path: Path) -> None:
    script = "set -e\n" + "".join(printed("sh", desk))
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    opened, answered, *stream, history, escalated, ended = done.stdout.strip().splitlines()
    assert json.loads(opened)["state"] == "ai"
    reply = json.loads(answered)["reply"]
    assert reply["role"] == "agent"
    assert "return" in reply["citations"][0]["title"].lower()
    assert "event: message" in stream
    assert "event: done" in stream
    assert [message["seq"] for message in json.loads(history)["results"]] == [1, 2, 3, 4]
    assert json.loads(escalated)["state"] == "waiting"
    assert ended == "204"


def test_the_websocket_client(desk: Desk, tmp_path: Path) -> None:
    (client,) = printed("python", desk)
    (tmp_path / "client.py").write_text(client)
    command = [sys.executable, "client.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    frames = [json.loads(line) for line in done.stdout.splitlines()]
    assert [frame["type"] for frame in frames[:2]] == ["welcome", "ack"]
    assert frames[-1]["role"] == "agent"
    assert "password" in frames[-1]["citations"][0]["title"].lower()
