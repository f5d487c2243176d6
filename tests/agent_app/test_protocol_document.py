"""`docs/protocol.md` against a running desk: every documented frame is sent or seen, with the documented fields."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agent_app import sockets
from agent_app.consumers import HANDLERS
from agent_app.models import Attachment
from agent_app.models.conversations import Entry
from agent_app.models.refusal import STATUS
from agent_app.serializers import AttachmentSerializer, MessageSerializer
from tests.chat_client import Chat
from tests.desk import Desk
from tests.held import held

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text()


def examples(who: str) -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(rf"```json{who}\n(.*?)\n```", DOCUMENT, re.DOTALL)]


@pytest.mark.unit
def test_every_frame_that_the_server_takes_is_documented() -> None:
    assert {frame["type"] for frame in examples(" client")} == {"hello", *HANDLERS}


@pytest.mark.unit
def test_every_error_code_is_documented_with_its_status() -> None:
    for code, status in STATUS.items():
        assert re.search(rf"`{code}`[^|]*\| {int(status)} ", DOCUMENT), code


@pytest.mark.unit
def test_every_close_code_is_documented() -> None:
    ours = (
        sockets.BAD_HELLO,
        sockets.BAD_TOKEN,
        sockets.BAD_ORIGIN,
        sockets.NO_HELLO,
        sockets.CHAT_ENDED,
        sockets.TOO_LARGE,
        sockets.TOO_FAST,
        sockets.TOO_SLOW,
    )
    of_the_server = (1009, 1012)
    for code in (*ours, *of_the_server):
        assert re.search(rf"^\| ([\d, ]+, )?{code}\b", DOCUMENT, re.MULTILINE), code


@pytest.mark.unit
def test_the_message_object_is_the_one_that_goes_out() -> None:
    message, _ = examples("")
    assert set(message) == set(MessageSerializer().fields)
    from django.utils import timezone

    entry = Entry(2, "a", "agent", "b", timezone.now(), "c", 1, "d", [], [], [{}], {"a": 1}, True, "1-0")
    assert set(message) == set(entry.to_wire())


@pytest.mark.unit
def test_the_attachment_object_is_the_one_that_goes_out() -> None:
    (attachment,) = examples(" attachment")
    assert list(attachment) == list(AttachmentSerializer().fields) == list(Attachment(name="a", size=1).to_wire("s"))


@pytest.mark.integration
async def test_a_tour_sees_every_documented_frame_with_its_fields(scripted_desk: Desk) -> None:
    chat = await Chat.open(scripted_desk.url)
    async with chat.socket() as other, chat.socket() as socket:
        await socket.until("welcome")
        await socket.send("ping")
        await socket.send("dance")
        await other.until("welcome")
        with held(scripted_desk.environ, chat.session_id):
            await socket.send("send", client_id="c-1", text="Hello")
            turn = (await socket.until("turn", status="started"))["turn"]
            await other.send("typing", on=True)
            await socket.until("typing")
            await socket.send("stop", turn=turn)
            await socket.until("ack", turn=turn)
        await socket.until("message", role="agent")
        await socket.send("send", client_id="c-2", text="Hello again")
        await socket.until("delta")
        await socket.until("message", role="agent")
        await socket.send("escalate", reason="a person, please")
        while not any("ticket" in frame for frame in socket.seen):
            await socket.next()
        if not any(frame["type"] == "state" for frame in socket.seen):
            await socket.until("state")
        seen = [frozenset(frame) for frame in socket.seen]
        kinds = {frame["type"] for frame in socket.seen}
    for frame in examples(" server"):
        if frame["type"] == "reconnect":
            continue  # only a desk that stops sends it: tests/supportdesk/test_serve.py
        assert frozenset(frame) in seen, frame
    assert kinds <= {frame["type"] for frame in examples(" server")}
