"""Files in the chat's page: uploaded, dropped, pasted, refused, kept over a reload, opened again; and thumbs."""

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.chat_page import ChatPage
from tests.desk import Desk

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]  # one browser for all

MANUAL = "# Ember stove\n\nThe stove weighs 94 grams.\n\n## Fuel\n\nThe Ember burns gas of the kind EN 417 only.\n"

GIVE = """(node, {name, text, how}) => {
  const data = new DataTransfer();
  data.items.add(new File([text], name));
  const event = how === "paste" ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true})
    : new DragEvent(how, {dataTransfer: data, bubbles: true, cancelable: true});
  node.dispatchEvent(event);
}"""


async def give(chat: ChatPage, selector: str, how: str, name: str, text: str = MANUAL) -> None:
    await chat.inside.locator(selector).evaluate(GIVE, {"name": name, "text": text, "how": how})


async def test_a_file_is_attached_asked_about_cited_and_opened(page: Page, desk: Desk, tmp_path: Path) -> None:
    chat = await ChatPage.alone(page, desk)
    file = tmp_path / "ember.md"
    file.write_text(MANUAL)
    async with page.expect_file_chooser() as chooser:
        await chat.button("Attach a file").click()
    await (await chooser.value).set_files(file)
    await expect(chat.inside.locator(".uploads li.done")).to_contain_text("ember.md")
    await page.reload()
    await expect(chat.inside.locator(".uploads li.done")).to_contain_text("ember.md")
    await chat.say("What does the Ember burn?")
    await expect(chat.inside.locator(".uploads li")).to_have_count(0)
    await expect(chat.said_by("agent")).to_contain_text("EN 417")
    for link in (".row.customer .file", ".row.agent .source"):
        async with page.expect_download() as saving:
            await chat.inside.locator(f"[role=log] {link}").click()
        saved = await saving.value
        assert saved.suggested_filename == "ember.md"
        assert (await saved.path()).read_text() == MANUAL
    assert len(page.context.pages) == 1  # no tab without the token


async def test_dropped_pasted_and_removed(page: Page, desk: Desk) -> None:
    chat = await ChatPage.alone(page, desk)
    await give(chat, ".panel", "dragenter", "a.txt")
    await expect(chat.inside.locator(".drop")).to_be_visible()
    await give(chat, ".panel", "drop", "a.txt")
    await expect(chat.inside.locator(".drop")).to_be_hidden()
    await give(chat, "textarea", "paste", "b.txt")
    await expect(chat.inside.locator(".uploads li.done")).to_have_count(2)
    await chat.button("Remove a.txt").click()
    await expect(chat.inside.locator(".uploads .name")).to_have_text(["b.txt"])
    await chat.button("Send").click()
    await expect(chat.inside.locator("[role=log] .row.customer .file")).to_contain_text("b.txt")


async def test_what_is_refused_says_why(page: Page, desk: Desk) -> None:
    chat = await ChatPage.alone(page, desk)
    await give(chat, "textarea", "paste", "a.pdf", "no pdf at all")
    await expect(chat.inside.locator(".uploads li.failed")).to_contain_text("The name of this file says PDF")
    await expect(chat.button("Send")).to_be_disabled()
    for number in range(5):
        await give(chat, "textarea", "paste", f"{number}.txt")
    await expect(chat.inside.locator(".problem")).to_have_text("At most 5 files go with one message.")


async def test_a_queued_message_keeps_its_file_over_a_reload(page: Page, desk: Desk) -> None:
    chat = await ChatPage.alone(page, desk)
    await give(chat, "textarea", "paste", "ember.md")
    await expect(chat.inside.locator(".uploads li.done")).to_have_count(1)
    await page.route_web_socket("**/ws/chat/", lambda socket: socket.close())
    await page.reload()
    await expect(chat.bar).to_have_text("Reconnecting…")
    await chat.say("What does the Ember burn?")
    await expect(chat.pending.locator(".file")).to_contain_text("ember.md")
    second = await page.context.new_page()
    await page.close()
    again = await ChatPage.alone(second, desk)
    await expect(again.said_by("agent")).to_contain_text("EN 417")
    await expect(again.inside.locator("[role=log] .row.customer .file")).to_have_count(1)


async def test_thumbs_and_why(page: Page, desk: Desk) -> None:
    chat = await ChatPage.alone(page, desk)
    await chat.say("How can I return something?")
    await expect(chat.said_by("agent")).to_have_count(1)
    await chat.button("This did not help").click()
    await chat.button("Wrong or out of date").click()
    await expect(chat.inside.locator(".judgement .thanks")).to_have_text("Thank you.")
    await page.reload()
    await expect(chat.button("This did not help")).to_have_attribute("aria-pressed", "true")
