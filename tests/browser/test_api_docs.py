"""The API's docs page, whose package would rather run inline scripts and load a badge from elsewhere."""

import pytest
from playwright.async_api import Page, expect

from tests.desk import Desk

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]  # one browser for all


async def test_the_docs_render_under_the_policy_and_ask_no_other_host(desk: Desk, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(f"{desk.url}/api/docs/")
    await expect(page.get_by_text("/api/v1/chat/sessions/", exact=True)).to_be_visible()
    assert [address for address in asked if not address.startswith((desk.url, "data:"))] == []
