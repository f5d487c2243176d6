"""The live desk over its socket, on two instances: what comes by itself, acts, permissions, and two people at once."""

import asyncio
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import httpx
import pytest

from tests.chat_client import PATIENCE, Chat, Socket, connect
from tests.conftest import ValkeyServer
from tests.desk import Desk, until_they_hear_each_other
from tests.desk_client import ALL, Office, Person, socket_url

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DELAY = 0.4  # seconds until the scripted answer
AT_ONCE = 20  # chats that are taken over at a time
SENTENCE = "Thank you for your message. This is a scripted answer."


@pytest.fixture(scope="module")
def two(valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Desk]]:
    """Two instances, whose agent takes a moment to answer."""
    folder = tmp_path_factory.mktemp("desks")
    shared = {
        "USE_SHARED_CONTEXT": "true",
        "REDIS_URL": f"redis://127.0.0.1:{valkey.port}/10",
        "CHAT_SESSION_RATE_LIMIT": "100000/min",
        "AGENT_RESPONDER": "agent_app.agent.scripted.ScriptedResponder",
        "AGENT_SCRIPTED_DELAY": str(DELAY),
        "KNOWLEDGE_EMBEDDER": "none",
    }
    first = Desk(folder, **shared)
    first.start("--prepare")
    second = Desk(folder, **shared, DATABASE_URL=first.environ["DATABASE_URL"])
    second.start()
    until_they_hear_each_other(first, second)
    yield first, second
    first.stop()
    second.stop()


@pytest.fixture(scope="module")
def office(two: tuple[Desk, Desk]) -> Iterator[Office]:
    made = Office(two[0])
    yield made
    made.close()


@pytest.fixture(scope="module")
def ana(office: Office) -> Person:
    return office.hire("ana")


@pytest.fixture(scope="module")
def ben(office: Office) -> Person:
    return office.hire("ben")


def thread_of(chat: Chat) -> str:
    return str(chat.opened["thread_id"])


async def card_of(socket: Socket, chat: Chat, **wanted: Any) -> dict[str, Any]:
    """A card of that conversation with those values, in an inbox frame that came already or is still to come."""
    frames = list(socket.seen)
    while True:
        for frame in frames:
            for card in frame.get("conversations", ()):
                if card["id"] == thread_of(chat) and all(card[name] == value for name, value in wanted.items()):
                    return dict(card)
        frames = [await socket.until("inbox")]


# ---- what comes by itself ----


async def test_a_new_waiting_chat_is_in_every_list_within_a_second(
    two: tuple[Desk, Desk], ana: Person, ben: Person
) -> None:
    """The median of several: who is not told looks every five, and a busy machine may hold up any one."""
    seconds = []
    async with ana.desk(two[0].url) as here, ben.desk(two[1].url, by_token=True) as there:
        for number in range(5):
            chat = await Chat.open(two[0].url, user_id=f"mara-{number}")
            asked = time.monotonic()
            await chat.http.post("/escalate/", json={"reason": "a person, please"})
            for socket in (here, there):
                card = await card_of(socket, chat, state="waiting")
                assert (card["name"], card["ticket"][:4], card["answers"]) == (f"mara-{number}", "ESC-", "AI")
            seconds.append(time.monotonic() - asked)
    assert median(seconds) < 1


async def test_messages_of_the_agents_chats_come_to_those_who_watch_them(two: tuple[Desk, Desk], ana: Person) -> None:
    chat = await Chat.open(two[1].url)
    async with ana.desk(two[0].url) as socket, chat.socket() as customer:
        await customer.send("send", client_id="1", text="first")
        await customer.until("turn", status="ended")
        await card_of(socket, chat)  # once, since it is new; of its messages only those are told who watch
        await socket.send("watch", states=["ai"])
        await socket.until("ack")
        socket.seen.clear()
        await customer.send("send", client_id="2", text="second")
        await customer.until("message", role="agent")
        await card_of(socket, chat, preview_role="agent")


async def test_the_whole_story_on_two_instances(two: tuple[Desk, Desk], ana: Person, ben: Person) -> None:
    chat = await Chat.open(two[1].url)
    thread = thread_of(chat)
    async with ana.desk(two[0].url) as desk, ben.desk(two[1].url) as colleague, chat.socket() as customer:
        await customer.until("welcome")
        await customer.send("send", client_id="1", text="hello?")
        await customer.until("message", role="agent")
        await customer.send("escalate", reason="a person")
        await customer.until("state", state="waiting")
        for socket in (desk, colleague):
            await socket.send("subscribe", conversation=thread)
            subscribed = await socket.until("subscribed")
            assert (subscribed["state"], subscribed["recovered"]) == ("waiting", True)
        assert [(await desk.until("message"))["seq"] for _ in range(3)] == [1, 2, 3]
        looking = subscribed["people"]
        while len(looking) < 2:
            looking = (await colleague.until("presence", conversation=thread))["people"]
        assert [each["name"] for each in looking] == ["Ana", "Ben"]
        await card_of(colleague, chat, looking=[{"id": ana.id, "name": "Ana"}, {"id": ben.id, "name": "Ben"}])

        await desk.send("takeover", conversation=thread)
        ack = await desk.until("ack")
        assert (ack["action"], ack["state"], ack["assignee"]) == ("takeover", "human", {"id": ana.id, "name": "Ana"})
        assert (await customer.until("state", state="human"))["who"] == "Ana"
        assert (await colleague.until("state"))["who"] == "Ana"
        await colleague.send("takeover", conversation=thread)
        refused = await colleague.until("error")
        assert (refused["code"], refused["who"]["name"], refused["conversation"]) == ("conflict", "Ana", thread)

        await customer.send("typing", on=True)
        assert (await desk.until("typing"))["role"] == "customer"
        await desk.send("typing", conversation=thread, on=True)
        assert (await customer.until("typing"))["role"] == "staff"
        doing = {}
        while doing.get("Ana") != "writing":
            doing = {each["name"]: each["doing"] for each in (await colleague.until("presence"))["people"]}
        assert doing == {"Ana": "writing", "Ben": "looking"}
        await desk.send("reply", conversation=thread, client_id="r1", text="Ana here")
        sent = await desk.until("ack", client_id="r1")
        await desk.send("reply", conversation=thread, client_id="r1", text="Ana here")
        assert (await desk.until("ack", client_id="r1")) == sent
        said = await customer.until("message", role="staff")
        assert (said["text"], said["author"], said["seq"]) == ("Ana here", "Ana", sent["seq"])

        await colleague.send("note", conversation=thread, client_id="n1", text="zebra")
        noted = await colleague.until("ack", client_id="n1")
        assert (await desk.until("note"))["id"] == noted["note"]

        await desk.send("assign", conversation=thread, assignee=ben.id)
        await desk.until("ack", action="assign")
        assert (await customer.until("state"))["who"] == "Ben"
        await desk.send("reply", conversation=thread, client_id="r2", text="still me?")
        assert (await desk.until("error", client_id="r2"))["who"]["name"] == "Ben"
        await colleague.send("release", conversation=thread)
        await customer.until("state", state="ai")
        await customer.send("send", client_id="2", text="and again?")
        assert (await customer.until("message", role="agent"))["text"] == SENTENCE
        await desk.until("delta", conversation=thread)
        await colleague.send("resolve", conversation=thread)
        assert await customer.close_code() == 4410
        await desk.until("state", state="closed")
        await desk.send("note", conversation=thread, client_id="n2", text="afterwards")
        await desk.until("note", client_id="n2")
        assert "zebra" not in str(customer.seen)
        await card_of(desk, chat, state="closed")


async def test_a_colleague_sees_at_once_what_was_forgotten(two: tuple[Desk, Desk], office: Office) -> None:
    """Also beside an earlier chat of the same customer, on another instance."""
    first, second = [await Chat.open(two[0].url, user_id="forgetful") for _ in range(2)]
    fact = office.run(
        "from django.utils import timezone\nfrom datetime import timedelta\n"
        "from agent_app.models import Conversation, Fact\n"
        "Conversation.objects.filter(user_id='forgetful').update(verified=True)\n"
        f"chat = Conversation.objects.get(session_id='{first.session_id}')\n"
        "said = Fact.objects.create(conversation=chat, user_id='forgetful', name='diet', value='vegan', message_seq=1,"
        " expires_at=timezone.now() + timedelta(days=1)).pk"
    )
    may = (*ALL, "agent_app.view_fact", "agent_app.delete_fact")
    flora, felix = office.hire("flora", may), office.hire("felix", may)
    async with felix.desk(two[1].url) as colleague, flora.rest(two[0].url) as rest:
        for chat in (first, second):
            await colleague.send("subscribe", conversation=thread_of(chat), last_seq=0, last_note=0)
            await colleague.until("subscribed", conversation=thread_of(chat))
        done = await rest.delete(f"/conversations/{thread_of(second)}/facts/{fact}/")
        assert done.status_code == 204
        missing = {thread_of(first), thread_of(second)}
        while missing:
            missing.discard((await colleague.until("details"))["conversation"])
        again = await rest.delete(f"/conversations/{thread_of(second)}/facts/{fact}/")
        assert again.status_code == 404


async def test_a_desk_that_comes_back_goes_on_where_it_was(two: tuple[Desk, Desk], ana: Person) -> None:
    chat = await Chat.open(two[0].url)
    thread = thread_of(chat)
    await chat.say("one")
    async with ana.desk(two[0].url) as socket:
        await socket.send("note", conversation=thread, client_id="n", text="first note")
        first = (await socket.until("ack", client_id="n"))["note"]
    await chat.say("two")
    async with ana.desk(two[1].url) as socket:
        await socket.send("note", conversation=thread, client_id="m", text="second note")
        await socket.until("ack", client_id="m")
        await socket.send("subscribe", conversation=thread, last_seq=2, last_note=first)
        assert (await socket.until("subscribed"))["last_seq"] == 4
        for seq in (3, 4):
            assert (await socket.until("message"))["seq"] == seq
        await socket.send("subscribe", conversation=thread, last_seq=99, last_note=first)
        again = await socket.until("subscribed")
        assert (again["recovered"], again["history"]) == (
            False,
            f"/api/v1/desk/conversations/{thread}/messages/?after=0",
        )
        await socket.send("unsubscribe", conversation=thread)
        await socket.until("ack", action="unsubscribe")
    assert {frame["text"] for frame in socket.seen if frame["type"] == "note"} == {"second note"}


async def test_being_away_is_told_everywhere(two: tuple[Desk, Desk], ana: Person, ben: Person) -> None:
    async with ana.desk(two[0].url) as here, ben.desk(two[1].url) as there:
        for online in (False, True):
            await here.send("presence", online=online)
            await here.until("ack", online=online)
            people = {}
            while people.get(ana.id) is not online:
                people = {each["id"]: each["online"] for each in (await there.until("staff"))["people"]}
            assert people[ben.id] is True


# ---- taking over without talking over ----


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.slow)])
async def test_after_a_takeover_no_word_of_the_agents(two: tuple[Desk, Desk], ana: Person, rounds: int) -> None:
    """The customer on one instance, in the middle of an answer; the person on the other, at moments all over it."""
    for _ in range(rounds):
        chats = [await Chat.open(two[1].url) for _ in range(AT_ONCE)]
        joined = await asyncio.gather(*(taken_over(two, ana, chat, n) for n, chat in enumerate(chats)))
        await no_turn_runs(two)
        for chat, seq in zip(chats, joined, strict=True):
            log = await chat.history()
            assert [entry for entry in log if entry["role"] == "agent" and entry["seq"] > seq] == []


async def taken_over(two: tuple[Desk, Desk], ana: Person, chat: Chat, number: int) -> int:
    """The seq of the line that says so; taken over at one of AT_ONCE moments of the answer, up to right at its end."""
    async with chat.socket() as customer, ana.desk(two[0].url) as socket:
        await customer.until("welcome")
        await customer.send("send", client_id="1", text="a question")
        await customer.until("turn", status="started")
        await asyncio.sleep(1.05 * DELAY * number / (AT_ONCE - 1))
        await socket.send("takeover", conversation=thread_of(chat))
        took = await socket.until("ack", conversation=thread_of(chat))
        await customer.send("send", client_id="2", text="more")
        await customer.until("ack", client_id="2")
        joined = heard(customer) or await customer.until("message", role="system")
        assert took["last_seq"] >= joined["seq"]
        return int(joined["seq"])


def heard(customer: Socket) -> dict[str, Any]:
    """The system's line, when it came before; else nothing."""
    return next((frame for frame in customer.seen if frame["type"] == "message" and frame["role"] == "system"), {})


async def no_turn_runs(desks: tuple[Desk, Desk]) -> None:
    """Until no instance has a turn under way that could still say a word."""
    async with httpx.AsyncClient(timeout=PATIENCE) as http, asyncio.timeout(PATIENCE):
        for desk in desks:
            while (await http.get(f"{desk.url}/readyz")).json()["parts"]["turns"]["running"]:  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.02)


async def test_two_at_once_on_two_instances_one_has_it(two: tuple[Desk, Desk], ana: Person, ben: Person) -> None:
    async with ana.desk(two[0].url) as first, ben.desk(two[1].url) as second:
        for _ in range(20):
            chat = await Chat.open(two[0].url)
            thread = thread_of(chat)
            await asyncio.gather(*(socket.send("takeover", conversation=thread) for socket in (first, second)))
            answers = await asyncio.gather(*(verdict(socket, thread) for socket in (first, second)))
            assert sorted(answer["type"] for answer in answers) == ["ack", "error"]
            (won,) = [answer["assignee"] for answer in answers if answer["type"] == "ack"]
            (lost,) = [answer for answer in answers if answer["type"] == "error"]
            assert (lost["code"], lost["who"]) == ("conflict", won)


async def verdict(socket: Socket, thread: str) -> dict[str, Any]:
    while True:
        frame = await socket.next()
        if frame["type"] in {"ack", "error"} and frame["conversation"] == thread:
            return frame


# ---- who may ----

FRAMES: dict[str, tuple[str | None, dict[str, Any]]] = {
    "subscribe": (None, {}),
    "unsubscribe": (None, {}),
    "typing": (None, {"on": True}),
    "presence": (None, {"online": True}),
    "watch": (None, {"states": []}),
    "takeover": ("takeover_conversation", {}),
    "release": ("release_conversation", {}),
    "reply": ("reply_conversation", {"client_id": "r", "text": "hello"}),
    "note": ("add_note", {"client_id": "n", "text": "psst"}),
    "resolve": ("resolve_conversation", {}),
    "assign": ("assign_conversation", {"assignee": None}),
    "canned": ("view_cannedreply", {}),
}


async def answer_to(socket: Socket, frame: str, chat: Chat) -> str:
    await socket.send(frame, conversation=thread_of(chat), **FRAMES[frame][1])
    if frame == "typing":  # answered by nothing when it is allowed: what comes next tells
        await socket.send("ping")
    while True:
        came = await socket.next()
        if came["type"] == "error":
            return str(came["code"])
        if came["type"] in {"ack", "subscribed", "canned", "pong"}:
            return "done"


@pytest.mark.parametrize("frame", FRAMES)
async def test_exactly_the_permitted_pass_each_frame(two: tuple[Desk, Desk], office: Office, frame: str) -> None:
    needed = FRAMES[frame][0]
    view = "agent_app.view_conversation"
    without = office.hire(f"without-{frame}", [each for each in ALL if each != f"agent_app.{needed}"])
    holder = office.hire(f"with-{frame}", [view, *([f"agent_app.{needed}"] if needed else [])])
    root = office.hire(f"root-{frame}", [], is_superuser=True)
    for person, by_token, wanted in (
        (without, False, "forbidden" if needed else "done"),
        (without, True, "forbidden" if needed else "done"),
        (holder, False, "done"),
        (holder, True, "done"),
        (root, False, "done"),
    ):
        chat = await Chat.open(two[0].url)
        if frame == "reply":
            code = "from agent_app.models import Conversation\n"
            code += f"Conversation.objects.filter(thread_id='{thread_of(chat)}')"
            office.run(f"{code}.update(state='human', assignee={person.id})")
        async with person.desk(two[0].url, by_token) as socket:
            assert await answer_to(socket, frame, chat) == wanted, (person.name, by_token)


async def test_who_may_not_see_conversations_is_not_let_in(two: tuple[Desk, Desk], office: Office, ana: Person) -> None:
    chat = await Chat.open(two[0].url)
    nobody = Person("stranger", 0, "no-such-session", chat.token)
    visitor = office.hire("visitor", ALL, is_staff=False)
    blind = office.hire("blind", [each for each in ALL if not each.endswith("view_conversation")])
    for person, by_token, code in (
        (nobody, False, 4401),
        (nobody, True, 4401),
        (visitor, False, 4401),
        (visitor, True, 4401),
        (blind, False, 4403),
        (blind, True, 4403),
    ):
        async with person.knock(two[0].url, by_token) as socket:
            assert await socket.close_code() == code, (person.name, by_token)
            assert [frame["type"] for frame in socket.seen] == ["error"]
    async with ana.knock(two[0].url, Origin="https://shop.example.com") as socket:
        assert await socket.close_code() == 4403
    async with ana.knock(two[0].url, Origin=two[0].url) as socket:
        await socket.until("welcome")


@pytest.mark.parametrize("how", ["revoke", "log out", "fire"])
@pytest.mark.parametrize("acts", [False, True], ids=["listens", "acts"])
async def test_what_is_taken_away_is_gone_from_an_open_desk(
    two: tuple[Desk, Desk], office: Office, how: str, acts: bool
) -> None:
    cass = office.hire(f"cass-{how.replace(' ', '-')}-{acts}")
    chat = await Chat.open(two[0].url)
    async with cass.desk(two[0].url) as socket:
        office.ask(how, name=cass.name, session=cass.session, permission="agent_app.view_conversation")
        if acts:
            await socket.send("takeover", conversation=thread_of(chat))
        assert await socket.close_code() == (4403 if how == "revoke" else 4401)
    assert (await chat.http.get("/")).json()["state"] == "ai"


async def test_a_permission_is_asked_for_at_each_act(two: tuple[Desk, Desk], office: Office) -> None:
    dora = office.hire("dora")
    async with dora.desk(two[0].url) as socket:
        for may in (True, False, True):
            chat = await Chat.open(two[0].url)
            office.ask("grant" if may else "revoke", name="dora", permission="agent_app.takeover_conversation")
            assert await answer_to(socket, "takeover", chat) == ("done" if may else "forbidden")


# ---- limits ----


async def test_bad_frames_are_told_and_the_socket_stays(two: tuple[Desk, Desk], ana: Person) -> None:
    async with ana.desk(two[0].url) as socket:
        for frame, code, field in (
            ({"type": "dance"}, "unknown_type", "type"),
            ({"type": "takeover"}, "invalid", "conversation"),
            ({"type": "takeover", "conversation": "nowhere"}, "not_found", None),
            ({"type": "subscribe", "conversation": "x", "last_seq": -1}, "invalid", "last_seq"),
            ({"type": "subscribe", "conversation": "x" * 33}, "invalid", "conversation"),
            ({"type": "assign", "conversation": "x"}, "invalid", "assignee"),
            ({"type": "reply", "conversation": "x", "text": "hi"}, "invalid", "client_id"),
            ({"type": "watch", "states": ["lost"]}, "invalid", "states"),
            ({"type": "presence", "online": "yes"}, "invalid", "online"),
            ({"type": "canned", "q": 7}, "invalid", "q"),
        ):
            await socket.send(**{"type_": frame.pop("type"), **frame})
            error = await socket.until("error")
            assert (error["code"], error.get("field")) == (code, field), error
        await socket.connection.send("not json")
        assert (await socket.until("error"))["code"] == "bad_json"
        await socket.connection.send("x" * 70_000)
        assert await socket.close_code() == 4413


async def test_another_first_frame_ends_the_socket(two: tuple[Desk, Desk]) -> None:
    async with connect(socket_url(two[0].url)) as connection:
        socket = Socket(connection)
        await socket.send("takeover", conversation="x")
        assert await socket.close_code() == 4400


async def test_ten_conversations_at_once_and_no_more(two: tuple[Desk, Desk], ana: Person) -> None:
    async with ana.desk(two[0].url) as socket:
        chats = [await Chat.open(two[0].url) for _ in range(11)]
        for chat in chats[:10]:
            await socket.send("subscribe", conversation=thread_of(chat))
            await socket.until("subscribed")
        await socket.send("subscribe", conversation=thread_of(chats[10]))
        assert (await socket.until("error"))["code"] == "rate_limited"
