"""The one line on somebody else's website."""

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.chat_page import ChatPage, ScriptedDesk
from tests.desk import Desk

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]  # one browser for all

ALLOWED_SITE = "http://localhost:9999/"  # under DEBUG any port of localhost may embed
FOREIGN_SITE = "http://shop.example/"


async def site(page: Page, url: str, desk: Desk) -> None:
    """A page of another origin with a strict policy and a sheet that would ruin whatever it reached."""

    async def answer(route: Route) -> None:
        await route.fulfill(
            content_type="text/html",
            headers={"Content-Security-Policy": f"default-src 'none'; script-src {desk.url}; frame-src {desk.url}"},
            body=f'<!doctype html><html lang="en"><title>Acme</title><body><h1>Acme</h1>'
            f'<script src="{desk.url}/widget.js" data-title="Acme help" data-questions="One?|Two?" async></script>',
        )

    await page.route(url, answer)


async def test_one_line_embeds_the_chat_on_a_strict_site(page: Page, desk: Desk) -> None:
    await site(page, ALLOWED_SITE, desk)
    chat = await ChatPage.in_shop(page, ALLOWED_SITE)
    await expect(chat.launcher).to_have_css("width", "56px")
    await expect(page.locator("supportdesk-chat [role=dialog]")).to_have_accessible_name("Acme help")
    await chat.button("Two?").click()
    await chat.shows_customer("Two?")
    await expect(chat.said_by("agent")).to_have_count(1)


async def test_the_sites_own_styles_do_not_reach_it(page: Page, desk: Desk) -> None:
    await page.goto(desk.url)
    await page.evaluate(
        """() => {
            const sheet = new CSSStyleSheet();
            sheet.replaceSync("button, iframe, div { display: none !important; color: red !important }");
            document.adoptedStyleSheets = [sheet];
        }"""
    )
    chat = ChatPage(page, page.frame_locator("supportdesk-chat iframe"))
    await chat.launcher.click()
    await expect(chat.composer).to_be_visible()


async def test_a_site_that_is_not_allowed_gets_no_chat(page: Page, desk: Desk) -> None:
    await site(page, FOREIGN_SITE, desk)
    async with page.expect_console_message(lambda message: "frame-ancestors" in message.text):
        chat = await ChatPage.in_shop(page, FOREIGN_SITE)
    await expect(chat.composer).to_have_count(0)


async def test_an_answer_that_came_meanwhile_shows_as_a_badge_also_on_the_next_page(page: Page, desk: Desk) -> None:
    script = ScriptedDesk()
    await script.serve(page)
    chat = await ChatPage.in_shop(page, desk.url)
    await chat.say("Hello")
    await chat.shows_customer("Hello")
    await page.keyboard.press("Escape")
    await expect(chat.launcher).to_have_accessible_name("Open chat: Northwind help")
    script.write("agent", "Hello!")
    await expect(chat.launcher).to_have_accessible_name("Open chat: Northwind help (1)")
    await page.reload()
    await expect(chat.launcher).to_have_accessible_name("Open chat: Northwind help (1)")
    await chat.launcher.click()
    await expect(chat.said_by("agent")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(chat.launcher).to_have_accessible_name("Open chat: Northwind help")


@pytest.mark.parametrize(("width", "height"), [(360, 640), (479, 900)])
async def test_a_small_screen_is_filled(page: Page, desk: Desk, width: int, height: int) -> None:
    await page.set_viewport_size({"width": width, "height": height})
    chat = await ChatPage.in_shop(page, desk.url)
    await expect(chat.composer).to_be_visible()
    box = await page.locator("supportdesk-chat .panel").bounding_box()
    assert box == {"x": 0, "y": 0, "width": width, "height": height}
    await chat.button("Close chat").click()
    await expect(chat.launcher).to_be_focused()


@pytest.mark.parametrize("path", ["/", "/help/delivery-times-and-costs/", "/widget/"])
async def test_no_page_is_wider_than_a_phone(page: Page, desk: Desk, path: str) -> None:
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.goto(desk.url + path)
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
