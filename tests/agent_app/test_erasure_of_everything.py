"""The reviewer's own erasure: a customer's words through every door of a running desk, staff at work on them in every
room, then the erasure, then a search of every table, key, file and log.

Each door has a word of its own, so that what is found says where it came in.
"""

import io
import sqlite3
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import psycopg
import pytest
import redis

from tests.chat_client import Chat
from tests.conftest import ValkeyServer
from tests.desk import Desk
from tests.desk_client import Office, Person
from tests.traces import left_of, whole_folder, whole_store

pytestmark = [pytest.mark.integration, pytest.mark.slow]

KEY = "the key that this site signs its customers' identities with"
MARK = "zwq"  # begins each of the words
USER = "zwquser@example.com"
ADMIN = "/admin/agent_app"

# What no door of a test's agent would write by itself, but a model or a customer's confirmation.
BY_THE_AGENT = """
from datetime import timedelta
from django.utils import timezone
from agent_app.models import *
chat = Conversation.objects.get(session_id="{session}")
now = timezone.now()
facts = [Fact.objects.create(conversation=chat, user_id="{user}", name=f"zwqfact{{n}}", value="zwqvalue", message_seq=1,
         expires_at=now + timedelta(days=9)).pk for n in range(3)]
ConversationSummary.keep(chat.pk, 2, "zwqsummary")
ConversationUse.objects.create(conversation=chat, turns=1)
Confirmation.objects.create(public_id="zwqconfirmation", conversation=chat, tool="change_address", created_at=now,
    arguments={{"address": "zwqaddress"}}, summary="zwqsentence", expires_at=now, changed_at=now)
DemoWrite.objects.create(key="zwqconfirmation", request="POST zwqbody", status=200, answer={{}})
said = facts
"""
TELL = "from agent_app.models import *\nsaid = {}"
RETENTION = """
from datetime import timedelta
from io import StringIO
from django.core.management import call_command
from django.utils import timezone
from agent_app.models import Conversation
long_ago = timezone.now() - timedelta(days=4000)
Conversation.objects.filter(session_id="{session}").update(closed_at=long_ago, updated_at=long_ago)
call_command("cleanup", verbosity=0, stdout=StringIO())
said = Conversation.objects.filter(session_id="{session}").exists()
"""


@pytest.fixture
def place(valkey: ValkeyServer, tmp_path: Path) -> Iterator[Desk]:
    shared = {"USE_SHARED_CONTEXT": "true", "REDIS_URL": f"redis://127.0.0.1:{valkey.port}/21"}
    made = Desk(tmp_path, IDENTITY_SECRET=KEY, CONVERSATION_RETENTION_DAYS="3000", CHAT_RATE_LIMIT="1000/min", **shared)
    made.start("--prepare")
    yield made
    made.stop()


class Room:
    """A member of staff who may do everything, in the admin and over REST."""

    def __init__(self, desk: Desk, person: Person) -> None:
        self.pages = httpx.Client(
            base_url=desk.url, cookies={"sessionid": person.session}, timeout=60, follow_redirects=True
        )
        self.rest = httpx.Client(
            base_url=f"{desk.url}/api/v1", headers={"Authorization": f"Bearer {person.token}"}, timeout=60
        )
        self.see("/admin/")

    def see(self, path: str, **query: Any) -> str:
        answer = self.pages.get(path, params=query or None)
        assert answer.status_code == 200, (path, answer.status_code)
        return answer.text

    def send(self, path: str, **form: Any) -> httpx.Response:
        token = self.pages.cookies["csrftoken"]
        answer = self.pages.post(path, data={"csrfmiddlewaretoken": token, **form})
        assert answer.status_code == 200, (path, answer.status_code)
        return answer

    def do(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self.rest.request(method, path, json=body)
        assert answer.status_code < 300, (path, answer.text)
        return answer


async def chat_of_the_customer(desk: Desk, **metadata: str) -> Chat:
    claims = {"sub": USER, "email": "zwqmail@example.com", "name": "zwqname", "exp": time.time() + 600}
    return await Chat.open(desk.url, identity=jwt.encode(claims, KEY, "HS256"), metadata=metadata)


async def upload(chat: Chat, name: str, contents: str) -> str:
    answer = await chat.http.post("/attachments/", files={"file": (name, contents.encode(), "text/plain")})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def customer_writes(chat: Chat) -> None:
    """Each door that takes a customer's words."""
    first = (await chat.say("Hello, I am zwqfirst", client_id="zwqclient"))["reply"]
    await chat.http.post("/feedback/", json={"seq": first["seq"], "helpful": False, "comment": "zwqcomment"})
    await upload(chat, "zwqunsent.txt", "zwqunsent contents")
    kept = await upload(chat, "zwqname.txt", "A jacket zwqcontents is washed cold. " * 3)
    sent = await chat.http.post("/messages/", json={"text": "See zwqattached", "attachments": [kept]})
    assert sent.status_code == 200, sent.text
    for number in range(4):
        await chat.say(f"Do you rent zwqasked{number} submarines with a zwqasked{number} sonar?")
    async with chat.socket(last_seq=len(await chat.history())) as socket:
        await socket.send("send", client_id="zwqsocket", text="Over the wire: zwqwire")
        await socket.until("message", role="agent")
        await socket.send("escalate", reason="zwqreason")
        await socket.until("ack")
    await chat.say("You reach me at zwqwritten@example.com")
    await chat.http.post("/feedback/", json={"rating": 1, "comment": "zwqrating"})


def staff_work(room: Room, office: Office, chat: Chat) -> None:
    thread, session = chat.opened["thread_id"], chat.session_id
    pk = office.run(TELL.format(f"Conversation.objects.get(session_id='{session}').pk"))
    facts = office.run(BY_THE_AGENT.format(session=session, user=USER))
    # The desk.
    here = f"/desk/conversations/{thread}"
    room.do("POST", f"{here}/takeover/")
    room.do("POST", f"{here}/reply/", {"text": "You said zwqreply", "client_id": "r"})
    room.do("POST", f"{here}/note/", {"text": "They said zwqnote", "client_id": "zwqnoteid"})
    room.do("DELETE", f"{here}/facts/{facts[0]}/")
    room.do("POST", f"{here}/assign/", {"assignee": "me"})
    room.do("POST", f"{here}/release/")
    assert USER in room.do("GET", "/desk/conversations/?q=zwq").text
    assert "zwqfirst" in room.see(f"/desk/{thread}/")
    # Live sessions.
    room.do("PATCH", f"/sessions/{session}/", {"metadata": {"order": "zwqpatched"}})
    room.do("POST", f"/sessions/{session}/extend/", {"seconds": 60})
    room.send(f"/admin/sessions_app/session/{session}/extend/", confirmed="yes", minutes="5")
    assert USER in room.see("/admin/sessions_app/session/expire-user/", session=session)
    # The admin.
    assert "zwqfirst" in room.see(f"{ADMIN}/conversation/{pk}/change/")
    for name in ("conversation", "fact", "feedback", "unansweredquestion", "ticket", "mail", "auditentry"):
        room.see(f"{ADMIN}/{name}/", q="zwq")
        room.see(f"{ADMIN}/{name}/")
    room.see(f"{ADMIN}/conversation/{pk}/export/")
    room.send(f"{ADMIN}/fact/{facts[1]}/delete/", post="yes")
    assert b"zwqfirst" in exported(room)
    room.send(f"{ADMIN}/erasure/erase/", user_id=USER)  # only looks what there is


def staff_learn(room: Room, office: Office) -> None:
    """All the buttons of the learning page, and what becomes of drafts."""
    assert "zwqasked3" in room.see(f"{ADMIN}/unansweredquestion/groups/")
    keys = office.run(
        TELL.format("[f'u{q.pk}' for q in UnansweredQuestion.objects.order_by('pk') if 'zwqasked' in q.text]")
    )
    assert len(keys) == 4, "the agent has answered one of them"
    learning = f"{ADMIN}/unansweredquestion"
    room.see(f"{ADMIN}/article/try/", question=keys[0][1:])
    room.send(f"{ADMIN}/article/try/", q="Do you rent zwqtried?")
    room.send(f"{learning}/teach/", article="returns", key=keys[0])
    room.send(f"{learning}/teach/", article="returns", key=keys[0], confirmed="yes")
    for key, fate in ((keys[1], "deleted"), (keys[2], "published")):
        draft = str(room.send(f"{learning}/draft/", key=key).url).rstrip("/").split("/")[-2]
        change = f"{ADMIN}/article/{draft}/change/"
        question = office.run(TELL.format(f"ExampleQuestion.objects.get(article={draft}).pk"))
        form = {"body": "We rent no submarines.", "language": "en", "questions-TOTAL_FORMS": "1"}
        form |= {"questions-INITIAL_FORMS": "1", "questions-0-id": question, "questions-0-article": draft}
        form |= {"questions-0-text": "Who rents zwqasked vessels, please?"}
        room.send(change, title=f"Vessels {fate}", slug=f"vessels-{fate}", **form)
        if fate == "deleted":
            room.send(f"{ADMIN}/article/{draft}/delete/", post="yes")
        else:
            room.send(change, title="Vessels", slug=f"vessels-{fate}", published="on", **form)
            assert "zwqasked vessels" in room.do("GET", f"/knowledge/articles/vessels-{fate}/").text
    room.send(f"{learning}/drop/", key=keys[3])


async def test_nothing_is_found_of_a_customer_who_went_through_every_door(
    place: Desk, valkey: ValkeyServer, tmp_path: Path
) -> None:
    office = Office(place)
    room = Room(place, office.hire("rita", (), is_superuser=True, is_staff=True))
    chats = [await chat_of_the_customer(place, order=f"zwqmetadata{number}") for number in range(3)]
    asked_long_ago, chat, ended = chats
    await asked_long_ago.say("Do you rent zwqretired balloons with a zwqretired basket?")
    await asked_long_ago.http.delete("/")
    old = office.run(TELL.format("UnansweredQuestion.objects.get(text__contains='zwqretired').pk"))
    room.send(f"{ADMIN}/unansweredquestion/teach/", article="returns", key=f"u{old}", confirmed="yes")
    assert office.run(RETENTION.format(session=asked_long_ago.session_id)) is False
    await ended.say("I am zwqended")
    await ended.http.delete("/")
    await customer_writes(chat)
    staff_work(room, office, chat)
    staff_learn(room, office)
    names = (MARK, *(each.session_id for each in chats), *(each.opened["thread_id"] for each in chats))
    words = (MARK, *(each.opened["thread_id"] for each in chats))  # a log names chats by their session alone
    store = redis.Redis.from_url(f"redis://127.0.0.1:{valkey.port}/21", decode_responses=True)
    assert left_of(names, whole_store(store))
    assert left_of(names, tables_of(place))

    receipt = room.do("POST", "/customers/erase/", {"user_id": USER}).json()

    assert receipt["state"] == "erased"
    checked = room.do("GET", f"/customers/erasures/{receipt['receipt']}/").json()
    assert checked["sound"], checked
    assert left_of(names, tables_of(place)) == []
    assert left_of(names, whole_store(store)) == []
    assert left_of(names, whole_folder(tmp_path / "media")) == []
    assert left_of(words, place.log.read_text()) == []
    for path in ("/admin/", f"{ADMIN}/article/", f"{ADMIN}/unansweredquestion/groups/", "/desk/"):
        assert left_of(names, room.see(path)) == []
    room.send(f"{ADMIN}/article/try/", q="Who rents vessels?")
    office.close()
    place.stop()
    files = "\n".join(line for line in whole_folder(tmp_path).splitlines() if place.log.name not in line)
    assert [line[:120] for line in left_of(names, files)] == []


def exported(room: Room) -> bytes:
    """What is in the ZIP, one file behind the other."""
    archive = zipfile.ZipFile(io.BytesIO(room.do("POST", "/customers/export/", {"user_id": USER}).content))
    return b"".join(archive.read(name) for name in archive.namelist())


def tables_of(desk: Desk) -> str:
    """Every row of every table, in words."""
    address = desk.environ["DATABASE_URL"]
    if address.startswith("sqlite:///"):
        with sqlite3.connect(address.removeprefix("sqlite:///"), timeout=30) as database:
            return "\n".join(database.iterdump())
    with psycopg.connect(address) as database:
        names = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return "\n".join(f"{name}: {row!r}" for (name,) in names for row in database.execute(f'SELECT * FROM "{name}"'))
