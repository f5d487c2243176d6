"""The card on which a customer agrees to a change: what was chosen can be seen, and nothing is chosen twice."""

from collections.abc import AsyncIterator
from typing import Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from agent_app.agent import catalogue
from tests.browser.chat_page import ChatPage, ScriptedDesk
from tests.browser.test_accessibility import is_fine
from tests.desk import Desk

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]  # one browser for all

SUMMARY = "Cancel order 1050 (2 × Aran wool beanie; €70.00). You get the money back the way you paid."
LABELS = {"abc": catalogue.YES, "abc:no": catalogue.NO}


@pytest_asyncio.fixture(loop_scope="session", params=["light", "dark"])
async def browser_of(request: pytest.FixtureRequest, chromium: Browser) -> AsyncIterator[BrowserContext]:
    scheme: Literal["light", "dark"] = request.param
    context = await chromium.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    yield context
    await context.close()


async def offered(page: Page, desk: Desk) -> tuple[ChatPage, ScriptedDesk]:
    script = ScriptedDesk()
    script.labels = LABELS
    await script.serve(page)
    chat = await ChatPage.alone(page, desk)
    await chat.say("Cancel order 1050")
    await chat.shows_customer("Cancel order 1050")
    text = f"{SUMMARY}\n\nShall I do this? Nothing happens before you confirm it."
    script.write("agent", text, confirm={"id": "abc", "summary": SUMMARY}, reply_to=1)
    await expect(chat.button("Confirm")).to_be_visible()
    return chat, script


def card(chat: ChatPage) -> Locator:
    return chat.inside.get_by_role("group", name=f"Confirm or cancel: {SUMMARY}")


async def shows(chat: ChatPage, chosen: str, other: str) -> None:
    await expect(card(chat).get_by_role("button", name=chosen, exact=True, pressed=True)).to_be_disabled()
    await expect(card(chat).get_by_role("button", name=other, exact=True, pressed=False)).to_be_disabled()


def clicks(script: ScriptedDesk) -> list[str]:
    return [frame["id"] for frame in script.heard_of("choice")]


@pytest.mark.parametrize(("chosen", "other", "id_"), [("Confirm", "Cancel", "abc"), ("Cancel", "Confirm", "abc:no")])
async def test_what_was_chosen_stays_and_cannot_be_chosen_again(
    page: Page, desk: Desk, chosen: str, other: str, id_: str
) -> None:
    chat, script = await offered(page, desk)
    await chat.button(chosen).dblclick()
    await script.hears("choice")
    await shows(chat, chosen, other)
    await chat.button(other).click(force=True)
    script.write("agent", "Order 1050 is cancelled.", reply_to=3)
    await expect(chat.said_by("agent")).to_have_count(2)
    await shows(chat, chosen, other)
    assert clicks(script) == [id_]

    await page.reload()
    await expect(chat.said_by("agent")).to_have_count(2)
    await shows(chat, chosen, other)

    second = await page.context.new_page()
    elsewhere = ScriptedDesk()
    elsewhere.log = script.log
    await elsewhere.serve(second)
    other_tab = await ChatPage.alone(second, desk)
    await shows(other_tab, chosen, other)
    await other_tab.button(other).click(force=True)
    assert clicks(elsewhere) == []


async def test_one_that_was_not_answered_is_gone_once_something_else_was_said(page: Page, desk: Desk) -> None:
    chat, script = await offered(page, desk)
    await chat.say("How long does that take?")
    await expect(card(chat)).to_be_hidden()
    assert clicks(script) == []


async def test_offered_again_it_can_be_answered_again(page: Page, desk: Desk) -> None:
    """The same confirmation, where nobody knows whether it was done."""
    chat, script = await offered(page, desk)
    await chat.button("Confirm").click()
    await script.hears("choice")
    await shows(chat, "Confirm", "Cancel")
    script.write("agent", f"I cannot tell: {SUMMARY}", confirm={"id": "abc", "summary": SUMMARY}, reply_to=3)
    again = card(chat).last.get_by_role("button", name="Confirm", exact=True)
    await expect(again).to_be_enabled()
    await again.click()
    await script.hears("choice", 2)
    await expect(again).to_be_disabled()
    assert clicks(script) == ["abc", "abc"]


async def test_by_keyboard_alone_and_fine_for_axe_wide_and_narrow(browser_of: BrowserContext, desk: Desk) -> None:
    page = await browser_of.new_page()
    chat, script = await offered(page, desk)
    await is_fine(page, "offered")
    await chat.button("Confirm").focus()
    await page.keyboard.press("Tab")
    await expect(chat.button("Cancel")).to_be_focused()
    await page.keyboard.press("Enter")
    await script.hears("choice")
    await shows(chat, "Cancel", "Confirm")
    await expect(chat.button("Cancel")).to_be_focused()  # the keyboard's place is kept
    await page.keyboard.press("Enter")
    assert clicks(script) == ["abc:no"]
    await is_fine(page, "answered")
