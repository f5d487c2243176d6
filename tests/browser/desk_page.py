"""What staff see and do at the desk, as the tests say it; and a scripted desk behind the socket for rare moments."""

import json
from typing import Any, ClassVar

from playwright.async_api import Locator, Page, WebSocketRoute, expect

from tests.browser.chat_page import Script

ANA = {"id": 1, "name": "Ana Byrne"}
BEN = {"id": 2, "name": "Ben Moore"}
EVERYTHING = ["takeover", "release", "reply", "note", "notes", "resolve", "assign", "canned"]


class DeskPage:
    """One member of staff at one page of the desk."""

    _sessions: ClassVar[dict[tuple[str, str], str]] = {}  # of whom has logged in, by desk and name

    def __init__(self, page: Page) -> None:
        self.page = page

    @classmethod
    async def logged_in(cls, page: Page, url: str, path: str = "/desk/?tab=all", name: str = "admin") -> "DeskPage":
        """At `path`; every account of the tests has its name for a password, and logs in once a desk.

        To hash a password takes the better part of a second of CPU.
        """
        if session := cls._sessions.get((url, name)):
            await page.context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
        await page.goto(url + path)
        if "/login/" in page.url:
            await page.get_by_label("Username").fill(name)
            await page.get_by_label("Password").fill(name)
            await page.get_by_role("button", name="Log in").click()
            await page.wait_for_url(url + path)
            cookies = await page.context.cookies(url)
            [cls._sessions[url, name]] = [each["value"] for each in cookies if each["name"] == "sessionid"]
        return cls(page)

    @property
    def link(self) -> Locator:
        return self.page.locator("#link")

    @property
    def notice(self) -> Locator:
        return self.page.locator("#notice")

    @property
    def reply(self) -> Locator:
        return self.page.get_by_label("Reply to the customer")

    @property
    def note(self) -> Locator:
        return self.page.get_by_role("textbox", name="Private note")

    @property
    def pending(self) -> Locator:
        return self.page.locator("#pending .message")

    @property
    def state(self) -> Locator:
        return self.page.locator("#state")

    def card(self, words: str) -> Locator:
        return self.page.locator(".card", has_text=words)

    def said_by(self, role: str) -> Locator:
        return self.page.locator(f"#log .message.{role} .text")

    def count(self, tab: str) -> Locator:
        return self.page.locator(f"#tab-{tab} .count")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    async def open(self, words: str) -> None:
        await self.card(words).click()
        await expect(self.card(words)).to_have_attribute("aria-current", "true")


class ScriptedStaffDesk(Script):
    """Speaks the server's side of /ws/desk/ over Playwright's socket route; it numbers replies, the test says the rest.

    Pages and REST are those of the running desk.
    """

    def __init__(self, last_seq: int = 0) -> None:
        super().__init__()
        self.last_seq = last_seq
        self.may = list(EVERYTHING)
        self.standing: dict[str, Any] = {"state": "ai", "assignee": None}
        self.counts = {"waiting": 0, "mine": 0, "human": 0, "ai": 1, "all": 1}
        self.people: list[dict[str, Any]] = []
        self.refusals: dict[str, dict[str, Any]] = {}  # an error for each kind of frame that is refused
        self.silent: set[str] = set()  # kinds of frames that get no answer
        self.away = False
        self.sockets = 0
        self.socket: WebSocketRoute | None = None

    async def serve(self, page: Page) -> None:
        await page.route_web_socket("**/ws/desk/", self._accept)

    async def _accept(self, socket: WebSocketRoute) -> None:
        self.sockets += 1
        if self.away:
            await socket.close(code=1012)
            return
        self.socket = socket
        socket.on_message(self._hear)

    def _hear(self, text: str | bytes) -> None:
        frame = self.note(text)
        if refusal := self.refusals.get(frame["type"]):
            named = {name: frame[name] for name in ("conversation", "client_id") if name in frame}
            self.say("error", **named, **refusal)
        elif frame["type"] not in self.silent:
            answer = getattr(self, f"_{frame['type']}", None)
            if answer is not None:
                answer(frame)

    def _hello(self, frame: dict[str, Any]) -> None:
        staff = [{**ANA, "online": True}, {**BEN, "online": False}]
        said = {"you": ANA, "online": True, "may": self.may, "counts": self.counts, "staff": staff}
        self.say("welcome", ping_interval=25, limits={"max_text": 8000}, **said)

    def _subscribe(self, frame: dict[str, Any]) -> None:
        self.conversation = frame["conversation"]
        said = {"conversation": self.conversation, "people": self.people, "last_seq": self.last_seq}
        self.say("subscribed", ticket=None, recovered=True, **self.standing, **said)

    def _takeover(self, frame: dict[str, Any]) -> None:
        self.standing = {"state": "human", "assignee": ANA}
        self._done(frame)

    def _release(self, frame: dict[str, Any]) -> None:
        self.standing = {"state": "ai", "assignee": None}
        self._done(frame)

    def _resolve(self, frame: dict[str, Any]) -> None:
        self.standing = {"state": "closed", "assignee": None}
        self._done(frame)

    def _assign(self, frame: dict[str, Any]) -> None:
        self.standing["assignee"] = next((each for each in (ANA, BEN) if each["id"] == frame["assignee"]), None)
        self._done(frame)

    def _done(self, frame: dict[str, Any]) -> None:
        named = {"conversation": frame["conversation"], "action": frame["type"]}
        self.say("ack", ticket=None, last_seq=self.last_seq, **named, **self.standing)

    def _reply(self, frame: dict[str, Any]) -> None:
        named = {"conversation": frame["conversation"], "client_id": frame["client_id"]}
        self.say("ack", seq=self.last_seq + 1, id="x", **named)
        self.write("staff", frame["text"], author="Ana Byrne", client_id=frame["client_id"])

    def _canned(self, frame: dict[str, Any]) -> None:
        replies = [
            {"id": 1, "title": "Returns", "text": "You can send it back within 30 days.", "shortcut": "returns"},
            {"id": 2, "title": "Greeting", "text": "Hello, I am here to help.", "shortcut": "hello"},
        ]
        self.say("canned", replies=replies)

    def say(self, type_: str, **frame: Any) -> None:
        assert self.socket is not None
        self.socket.send(json.dumps({"type": type_, **frame}))

    def write(self, role: str, text: str, **more: Any) -> None:
        """A message of the chat that is followed."""
        self.last_seq += 1
        message = {"seq": self.last_seq, "id": f"id{self.last_seq}", "role": role, "text": text, **more}
        message = {"created_at": "2026-03-01T10:00:00Z", "citations": [], "attachments": [], **message}
        self.say("message", conversation=self.conversation, **message)

    async def drop(self) -> None:
        """As a restart does."""
        assert self.socket is not None
        await self.socket.close(code=1012)
