"""A scripted customer's chat, over the doors that a real one uses: WebSocket with its coming back, and REST."""

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

BETWEEN_TRIES = 0.1  # seconds between two tries to come back
COMES_BACK = (1006, 1012, 4001)  # close codes after which a client does
PATIENCE_LIMITED = 70.0  # seconds that a customer lets a rate limit hold them up


class Trouble(Exception):
    """The talk cannot go on as it should: what a run of a scenario fails with."""


class RefusedByDesk(Exception):
    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error.get('code')}: {error.get('message')}")
        self.code = str(error.get("code"))


class Talk:
    """One chat. `log` is what the socket showed, by seq; `desks` the addresses of the instances, the first in use."""

    def __init__(self, desks: Sequence[str], opened: dict[str, Any], patience: float) -> None:
        self.desks = list(desks)
        self.session_id: str = opened["session_id"]
        self.patience = patience
        self.headers = {"Authorization": f"Bearer {opened['token']}"}
        self.token: str = opened["token"]
        self.log: dict[int, dict[str, Any]] = {}
        self.acks: dict[str, dict[str, Any]] = {}
        self.errors: dict[str, dict[str, Any]] = {}
        self.tools: list[str] = []  # that ran since the last question
        self.tickets: list[str] = []
        self.ended = False
        self._unacknowledged: dict[str, dict[str, Any]] = {}
        self._socket: ClientConnection | None = None

    @classmethod
    async def open(cls, desks: Sequence[str], body: dict[str, Any], patience: float) -> "Talk":
        """Raises RefusedByDesk."""
        async with httpx.AsyncClient(timeout=30) as http:
            opened = await posted(http, f"{desks[0]}/api/v1/chat/sessions/", body)
        talk = cls(desks, opened, patience)
        await talk.connect()
        return talk

    # ---- the socket ----

    async def connect(self) -> None:
        """Opens a socket on the first instance that takes it, and says hello with the last seq seen."""
        deadline = time.monotonic() + self.patience
        while True:
            for desk in tuple(self.desks):
                try:
                    self._socket = await connect(desk.replace("http", "ws", 1) + "/ws/chat/", open_timeout=5)
                    await self._send({"type": "hello", "token": self.token, "last_seq": self.last_seq})
                    for frame in list(self._unacknowledged.values()):
                        await self._send(frame)
                except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed):
                    continue
                self.desks.remove(desk)
                self.desks.insert(0, desk)
                return
            if time.monotonic() > deadline:
                raise Trouble("no instance takes the socket")
            await asyncio.sleep(BETWEEN_TRIES)

    async def come_back(self, other_desk: bool = False) -> None:
        """The socket anew, on the next instance if that is wanted."""
        await self.close()
        if other_desk:
            self.desks.append(self.desks.pop(0))
        await self.connect()

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
            self._socket = None

    @property
    def last_seq(self) -> int:
        return max(self.log, default=0)

    async def _send(self, frame: dict[str, Any]) -> None:
        if self._socket is None:
            raise Trouble("the socket is closed")
        await self._socket.send(json.dumps(frame))

    async def until(self, there: Callable[[], bool], what: str) -> None:
        """Takes frames until it is so; a lost connection is come back from. Raises Trouble after the patience."""
        deadline = time.monotonic() + self.patience
        while not there():
            if self._socket is None:
                raise Trouble(f"the chat has ended before {what}")
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    self.take(json.loads(await self._socket.recv()))
            except TimeoutError:
                raise Trouble(f"{self.patience:.0f} s went by without {what}") from None
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else 1006
                if code == 4410:
                    self.ended, self._socket = True, None
                elif code in COMES_BACK:
                    await self.connect()
                else:
                    raise Trouble(f"the socket was closed with {code}") from None

    def take(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "message":
                self.take_message({name: value for name, value in frame.items() if name != "type"})
            case "ack":
                if "client_id" in frame:
                    self._acknowledge(frame)
                if "ticket" in frame:
                    self.tickets.append(frame["ticket"])
            case "error":
                self._refuse(frame)
            case "turn" if frame["status"] == "tool":
                self.tools.append(frame["tool"])
            case _:
                pass

    def take_message(self, message: dict[str, Any]) -> None:
        if message["seq"] != self.last_seq + 1:
            raise Trouble(f"message {message['seq']} came after {self.last_seq}")
        self.log[message["seq"]] = message

    def _acknowledge(self, frame: dict[str, Any]) -> None:
        client_id = frame["client_id"]
        before = self.acks.get(client_id)
        if before is not None and (before["seq"], before["id"]) != (frame["seq"], frame["id"]):
            raise Trouble(f"one message was acknowledged as {before['seq']} and as {frame['seq']}")
        self.acks[client_id] = frame
        self._unacknowledged.pop(client_id, None)

    def _refuse(self, frame: dict[str, Any]) -> None:
        client_id = frame.get("client_id")
        if client_id is None:
            raise Trouble(f"the desk answers with an error: {frame.get('code')}: {frame.get('message')}")
        self.errors[client_id] = frame

    # ---- what a customer does ----

    async def send(self, frame: dict[str, Any]) -> int:
        """Sends a frame that is stored as a message, waits for its ack, and gives its seq. Raises RefusedByDesk."""
        client_id = frame["client_id"]
        deadline = time.monotonic() + PATIENCE_LIMITED
        while True:
            self._unacknowledged[client_id] = frame
            with suppress(ConnectionClosed):  # it goes again with the next hello
                await self._send(frame)
            await self.until(lambda: client_id in self.acks or client_id in self.errors or self.ended, "an ack")
            error = self.errors.pop(client_id, None)
            if error is None:
                if client_id not in self.acks:
                    raise RefusedByDesk({"code": "closed", "message": "the chat has ended"})
                return int(self.acks[client_id]["seq"])
            self._unacknowledged.pop(client_id, None)
            if error.get("code") not in ("rate_limited", "unavailable") or time.monotonic() > deadline:
                raise RefusedByDesk(error)
            await asyncio.sleep(float(error.get("retry_after", 1)))

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Over REST. Raises RefusedByDesk."""
        async with self._http() as http:
            return await posted(http, self._address(path), body)

    async def say_over_rest(self, path: str, body: dict[str, Any]) -> int:
        answer = await self.post(path, body)
        self.tools += answer["metadata"].get("tools_used") or []
        return int(answer["message"]["seq"])

    async def upload(self, name: str, content: str) -> str:
        async with self._http() as http:
            response = await http.post(self._address("attachments/"), files={"file": (name, content.encode())})
            return str(taken(response)["id"])

    async def ask_for_person(self, reason: str) -> None:
        await self._send({"type": "escalate", "reason": reason})
        await self.until(lambda: bool(self.tickets), "a ticket")

    async def end(self) -> None:
        async with self._http() as http:
            response = await http.delete(self._address(""))
            if response.status_code != 204:
                raise RefusedByDesk(response.json())

    async def intrude(self) -> None:
        """Another customer's token at this chat's doors. Raises Trouble when one opens."""
        async with httpx.AsyncClient(timeout=30) as http:
            other = await posted(http, f"{self.desks[0]}/api/v1/chat/sessions/", {})
            headers = {"Authorization": f"Bearer {other['token']}"}
            for method, path in (("GET", "messages/"), ("POST", "messages/"), ("GET", ""), ("DELETE", "")):
                json_ = {"text": "let me in"} if method == "POST" else None
                response = await http.request(method, self._address(path), headers=headers, json=json_)
                if response.status_code != 404:
                    raise Trouble(f"{method} {path} with another chat's token gives {response.status_code}")

    # ---- what there is ----

    async def about(self) -> dict[str, Any]:
        """State and counters, as the desk gives them."""
        async with self._http() as http:
            return taken(await http.get(self._address("")))

    async def history(self) -> list[dict[str, Any]]:
        async with self._http() as http:
            found = taken(await http.get(self._address("messages/"), params={"limit": 200}))
        results: list[dict[str, Any]] = found["results"]
        return results

    def answer_to(self, seq: int) -> dict[str, Any] | None:
        return next((m for m in self.log.values() if m["role"] == "agent" and m.get("reply_to", 0) >= seq), None)

    def newest_answer(self) -> dict[str, Any] | None:
        return next((m for _, m in sorted(self.log.items(), reverse=True) if m["role"] == "agent"), None)

    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(headers=self.headers, timeout=90)

    def _address(self, path: str) -> str:
        return f"{self.desks[0]}/api/v1/chat/sessions/{self.session_id}/{path}"


def new_client_id() -> str:
    return f"simulated-{uuid.uuid4().hex}"


async def posted(http: httpx.AsyncClient, url: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the desk answers; a rate limit is waited for. Raises RefusedByDesk."""
    deadline = time.monotonic() + PATIENCE_LIMITED
    while True:
        response = await http.post(url, json=body)
        if response.status_code != 429 or time.monotonic() > deadline:
            return taken(response)
        await asyncio.sleep(float(response.headers.get("Retry-After", 1)))


def taken(response: httpx.Response) -> dict[str, Any]:
    if response.status_code >= 400:
        try:
            error = response.json()
        except ValueError:
            error = {"code": response.status_code, "message": response.text[:200]}
        raise RefusedByDesk(error)
    answer: dict[str, Any] = response.json()
    return answer
