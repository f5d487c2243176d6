"""A small client of the chat protocol that knows nothing of our code."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_hastily
from websockets.exceptions import ConnectionClosed

PATIENCE = 60.0  # seconds for anything that should happen
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used over http; each client would read the system's authorities

# Their own are ten and twenty seconds, which a busy machine may take for a start of a process beside it.
connect = partial(connect_hastily, open_timeout=PATIENCE, ping_timeout=PATIENCE)


class Chat:
    """One customer's chat: REST calls, and sockets made by `socket()`."""

    def __init__(self, desk_url: str, opened: dict[str, Any]) -> None:
        self.desk_url = desk_url
        self.opened = opened
        self.session_id: str = opened["session_id"]
        self.token: str = opened["token"]
        self.http = httpx.AsyncClient(
            base_url=f"{desk_url}/api/v1/chat/sessions/{self.session_id}",
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=PATIENCE,
            verify=PLAIN,
        )

    @classmethod
    async def open(cls, desk_url: str, **body: Any) -> "Chat":
        async with httpx.AsyncClient(verify=PLAIN, timeout=PATIENCE) as http:
            response = await http.post(f"{desk_url}/api/v1/chat/sessions/", json=body)
        assert response.status_code == 201, response.text
        return cls(desk_url, response.json())

    async def say(self, text: str, client_id: str | None = None) -> dict[str, Any]:
        body = {"text": text} | ({"client_id": client_id} if client_id else {})
        response = await self.http.post("/messages/", json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def history(self) -> list[dict[str, Any]]:
        response = await self.http.get("/messages/", params={"limit": 200})
        assert response.status_code == 200, response.text
        results: list[dict[str, Any]] = response.json()["results"]
        return results

    @asynccontextmanager
    async def socket(self, last_seq: int = 0, desk_url: str | None = None) -> AsyncIterator["Socket"]:
        url = (desk_url or self.desk_url).replace("http", "ws", 1) + "/ws/chat/"
        async with connect(url) as connection:
            socket = Socket(connection)
            await socket.send("hello", token=self.token, last_seq=last_seq)
            yield socket


class Socket:
    """Frames in and out, with patience instead of sleep."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.seen: list[dict[str, Any]] = []

    async def send(self, type_: str, **more: Any) -> None:
        await self.connection.send(json.dumps({"type": type_, **more}))

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            frame: dict[str, Any] = json.loads(await self.connection.recv())
        self.seen.append(frame)
        return frame

    async def until(self, type_: str, **more: Any) -> dict[str, Any]:
        """The next frame of that type with those values; what came before it is in `seen`."""
        async with asyncio.timeout(2 * PATIENCE):  # other frames may go on coming for ever
            while True:
                frame = await self.next()
                if frame["type"] == type_ and all(frame.get(name) == value for name, value in more.items()):
                    return frame

    async def close_code(self) -> int:
        """The code with which the server ends the socket."""
        try:
            while True:
                await self.next()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006
