"""The desk's rarer moments, said by a scripted desk: a race that is lost, a lost network, refusals, rings, keys."""

import asyncio
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.chat_page import PATIENCE
from tests.browser.desk_page import ANA, BEN, DeskPage, ScriptedStaffDesk
from tests.chat_client import Chat
from tests.desk import Desk

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]  # one browser for all

HELD_BY_BEN = {
    "code": "conflict",
    "message": "Ben Moore has this chat. Ask them, or have it assigned to you.",
    "who": BEN,
}
HEAR_RINGS = """
    window.tones = 0;
    const start = OscillatorNode.prototype.start;
    OscillatorNode.prototype.start = function (...when) { window.tones += 1; return start.apply(this, when); };
"""


async def opened(page: Page, desk: Desk, name: str, **standing: Any) -> tuple[DeskPage, ScriptedStaffDesk]:
    """A chat in which this customer has asked and the agent has answered, open at a desk whose socket is scripted."""
    chat = await Chat.open(desk.url, user_id=name)
    answered = await chat.say("How do I wash my down jacket?")
    script = ScriptedStaffDesk(last_seq=answered["reply"]["seq"])
    script.standing |= standing
    await script.serve(page)
    staff = await DeskPage.logged_in(page, desk.url)
    await staff.open(name)
    await expect(page.locator("#composer")).to_be_visible()
    return staff, script


async def holding(page: Page, desk: Desk, name: str) -> tuple[DeskPage, ScriptedStaffDesk]:
    return await opened(page, desk, name, state="human", assignee=ANA)


def card(id_: str, **more: Any) -> dict[str, Any]:
    now = "2026-03-01T10:00:00Z"
    said = {"name": "Visitor", "preview": "Hello", "preview_role": "customer", "needs_answer": True, "last_seq": 1}
    stands = {"state": "waiting", "answers": "AI", "assignee": None, "verified": False, "waiting_since": now}
    return {"id": id_, **said, **stands, "updated_at": now, "ticket": None, "priority": "normal", "looking": [], **more}


# ---- who has the chat ----


async def test_the_reply_is_locked_until_the_chat_is_taken_over(page: Page, desk: Desk) -> None:
    staff, script = await opened(page, desk, "locked")
    await expect(staff.reply).to_be_hidden()
    await expect(page.locator("#locked")).to_contain_text("The AI is answering this chat.")
    await staff.button("Take over to reply").click()
    await expect(staff.reply).to_be_focused()
    await expect(staff.state).to_have_text("Ana Byrne")
    await page.keyboard.type("Hello, I am Ana.")
    await page.keyboard.press("Enter")
    await expect(staff.said_by("staff")).to_have_text(["Hello, I am Ana."])
    await expect(staff.pending).to_have_count(0)
    assert [frame["text"] for frame in script.heard_of("reply")] == ["Hello, I am Ana."]


async def test_who_loses_the_race_is_told_who_won(page: Page, desk: Desk) -> None:
    staff, script = await opened(page, desk, "raced")
    script.refusals["takeover"] = HELD_BY_BEN
    await staff.button("Take over").click()
    await expect(staff.notice).to_contain_text("Ben Moore has this chat.")
    await expect(staff.state).to_have_text("Ben Moore")
    await expect(page.locator("#locked-why")).to_have_text("Ben Moore has this chat.")
    await expect(staff.reply).to_be_hidden()


async def test_a_chat_that_a_colleague_takes_locks_what_is_being_written_and_keeps_it(page: Page, desk: Desk) -> None:
    staff, script = await holding(page, desk, "passed on")
    await staff.reply.fill("half a sent")
    script.say("state", conversation=script.conversation, state="human", who="Ben Moore")
    await expect(staff.reply).to_be_hidden()
    await expect(page.locator("#locked-why")).to_have_text("Ben Moore has this chat.")
    script.say("state", conversation=script.conversation, state="human", who="Ana Byrne")
    await expect(staff.reply).to_have_value("half a sent")


async def test_a_chat_is_handed_to_a_colleague_from_the_status_line(page: Page, desk: Desk) -> None:
    staff, script = await holding(page, desk, "assigned")
    choice = page.get_by_label("Assigned to")
    await expect(choice.get_by_role("option")).to_have_text(["Ana Byrne (you)", "Ben Moore (away)"])
    await choice.select_option("Ben Moore (away)")
    await expect(staff.state).to_have_text("Ben Moore")
    await expect(staff.reply).to_be_hidden()
    assert [frame["assignee"] for frame in script.heard_of("assign")] == [BEN["id"]]


async def test_a_resolution_is_asked_about_once_and_escape_is_no(page: Page, desk: Desk) -> None:
    staff, script = await holding(page, desk, "resolved")
    await staff.button("Resolve").click()
    await page.keyboard.press("Escape")
    assert script.heard_of("resolve") == []
    await staff.button("Resolve").click()
    await page.get_by_role("dialog").get_by_role("button", name="Resolve").click()
    await expect(staff.state).to_have_text("Closed")
    await expect(page.locator("#locked")).to_contain_text("This chat has ended.")
    assert len(script.heard_of("resolve")) == 1


async def test_only_what_is_permitted_is_offered(page: Page, desk: Desk) -> None:
    chat = await Chat.open(desk.url, user_id="only looked at")
    await chat.say("Hello")
    script = ScriptedStaffDesk(last_seq=2)
    script.may = []
    await script.serve(page)
    staff = await DeskPage.logged_in(page, desk.url)
    await staff.open("only looked at")
    await expect(page.locator("#reading")).to_be_visible()
    await expect(page.locator("#composer")).to_be_hidden()
    for name in ("Take over", "Resolve", "Give back to AI"):
        await expect(staff.button(name)).to_be_hidden()
    for key in "trne/":
        await page.keyboard.press(key)
    assert script.heard_of("takeover", "reply", "note", "resolve", "canned") == []


# ---- replies and notes ----


async def test_a_note_and_a_reply_have_a_draft_each_and_never_meet(page: Page, desk: Desk) -> None:
    staff, script = await holding(page, desk, "noted")
    await staff.reply.fill("To the customer")
    await page.get_by_role("tab", name="Private note").click()
    await expect(staff.reply).to_be_hidden()
    await expect(staff.note).to_have_value("")
    await staff.note.fill("She is a loyal customer")
    await page.get_by_role("tab", name="Reply").click()
    await expect(staff.reply).to_have_value("To the customer")
    await page.reload()
    await expect(staff.reply).to_have_value("To the customer")
    await page.get_by_role("tab", name="Private note").click()
    await expect(staff.note).to_have_value("She is a loyal customer")
    await staff.note.press("Enter")
    await expect(staff.pending).to_contain_text("private note")
    await expect(staff.pending).to_have_class("message note new pending")
    [note] = await script.hears("note")
    assert note["text"] == "She is a loyal customer"
    assert script.heard_of("reply") == []
    said = {"text": note["text"], "author": "Ana Byrne", "created_at": "2026-03-01T10:00:00Z", "after": 2}
    script.say("note", conversation=script.conversation, id=70, client_id=note["client_id"], **said)
    await expect(staff.said_by("note")).to_have_text(["She is a loyal customer"])
    await expect(staff.pending).to_have_count(0)


async def test_a_draft_belongs_to_its_chat(page: Page, desk: Desk) -> None:
    staff, _ = await holding(page, desk, "first of two")
    await staff.reply.fill("For the first")
    other = await Chat.open(desk.url, user_id="second of two")
    await other.say("Hello")
    await page.reload()
    await staff.open("second of two")
    await expect(staff.reply).to_have_value("")
    await staff.open("first of two")
    await expect(staff.reply).to_have_value("For the first")


async def test_what_is_written_while_the_desk_is_away_survives_a_reload_and_goes_once(page: Page, desk: Desk) -> None:
    staff, script = await holding(page, desk, "patient")
    script.away = True
    script.silent.add("reply")
    await script.drop()
    await expect(staff.link).to_contain_text("The connection is lost.")
    await staff.reply.fill("Are you there?")
    await staff.reply.press("Enter")
    await expect(staff.pending).to_contain_text("waiting to be sent")
    await expect(staff.button("Resolve")).to_be_hidden()  # acts are not kept: they would surprise when they come late
    await page.reload()
    await expect(staff.pending).to_contain_text("Are you there?")
    script.away = False
    script.silent.clear()
    await expect(staff.said_by("staff")).to_have_text(["Are you there?"])
    await expect(staff.pending).to_have_count(0)
    await expect(staff.link).to_be_empty()
    assert len(script.heard_of("reply")) == 1


async def test_a_reply_without_an_answer_goes_again_under_its_client_id(page: Page, desk: Desk) -> None:
    staff, script = await holding(page, desk, "unanswered")
    script.silent.add("reply")
    await staff.reply.fill("Hello?")
    await staff.reply.press("Enter")
    await expect(staff.pending).to_contain_text("sending")
    await script.hears("reply")
    script.silent.clear()
    await script.drop()
    await expect(staff.said_by("staff")).to_have_text(["Hello?"])
    first, second = script.heard_of("reply")
    assert first == second


async def test_a_refused_reply_can_be_sent_again_or_deleted(page: Page, desk: Desk) -> None:
    staff, script = await holding(page, desk, "refused")
    script.refusals["reply"] = HELD_BY_BEN
    await staff.reply.fill("Too late")
    await staff.reply.press("Enter")
    await expect(staff.pending.get_by_role("alert")).to_contain_text("Not sent. Ben Moore has this chat.")
    script.refusals.clear()
    await staff.pending.get_by_role("button", name="Send again").click()
    await expect(staff.said_by("staff")).to_have_text(["Too late"])
    script.refusals["reply"] = HELD_BY_BEN
    await staff.reply.fill("And this")
    await staff.reply.press("Enter")
    await staff.pending.get_by_role("button", name="Delete").click()
    await expect(staff.pending).to_have_count(0)


async def test_a_socket_that_comes_back_goes_on_where_it_was(page: Page, desk: Desk) -> None:
    staff, script = await holding(page, desk, "resumed")
    script.write("customer", "One more thing")
    await expect(staff.said_by("customer").last).to_have_text("One more thing")
    await script.drop()
    await script.hears("subscribe", 2)
    script.write("customer", "And another")
    await expect(staff.said_by("customer").last).to_have_text("And another")
    assert script.heard_of("subscribe")[-1]["last_seq"] == script.last_seq - 1


async def test_a_gap_in_the_numbers_is_asked_for_again(page: Page, desk: Desk) -> None:
    staff, script = await holding(page, desk, "gap")
    script.last_seq += 1
    script.write("customer", "Past the gap")
    await script.hears("subscribe", 2)
    await expect(staff.said_by("customer")).to_have_count(1)
    assert script.heard_of("subscribe")[-1]["last_seq"] == script.last_seq - 2


# ---- what passes by ----


async def test_an_answer_is_shown_as_it_is_written_and_dropped_when_somebody_takes_over(page: Page, desk: Desk) -> None:
    staff, script = await opened(page, desk, "streamed")
    of = {"conversation": script.conversation}
    writing = page.locator("#writing")
    script.say("turn", **of, turn="1-0", status="started")
    script.say("delta", **of, turn="1-0", at=0, text="You can **return** it")
    await expect(writing).to_contain_text("You can return it")
    await staff.button("Take over").click()
    await script.hears("takeover")
    script.say("state", **of, state="human", who="Ana Byrne")
    await expect(writing).to_be_hidden()
    await expect(staff.said_by("agent")).to_have_count(1)


async def test_who_writes_and_who_looks_is_shown(page: Page, desk: Desk) -> None:
    staff, script = await holding(page, desk, "seen")
    of = {"conversation": script.conversation}
    script.say("typing", **of, role="customer", on=True)
    await expect(page.locator("#typing")).to_have_text("seen is writing…")
    script.say("presence", **of, people=[{**ANA, "doing": "looking"}, {**BEN, "doing": "writing"}])
    await expect(page.locator("#presence")).to_have_text("Ben Moore is writing")
    await staff.reply.press_sequentially("Hel")
    await script.hears("typing")
    await staff.reply.press("Enter")
    await script.hears("typing", 2)
    assert [frame["on"] for frame in script.heard_of("typing")] == [True, False]


# ---- the list ----


async def test_a_new_waiting_chat_rings_once_and_changes_title_and_count(page: Page, desk: Desk) -> None:
    await page.add_init_script(HEAR_RINGS)
    script = ScriptedStaffDesk()
    await script.serve(page)
    staff = await DeskPage.logged_in(page, desk.url, "/desk/?tab=all")
    await script.hears("watch")
    await page.keyboard.press("Shift")  # browsers are silent before a gesture
    for _ in range(2):  # the second time it waits already
        script.say("inbox", conversations=[card("w1", name="waits now")], counts={**script.counts, "waiting": 1})
    await expect(staff.card("waits now")).to_contain_text("Waiting")
    await expect(page).to_have_title("(1) Desk")
    await expect(staff.count("waiting")).to_have_text("1")
    assert await page.evaluate("window.tones") == 2  # one ring is two notes
    await staff.button("Sound for new waiting chats").click()
    script.say("inbox", conversations=[card("w2", name="waits, too")], counts={**script.counts, "waiting": 2})
    await expect(page).to_have_title("(2) Desk")
    assert await page.evaluate("window.tones") == 2
    await page.reload()
    await expect(staff.button("Sound for new waiting chats")).to_have_attribute("aria-pressed", "false")


async def test_cards_come_go_and_move_without_taking_the_keyboards_place(page: Page, desk: Desk) -> None:
    script = ScriptedStaffDesk()
    await script.serve(page)
    staff = await DeskPage.logged_in(page, desk.url, "/desk/?tab=waiting")
    await script.hears("watch")
    two = [card("a1", name="longest", waiting_since="2026-03-01T09:00:00Z"), card("a2", name="later")]
    script.say("inbox", conversations=[two[1]], counts=script.counts)
    script.say("inbox", conversations=[two[0]], counts=script.counts)
    names = page.locator(".card .who")
    await expect(names).to_have_text(["longest", "later"])
    await staff.card("longest").focus()
    script.say("inbox", conversations=[{**two[0], "preview": "Still here", "looking": [BEN]}], counts=script.counts)
    await expect(staff.card("longest")).to_contain_text("Ben Moore is looking")
    await expect(staff.card("longest")).to_be_focused()
    script.say("inbox", conversations=[{**two[0], "state": "human", "assignee": BEN}], counts=script.counts)
    await expect(names).to_have_text(["later"])
    await expect(staff.card("later")).to_be_focused()
    script.say("inbox", conversations=[{**two[1], "state": "closed"}], counts=script.counts)
    await expect(page.locator("#cards .empty")).to_contain_text("Nobody is waiting for a person.")


async def test_a_list_that_comes_late_leaves_the_keyboard_where_it_is(page: Page, desk: Desk) -> None:
    """What the server lists may be older than what the socket told meanwhile."""
    script, asked, answer = ScriptedStaffDesk(), asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        asked.set()
        await answer.wait()
        await route.continue_()

    await script.serve(page)
    staff = await DeskPage.logged_in(page, desk.url, "/desk/?tab=waiting")
    await script.hears("watch")
    await expect(page.locator(".tools")).to_be_visible()
    names = page.locator(".card .who")
    for card_that_stays in (True, False):
        await page.route("**/desk/?tab=waiting", late)
        await script.drop()  # the page asks for its list again when it is back
        await asyncio.wait_for(asked.wait(), PATIENCE)
        two = [card("a1", name="longest", waiting_since="2026-03-01T09:00:00Z"), card("a2", name="later")]
        script.say("inbox", conversations=two, counts=script.counts)
        await expect(names).to_have_text(["longest", "later"])
        await staff.card("longest").focus()
        if not card_that_stays:
            script.say("inbox", conversations=[{**two[0], "state": "closed"}], counts=script.counts)
            await expect(staff.card("later")).to_be_focused()
        async with page.expect_response("**/desk/?tab=waiting"):
            answer.set()
        left = ["longest", "later"] if card_that_stays else ["later"]
        await expect(names).to_have_text(left)
        await expect(staff.card(left[0])).to_be_focused()
        await expect(page.locator("#cards .empty")).to_have_count(0)
        await page.unroute("**/desk/?tab=waiting")
        asked.clear()
        answer.clear()


# ---- keys ----


async def test_a_slash_opens_the_canned_replies_where_a_word_begins(page: Page, desk: Desk) -> None:
    staff, _ = await holding(page, desk, "canned")
    await page.keyboard.press("r")
    await page.keyboard.type("Hello and/or ")
    await page.keyboard.press("/")
    picker = page.get_by_role("combobox", name="Search canned replies")
    await expect(picker).to_be_focused()
    replies = page.get_by_role("listbox").get_by_role("option")
    await expect(replies).to_have_count(2)
    await picker.press("ArrowDown")
    await expect(replies.and_(page.get_by_role("option", selected=True))).to_contain_text("Greeting")
    await picker.fill("30 days")
    await expect(replies).to_have_count(1)
    await picker.press("Enter")
    await expect(staff.reply).to_have_value("Hello and/or You can send it back within 30 days.")
    await expect(staff.reply).to_be_focused()
    await staff.reply.fill("")
    await staff.reply.press("/")
    await picker.press("/")
    await expect(staff.reply).to_have_value("/")
    await staff.reply.fill("")
    await staff.reply.press("/")
    await picker.press("Escape")
    await expect(staff.reply).to_be_focused()
    await expect(staff.reply).to_have_value("")


async def test_keys_act_outside_text_fields_and_can_be_switched_off(page: Page, desk: Desk) -> None:
    staff, script = await holding(page, desk, "keys")
    await page.keyboard.press("n")
    await expect(staff.note).to_be_focused()
    await page.keyboard.type("ten")  # t and e are letters here
    await expect(staff.note).to_have_value("ten")
    await page.keyboard.press("Escape")
    await page.keyboard.press("?")
    shortcuts = page.get_by_role("dialog", name="Keyboard shortcuts")
    await expect(shortcuts).to_be_visible()
    await shortcuts.get_by_label("Shortcuts of a single key").uncheck()
    await page.keyboard.press("Escape")
    for key in "tr":
        await page.keyboard.press(key)
    await expect(staff.reply).to_be_hidden()
    assert script.heard_of("release", "resolve") == []
    await page.reload()
    await expect(page.locator("#composer")).to_be_visible()
    await page.keyboard.press("n")
    await expect(staff.note).to_be_hidden()


async def test_j_and_k_move_through_the_list_without_a_reload(page: Page, desk: Desk) -> None:
    for name in ("third from above", "second from above", "first from above"):
        chat = await Chat.open(desk.url, user_id=name)
        await chat.say("Hello")
    script = ScriptedStaffDesk(last_seq=2)
    await script.serve(page)
    staff = await DeskPage.logged_in(page, desk.url)
    await script.hears("watch")
    await page.evaluate("window.stayed = true")
    for key, name in (("j", "first"), ("j", "second"), ("k", "first")):
        await page.keyboard.press(key)
        await expect(page.get_by_role("heading", level=1)).to_have_text(f"{name} from above")
        await expect(staff.card(f"{name} from above")).to_be_focused()
    await page.go_back()
    await expect(page.get_by_role("heading", level=1)).to_have_text("second from above")
    assert await page.evaluate("window.stayed")
    assert script.sockets == 1
