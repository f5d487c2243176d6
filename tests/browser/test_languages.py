"""The chat in other languages, one of them from right to left."""

from collections.abc import AsyncIterator
from typing import Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from tests.browser.chat_page import ChatPage, ScriptedDesk
from tests.browser.test_accessibility import is_fine
from tests.desk import Desk

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]  # one browser for all

SITE = "http://localhost:9998/"


async def embedded(page: Page, desk: Desk, attributes: str, width: int = 1280) -> ChatPage:
    """An English page whose one line has these attributes."""

    async def answer(route: Route) -> None:
        script = f'<script src="{desk.url}/widget.js" {attributes} async></script>'
        await route.fulfill(
            content_type="text/html", body=f'<!doctype html><html lang="en"><title>Acme</title>{script}'
        )

    await page.set_viewport_size({"width": width, "height": 740})
    await page.route(SITE, answer)
    return await ChatPage.in_shop(page, SITE)


@pytest_asyncio.fixture(loop_scope="session", params=["light", "dark"])
async def reader(request: pytest.FixtureRequest, chromium: Browser) -> AsyncIterator[Page]:
    scheme: Literal["light", "dark"] = request.param
    context = await chromium.new_context(color_scheme=scheme, locale="en-IE")
    yield await context.new_page()
    await context.close()


@pytest.mark.parametrize("width", [1280, 360])
async def test_a_site_asks_for_arabic(page: Page, desk: Desk, width: int) -> None:
    chat = await embedded(page, desk, 'data-lang="ar"', width)
    root = chat.inside.locator("html")
    await expect(root).to_have_attribute("lang", "ar")
    await expect(root).to_have_attribute("dir", "rtl")
    composer = chat.inside.get_by_placeholder("اكتب رسالة")
    await expect(composer).to_have_css("direction", "rtl")
    await composer.fill("مرحبا")
    await composer.press("Enter")
    await chat.shows_customer("مرحبا")
    await expect(chat.said_by("agent")).to_have_count(1)
    assert await root.evaluate("root => root.scrollWidth - innerWidth") == 0
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    mine = await chat.said_by("customer").bounding_box()
    answer = await chat.said_by("agent").bounding_box()
    assert mine is not None
    assert answer is not None
    assert mine["x"] < answer["x"], "the customer's own bubbles are on the left"


async def test_the_launcher_stands_on_the_other_side(page: Page, desk: Desk) -> None:
    chat = await embedded(page, desk, 'data-lang="ar" data-title="Acme"')
    await expect(chat.inside.get_by_placeholder("اكتب رسالة")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(chat.launcher).to_have_accessible_name("فتح المحادثة: Acme")
    box = await chat.launcher.bounding_box()
    assert box is not None
    assert box["x"] == 20


async def test_a_language_that_the_desk_lacks_is_the_browsers(page: Page, desk: Desk) -> None:
    chat = await embedded(page, desk, 'data-lang="fr"')
    await expect(chat.inside.locator("html")).to_have_attribute("lang", "en")
    await expect(chat.composer).to_have_attribute("placeholder", "Write a message")


async def test_without_a_word_the_chat_speaks_as_the_browser(chromium: Browser, desk: Desk) -> None:
    context = await chromium.new_context(locale="de-AT")
    chat = await embedded(await context.new_page(), desk, "")
    await expect(chat.launcher).to_have_accessible_name("Chat schließen")
    await expect(chat.inside.get_by_label("Ihre Nachricht")).to_have_attribute("placeholder", "Nachricht schreiben")
    box = await chat.launcher.bounding_box()
    assert box is not None
    assert box["x"] > 1000
    await context.close()


async def test_numbers_and_plurals_are_the_languages_own(chromium: Browser, desk: Desk) -> None:
    context = await chromium.new_context(locale="de-DE")
    page = await context.new_page()
    script = ScriptedDesk()
    await script.serve(page)
    chat = await embedded(page, desk, "")
    composer = chat.inside.get_by_label("Ihre Nachricht")
    await composer.fill("Hallo")
    await composer.press("Enter")
    await chat.shows_customer("Hallo")
    await composer.fill("x" * 8001)
    await expect(chat.inside.locator("#length")).to_have_text("8.001 von 8.000 Zeichen: Bitte kürzen Sie den Text.")
    await chat.inside.locator("input[type=file]").set_input_files(
        [{"name": f"{n}.txt", "mimeType": "text/plain", "buffer": b"x"} for n in range(6)]
    )
    await expect(chat.inside.locator(".problem")).to_have_text("Zu einer Nachricht gehören höchstens 5 Dateien.")
    await context.close()


@pytest.mark.parametrize("language", ["de", "ar"])
async def test_axe_finds_nothing_in_either(reader: Page, desk: Desk, language: str) -> None:
    await reader.goto(f"{desk.url}/widget/?lang={language}")
    await is_fine(reader, f"{language}, welcome")
    chat = ChatPage(reader, reader)
    await chat.inside.locator("textarea").fill("How do I wash my down jacket?")
    await chat.inside.locator("textarea").press("Enter")
    await expect(chat.said_by("agent")).to_have_count(1)
    await is_fine(reader, f"{language}, answered")
    await chat.inside.locator(".actions .pill").first.click()
    await expect(chat.inside.locator(".waiting")).to_be_visible()
    await is_fine(reader, f"{language}, waiting")
