"""The chat's rarer moments, said by a scripted desk: streaming, a person, refusals, the end."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.chat_page import ChatPage, ScriptedDesk
from tests.desk import Desk

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]  # one browser for all


async def begun(page: Page, desk: Desk) -> tuple[ChatPage, ScriptedDesk]:
    """A chat in which the customer has said hello."""
    script = ScriptedDesk()
    await script.serve(page)
    chat = await ChatPage.alone(page, desk)
    await chat.say("Hello")
    await chat.shows_customer("Hello")
    return chat, script


async def test_an_answer_is_shown_as_it_is_written_and_replaced_by_the_message(page: Page, desk: Desk) -> None:
    chat, script = await begun(page, desk)
    writing = chat.inside.locator(".writing")
    script.say("turn", turn="t1", status="started")
    await expect(writing.locator(".dots")).to_be_visible()
    script.say("turn", turn="t1", status="tool", tool="search_knowledge")
    await expect(writing).to_contain_text("Looking in our help pages…")
    script.say("delta", turn="t1", at=0, text="Boots 🥾 ")
    script.say("delta", turn="t1", at=8, text="**dry** slowly")  # 8 characters, though 9 of UTF-16
    script.say("delta", turn="t0", at=0, text="of a turn that is over")
    await expect(writing.locator(".text")).to_have_text("Boots 🥾 dry slowly")
    await expect(chat.said_by("agent")).to_have_count(0)  # nothing unfinished stands in the log
    script.say("turn", turn="t1", status="ended")
    script.write("agent", "Boots 🥾 **dry** slowly.", turn="t1", reply_to=1)
    await expect(writing).to_be_hidden()
    await expect(chat.said_by("agent")).to_have_text("Boots 🥾 dry slowly.")


async def test_a_long_answer_is_read_from_its_beginning(page: Page, desk: Desk) -> None:
    chat, script = await begun(page, desk)
    for number in range(2, 12):
        script.write("agent", f"Answer {number}")
    script.write("agent", "\n\n".join(f"Paragraph {number}" for number in range(80)))
    await expect(chat.said_by("agent").last.get_by_text("Paragraph 0", exact=True)).to_be_in_viewport()
    await expect(chat.said_by("agent").last.get_by_text("Paragraph 79", exact=True)).not_to_be_in_viewport()
    script.write("agent", "And one more")
    await expect(chat.said_by("agent").last).to_be_in_viewport()
    await chat.inside.locator(".thread").evaluate("(thread) => thread.scrollTo(0, 0)")
    await expect(chat.said_by("agent").last).not_to_be_in_viewport()
    script.write("agent", "While the customer reads on top")
    await chat.button("New messages").click()
    await expect(chat.said_by("agent").last).to_be_in_viewport()


async def test_a_message_enters_the_log_once_and_never_moves(page: Page, desk: Desk) -> None:
    """A node that is put in again would be read out again, and would lose the keyboard's place."""
    chat, script = await begun(page, desk)
    await chat.inside.get_by_role("log").evaluate(
        """(log) => {
            window.put = [];
            const note = (changes) => changes.forEach((change) => window.put.push(...change.addedNodes));
            new MutationObserver(note).observe(log, { childList: true });
        }"""
    )
    for number in range(3):
        script.write("agent", f"Answer {number}")
    await expect(chat.rows).to_have_count(4)
    assert await page.evaluate("window.put.map((node) => node.dataset.seq)") == ["2", "3", "4"]


async def test_the_keyboard_keeps_its_place_when_a_button_goes_away(page: Page, desk: Desk) -> None:
    script = ScriptedDesk()
    await script.serve(page)
    chat = await ChatPage.alone(page, desk)
    await chat.button("Where is my order?").focus()
    await page.keyboard.press("Enter")
    await chat.shows_customer("Where is my order?")
    await expect(chat.composer).to_be_focused()
    script.say("turn", turn="t1", status="started")
    await chat.button("Stop").focus()
    script.say("turn", turn="t1", status="ended")
    await expect(chat.composer).to_be_focused()


async def test_stop_names_the_turn(page: Page, desk: Desk) -> None:
    chat, script = await begun(page, desk)
    script.say("turn", turn="t1", status="started")
    await chat.button("Stop").click()
    assert await script.hears("stop") == [{"type": "stop", "turn": "t1"}]
    script.write("agent", "Boots dry", turn="t1", reply_to=1, stopped=True)
    await expect(chat.inside.locator(".row.agent .foot").first).to_contain_text("Stopped")
    await expect(chat.button("Stop")).to_be_hidden()


async def test_what_a_message_must_not_do(page: Page, desk: Desk) -> None:
    chat, script = await begun(page, desk)
    script.write(
        "agent",
        '<img src=x onerror="document.title=1"> <b onclick=x>b</b> [go](javascript:alert(1)) [ok](https://example.com)',
    )
    links = chat.said_by("agent").locator("a[href]")
    await expect(links).to_have_count(1)
    await expect(links).to_have_attribute("rel", "noopener")
    await expect(chat.said_by("agent")).to_contain_text("<b onclick=x>b</b>")  # as it was typed
    assert await chat.said_by("agent").locator("img, b, [onclick]").count() == 0
    script.write(
        "agent", "See [1], not [2].", citations=[{"n": 1, "title": "T", "url": "javascript:alert(1)", "snippet": ""}]
    )
    await expect(chat.inside.locator(".cite")).to_have_text("1")
    assert await chat.inside.locator(".cite[href], .source[href]").count() == 0


async def test_a_person_joins_and_is_named(page: Page, desk: Desk) -> None:
    chat, script = await begun(page, desk)
    script.say("state", state="waiting", position=2)
    await expect(chat.inside.locator(".waiting")).to_have_text("Waiting for a person. You are number 2 in line.")
    script.say("state", state="human", who="Ana")
    await expect(chat.inside.locator(".badge")).to_have_text("Ana")
    await expect(chat.button("Talk to a person")).to_be_hidden()
    script.say("typing", role="staff", on=True)
    await expect(chat.inside.locator(".writing")).to_contain_text("Ana is writing")
    script.write("staff", "Hello, Ana here.", author="Ana")
    await expect(chat.inside.locator(".writing")).to_be_hidden()
    await expect(chat.said_by("staff")).to_have_text("Hello, Ana here.")


async def test_a_refused_message_can_be_sent_again_and_a_passing_trouble_needs_nobody(page: Page, desk: Desk) -> None:
    chat, script = await begun(page, desk)
    script.answers["Bad"] = {"code": "invalid", "message": "Write something else."}
    await chat.say("Bad")
    await expect(chat.pending).to_contain_text("Not sent. Write something else.")
    await page.reload()
    await expect(chat.pending).to_contain_text("Not sent. Write something else.")
    script.answers["Bad"] = {"code": "unavailable", "message": "Shortly.", "retry_after": 0}
    await chat.button("Retry").click()
    await script.hears("send", 3)
    del script.answers["Bad"]
    await chat.shows_customer("Hello", "Bad")
    await expect(chat.pending).to_have_count(0)


async def test_choices_are_buttons_until_one_is_taken(page: Page, desk: Desk) -> None:
    chat, script = await begun(page, desk)
    script.write("agent", "Did you mean", choices=[{"id": "a", "label": "Boots"}, {"id": "b", "label": "Tents"}])
    await chat.button("Tents").click()
    await expect(chat.pending).to_contain_text("Tents")
    [sent] = await script.hears("choice")
    assert sent["id"] == "b"
    script.write("customer", "Tents", client_id=sent["client_id"])
    await expect(chat.button("Boots")).to_be_hidden()
    await chat.shows_customer("Hello", "Tents")
    await expect(chat.composer).to_be_focused()


async def test_a_desk_without_choices_takes_their_words(page: Page, desk: Desk) -> None:
    chat, script = await begun(page, desk)
    script.answers["choice"] = {"code": "unknown_type", "message": "There is no such frame."}
    script.write("agent", "Did you mean", choices=[{"id": "a", "label": "Boots"}])
    await chat.button("Boots").click()
    await chat.shows_customer("Hello", "Boots")


async def test_a_session_that_is_refused_can_be_tried_again(page: Page, desk: Desk) -> None:
    script = ScriptedDesk()
    script.refuse_session = {"code": "invalid", "message": "The identity has expired."}
    await script.serve(page)
    chat = await ChatPage.alone(page, desk)
    await chat.say("Hello")
    await expect(chat.pending).to_contain_text("Not sent. The identity has expired.")
    async with page.expect_response("**/api/v1/chat/sessions/"):
        await chat.button("Talk to a person").click()
    await expect(chat.button("Talk to a person")).to_be_visible()
    script.refuse_session = None
    await chat.button("Retry").click()
    await chat.shows_customer("Hello")
    assert [frame["type"] for frame in script.heard] == ["hello", "send"]


async def test_a_person_is_asked_for_once(page: Page, desk: Desk) -> None:
    chat, script = await begun(page, desk)
    await chat.button("Talk to a person").click()
    await expect(chat.inside.locator(".waiting")).to_have_text("Asking for a person…")
    await script.hears("escalate")
    script.say("ack", ticket="ESC-7K2M")
    script.say("state", state="waiting", position=1)
    await expect(chat.inside.locator(".waiting")).to_have_text(
        "Waiting for a person. You are number 1 in line. Ticket ESC-7K2M."
    )
    script.state = "waiting"
    await page.reload()
    await chat.shows_customer("Hello")
    assert [frame["type"] for frame in script.heard].count("escalate") == 1


async def test_an_ended_chat_stays_readable_and_one_click_starts_anew(page: Page, desk: Desk) -> None:
    chat, script = await begun(page, desk)
    script.say("state", state="closed")
    await expect(chat.inside.locator(".ending")).to_contain_text("This chat has ended. You can still read it.")
    await expect(chat.composer).to_be_hidden()
    await chat.shows_customer("Hello")
    script.log, script.state = [], "ai"
    await chat.button("Start a new chat").click()
    await expect(chat.composer).to_be_focused()
    await expect(chat.rows).to_have_count(0)


async def test_what_was_not_sent_before_the_end_comes_along(page: Page, desk: Desk) -> None:
    chat, script = await begun(page, desk)
    script.answers["Too late"] = {"code": "closed", "message": "This chat has ended."}
    await chat.say("Too late")
    await expect(chat.inside.locator(".ending")).to_contain_text("What you had not sent yet comes along.")
    script.log, script.answers = [], {}
    await chat.button("Start a new chat").click()
    await chat.shows_customer("Too late")


@pytest.mark.parametrize(
    ("code", "says"),
    [(4401, "no longer available"), (4403, "may not be opened"), (4410, "has ended"), (4429, "wait a moment")],
)
async def test_a_refusal_is_said_and_never_retried(page: Page, desk: Desk, code: int, says: str) -> None:
    await page.clock.install()
    chat, script = await begun(page, desk)
    script.refuse_with = code
    assert script.socket is not None
    await script.socket.close(code=1012)
    await page.clock.fast_forward(30_000)  # past the longest pause before a retry
    await expect(chat.inside.locator(".ending")).to_contain_text(says)
    sockets = script.sockets
    await page.clock.fast_forward(120_000)
    assert script.sockets == sockets == 2


async def test_a_planned_reconnect_waits_as_long_as_it_was_told(page: Page, desk: Desk) -> None:
    await page.clock.install()
    chat, script = await begun(page, desk)
    script.say("reconnect", after_ms=60_000)
    assert script.socket is not None
    await script.socket.close(code=1012)
    await expect(chat.bar).to_have_text("Reconnecting…")
    await page.clock.run_for(30_000)
    assert script.sockets == 1
    await page.clock.run_for(60_000)
    await expect(chat.bar).to_be_empty()
    assert script.heard[-1] == {"type": "hello", "token": "token", "last_seq": 1}


async def test_a_gap_in_the_numbers_is_fetched_again(page: Page, desk: Desk) -> None:
    chat, script = await begun(page, desk)
    missed = {"seq": 2, "id": "id2", "role": "agent", "text": "Two", "created_at": "2026-03-01T10:00:00Z"}
    script.log.append(missed | {"citations": [], "attachments": []})
    script.write("agent", "Three")
    await expect(chat.said_by("agent")).to_have_text(["Two", "Three"])


async def test_a_silent_socket_is_given_up(page: Page, desk: Desk) -> None:
    """No pong within ten seconds: the network is gone, though nobody said so."""
    await page.clock.install()
    chat, script = await begun(page, desk)
    await page.clock.run_for(26_000)
    await expect(chat.rows).to_have_count(1)
    assert await script.hears("ping") == [{"type": "ping"}]
    await page.clock.run_for(11_000)
    await page.clock.fast_forward(30_000)
    await expect(chat.bar).to_be_empty()
    assert script.sockets == 2
