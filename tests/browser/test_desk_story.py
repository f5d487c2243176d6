"""The whole story on two instances that share a Valkey and a database, by two of the staff at once, and by keyboard."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from statistics import median

import pytest
from playwright.async_api import Browser, Page, WebSocketRoute, expect

from tests.browser.chat_page import PATIENCE, ChatPage
from tests.browser.desk_page import DeskPage
from tests.chat_client import Chat
from tests.conftest import ValkeyServer
from tests.desk import Desk, until_they_hear_each_other
from tests.desk_client import Office, Person

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]  # one browser for all

RINGS_WITHIN = 1.0  # seconds, at the median of a few: the machine also runs the browsers and both desks
RINGS = 5
# Each change of the title with its moment: a test that looks again and again would measure how often it looks.
NOTE_TITLES = """
    window.titles = {};
    new MutationObserver(() => (window.titles[document.title] ??= Date.now() / 1000))
        .observe(document.querySelector("title"), { childList: true });
"""


class Line:
    """A page's socket to its desk. While `held`, the page hears nothing of what the desk says, and loses none of it."""

    def __init__(self) -> None:
        self.held = False
        self.wants_it = asyncio.Event()  # the page has said that its person takes over
        self._kept: list[str | bytes] = []
        self._page: WebSocketRoute | None = None

    @classmethod
    async def of(cls, page: Page) -> "Line":
        line = cls()
        await page.route_web_socket("**/ws/desk/", line._connect)
        return line

    def _connect(self, page: WebSocketRoute) -> None:
        self._page = page
        desk = page.connect_to_server()

        def says(frame: str | bytes) -> None:
            if json.loads(frame)["type"] == "takeover":
                self.wants_it.set()
            desk.send(frame)

        page.on_message(says)
        desk.on_message(lambda frame: self._kept.append(frame) if self.held else page.send(frame))

    def release(self) -> None:
        assert self._page is not None
        self.held = False
        while self._kept:
            self._page.send(self._kept.pop(0))


@pytest.fixture(scope="module")
def desks(valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Desk]]:
    folder = tmp_path_factory.mktemp("two")
    shared = {
        "USE_SHARED_CONTEXT": "true",
        "REDIS_URL": f"redis://127.0.0.1:{valkey.port}/21",
        "CHAT_SESSION_RATE_LIMIT": "100000/min",
    }
    first = Desk(folder, **shared)
    first.start("--prepare")
    second = Desk(folder, **shared, DATABASE_URL=first.environ["DATABASE_URL"])
    second.start()
    until_they_hear_each_other(first, second)
    yield first, second
    for desk in (first, second):
        desk.stop()


@pytest.fixture(scope="module")
def office(desks: tuple[Desk, Desk]) -> Iterator[Office]:
    opened = Office(desks[0])
    yield opened
    opened.close()


@asynccontextmanager
async def browser_of(chromium: Browser, person: Person | None, url: str) -> AsyncIterator[Page]:
    """Somebody's own browser; staff are logged in there. What its page logs as an error fails the test."""
    context = await chromium.new_context(viewport={"width": 1440, "height": 900}, locale="en-IE")
    context.set_default_timeout(PATIENCE * 1000)
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    if person is not None:
        await context.add_cookies([{"name": "sessionid", "value": person.session, "url": url}])
    yield await context.new_page()
    await context.close()
    assert errors == []


async def at_the_desk(page: Page, url: str) -> DeskPage:
    await page.goto(f"{url}/desk/?tab=waiting")
    await page.locator(".tools").wait_for()
    return DeskPage(page)


async def test_from_the_question_to_the_rating(chromium: Browser, desks: tuple[Desk, Desk], office: Office) -> None:
    here, there = desks
    ana, ben = office.hire("ana"), office.hire("ben")
    async with (
        browser_of(chromium, None, here.url) as customers,
        browser_of(chromium, ana, here.url) as anas,
        browser_of(chromium, ben, there.url) as bens,
    ):
        lines = [await Line.of(anas), await Line.of(bens)]
        at = {"Ana": await at_the_desk(anas, here.url), "Ben": await at_the_desk(bens, there.url)}
        for staff in at.values():
            await expect(staff.page.locator("#cards .empty")).to_contain_text("Nobody is waiting for a person.")

        # Asked and answered; then a person is wanted, and both instances ring.
        chat = await ChatPage.alone(customers, here)
        await chat.say("How can I return something?")
        await expect(chat.said_by("agent")).to_contain_text("30 days")
        await chat.button("Talk to a person").click()
        for staff in at.values():
            await expect(staff.page).to_have_title("(1) Desk")
            await expect(staff.count("waiting")).to_have_text("1")
        for staff in at.values():
            await staff.open("Visitor")
            await expect(staff.page.locator(".packet")).to_contain_text("How can I return something?")
            await expect(staff.page.locator("#locked-why")).to_contain_text("The customer waits for a person.")
        await expect(at["Ana"].page.locator("#presence")).to_have_text("Ben is looking")

        # Both take over at once, neither having heard of the other: one has it, the other is told who.
        for line in lines:
            line.held = True
        for staff in at.values():
            await staff.page.keyboard.press("t")
        for line in lines:
            await asyncio.wait_for(line.wants_it.wait(), PATIENCE)
        for line in lines:
            line.release()
        await expect(at["Ana"].state).not_to_have_text("Waiting")
        winner = await at["Ana"].state.inner_text()
        loser = "Ben" if winner == "Ana" else "Ana"
        await expect(at[loser].state).to_have_text(winner)
        await expect(at[loser].notice).to_contain_text(f"{winner} has this chat.")
        await expect(at[loser].reply).to_be_hidden()
        await expect(at[winner].reply).to_be_focused()
        await expect(chat.inside.locator(".badge")).to_have_text(winner)
        for staff in at.values():
            await expect(staff.page).to_have_title("Visitor · Desk")  # nobody waits any more

        # They write to each other, and see it.
        await at[winner].page.keyboard.type(f"Hello, I am {winner}.")
        await expect(chat.inside.locator(".writing")).to_contain_text(f"{winner} is writing")
        await at[winner].page.keyboard.press("Enter")
        await expect(chat.said_by("staff")).to_have_text([f"Hello, I am {winner}."])
        await chat.composer.press_sequentially("My jacket is wet")
        await expect(at[winner].page.locator("#typing")).to_have_text("Visitor is writing…")
        await chat.composer.press("Enter")
        for staff in at.values():
            await expect(staff.said_by("customer").last).to_have_text("My jacket is wet")
        await expect(chat.said_by("agent")).to_have_count(1)  # the agent is silent

        # A note is for colleagues, wherever they are, and for nobody else.
        await at[winner].page.get_by_role("tab", name="Private note").click()
        await at[winner].note.fill("Sounds honest")
        await at[winner].note.press("Enter")
        for staff in at.values():
            await expect(staff.said_by("note")).to_have_text(["Sounds honest"])

        # Given back, the agent answers again.
        await at[winner].button("Give back to AI").click()
        await expect(at[loser].state).to_have_text("AI")
        await expect(chat.inside.locator(".badge")).to_have_text("AI")
        await chat.say("How long does delivery take?")
        await expect(chat.said_by("agent")).to_have_count(2)
        for staff in at.values():
            await expect(staff.said_by("agent")).to_have_count(2)

        # Resolved by the other one, and rated.
        await at[loser].button("Resolve").click()
        await at[loser].page.get_by_role("dialog").get_by_role("button", name="Resolve").click()
        await expect(chat.inside.locator(".ending")).to_contain_text("This chat has ended.")
        await expect(at[winner].state).to_have_text("Closed")
        await chat.inside.get_by_role("radio", name="4 of 5").check(force=True)
        await chat.inside.get_by_label("Anything to add?").fill("Quick and kind")
        await chat.inside.get_by_label("Anything to add?").press("Enter")
        await expect(chat.inside.locator(".rating")).to_contain_text("Thank you.")
        await expect(chat.inside.locator("body")).not_to_contain_text("Sounds honest")
        await at[winner].page.reload()
        await expect(at[winner].page.locator("#details-parts")).to_contain_text("4 of 5")
        await expect(at[winner].said_by("note")).to_have_text(["Sounds honest"])
        await customers.reload()
        await expect(chat.inside.get_by_role("radio", name="4 of 5")).to_be_checked()


async def test_every_instance_rings_within_a_second(
    chromium: Browser, desks: tuple[Desk, Desk], office: Office
) -> None:
    """From the customer's wish to the desk's title, in two browsers at two instances."""
    here, there = desks
    eve, finn = office.hire("eve"), office.hire("finn")
    async with browser_of(chromium, eve, here.url) as eves, browser_of(chromium, finn, there.url) as finns:
        taken: dict[str, list[float]] = {"here": [], "there": []}
        pages = {"here": eves, "there": finns}
        for name, desk in (("here", here), ("there", there)):
            staff = await at_the_desk(pages[name], desk.url)
            await expect(staff.page.locator("#here")).to_be_visible()
            await staff.page.evaluate(NOTE_TITLES)
        before = int(await eves.locator("#tab-waiting .count").inner_text())
        chats = [await Chat.open(here.url) for _ in range(RINGS)]
        for number, chat in enumerate(chats, before + 1):
            began = time.time()
            await chat.http.post("/escalate/", json={})
            for name, page in pages.items():
                await expect(page).to_have_title(f"({number}) Desk")
                shown = await page.evaluate("title => window.titles[title]", f"({number}) Desk")
                taken[name].append(shown - began)
        for chat in chats:  # nobody of them waits any more when the next test looks for who does
            await chat.http.delete("/")
        assert {name: median(times) < RINGS_WITHIN for name, times in taken.items()} == dict.fromkeys(taken, True), (
            taken
        )


async def test_by_keyboard_alone(chromium: Browser, desks: tuple[Desk, Desk], office: Office) -> None:
    here, there = desks
    cleo = office.hire("cleo")
    async with browser_of(chromium, None, here.url) as customers, browser_of(chromium, cleo, there.url) as cleos:
        staff = await at_the_desk(cleos, there.url)
        await customers.goto(f"{here.url}/widget/")
        chat = ChatPage(customers, customers)
        await expect(chat.composer).to_be_focused()
        await customers.keyboard.type("How can I return something?")
        await customers.keyboard.press("Enter")
        await expect(chat.said_by("agent")).to_have_count(1)
        await tab_to(customers, "Talk to a person", back=True)
        await customers.keyboard.press("Enter")

        keys = cleos.keyboard
        await expect(staff.card("Visitor")).to_be_visible()
        await keys.press("j")
        await expect(staff.page.get_by_role("heading", level=1)).to_have_text("Visitor")
        await expect(staff.button("Take over")).to_be_visible()
        await keys.press("t")
        await expect(staff.reply).to_be_focused()
        await keys.type("Hello, I am Cleo.")
        await keys.press("Enter")
        await expect(chat.said_by("staff")).to_have_text(["Hello, I am Cleo."])
        await keys.press("Escape")
        await keys.press("n")
        await keys.type("By keyboard")
        await keys.press("Enter")
        await expect(staff.said_by("note")).to_have_text(["By keyboard"])
        await keys.press("Escape")
        await keys.press("t")
        await expect(staff.state).to_have_text("AI")
        await keys.press("e")
        await expect(cleos.get_by_role("dialog")).to_be_visible()
        await keys.press("Enter")
        await expect(staff.state).to_have_text("Closed")

        await expect(chat.inside.locator(".ending")).to_contain_text("This chat has ended.")
        await tab_to(customers, "1 of 5")
        for _ in range(4):
            await customers.keyboard.press("ArrowRight")
        await expect(chat.inside.get_by_role("radio", name="5 of 5")).to_be_checked()
        await expect(chat.inside.locator(".rating")).to_contain_text("Thank you.")


async def test_a_restart_of_the_instance_costs_staff_only_the_delay(
    chromium: Browser, desks: tuple[Desk, Desk], office: Office
) -> None:
    here, there = desks
    dora = office.hire("dora")
    async with browser_of(chromium, None, here.url) as customers, browser_of(chromium, dora, there.url) as doras:
        chat = await ChatPage.alone(customers, here)
        await chat.say("How can I return something?")
        await chat.button("Talk to a person").click()
        staff = await at_the_desk(doras, there.url)
        await staff.open("Visitor")
        await staff.button("Take over").click()
        await expect(staff.reply).to_be_focused()
        await asyncio.to_thread(there.stop)
        await expect(staff.link).to_contain_text("The connection is lost.")
        await staff.reply.fill("Written while it was down")
        await staff.reply.press("Enter")
        await expect(staff.pending).to_contain_text("waiting to be sent")
        await chat.say("Are you there?")
        await asyncio.to_thread(there.start)
        await expect(chat.said_by("staff")).to_have_text(["Written while it was down"])
        await expect(staff.said_by("staff")).to_have_text(["Written while it was down"])
        await expect(staff.said_by("customer").last).to_have_text("Are you there?")
        await expect(staff.pending).to_have_count(0)


async def tab_to(page: Page, name: str, back: bool = False) -> None:
    """As somebody without a mouse does it."""
    for _ in range(40):
        await page.keyboard.press("Shift+Tab" if back else "Tab")
        focused = await page.evaluate(
            """() => {
                const here = document.activeElement;
                return here.labels?.[0]?.textContent || here.textContent || here.ariaLabel;
            }"""
        )
        if focused and focused.strip() == name:
            return
    raise AssertionError(f"No key leads to {name}.")
