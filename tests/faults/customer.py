"""A customer who writes, hops between instances, resends, reloads and spies, and notices every broken promise.

It shares no code with the desk: what it knows of the protocol is written here.
"""

import asyncio
import json
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.faults.promises import Chat, Ledger
from tests.faults.stage import Stage

PATIENCE = 4.0  # seconds until a customer gives up on a door and tries another
LONG_CHAT = (5, 80)  # messages of one chat, drawn for each
MOST_MISSED = 500  # messages that a resume brings, from the protocol
ODD_ENDS = {4400, 4401, 4403, 4413, 4429}  # close codes that a customer who keeps the rules never sees


class Gone(Exception):
    """No word came. What was asked may have been done or not; asking again is safe."""


class Refused(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Tab:
    """One socket of a chat, which checks that messages come in order, none missing and none twice."""

    def __init__(self, chat: Chat, ledger: Ledger, connection: ClientConnection, cursor: int) -> None:
        self.chat = chat
        self.ledger = ledger
        self.cursor = cursor
        self.turn: str | None = None
        self.news = asyncio.Event()
        self.answered_upto = 0
        self._connection = connection
        self._waiting: dict[str, asyncio.Future[tuple[int, str]]] = {}
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, chat: Chat, ledger: Ledger, url: str, last_seq: int) -> "Tab":
        connection: ClientConnection | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                connection = await connect(
                    url.replace("http", "ws", 1) + "/ws/chat/", ping_interval=None, close_timeout=1, proxy=None
                )
                await connection.send(json.dumps({"type": "hello", "token": chat.token, "last_seq": last_seq}))
                welcome = json.loads(await connection.recv())
        except (OSError, TimeoutError, WebSocketException) as error:
            if connection is not None:
                connection.transport.abort()
            raise Gone from error
        tab = cls(chat, ledger, connection, last_seq)
        tab._welcomed(welcome)
        tab._reading = asyncio.ensure_future(tab._read())
        return tab

    @property
    def alive(self) -> bool:
        return self._reading is not None and not self._reading.done()

    def _welcomed(self, frame: dict[str, Any]) -> None:
        if frame["type"] != "welcome":
            if frame.get("code") != "unavailable":
                self.ledger.unexpected[f"hello was answered with {frame.get('code')}"] += 1
            raise Gone
        if frame["last_seq"] < self.cursor:
            self.ledger.broken(1, f"{self.cursor} was shown and the log ends at {frame['last_seq']}", self.chat)
        if not frame["recovered"]:
            if 0 <= frame["last_seq"] - self.cursor <= MOST_MISSED:
                self.ledger.broken(4, f"not recovered from {self.cursor} to {frame['last_seq']}", self.chat)
            self.cursor = frame["last_seq"]
        self.ledger.counts["resumes"] += 1

    async def _read(self) -> None:
        try:
            while True:
                self._heard(json.loads(await self._connection.recv()))
                self.news.set()
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
            self.chat.ended |= code == 4410
            if code in ODD_ENDS:
                self.ledger.unexpected[f"a socket was closed with {code}"] += 1
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(Gone())
            self.news.set()

    def _heard(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "message":
                if frame["seq"] != self.cursor + 1:
                    self.ledger.broken(4, f"message {frame['seq']} came after {self.cursor}", self.chat)
                self.cursor = frame["seq"]
                self.ledger.saw(self.chat, frame)
                if frame["role"] == "agent":
                    self.answered_upto = frame["reply_to"]
            case "ack" if "client_id" in frame:
                self._answer(frame["client_id"], (frame["seq"], frame["id"]))
            case "error":
                self._refused(frame)
            case "turn" if frame["status"] == "started":
                self.turn = frame["turn"]
            case "state":
                self.chat.ended |= frame["state"] == "closed"

    def _answer(self, client_id: str, ack: tuple[int, str]) -> None:
        future = self._waiting.get(client_id)
        if future is None or future.done():
            self.ledger.ack(self.chat, client_id, *ack)  # late, but it holds all the same
        else:
            future.set_result(ack)

    def _refused(self, frame: dict[str, Any]) -> None:
        future = self._waiting.get(frame.get("client_id", ""))
        if future is not None and not future.done():
            future.set_exception(Gone() if frame["code"] == "unavailable" else Refused(frame["code"]))
        elif frame["code"] not in {"unavailable", "closed", "conflict"}:  # late, as after a delay
            self.ledger.unexpected[f"an error frame {frame['code']}"] += 1

    async def say(self, type_: str, **more: Any) -> None:
        try:
            await self._connection.send(json.dumps({"type": type_, **more}))
        except (ConnectionClosed, OSError) as error:
            raise Gone from error

    async def send(self, client_id: str, text: str) -> tuple[int, str]:
        future = self._waiting[client_id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(PATIENCE):
                await self.say("send", client_id=client_id, text=text)
                return await future
        except TimeoutError as error:
            raise Gone from error
        finally:
            future.cancel()
            self._waiting.pop(client_id, None)

    async def wait_for(self, seen: Callable[[], bool], seconds: float) -> bool:
        """True once it is so; False when it is not within that time, or the socket ends."""
        try:
            async with asyncio.timeout(seconds):
                while not seen() and self.alive:
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            pass
        return seen()

    async def close(self, rudely: bool = False) -> None:
        if rudely:
            self._connection.transport.abort()
        else:
            await self._connection.close()
        if self._reading is not None:
            await asyncio.wait([self._reading])


class Customer:
    """Writes in one chat after another until `leave` is set; what is under way then is still delivered."""

    def __init__(self, stage: Stage, ledger: Ledger, http: httpx.AsyncClient, dice: random.Random) -> None:
        self.stage = stage
        self.ledger = ledger
        self.http = http
        self.dice = dice
        self.leave = asyncio.Event()
        self.give_up = asyncio.Event()
        self.chat: Chat | None = None
        self.tab: Tab | None = None
        self._length = 0

    async def run(self) -> None:
        actions: list[Callable[[Chat], Awaitable[None]]] = [
            *[self._ask] * 50,
            *[self._hurry] * 10,
            *[self._hop] * 10,
            *[self._repeat] * 6,
            *[self._reload] * 3,
            *[self._second_tab] * 3,
            *[self._contradict] * 3,
            *[self._stop] * 3,
            *[self._spy] * 2,
            *[self._escalate] * 1,
            *[self._end] * 1,
        ]
        while not self.leave.is_set():
            if self.chat is None or self.chat.ended or len(self.chat.texts) >= self._length:
                await self._begin()
                continue
            try:
                await self.dice.choice(actions)(self.chat)
            except Gone:
                self.ledger.counts["tries in vain"] += 1
            await asyncio.sleep(self.dice.uniform(0.0, 0.4))

    # ---- doors ----

    async def _begin(self) -> None:
        if self.chat is not None and self.chat.ended:
            await self._knock_at_closed(self.chat)
        if self.tab is not None:
            await self.tab.close(rudely=self.dice.random() < 0.5)
        self.chat = self.tab = None
        try:
            response = await self.http.post(f"{self._url()}/api/v1/chat/sessions/", json={"metadata": {"page": "/"}})
        except httpx.HTTPError:
            await asyncio.sleep(0.2)
            return
        if response.status_code == 201:
            opened = response.json()
            self.chat = Chat(opened["session_id"], opened["token"])
            self.ledger.chats.append(self.chat)
            self._length = self.dice.randint(*LONG_CHAT)
        elif response.status_code != 503:
            self.ledger.unexpected[f"opening a chat gave {response.status_code}"] += 1

    def _url(self) -> str:
        return self.stage.any_url(self.dice)

    def _api(self, chat: Chat) -> str:
        return f"{self._url()}/api/v1/chat/sessions/{chat.session_id}"

    async def _door(self, chat: Chat) -> Tab:
        if self.tab is None or not self.tab.alive:
            last_seq = self.tab.cursor if self.tab is not None else 0
            self.tab = await Tab.open(chat, self.ledger, self._url(), last_seq)
        return self.tab

    async def _over_socket(self, chat: Chat, client_id: str, text: str) -> tuple[int, str]:
        return await (await self._door(chat)).send(client_id, text)

    async def _over_rest(self, chat: Chat, client_id: str, text: str) -> tuple[int, str]:
        answer = await self._call("POST", chat, "/messages/", {"text": text, "client_id": client_id})
        message, reply = answer["message"], answer["reply"]
        self.ledger.saw(chat, message)
        if reply is not None:
            self.ledger.saw(chat, reply)
            if reply["reply_to"] < message["seq"]:
                self.ledger.broken(5, f"{message['seq']} was answered with {reply}", chat)
        return message["seq"], message["id"]

    async def _over_stream(self, chat: Chat, client_id: str, text: str) -> tuple[int, str]:
        """The turn as server-sent events; the first event is the message itself."""
        ack: tuple[int, str] | None = None
        body = {"text": text, "client_id": client_id}
        headers = chat.headers | {"Accept": "text/event-stream"}
        try:
            async with self.http.stream("POST", f"{self._api(chat)}/messages/", json=body, headers=headers) as response:
                if response.status_code != 200:
                    await response.aread()
                    self._check_status(response)
                async for line in response.aiter_lines():
                    frame = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                    if frame.get("type") == "message":
                        self.ledger.saw(chat, frame)
                        ack = ack or (frame["seq"], frame["id"])
        except httpx.HTTPError as error:
            if ack is None:
                raise Gone from error
        if ack is None:
            raise Gone
        return ack

    async def _call(self, method: str, chat: Chat, path: str, body: Any = None, token: str | None = None) -> Any:
        headers = chat.headers if token is None else {"Authorization": f"Bearer {token}"}
        try:
            response = await self.http.request(method, self._api(chat) + path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise Gone from error
        self._check_status(response)
        return response.json() if response.content else None

    def _check_status(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        if "json" not in response.headers.get("Content-Type", ""):
            self.ledger.unexpected[f"{response.status_code} as {response.headers.get('Content-Type')}"] += 1
            raise Gone
        code = response.json()["code"]
        if code == "unavailable":
            raise Gone
        if code not in {"closed", "conflict", "not_found"}:
            self.ledger.unexpected[f"{response.request.method} gave {response.status_code} {code}"] += 1
        raise Refused(code)

    # ---- what a customer does ----

    async def _deliver(self, chat: Chat) -> int:
        """A new message, sent until it is acknowledged, over any door; its seq, 0 when the chat has ended."""
        client_id = uuid.UUID(int=self.dice.getrandbits(128)).hex
        chat.texts[client_id] = f"Question {len(chat.texts)} of {chat.session_id[:8]}"
        while not self.give_up.is_set():
            send = self.dice.choices([self._over_socket, self._over_rest, self._over_stream], [85, 10, 5])[0]
            try:
                ack = await send(chat, client_id, chat.texts[client_id])
            except Gone:
                self.ledger.counts["resends"] += 1
                await asyncio.sleep(self.dice.uniform(0.05, 0.5))
            except Refused as refused:
                chat.ended |= refused.code == "closed"
                if refused.code == "conflict":
                    self.ledger.broken(3, f"{client_id} conflicts with itself", chat)
                elif refused.code != "closed":
                    self.ledger.unexpected[f"a message was refused: {refused.code}"] += 1
                return 0
            else:
                self.ledger.ack(chat, client_id, *ack)
                return ack[0]
        self.ledger.unexpected["a message was never acknowledged"] += 1
        return 0

    async def _ask(self, chat: Chat) -> None:
        seq = await self._deliver(chat)
        tab = self.tab
        if seq and tab is not None and tab.alive:
            await tab.wait_for(lambda: tab.answered_upto >= seq or chat.ended, 2)

    async def _hurry(self, chat: Chat) -> None:
        """Several at once, while an answer is being written."""
        await self._door(chat)
        await asyncio.gather(*(self._deliver(chat) for _ in range(self.dice.randint(2, 4))))

    async def _hop(self, chat: Chat) -> None:
        tab = await self._door(chat)
        await tab.close(rudely=self.dice.random() < 0.5)
        await self._door(chat)

    async def _reload(self, chat: Chat) -> None:
        """From the start, as a page that kept nothing."""
        tab = await self._door(chat)
        await tab.close()
        self.tab = await Tab.open(chat, self.ledger, self._url(), 0)
        upto = max(chat.seen, default=0)
        await self.tab.wait_for(lambda: self.tab is not None and self.tab.cursor >= upto, 2)

    async def _second_tab(self, chat: Chat) -> None:
        await self._door(chat)
        other = await Tab.open(chat, self.ledger, self._url(), self.dice.randint(0, max(chat.seen, default=0)))
        await self._ask(chat)
        await other.close(rudely=self.dice.random() < 0.5)

    async def _repeat(self, chat: Chat) -> None:
        if chat.acked:
            client_id = self.dice.choice(list(chat.acked))
            send = self.dice.choice([self._over_socket, self._over_rest])
            try:
                self.ledger.ack(chat, client_id, *await send(chat, client_id, chat.texts[client_id]))
            except Refused as refused:
                self.ledger.broken(3, f"{client_id} was acknowledged and is now {refused.code}", chat)

    async def _contradict(self, chat: Chat) -> None:
        if chat.acked:
            client_id = self.dice.choice(list(chat.acked))
            send = self.dice.choice([self._over_socket, self._over_rest])
            try:
                await send(chat, client_id, "Something else")
            except Gone:
                # Its refusal may still come, and names the client_id alone: on this tab it would be taken for the
                # answer to the true text, sent again.
                if self.tab is not None:
                    await self.tab.close(rudely=True)
                raise
            except Refused as refused:
                if refused.code != "conflict":
                    self.ledger.broken(3, f"another text under {client_id} is {refused.code}", chat)
            else:
                self.ledger.broken(3, f"another text under {client_id} was acknowledged", chat)

    async def _stop(self, chat: Chat) -> None:
        tab = await self._door(chat)
        await self._deliver(chat)
        if tab.turn is not None:
            await tab.say("stop", turn=tab.turn)

    async def _escalate(self, chat: Chat) -> None:
        await (await self._door(chat)).say("escalate", reason="rather a person")

    async def _end(self, chat: Chat) -> None:
        await self._deliver(chat)
        try:
            await self._call("DELETE", chat, "/")
        except Refused as refused:
            self.ledger.unexpected[f"ending a chat was refused: {refused.code}"] += 1
        chat.ended = True

    async def _spy(self, chat: Chat) -> None:
        """Another's chat with the own token, and a chat with a made-up token."""
        others = [other for other in self.ledger.chats[-20:] if other is not chat]
        for other, token in [(self.dice.choice(others), chat.token)] if others else []:
            try:
                await self._call("GET", other, "/messages/", token=token)
            except Refused as refused:
                if refused.code != "not_found":
                    self.ledger.broken(7, f"a foreign token gave {refused.code}", other)
            else:
                self.ledger.broken(7, "a foreign token opened it", other)
        await self._knock_with_made_up_token(chat)

    async def _knock_with_made_up_token(self, chat: Chat) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                url = self._url().replace("http", "ws", 1) + "/ws/chat/"
                async with connect(url, ping_interval=None, close_timeout=1, proxy=None) as connection:
                    await connection.send(json.dumps({"type": "hello", "token": chat.token[::-1], "last_seq": 0}))
                    frame = json.loads(await connection.recv())
        except (OSError, TimeoutError, WebSocketException) as error:
            raise Gone from error
        if frame["type"] != "error" or frame["code"] not in {"unauthorized", "unavailable"}:
            self.ledger.broken(7, f"a made-up token gave {frame}", chat)

    async def _knock_at_closed(self, chat: Chat) -> None:
        """What was acknowledged still is; nothing new is taken."""
        try:
            await self._repeat(chat)
            await self._over_rest(chat, uuid.UUID(int=self.dice.getrandbits(128)).hex, "One more")
        except Gone:
            return
        except Refused as refused:
            if refused.code != "closed":
                self.ledger.unexpected[f"a closed chat gave {refused.code}"] += 1
        else:
            self.ledger.unexpected["a closed chat took a message"] += 1

    async def catch_up(self, seconds: float) -> None:
        """In the end the socket has shown everything."""
        chat = self.chat
        until = time.monotonic() + seconds
        while chat is not None and not chat.ended:
            if await self._has_seen_all(chat):
                return
            if time.monotonic() > until:
                shown = self.tab.cursor if self.tab is not None else "nothing"
                self.ledger.broken(4, f"shown up to {shown} when everything was whole again", chat)
                return
            await asyncio.sleep(0.2)

    async def _has_seen_all(self, chat: Chat) -> bool:
        try:
            tab = await self._door(chat)
            last_seq = (await self._call("GET", chat, "/"))["last_seq"]
        except (Gone, Refused):
            return False
        return await tab.wait_for(lambda: tab.cursor >= last_seq, 10)
