"""axe-core on every page of the product, light and dark: nothing serious or critical; no page wider than a phone."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Browser, Page, expect

from tests.browser.chat_page import ChatPage
from tests.browser.desk_page import BEN, DeskPage, ScriptedStaffDesk
from tests.chat_client import Chat
from tests.desk import Desk, collect_static
from tests.desk_client import Office
from tests.doors import POSTS, address, doors

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]  # one browser for all

# Django's own two-column picker names a span that may have no name; its users keep the picker they know.
NOT_OURS = ".help-tooltip"

PUBLIC = ("/", "/help/returns/", "/widget/", "/admin/login/")
MORE = ("/admin/", "/admin/password_change/", "/desk/?tab=waiting&q=nobody+says+that")
ONLY_COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
BUT_COLOURS = {"rules": {"color-contrast": {"enabled": False}}}
# What each look goes through: the scheme changes nothing but colours, the width nothing of them.
LOOKS: tuple[tuple[int, Literal["light", "dark"], dict[str, Any]], ...] = (
    (1440, "light", {}),
    (1440, "dark", ONLY_COLOURS),
    (360, "light", BUT_COLOURS),
)
# A page may follow the scheme by a script, in the frame after; the admin's links fade from one colour to the other.
SETTLE = """async () => {
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  for (const each of document.getAnimations()) if (each instanceof CSSTransition) each.finish();
}"""
NO_PAGES = {"admin:agent_app_conversation_export": "a file"}
ABOUT = {"admin:sessions_app_session_expire_user": "?session={session}"}
# The same template for every model, Django's own.
ONCE = re.compile("_(history|delete)$")
ROWS = """
from django.utils import timezone
from agent_app.models import *
from agent_app.models.audit import *
from agent_app.models.budget import DailyUse
from agent_app.models.conversations import Conversation
chat = Conversation.objects.get(session_id="{session}")
now = timezone.now()
ticket = chat.tickets.create(number="ESC-{session:.8}", reason="asked for a person")
secret = ApiToken(name="a program")
from django.contrib.auth.models import User
secret.seal(User.objects.get(username="admin"))
secret.save()
said = {{
    "thread": chat.thread_id,
    "session": chat.session_id,
    "conversation": chat.pk,
    "ticket": ticket.pk,
    "article": Article.objects.earliest("pk").pk,
    "indexgeneration": IndexGeneration.objects.latest("pk").pk,
    "cannedreply": CannedReply.objects.get_or_create(title="Hello", shortcut="hello", text="Hello, **there**")[0].pk,
    "auditentry": AuditEntry.record("chat.ended", chat.session_id, "ana", reason="resolved").pk,
    "unansweredquestion": UnansweredQuestion.objects.remember("Do you rent canoes?", chat.pk).pk,
    "erasure": Erasure.objects.of_customer("nobody at all", "ana").pk,
    "feedback": Feedback.objects.create(conversation=chat, rating=4, comment="Quick and kind").pk,
    "fact": Fact.objects.create(conversation=chat, name="name", value="Ana", message_seq=1, expires_at=now).pk,
    "mail": Mail.objects.create(kind="reply", conversation=chat, event="reply:{session:.8}", due_at=now).pk,
    "dailyuse": DailyUse.objects.get_or_create(day=now.date())[0].pk,
    "apitoken": secret.pk,
}}
"""


@pytest_asyncio.fixture(loop_scope="session")
async def somebody(chromium: Browser) -> AsyncIterator[Page]:
    context = await chromium.new_context(viewport={"width": 1440, "height": 900})
    yield await context.new_page()
    await context.close()


async def is_fine(page: Page, where: str) -> None:
    assert await faults(page) == [], where


async def faults(page: Page) -> list[str]:
    """What axe as it comes finds, wide and narrow, in light and dark."""
    found: list[str] = []
    await page.evaluate(AXE_SCRIPT)
    for width, scheme, how in LOOKS:
        await page.set_viewport_size({"width": width, "height": 900})
        await page.emulate_media(color_scheme=scheme)
        await page.evaluate(SETTLE)
        about: list[Any] = [{"exclude": [[NOT_OURS]]}, {"resultTypes": ["violations"], **how}]
        result = await page.evaluate("([where, how]) => axe.run(where, how)", about)
        for violation in result["violations"]:
            if violation["impact"] in {"serious", "critical"}:
                nodes = [node["target"] for node in violation["nodes"]]
                found.append(f"{width} px, {scheme}: {violation['id']} {nodes}")
        over = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if over > 0:
            found.append(f"{width} px: {over} px too wide")
    await page.set_viewport_size({"width": 1440, "height": 900})
    return found


def pages_of_staff(rows: dict[str, Any]) -> dict[str, str]:
    """By name, each page that somebody may open; a page without a row that it needs fails in the test."""
    pages = {name: path for name, path in doors().items() if name not in POSTS and name not in NO_PAGES}
    return {
        name: address(path, rows) + ABOUT.get(name, "").format(**rows)
        for name, path in pages.items()
        if not ONCE.search(name) or "_article_" in name
    }


async def test_what_anybody_sees(somebody: Page, desk: Desk) -> None:
    for path in PUBLIC:
        await somebody.goto(desk.url + path)
        await is_fine(somebody, path)


async def test_a_page_that_is_not_there(somebody: Page, tmp_path: Path) -> None:
    """With DEBUG off: the other one is Django's, and as wide as the fonts of the machine make it."""
    desk = Desk(tmp_path, DEBUG="false", SECRET_KEY="x" * 50, ALLOWED_HOSTS="127.0.0.1")
    collect_static(desk.environ)
    desk.start()
    try:
        await somebody.goto(f"{desk.url}/nothing/here/")
        await is_fine(somebody, "/nothing/here/")
    finally:
        desk.stop()


async def test_the_api_s_pages(somebody: Page, desk: Desk) -> None:
    """Drawn by a script: only what is there can be looked at."""
    await somebody.goto(f"{desk.url}/api/docs/")
    opens = somebody.locator("#operations-chat-chat_open")
    await expect(opens).to_be_visible()
    await is_fine(somebody, "closed")
    await opens.locator("button").first.click()
    await opens.get_by_role("button", name="Try it out").click()
    await expect(opens.locator("textarea")).to_be_visible()
    await is_fine(somebody, "an operation, to be tried")
    await somebody.locator(".btn.authorize").first.click()
    await expect(somebody.get_by_role("button", name="Close").first).to_be_visible()
    await is_fine(somebody, "its keys")


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


async def test_every_page_of_the_staff(somebody: Page, desk: Desk) -> None:
    chat = await Chat.open(desk.url, user_id="looked at", metadata={"plan": "gold"})
    await chat.say("How do I wash my down jacket?")
    office = Office(desk)
    rows = office.run(ROWS.format(session=chat.session_id))
    office.close()
    await DeskPage.logged_in(somebody, desk.url, "/admin/")
    nobodys, wrong = [], []
    for name, path in {**pages_of_staff(rows), **{path: path for path in MORE}}.items():
        response = await somebody.goto(desk.url + path)
        assert response is not None
        if response.status == 403 and name.endswith("_add"):
            nobodys.append(name)  # what the desk alone writes
            continue
        assert (response.status, urlsplit(somebody.url).path) == (200, urlsplit(path).path), name
        wrong += [f"{path}: {what}" for what in await faults(somebody)]
    assert wrong == [], "\n".join(wrong)
    assert "admin:agent_app_auditentry_add" in nobodys
    assert "admin:agent_app_cannedreply_add" not in nobodys


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
    script.away = True
    await script.drop()
    await expect(staff.link).to_contain_text("The connection is lost.")
    await is_fine(somebody, "away")
