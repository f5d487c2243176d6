"""What a customer sees and does, as the tests say it; and a scripted desk behind the socket for rare moments."""

import asyncio
import json
from typing import Any

from playwright.async_api import FrameLocator, Locator, Page, Route, WebSocketRoute, expect

from tests.desk import Desk

PATIENCE = 60.0  # seconds for anything that should happen, on a machine that has much else to do


class ChatPage:
    """The chat, in the iframe of a page that embeds it or alone in its tab."""

    def __init__(self, page: Page, inside: FrameLocator | Page) -> None:
        self.page = page
        self.inside = inside

    @classmethod
    async def alone(cls, page: Page, desk: Desk) -> "ChatPage":
        await page.goto(f"{desk.url}/widget/")
        return cls(page, page)

    @classmethod
    async def in_shop(cls, page: Page, url: str) -> "ChatPage":
        await page.goto(url)
        chat = cls(page, page.frame_locator("supportdesk-chat iframe"))
        await chat.launcher.click()
        return chat

    @property
    def launcher(self) -> Locator:
        return self.page.locator("supportdesk-chat > button")

    @property
    def composer(self) -> Locator:
        return self.inside.get_by_label("Your message")

    @property
    def rows(self) -> Locator:
        """Finished messages, whoever wrote them."""
        return self.inside.get_by_role("log").locator(".row")

    def said_by(self, role: str) -> Locator:
        return self.inside.locator(f"[role=log] .row.{role} .text")

    @property
    def pending(self) -> Locator:
        return self.inside.locator(".row.pending")

    @property
    def bar(self) -> Locator:
        return self.inside.locator(".bar")

    def button(self, name: str) -> Locator:
        return self.inside.get_by_role("button", name=name, exact=True)

    async def say(self, text: str) -> None:
        await self.composer.fill(text)
        await self.composer.press("Enter")

    async def shows_customer(self, *texts: str) -> None:
        await expect(self.said_by("customer")).to_have_text(list(texts))


class Script:
    """What a scripted desk has heard of a page."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    def note(self, text: str | bytes) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(text)
        self.heard.append(frame)
        self._news.set()
        return frame

    def heard_of(self, *types: str) -> list[dict[str, Any]]:
        return [frame for frame in self.heard if frame["type"] in types]

    async def hears(self, type_: str, times: int = 1) -> list[dict[str, Any]]:
        """Every frame of this kind, once there are so many: a page shows what it is about to say before it is heard."""
        async with asyncio.timeout(PATIENCE):
            while len(self.heard_of(type_)) < times:
                self._news.clear()
                await self._news.wait()
        return self.heard_of(type_)


class ScriptedDesk(Script):
    """Speaks the protocol's server side over Playwright's socket route, for what a running desk shows rarely.

    It acknowledges and numbers what the customer sends; everything else is said by the test.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log: list[dict[str, Any]] = []
        self.state = "ai"
        self.sockets = 0
        self.refuse_with: int | None = None
        self.refuse_session: dict[str, Any] | None = None
        self.answers: dict[str, dict[str, Any]] = {}  # an error for each text, or kind of frame, that is refused
        self.labels: dict[str, str] = {}  # by a choice's id, what a click on it says; others the test answers
        self.socket: WebSocketRoute | None = None

    async def serve(self, page: Page) -> None:
        await page.route("**/api/v1/chat/sessions/", self._open)
        await page.route_web_socket("**/ws/chat/", self._accept)

    async def _open(self, route: Route) -> None:
        if self.refuse_session is not None:
            await route.fulfill(status=400, json=self.refuse_session)
            return
        await route.fulfill(status=201, json={"session_id": "scripted", "token": "token"})

    def _accept(self, socket: WebSocketRoute) -> None:
        self.sockets += 1
        self.socket = socket
        socket.on_message(self._hear)

    async def _hear(self, text: str | bytes) -> None:
        frame = self.note(text)
        if frame["type"] == "hello":
            await self._welcome(frame["last_seq"])
        elif answer := self.answers.get(frame.get("text", frame["type"])):
            self.say("error", client_id=frame["client_id"], **answer)
        elif frame["type"] == "choice" and frame["id"] in self.labels:
            self.say("ack", client_id=frame["client_id"], seq=len(self.log) + 1)
            self.write("customer", self.labels[frame["id"]], client_id=frame["client_id"])
        elif frame["type"] == "send":
            self.say("ack", client_id=frame["client_id"], seq=len(self.log) + 1)
            self.write("customer", frame["text"], client_id=frame["client_id"])

    async def _welcome(self, last_seq: int) -> None:
        assert self.socket is not None
        if self.refuse_with is not None:
            await self.socket.close(code=self.refuse_with)
            return
        limits = {"max_text": 8000}
        self.say("welcome", state=self.state, last_seq=len(self.log), recovered=True, ping_interval=25, limits=limits)
        for message in self.log[last_seq:]:
            self.say("message", **message)

    def say(self, type_: str, **frame: Any) -> None:
        assert self.socket is not None
        self.socket.send(json.dumps({"type": type_, **frame}))

    def write(self, role: str, text: str, **more: Any) -> None:
        """A durable message: kept for whoever comes back, and sent."""
        seq = len(self.log) + 1
        message = {"seq": seq, "id": f"id{seq}", "role": role, "text": text, "created_at": "2026-03-01T10:00:00Z"}
        self.log.append(message | {"citations": [], "attachments": []} | more)
        self.say("message", **self.log[-1])
