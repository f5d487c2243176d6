"""The desk in a browser: it keeps itself fresh without taking anything out of the reader's hands."""

import pytest
from playwright.async_api import Page, expect

from tests.chat_client import Chat
from tests.desk import Desk

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]  # one browser for all


async def logged_in(page: Page, desk: Desk, path: str) -> None:
    await page.goto(desk.url + path)
    await page.get_by_label("Username").fill("admin")
    await page.get_by_label("Password").fill("admin")
    await page.get_by_role("button", name="Log in").click()


async def test_a_new_chat_appears_while_the_focus_and_the_search_stay(page: Page, desk: Desk) -> None:
    first = await Chat.open(desk.url, user_id="first")
    await first.say("Hello")
    await logged_in(page, desk, "/desk/?tab=all")
    card = page.locator(".card", has_text="first")
    await card.focus()
    await page.get_by_label("Search conversations").evaluate("(search) => (search.value = 'half typed')")
    second = await Chat.open(desk.url, user_id="second")
    await second.say("Hello")
    await expect(page.locator(".card", has_text="second")).to_be_visible()
    await expect(card).to_be_focused()
    await expect(page.get_by_label("Search conversations")).to_have_value("half typed")


async def test_a_desk_that_cannot_be_reached_is_said_and_forgotten_when_it_is_back(page: Page, desk: Desk) -> None:
    await logged_in(page, desk, "/desk/?tab=all")
    note = page.locator("#stale")
    await page.route("**/desk/**", lambda route: route.abort())
    await expect(note).to_contain_text("Not up to date")
    await page.unroute("**/desk/**")
    await expect(note).to_be_empty()


async def test_a_thread_on_a_phone_and_back(page: Page, desk: Desk) -> None:
    chat = await Chat.open(desk.url, user_id="on the phone")
    await chat.say("Where is my order?")
    await page.set_viewport_size({"width": 360, "height": 740})
    await logged_in(page, desk, "/desk/?tab=all")
    await page.locator(".card", has_text="on the phone").click()
    await expect(page.locator(".message.customer")).to_contain_text("Where is my order?")
    await expect(page.locator(".inbox")).to_be_hidden()
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    await page.get_by_role("link", name="All conversations").click()
    await expect(page.locator(".inbox")).to_be_visible()
