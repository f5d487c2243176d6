"""Staff of a running desk: people to hire, and a small client of `/ws/desk/` that knows nothing of our code."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed

from tests.chat_client import PATIENCE, Socket, connect
from tests.desk import CHECKOUT, Desk

ALL = tuple(
    f"agent_app.{name}"
    for name in (
        "view_conversation",
        "takeover_conversation",
        "release_conversation",
        "reply_conversation",
        "resolve_conversation",
        "assign_conversation",
        "add_note",
        "view_note",
        "view_cannedreply",
    )
)


class Office:
    """Hires people and changes what they may, beside the desk that runs, in a process of its own."""

    def __init__(self, desk: Desk) -> None:
        command = [sys.executable, "-m", "tests.make_staff"]
        self.process = subprocess.Popen(
            command, cwd=CHECKOUT, env=desk.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def hire(self, name: str, may: Sequence[str] = ALL, **about: Any) -> "Person":
        hired = self.ask("hire", name=name, may=list(may), **about)
        return Person(name, hired["id"], hired["session"], hired["token"])

    def run(self, code: str) -> Any:
        """Runs Python over the desk's database; gives what it leaves in `said`."""
        return self.ask("run", code=code)["said"]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE)


@dataclass
class Person:
    name: str
    id: int
    session: str
    token: str

    @asynccontextmanager
    async def desk(self, desk_url: str, by_token: bool = False) -> AsyncIterator[Socket]:
        """An open desk, welcomed: by login, or by API token."""
        async with self.knock(desk_url, by_token) as socket:
            await socket.until("welcome")
            yield socket

    @asynccontextmanager
    async def knock(self, desk_url: str, by_token: bool = False, **headers: str) -> AsyncIterator[Socket]:
        cookie = {} if by_token else {"Cookie": f"sessionid={self.session}"}
        async with connect(socket_url(desk_url), additional_headers={**cookie, **headers}) as connection:
            socket = Socket(connection)
            with suppress(ConnectionClosed):  # a refusal may be quicker than the hello
                await socket.send("hello", **({"token": self.token} if by_token else {}))
            yield socket

    def rest(self, desk_url: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.AsyncClient(base_url=f"{desk_url}/api/v1/desk", headers=headers, timeout=PATIENCE)


def socket_url(desk_url: str) -> str:
    return desk_url.replace("http", "ws", 1) + "/ws/desk/"
