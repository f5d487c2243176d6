"""Private notes reach a customer by no door, whatever happened in the chat before, between and after them."""

import asyncio
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_app import chat, reaching
from agent_app import staff as desk
from agent_app.consumers import ChatConsumer
from agent_app.export import export
from agent_app.journal import journal
from agent_app.models import Conversation, Mail, Note, Ticket
from agent_app.models.refusal import Refused
from agent_app.urls import chat_urlpatterns
from agent_app.views import standing_events
from tests.staff import use_memory

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

SECRET = "zebra-among-horses"
ACTS = (
    "note",
    "note",
    "takeover",
    "reply",
    "release",
    "assign",
    "resolve",
    "customer writes",
    "escalate",
    "nobody came",
)


@pytest.fixture(autouse=True)
def store(settings: Any) -> Iterator[None]:
    use_memory(settings)
    settings.ESCALATION_TIMEOUT = 10
    yield
    journal.close()


async def do(act: str, conversation: Conversation, ana: User, number: int) -> None:
    thread = conversation.thread_id
    match act:
        case "note":
            await desk.note(ana, thread, f"{SECRET} {number}", f"n{number}")
        case "takeover":
            await desk.take_over(ana, thread)
        case "reply":
            await desk.reply(ana, thread, f"reply {number}", f"r{number}")
        case "release":
            await desk.release(ana, thread)
        case "assign":
            await desk.assign(ana, thread, "me")
        case "resolve":
            await desk.resolve(ana, thread)
        case "customer writes":
            await chat.send_message(conversation, f"message {number}", f"m{number}")
        case "escalate":
            await chat.ask_for_person(conversation, "a person")
        case "nobody came":
            past = timezone.now() - timedelta(seconds=11)
            waiting = Conversation.objects.filter(pk=conversation.pk, waiting_since__isnull=False)
            await journal.read(waiting.update, waiting_since=past)
            await reaching.say_nobody_came()


async def live_doors(conversation: Conversation, token: str, acts: list[str], ana: User) -> list[Any]:
    """What a socket and an event stream show while all of it happens."""
    scope = {"type": "websocket", "path": "/ws/chat/", "headers": []}
    socket = ApplicationCommunicator(ChatConsumer.as_asgi(), scope)
    await socket.send_input({"type": "websocket.connect"})
    hello = json.dumps({"type": "hello", "token": token, "last_seq": 0})
    await socket.send_input({"type": "websocket.receive", "text": hello})
    assert (await socket.receive_output())["type"] == "websocket.accept"
    shown: list[Any] = []
    for number, act in enumerate(acts):
        with suppress(Refused):  # an act that does not fit the state
            await do(act, conversation, ana, number)
    last = (await chat.refresh(conversation)).last_seq
    seen = 0
    while seen < last:
        shown.append(json.loads((await socket.receive_output(timeout=60))["text"]))
        seen = max(seen, shown[-1].get("seq", 0))
    await socket.send_input({"type": "websocket.disconnect", "code": 1000})
    await socket.wait()
    async with aclosing(standing_events(conversation, 0)) as stream:
        seen = 0
        while seen < last:
            shown.append(await asyncio.wait_for(anext(stream), 60))
            seen = max(seen, shown[-1].get("seq", 0))
    return shown


def rest_doors(conversation: Conversation, token: str) -> str:
    """Every address under chat/ that answers a GET and ends."""
    client = Client(headers={"Authorization": f"Bearer {token}"})
    said = ""
    for pattern in chat_urlpatterns:
        names = pattern.pattern.converters
        values = {name: conversation.session_id if name == "session_id" else 1 for name in names}
        for query in ("", "?format=json", "?format=text"):
            if pattern.name == "chat-events":
                continue  # it never ends: `live_doors` reads it
            answer = client.get(reverse(str(pattern.name), kwargs=values) + query)
            said += "" if answer.streaming else answer.content.decode()
    return said


def files_and_letters(conversation: Conversation) -> str:
    file = io.BytesIO()
    export("c-104", file, "ana")
    with zipfile.ZipFile(file) as archive:
        said = "".join(archive.read(name).decode() for name in archive.namelist())
    for letter in Mail.objects.filter(conversation=conversation):
        message = reaching.written(letter)
        said += message.message().as_string() if message is not None else ""
    return said


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(st.sampled_from(ACTS), min_size=3, max_size=9))
def test_no_customers_door_shows_a_note(acts: list[str]) -> None:
    Ticket.objects.all().delete()  # numbered from `random`, which hypothesis begins anew with each example
    ana, _ = User.objects.get_or_create(username="ana", is_staff=True, is_superuser=True)
    conversation, token = async_to_sync(chat.open_chat)("c-104", True, {}, "mara@example.com")
    shown = async_to_sync(live_doors)(conversation, token, ["note", *acts, "note"], ana)
    assert Note.objects.filter(conversation=conversation, text__contains=SECRET).count() >= 2
    everything = json.dumps(shown) + rest_doors(conversation, token) + files_and_letters(conversation)
    assert conversation.session_id in everything
    assert SECRET not in everything
