"""The desk in a browser on a running desk: it keeps itself fresh without taking anything out of the reader's hands."""

import pytest
from playwright.async_api import Page, WebSocketRoute, expect

from tests.browser.desk_page import DeskPage
from tests.chat_client import Chat
from tests.desk import Desk
from tests.desk_client import ALL, Office

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]  # one browser for all


async def test_a_new_chat_appears_while_the_keyboard_and_the_search_stay(page: Page, desk: Desk) -> None:
    first = await Chat.open(desk.url, user_id="first caller")
    await first.say("Hello")
    staff = await DeskPage.logged_in(page, desk.url)
    await staff.card("first caller").focus()
    second = await Chat.open(desk.url, user_id="second caller")
    await second.say("Hello")
    await expect(staff.card("second caller")).to_be_visible()
    await expect(staff.card("first caller")).to_be_focused()
    await page.get_by_label("Search conversations").fill("third caller")
    await expect(page.locator("#cards .empty")).to_contain_text("matches “third caller”")
    third = await Chat.open(desk.url, user_id="third caller")
    await third.say("Hello")
    await expect(staff.card("third caller")).to_be_visible()
    await expect(page.get_by_label("Search conversations")).to_be_focused()
    await expect(page.locator(".card")).to_have_count(1)


async def test_what_happens_while_the_connection_is_away_is_there_when_it_is_back(page: Page, desk: Desk) -> None:
    sockets: list[WebSocketRoute] = []
    away = False

    async def gate(socket: WebSocketRoute) -> None:
        if away:
            await socket.close(code=1012)
        else:
            socket.connect_to_server()
            sockets.append(socket)

    await page.route_web_socket("**/ws/desk/", gate)
    before = await Chat.open(desk.url, user_id="before")
    await before.say("Hello")
    staff = await DeskPage.logged_in(page, desk.url)
    await staff.open("before")
    await expect(page.locator("#composer")).to_be_visible()
    away = True
    await sockets[-1].close(code=1012)
    await expect(staff.link).to_contain_text("The connection is lost.")
    await before.say("Are you there?")
    meanwhile = await Chat.open(desk.url, user_id="meanwhile")
    await meanwhile.say("Hello")
    away = False
    await expect(staff.link).to_be_empty()
    await expect(staff.said_by("customer").last).to_have_text("Are you there?")
    await expect(staff.said_by("customer")).to_have_count(2)
    await expect(staff.card("meanwhile")).to_be_visible()


async def test_a_session_is_extended_and_expired_beside_the_thread(page: Page, desk: Desk) -> None:
    chat = await Chat.open(desk.url, user_id="beside")
    await chat.say("Hello")
    staff = await DeskPage.logged_in(page, desk.url)
    await staff.open("beside")
    await expect(page.locator("#time-left")).to_contain_text("29:")
    await staff.button("Extend by 30 min").click()
    await expect(page.locator("#time-left")).to_contain_text("59:")
    async with chat.socket() as socket:
        await socket.until("welcome")
        await staff.button("Expire…").click()
        await page.get_by_role("dialog").get_by_role("button", name="Expire").click()
        assert await socket.close_code() == 4410
    await expect(staff.state).to_have_text("Closed")
    await expect(page.locator("#details-parts")).to_contain_text("The chat has ended, and its session with it.")
    await expect(page.locator("#details-parts")).to_contain_text("Chat ended")


async def test_a_thread_on_a_phone_and_back(page: Page, desk: Desk) -> None:
    chat = await Chat.open(desk.url, user_id="on the phone")
    await chat.say("Where is my order?")
    await page.set_viewport_size({"width": 360, "height": 740})
    await DeskPage.logged_in(page, desk.url)
    await page.locator(".card", has_text="on the phone").click()
    await expect(page.locator(".message.customer")).to_contain_text("Where is my order?")
    await expect(page.locator(".inbox")).to_be_hidden()
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    await page.get_by_role("link", name="All conversations").click()
    await expect(page.locator(".inbox")).to_be_visible()


REMEMBER = """
from datetime import timedelta
from django.utils import timezone
from agent_app.models import Conversation, Fact
chat, soon = Conversation.objects.get(session_id="{session}"), timezone.now() + timedelta(days=1)
said = Fact.objects.create(conversation=chat, name="diet", value="vegan", message_seq=1, expires_at=soon).pk
"""


async def test_what_a_colleague_let_the_agent_forget_leaves_the_open_page(page: Page, desk: Desk) -> None:
    chat = await Chat.open(desk.url, user_id="eats no meat")
    await chat.say("Hello")
    office = Office(desk)
    fact = office.run(REMEMBER.format(session=chat.session_id))
    colleague = office.hire(f"colleague{fact}", (*ALL, "agent_app.delete_fact"))
    staff = await DeskPage.logged_in(page, desk.url)
    await staff.open("eats no meat")
    await expect(page.locator("#details")).to_contain_text("vegan")
    await chat.say("Is anybody there?")
    await expect(staff.said_by("customer")).to_have_count(2)  # the page follows the chat
    async with colleague.rest(desk.url) as rest:
        done = await rest.delete(f"/conversations/{chat.opened['thread_id']}/facts/{fact}/")
        assert done.status_code == 204
    await expect(page.locator("#details")).not_to_contain_text("vegan")
    office.close()
