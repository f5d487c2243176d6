"""The customer's chat against a running desk: nothing is lost or doubled, whatever happens between."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, WebSocketRoute, expect

from tests.browser.chat_page import ChatPage
from tests.desk import Desk

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]  # one browser for all


async def test_a_starter_question_is_answered_with_a_source_that_opens(page: Page, desk: Desk) -> None:
    chat = await ChatPage.in_shop(page, desk.url)
    await chat.button("How can I return something?").click()
    await expect(chat.said_by("agent")).to_contain_text("30 days")
    async with page.context.expect_page() as opened:
        await chat.inside.locator(".source").first.click()
    article = await opened.value
    await expect(article.get_by_role("heading", name="Return an item")).to_be_visible()
    assert await article.evaluate("window.opener") is None


async def test_a_product_question_of_the_shop_opens_the_chat_and_asks(page: Page, desk: Desk) -> None:
    await page.goto(desk.url)
    await page.get_by_role("button", name="How do I wash my down jacket?").click()
    chat = ChatPage(page, page.frame_locator("supportdesk-chat iframe"))
    await chat.shows_customer("How do I wash my down jacket?")
    await expect(chat.said_by("agent")).to_have_count(1)


async def test_by_keyboard_alone(page: Page, desk: Desk) -> None:
    await page.goto(desk.url)
    chat = ChatPage(page, page.frame_locator("supportdesk-chat iframe"))
    await chat.launcher.focus()
    await page.keyboard.press("Enter")
    await expect(chat.composer).to_be_focused()
    await page.keyboard.type("Hello")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("there")
    await expect(chat.composer).to_have_value("Hello\nthere")
    await page.keyboard.press("Enter")
    await chat.shows_customer("Hello\nthere")
    await expect(chat.composer).to_have_value("")
    await page.keyboard.press("Escape")
    await expect(chat.launcher).to_be_focused()
    await expect(chat.launcher).to_have_attribute("aria-expanded", "false")


async def test_an_enter_that_ends_a_composition_does_not_send(page: Page, desk: Desk) -> None:
    chat = await ChatPage.alone(page, desk)
    await chat.composer.fill("こんにちは")
    for key in ({"isComposing": True}, {"keyCode": 229}):
        await chat.composer.dispatch_event("keydown", {"key": "Enter", "bubbles": True, "cancelable": True, **key})
    await expect(chat.composer).to_have_value("こんにちは")
    await expect(chat.rows).to_have_count(0)


async def test_a_reload_changes_nothing(page: Page, desk: Desk) -> None:
    chat = await ChatPage.alone(page, desk)
    await chat.say("Where is my order?")
    await expect(chat.said_by("agent")).to_have_count(1)
    await chat.composer.fill("half a sent")
    await page.reload()
    await chat.shows_customer("Where is my order?")
    await expect(chat.rows).to_have_count(2)
    await expect(chat.composer).to_have_value("half a sent")


async def test_two_tabs_show_one_chat(context: BrowserContext, desk: Desk) -> None:
    one = await ChatPage.alone(await context.new_page(), desk)
    two = await ChatPage.alone(await context.new_page(), desk)
    await one.say("From the first tab")
    await two.shows_customer("From the first tab")
    await two.say("From the second tab")
    for chat in (one, two):
        await chat.shows_customer("From the first tab", "From the second tab")


async def test_what_is_written_without_a_socket_survives_a_reload_and_arrives_once(page: Page, desk: Desk) -> None:
    away = True

    async def gate(socket: WebSocketRoute) -> None:
        if away:
            await socket.close(code=1012)
        else:
            socket.connect_to_server()

    await page.route_web_socket("**/ws/chat/", gate)
    chat = await ChatPage.alone(page, desk)
    await chat.say("Are you there?")
    await expect(chat.bar).to_have_text("Reconnecting…")
    await expect(chat.pending).to_contain_text("Waiting to be sent")
    await page.reload()
    await expect(chat.pending).to_contain_text("Are you there?")
    away = False
    await chat.shows_customer("Are you there?")
    await expect(chat.pending).to_have_count(0)
    await expect(chat.bar).to_be_empty()


async def test_a_restart_of_the_desk_costs_only_the_delay(page: Page, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.start("--prepare")
    chat = await ChatPage.alone(page, desk)
    await chat.say("Before the restart")
    await expect(chat.said_by("agent")).to_have_count(1)
    await asyncio.to_thread(desk.stop)
    await chat.say("While it is down")
    await expect(chat.bar).to_have_text("Reconnecting…")
    await asyncio.to_thread(desk.start)
    await chat.shows_customer("Before the restart", "While it is down")
    await expect(chat.said_by("agent")).to_have_count(2)
    await asyncio.to_thread(desk.stop)


async def test_a_person_is_asked_for_and_the_desk_shows_who_waits(context: BrowserContext, desk: Desk) -> None:
    chat = await ChatPage.alone(await context.new_page(), desk)
    await chat.say("My tent is torn")
    await expect(chat.said_by("agent")).to_have_count(1)
    await chat.button("Talk to a person").click()
    await expect(chat.inside.locator(".waiting")).to_contain_text("Waiting for a person. You are number")
    ticket = await chat.said_by("system").locator("strong").inner_text()
    await expect(chat.inside.locator(".waiting")).to_contain_text(ticket)

    staff = await context.new_page()
    await staff.goto(f"{desk.url}/desk/")
    await staff.get_by_label("Username").fill("admin")
    await staff.get_by_label("Password").fill("admin")
    await staff.get_by_role("button", name="Log in").click()
    await staff.get_by_label("Search conversations").fill(ticket)
    await staff.keyboard.press("Enter")
    await staff.locator(".card").click()
    await expect(staff.locator(".message.customer")).to_contain_text("My tent is torn")
    await chat.say("It leaks, too")
    await expect(staff.locator(".message.customer").last).to_contain_text("It leaks, too")  # without a reload
