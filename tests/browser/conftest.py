"""A real Chromium on a real desk. What the page logs as an error fails the test that saw it."""

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from tests.browser.chat_page import PATIENCE
from tests.desk import Desk

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    # The desk is on loopback here, which Chromium keeps from pages of other sites; a real desk is on the network.
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
]
# Some tests take the network away or frame the chat where it may not be; Chromium writes a line for each try.
EXPECTED_ERRORS = ("WebSocket connection to", "net::ERR_", "Failed to load resource", "frame-ancestors")


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk with the sample knowledge, as `make run` starts it."""
    running = Desk(tmp_path_factory.mktemp("desk"), CHAT_SESSION_RATE_LIMIT="100000/min")
    running.start("--prepare")
    yield running
    running.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    expect.set_options(timeout=PATIENCE * 1000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """One customer's browser. Fails for uncaught errors and for whatever the Content-Security-Policy refused."""
    context = await chromium.new_context(viewport={"width": 1280, "height": 800}, locale="en-IE")
    context.set_default_timeout(PATIENCE * 1000)
    errors: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(known in message.text for known in EXPECTED_ERRORS):
            errors.append(message.text)

    context.on("console", heard)
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context
    await context.close()
    assert errors == []


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> Page:
    return await context.new_page()
