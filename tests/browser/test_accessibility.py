"""axe-core on every page of the product, light and dark: nothing serious or critical; no page wider than a phone."""

from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx
import pytest
import pytest_asyncio
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Browser, Page, expect

from tests.browser.chat_page import ChatPage
from tests.browser.desk_page import BEN, DeskPage, ScriptedStaffDesk
from tests.chat_client import Chat
from tests.desk import Desk

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]  # one browser for all

# Django's own two-column picker names a span that may have no name; its users keep the picker they know.
NOT_OURS = ".help-tooltip"

PUBLIC = ("/", "/help/returns/", "/widget/", "/admin/login/", "/nothing/here/")
ADMIN = (
    "/admin/",
    "/admin/sessions_app/session/",
    "/admin/sessions_app/session/{session}/change/",
    "/admin/agent_app/conversation/",
    "/admin/agent_app/conversation/{conversation}/change/",
    "/admin/agent_app/article/",
    "/admin/agent_app/article/add/",
    "/admin/agent_app/unansweredquestion/",
    "/admin/agent_app/auditentry/",
    "/admin/agent_app/ticket/",
    "/admin/agent_app/apitoken/",
    "/admin/agent_app/apitoken/add/",
)


@pytest_asyncio.fixture(loop_scope="session", params=["light", "dark"])
async def somebody(request: pytest.FixtureRequest, chromium: Browser) -> AsyncIterator[Page]:
    """A browser that likes its pages so."""
    scheme: Literal["light", "dark"] = request.param
    context = await chromium.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    expect.set_options(timeout=15_000)
    yield await context.new_page()
    await context.close()


async def is_fine(page: Page, where: str) -> None:
    """By axe as it comes, at 1440 and at 360 px."""
    found: list[str] = []
    for width in (1440, 360):
        await page.set_viewport_size({"width": width, "height": 900})
        await page.evaluate(AXE_SCRIPT)
        about: list[Any] = [{"exclude": [[NOT_OURS]]}, {"resultTypes": ["violations"]}]
        result = await page.evaluate("([where, how]) => axe.run(where, how)", about)
        for violation in result["violations"]:
            if violation["impact"] in {"serious", "critical"}:
                nodes = [node["target"] for node in violation["nodes"]]
                found.append(f"{width} px: {violation['id']} {nodes}")
        over = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if over > 0:
            found.append(f"{width} px: {over} px too wide")
    await page.set_viewport_size({"width": 1440, "height": 900})
    assert found == [], where


async def test_what_anybody_sees(somebody: Page, desk: Desk) -> None:
    for path in PUBLIC:
        await somebody.goto(desk.url + path)
        await is_fine(somebody, path)


async def test_a_chat_from_its_first_answer_to_its_rating(somebody: Page, desk: Desk) -> None:
    chat = await ChatPage.alone(somebody, desk)
    await chat.say("How do I wash my down jacket?")
    await expect(chat.said_by("agent")).to_have_count(1)
    await is_fine(somebody, "answered")
    await chat.button("Talk to a person").click()
    await expect(chat.inside.locator(".waiting")).to_contain_text("Ticket")
    await is_fine(somebody, "waiting")
    opened = await somebody.evaluate("JSON.parse(localStorage.getItem('supportdesk.session'))")
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {opened['token']}"}) as customer:
        await customer.delete(f"{desk.url}/api/v1/chat/sessions/{opened['session_id']}/")
    await chat.inside.get_by_role("radio", name="4 of 5").check(force=True)
    await expect(chat.inside.locator(".rating")).to_contain_text("Thank you.")
    await is_fine(somebody, "rated")


async def test_the_admin(somebody: Page, desk: Desk) -> None:
    chat = await Chat.open(desk.url, user_id="looked at", metadata={"plan": "gold"})
    await chat.say("How do I wash my down jacket?")
    await DeskPage.logged_in(somebody, desk.url, "/admin/agent_app/conversation/")
    link = await somebody.locator("#result_list a[href*='/change/']").first.get_attribute("href")
    assert link is not None
    places = {"session": chat.session_id, "conversation": link.split("/")[-3]}
    for path in ADMIN:
        response = await somebody.goto(desk.url + path.format(**places))
        assert response is not None
        assert response.status == 200, path
        await is_fine(somebody, path)


async def test_the_desk_in_each_state(somebody: Page, desk: Desk) -> None:
    name = f"cared for {id(somebody):x}"
    chat = await Chat.open(desk.url, user_id=name, metadata={"plan": "gold"})
    await chat.say("How do I wash my down jacket?")
    await chat.http.post("/escalate/", json={})
    script = ScriptedStaffDesk(last_seq=len(await chat.history()))
    script.standing["state"] = "waiting"
    script.people = [{**BEN, "doing": "looking"}]
    await script.serve(somebody)
    staff = await DeskPage.logged_in(somebody, desk.url, "/desk/?tab=mine")
    await expect(somebody.locator(".tools")).to_be_visible()
    await is_fine(somebody, "an empty list")
    await somebody.goto(f"{desk.url}/desk/?tab=waiting")
    await staff.open(name)
    await expect(somebody.locator("#composer")).to_be_visible()
    await expect(somebody.locator(".packet")).to_be_visible()
    await is_fine(somebody, "waiting, with its packet and details")
    await staff.button("Take over to reply").click()
    await expect(staff.reply).to_be_focused()
    await is_fine(somebody, "taken over")
    script.refusals["reply"] = {"code": "conflict", "message": "Ben Moore has this chat."}
    await staff.reply.fill("Hello")
    await staff.reply.press("Enter")
    await expect(staff.pending).to_contain_text("Not sent.")
    await is_fine(somebody, "a reply that was refused")
    await somebody.get_by_role("tab", name="Private note").click()
    note = {"text": "Called her", "author": "Ben Moore", "created_at": "2026-03-01T10:00:00Z", "after": 1}
    script.say("note", conversation=script.conversation, id=7, **note)
    await expect(staff.said_by("note")).to_be_visible()
    await is_fine(somebody, "a note")
    await somebody.get_by_role("tab", name="Reply").click()
    for opens in ("Canned replies", "Keyboard shortcuts", "Resolve"):
        await staff.button(opens).or_(somebody.locator(f"button:has-text('{opens}'):visible")).first.click()
        await expect(somebody.get_by_role("dialog")).to_be_visible()
        await is_fine(somebody, opens)
        await somebody.keyboard.press("Escape")
    await script.drop()
    script.away = True
    await expect(staff.link).to_contain_text("The connection is lost.")
    await is_fine(somebody, "away")
