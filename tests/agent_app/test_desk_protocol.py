"""The staff's part of `docs/protocol.md` against a running desk: every documented frame and object, with its fields."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from agent_app.desk import serializers as shapes
from agent_app.desk.socket import HANDLERS
from tests.agent_app.test_protocol_document import DOCUMENT, examples
from tests.chat_client import Chat, Socket
from tests.desk import Desk
from tests.desk_client import ALL, Office

OBJECTS = {
    "card": shapes.CardSerializer,
    "standing": shapes.StandingSerializer,
    "note": shapes.NoteSerializer,
    "packet": shapes.PacketSerializer,
    "details": shapes.DetailsSerializer,
}


REMEMBER = """
from datetime import timedelta
from django.utils import timezone
from agent_app.models import Conversation, Fact
chat, soon = Conversation.objects.get(session_id="{session}"), timezone.now() + timedelta(days=1)
said = Fact.objects.create(conversation=chat, name="size", value="39", message_seq=1, expires_at=soon).pk
"""


def documented(name: str) -> dict[str, Any]:
    (block,) = re.findall(rf"```json desk object {name}\n(.*?)\n```", DOCUMENT, re.DOTALL)
    return dict(json.loads(block))


@pytest.mark.unit
def test_every_frame_that_the_desk_takes_is_documented() -> None:
    assert {frame["type"] for frame in examples(" staff")} == {"hello", *HANDLERS}


@pytest.mark.unit
@pytest.mark.parametrize("name", OBJECTS)
def test_the_schema_has_the_documented_object(name: str) -> None:
    assert set(documented(name)) == set(OBJECTS[name]().fields)


@pytest.fixture(scope="module")
def office(scripted_desk: Desk) -> Iterator[Office]:
    made = Office(scripted_desk)
    yield made
    made.close()


async def both(socket: Socket, *types: str) -> None:
    """The next frames of these types, in whatever order they come."""
    missing = set(types)
    while missing:
        missing.discard((await socket.next())["type"])


@pytest.mark.integration
async def test_a_tour_sees_every_documented_frame_and_object(scripted_desk: Desk, office: Office) -> None:
    may = (*ALL, "agent_app.view_auditentry", "agent_app.delete_fact", "sessions_app.view_session")
    code = (
        "from agent_app.models import CannedReply\nCannedReply.objects.create(title='Returns', shortcut='r', text='x')"
    )
    office.run(code)
    ana, ben = office.hire("tour-ana", may), office.hire("tour-ben", [each for each in ALL if "reply_conv" not in each])
    chat = await Chat.open(scripted_desk.url, user_id="c-104")
    thread = chat.opened["thread_id"]
    async with ana.desk(scripted_desk.url) as socket, ben.desk(scripted_desk.url) as other, chat.socket() as customer:
        await socket.send("subscribe", conversation=thread, last_seq=0, last_note=0)
        await socket.until("subscribed")
        await socket.send("watch", states=["waiting", "human", "ai"])
        await socket.until("ack")
        await customer.send("send", client_id="c-1", text="How do I return a jacket?")
        await socket.until("message", role="agent")
        await customer.send("escalate", reason="a person, please")
        await socket.until("state", state="waiting")
        await customer.send("typing", on=True)
        await socket.until("typing")
        await socket.send("note", conversation=thread, client_id="n-1", text="psst")
        await both(socket, "ack", "note")
        async with ana.rest(scripted_desk.url) as rest:
            told = (await rest.get(f"/conversations/{thread}/")).json()
            await socket.send("takeover", conversation=thread)
            await both(socket, "ack", "state")
            again = (await rest.post(f"/conversations/{thread}/takeover/")).json()
        async with ben.rest(scripted_desk.url) as rest:
            conflict = (await rest.post(f"/conversations/{thread}/takeover/")).json()
        await other.send("takeover", conversation=thread)
        await other.until("error", code="conflict")
        await other.send("reply", conversation=thread, client_id="r-1", text="May I?")
        await other.until("error", code="forbidden")
        await socket.send("reply", conversation=thread, client_id="r-1", text="Hello, I am Ana. Let me look.")
        await socket.until("ack", client_id="r-1")
        fact = office.run(REMEMBER.format(session=chat.session_id))
        async with ana.rest(scripted_desk.url) as rest:
            await rest.delete(f"/conversations/{thread}/facts/{fact}/")
        await socket.until("details")
        await socket.send("typing", conversation=thread, on=True)
        await socket.until("presence")
        await socket.send("presence", online=False)
        await both(socket, "ack", "staff")
        await socket.send("canned", q="ret")
        await socket.until("canned")
        await socket.send("unsubscribe", conversation=thread)
        await socket.until("ack", action="unsubscribe")
        await socket.send("ping")
        await socket.until("pong")
    frames = [*socket.seen, *other.seen]
    seen = {frozenset(frame) for frame in frames}
    for frame in examples(" desk"):
        if frame["type"] == "reconnect":
            continue  # only a desk that stops sends it
        assert frozenset(frame) in seen, frame
    assert {frame["type"] for frame in frames} <= {frame["type"] for frame in examples(" desk")}

    assert set(documented("card")) == set(told) - {"messages", "notes", "packet", "details"}
    assert set(documented("note")) == set(told["notes"][0])
    assert set(documented("packet")) == set(told["packet"])
    assert set(documented("standing")) == set(again)
    assert set(documented("conflict")) == set(conflict)
    assert documented("conflict")["message"] == conflict["message"].replace(conflict["who"]["name"], "Ana")
    details = documented("details")
    assert set(details) == set(told["details"])
    for part in ("customer", "session"):
        assert set(details[part]) == set(told["details"][part]), part
    assert set(details["audit"][0]) == set(told["details"]["audit"][0])
    assert set(documented("packet")["facts"][0]) == set(told["packet"]["facts"][0])
