"""The staff's REST doors to conversations: acts, their permissions, what they show, and what they never show."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client

from agent_app import chat
from agent_app.doorbell import Ring, doorbell
from agent_app.journal import journal
from agent_app.models import ApiToken, AuditEntry, CannedReply, Conversation, Fact, Note
from agent_app.models.conversations import hash_token
from tests.desk_client import ALL
from tests.staff import logged_in, staff, use_memory

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.slow]

DESK = "/api/v1/desk/"
DOORS = {
    ("GET", ""): "view_conversation",
    ("GET", "{id}/"): "view_conversation",
    ("GET", "{id}/messages/"): "view_conversation",
    ("POST", "{id}/takeover/"): "takeover_conversation",
    ("POST", "{id}/release/"): "release_conversation",
    ("POST", "{id}/reply/"): "reply_conversation",
    ("POST", "{id}/note/"): "add_note",
    ("POST", "{id}/resolve/"): "resolve_conversation",
    ("POST", "{id}/assign/"): "assign_conversation",
    ("GET", "../canned/"): "view_cannedreply",
    ("GET", "../staff/"): "view_conversation",
}
BODIES = {"{id}/reply/": {"text": "Hello"}, "{id}/note/": {"text": "Psst"}, "{id}/assign/": {"assignee": "me"}}


@pytest.fixture(autouse=True)
def store(settings: Any) -> Iterator[None]:
    use_memory(settings)
    yield
    journal.close()


def new_chat(**about: Any) -> tuple[Conversation, str]:
    given = {"user_id": None, "verified": False, "metadata": {}, **about}
    return async_to_sync(chat.open_chat)(**given)


def address(conversation: Conversation, act: str = "") -> str:
    return f"{DESK}conversations/{conversation.thread_id}/{act + '/' if act else ''}"


def post(client: Client, conversation: Conversation, act: str, **body: Any) -> Any:
    return client.post(address(conversation, act), body, "application/json")


def said(client: Client, conversation: Conversation) -> list[tuple[str, str]]:
    return [(each["role"], each["text"]) for each in client.get(address(conversation)).json()["messages"]]


def escalated(**about: Any) -> tuple[Conversation, str]:
    conversation, token = new_chat(**about)
    async_to_sync(chat.ask)(conversation, "How do I return a jacket?", "c1", 10)
    async_to_sync(chat.ask_for_person)(conversation, "please, a person")
    return conversation, token


# ---- who may ----


def bearer(secret: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {secret}"}, enforce_csrf_checks=True)


def token_of(user: User, *scopes: str) -> str:
    token = ApiToken(name="program")
    secret = token.seal(user)
    token.save()
    token.scopes.set(Permission.objects.filter(codename__in=scopes))
    return secret


def knock(client: Client, door: tuple[str, str], conversation: Conversation) -> Any:
    method, path = door
    url = f"{DESK}conversations/{path.format(id=conversation.thread_id)}".replace("conversations/../", "")
    if method == "GET":
        return client.get(url)
    return client.post(url, BODIES.get(path, {}), "application/json")


@pytest.mark.parametrize("door", DOORS, ids=" ".join)
def test_exactly_the_permitted_pass_each_door(door: tuple[str, str]) -> None:
    needed = DOORS[door]
    conversation, customer_token = new_chat()
    others = {Permission.objects.get(codename=name.split(".")[1]) for name in ALL} - {
        Permission.objects.get(codename=needed)
    }
    without = staff(username="without")
    without.user_permissions.set(others)
    holder = staff(f"agent_app.{needed}", username="with")
    no_staff = staff(f"agent_app.{needed}", username="no staff", is_staff=False)
    inactive = staff(f"agent_app.{needed}", username="inactive")
    root = staff(username="root", is_superuser=True)
    callers: dict[str, tuple[Client, int]] = {
        "stranger": (Client(), 401),
        "customer": (bearer(customer_token), 401),
        "no staff": (client_of(no_staff), 403),
        "without": (client_of(without), 403),
        "gone": (client_of(inactive), 401),
        "token without the scope": (bearer(token_of(holder)), 403),
        "token whose user may not": (bearer(token_of(without, needed)), 403),
    }
    User.objects.filter(pk=inactive.pk).update(is_active=False)
    for name, (client, status) in callers.items():
        answer = knock(client, door, conversation)
        assert answer.status_code == status, (name, answer.content)
        assert answer.json()["code"] == {401: "unauthorized", 403: "forbidden"}[status]
        if status == 401:
            assert 'realm="staff"' in answer.headers["WWW-Authenticate"], name
    for name, client in {
        "with": client_of(holder),
        "superuser": client_of(root),
        "token": bearer(token_of(holder, needed)),
    }.items():
        conversation, _ = new_chat()
        if door[1] in {"{id}/reply/", "{id}/release/"}:
            taker = root if name == "superuser" else holder
            async_to_sync(take_over_as)(taker, conversation)
        answer = knock(client, door, conversation)
        wanted = 400 if (door[1], name) in {("{id}/assign/", "with"), ("{id}/assign/", "token")} else 200
        assert answer.status_code == wanted, (name, answer.content)  # only who may take over can be assigned


async def take_over_as(user: User, conversation: Conversation) -> None:
    from agent_app import staff as desk

    await desk.take_over(user, conversation.thread_id)


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_a_login_needs_its_cross_site_proof() -> None:
    conversation, _ = new_chat()
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff(*ALL))
    assert post(client, conversation, "takeover").status_code == 403
    assert Conversation.objects.get().state == "ai"


# ---- acts ----


def test_the_story_of_a_hand_over() -> None:
    conversation, _ = escalated(user_id="c-104")
    ana, ben = logged_in(*ALL, first_name="Ana"), logged_in(*ALL, username="ben", first_name="Ben")
    took = post(ana, conversation, "takeover").json()
    assert (took["state"], took["assignee"]["name"]) == ("human", "Ana")
    late = post(ben, conversation, "takeover")
    assert (late.status_code, late.json()["code"], late.json()["who"]) == (409, "conflict", took["assignee"])
    assert "Ana" in late.json()["message"]
    assert post(ben, conversation, "reply", text="Me, too").status_code == 409
    first = post(ana, conversation, "reply", text="Hello, I am Ana", client_id="r1").json()["message"]
    assert first["author"] == "Ana"
    assert post(ana, conversation, "reply", text="Hello, I am Ana", client_id="r1").json()["message"] == first
    assert post(ana, conversation, "reply", text="Something else", client_id="r1").json()["field"] == "client_id"
    assert post(ben, conversation, "assign", assignee="me").json()["assignee"]["name"] == "Ben"
    assert post(ana, conversation, "reply", text="Still me?").json()["who"]["name"] == "Ben"
    assert post(ana, conversation, "release").status_code == 409
    assert post(ben, conversation, "release").json() | {"last_seq": 0, "id": ""} == {
        "id": "",
        "state": "ai",
        "assignee": None,
        "ticket": None,
        "last_seq": 0,
    }
    assert post(ben, conversation, "release").status_code == 200, "again: it is given back"
    assert post(ana, conversation, "resolve").json()["state"] == "closed"
    assert post(ana, conversation, "resolve").json()["state"] == "closed"
    for act, body in (("takeover", {}), ("reply", {"text": "late"}), ("release", {}), ("assign", {"assignee": "me"})):
        assert post(ana, conversation, act, **body).json()["code"] == "closed"
    assert [text for role, text in said(ana, conversation) if role == "staff"] == ["Hello, I am Ana"]
    acts = list(AuditEntry.objects.order_by("pk").values_list("action", "actor"))
    assert [act for act in acts if act[0].startswith(("desk.", "chat."))] == [
        ("desk.taken_over", "ana"),
        ("desk.replied", "ana"),
        ("desk.assigned", "ben"),
        ("desk.released", "ben"),
        ("chat.ended", "ana"),
    ]
    assert "Hello" not in json.dumps([entry.details for entry in AuditEntry.objects.all()])


def test_of_two_who_take_over_at_once_one_has_it() -> None:
    clients = [client_of(staff(*ALL, username=name)) for name in ("ana", "ben")]
    with ThreadPoolExecutor(2) as two:
        for _ in range(10):
            conversation, _token = new_chat()
            together = threading.Barrier(2)
            answers = list(two.map(take_over_at, [together] * 2, clients, [conversation] * 2))
            assert sorted(answer.status_code for answer in answers) == [200, 409]
            (won,) = [answer.json() for answer in answers if answer.status_code == 200]
            (lost,) = [answer.json() for answer in answers if answer.status_code == 409]
            assert lost["who"] == won["assignee"]
            assert Conversation.objects.get(pk=conversation.pk).assignee_id == won["assignee"]["id"]


def take_over_at(moment: threading.Barrier, client: Client, conversation: Conversation) -> Any:
    """On a connection of this thread, which nobody would close."""
    moment.wait()
    try:
        return post(client, conversation, "takeover")
    finally:
        connection.close()


def test_a_mark_leaves_the_chat_with_the_agent() -> None:
    conversation, _ = escalated()
    ana = logged_in(*ALL)
    ben = staff(*ALL, username="ben")
    marked = post(ana, conversation, "assign", assignee=ben.pk).json()
    assert (marked["state"], marked["assignee"]["id"]) == ("waiting", ben.pk)
    mine = client_of(ben).get(f"{DESK}conversations/?assignee=me").json()["results"]
    assert [card["id"] for card in mine] == [conversation.thread_id]
    assert post(ana, conversation, "assign", assignee=None).json()["assignee"] is None
    for nobody in (0, 10**6, "ben", True, [ben.pk], staff(username="no agent").pk):
        refused = post(ana, conversation, "assign", assignee=nobody)
        assert (refused.status_code, refused.json()["field"]) == (400, "assignee"), nobody


def test_a_chat_that_one_has_cannot_be_assigned_to_nobody() -> None:
    conversation, _ = escalated()
    ana, ben = logged_in(*ALL, first_name="Ana"), logged_in(*ALL, username="ben")
    post(ana, conversation, "takeover")
    for person, message in (
        (ana, "You have this chat: release it, or assign it to somebody."),
        (ben, "Ana has this chat. Ask them, or have it assigned to you."),
    ):
        refused = post(person, conversation, "assign", assignee=None)
        assert (refused.status_code, refused.json()["message"]) == (409, message)
        assert refused.json()["who"]["name"] == "Ana"


# ---- what is shown ----


def test_the_list_pages_by_keyset_and_filters() -> None:
    chats = [new_chat(user_id=f"user-{number}")[0] for number in range(7)]
    for conversation in chats[:3]:
        async_to_sync(chat.ask_for_person)(conversation, "")
    ana = logged_in(*ALL)
    post(ana, chats[0], "takeover")
    post(ana, chats[6], "resolve")

    def ids(query: str) -> list[str]:
        found, cursor = [], ""
        while cursor is not None:
            page = ana.get(f"{DESK}conversations/?{query}", {"cursor": cursor, "limit": 2} | parsed(query)).json()
            found += [card["name"] for card in page["results"]]
            cursor = page["next_cursor"]
        return found

    assert ids("state=waiting") == ["user-1", "user-2"], "the longest-waiting first"
    assert ids("state=human") == ids("assignee=me") == ["user-0"]
    assert sorted(ids("state=open")) == [f"user-{number}" for number in range(6)]
    assert sorted(ids("state=all")) == [f"user-{number}" for number in range(7)]
    assert ids("state=closed") == ["user-6"]
    assert ids("q=user-4") == ["user-4"]
    assert ids(f"q={chats[2].thread_id[:12]}&state=all") == ["user-2"]
    assert sorted(ids("assignee=none")) == [f"user-{number}" for number in range(1, 6)]
    counts = ana.get(f"{DESK}conversations/").json()["counts"]
    assert counts == {"waiting": 2, "human": 1, "ai": 3, "mine": 1, "all": 6}
    for wrong in ("state=lost", "limit=0", "cursor=nowhere", "assignee=ana", "cursor=2030-01-01~1"):
        assert ana.get(f"{DESK}conversations/?{wrong}").status_code == 400, wrong


@pytest.mark.parametrize("state", ["open", "waiting"])
@pytest.mark.parametrize(
    "cursor", ["0001-01-01T00:00:00+14:00~1", "9999-12-31T23:59:59-14:00~1", "9999-12-31T23:59:59+00:00~1"]
)
def test_a_cursor_at_the_ends_of_the_calendar_is_no_cursor(state: str, cursor: str) -> None:
    refused = logged_in(*ALL).get(f"{DESK}conversations/", {"state": state, "cursor": cursor})
    assert (refused.status_code, refused.json()["field"]) == (400, "cursor")


def parsed(query: str) -> dict[str, str]:
    return dict(part.split("=") for part in query.split("&"))


def test_a_page_costs_the_same_queries_whatever_it_shows(django_assert_max_num_queries: Any) -> None:
    for number in range(12):
        conversation, _ = escalated(user_id=f"user-{number}")
    ana = logged_in(*ALL)
    for query in ("", "state=waiting", "q=jacket", "assignee=me"):
        with django_assert_max_num_queries(12):
            assert ana.get(f"{DESK}conversations/?{query}").status_code == 200
    with django_assert_max_num_queries(20):
        ana.get(address(conversation))


def test_what_the_agent_remembers_is_shown_and_can_be_forgotten() -> None:
    earlier, _ = new_chat(user_id="c-104", verified=True)
    stranger, _ = new_chat(user_id="c-104")  # claimed, not proven: a memory of its own
    conversation, _ = new_chat(user_id="c-104", verified=True)
    size = Fact.objects.remember(earlier, "shoe size", "39", 1)
    town = Fact.objects.remember(conversation, "town", "Galway", 1)
    foreign = Fact.objects.remember(stranger, "town", "Cork", 1)
    assert size is not None
    assert town is not None
    assert foreign is not None
    lead = logged_in(*ALL, "agent_app.view_fact", "agent_app.delete_fact")
    told = lead.get(address(conversation)).json()["details"]["facts"]
    assert [(f["id"], f["name"], f["value"], f["said_in"]) for f in told] == [
        (size.pk, "shoe size", "39", None),
        (town.pk, "town", "Galway", 1),
    ]
    page = lead.get(f"/desk/{conversation.thread_id}/").content.decode()
    assert "shoe size: 39" in page
    assert f'data-fact="{size.pk}"' in page

    sees = logged_in(*ALL, "agent_app.view_fact", username="sees")
    assert sees.delete(f"{address(conversation)}facts/{size.pk}/").status_code == 403
    assert "data-fact" not in sees.get(f"/desk/{conversation.thread_id}/").content.decode()
    less = logged_in(*ALL, username="less")
    assert less.get(address(conversation)).json()["details"]["facts"] is None
    assert "shoe size" not in less.get(f"/desk/{conversation.thread_id}/").content.decode()

    assert lead.delete(f"{address(conversation)}facts/{foreign.pk}/").status_code == 404
    assert lead.delete(f"{address(conversation)}facts/{size.pk}/").status_code == 204
    assert lead.delete(f"{address(conversation)}facts/{size.pk}/").status_code == 404
    assert set(Fact.objects.values_list("pk", flat=True)) == {town.pk, foreign.pk}
    assert [entry.details for entry in AuditEntry.objects.filter(action="desk.forgotten")] == [{"fact": size.pk}]


def test_words_are_found_in_what_was_written() -> None:
    conversation, _ = escalated()
    new_chat()
    ana = logged_in(*ALL)
    found = ana.get(f"{DESK}conversations/", {"q": "RETURN a jack"}).json()["results"]
    assert [card["id"] for card in found] == [conversation.thread_id]
    assert found[0]["ticket"] == Conversation.objects.get(pk=conversation.pk).ticket
    assert ana.get(f"{DESK}conversations/", {"q": found[0]["ticket"].lower()}).json()["results"] == found


def test_the_detail_tells_the_whole_hand_over() -> None:
    earlier, _ = new_chat(user_id="c-104", verified=True)
    conversation, _ = escalated(user_id="c-104", verified=True, metadata={"page": "/jackets/"})
    ana = logged_in(*ALL, "agent_app.view_auditentry", "sessions_app.view_session")
    post(ana, conversation, "note", text="Called her", client_id="n1")
    told = ana.get(address(conversation)).json()
    packet = told["packet"]
    assert (packet["wants"], packet["question"]) == ("How do I return a jacket?",) * 2
    assert {"label": "User", "value": "c-104", "verified": True} in packet["facts"]
    assert {"label": "page", "value": "/jackets/", "verified": False} in packet["facts"]
    assert packet["reason"] == "please, a person"
    assert [note["text"] for note in told["notes"]] == ["Called her"]
    assert [each["id"] for each in told["details"]["previous"]] == [earlier.thread_id]
    assert told["details"]["session"]["message_count"] == 1
    assert "desk.noted" in [entry["action"] for entry in told["details"]["audit"]]
    less = logged_in("agent_app.view_conversation", username="less").get(address(conversation)).json()
    assert less["details"]["session"] is None
    assert "notes" not in less
    assert less["details"]["audit"] is None
    assert ana.get(f"{DESK}conversations/nowhere/").status_code == 404


def test_canned_replies_are_found_by_shortcut_and_words() -> None:
    CannedReply.objects.create(title="Returns", shortcut="ret", text="You can send it back.")
    CannedReply.objects.create(title="Hello", shortcut="hi", text="Good day!")
    ana = logged_in(*ALL)
    assert [each["title"] for each in ana.get(f"{DESK}canned/").json()["results"]] == ["Hello", "Returns"]
    for words in ("re", "send it", "Return"):
        assert [each["shortcut"] for each in ana.get(f"{DESK}canned/", {"q": words}).json()["results"]] == ["ret"]


def test_notes_reach_no_customers_door() -> None:
    conversation, token = escalated()
    ana = logged_in(*ALL)
    post(ana, conversation, "takeover")
    post(ana, conversation, "reply", text="Hello there")
    assert post(ana, conversation, "note", text="zebra-secret", client_id="n").json()["note"]["author"] == "ana"
    assert post(ana, conversation, "note", text="zebra-secret", client_id="n").status_code == 200
    assert Note.objects.count() == 1
    assert Conversation.objects.get(pk=conversation.pk).last_seq == len(said(ana, conversation))
    customer = Client(headers={"Authorization": f"Bearer {token}"})
    base = f"/api/v1/chat/sessions/{conversation.session_id}/"
    shown = b""
    for path in ("", "messages/?after=0", "transcript/?format=text", "transcript/?format=json"):
        shown += customer.get(base + path).content
    assert b"Hello there" in shown
    assert b"zebra" not in shown
    assert hash_token(token) == Conversation.objects.get(pk=conversation.pk).token_hash


def test_a_repeat_of_what_became_a_persons_waits_for_no_answer() -> None:
    """After the release, too, no answer of the agent will ever cover it."""
    ana = logged_in(*ALL)
    conversation, _ = new_chat()
    assert post(ana, conversation, "takeover").status_code == 200
    first = async_to_sync(chat.ask)(conversation, "Is anybody there?", "h1", 10)
    assert post(ana, conversation, "release").status_code == 200
    again = async_to_sync(chat.ask)(conversation, "Is anybody there?", "h1", 60)
    assert again.sent.entry == first.sent.entry
    assert (again.reply, again.pending, again.state) == (None, False, "ai")


def test_a_chat_whose_person_was_deleted_is_taken_and_its_customer_told() -> None:
    """The state is the same as before, so that who answers is said in a frame."""
    ana, ben = staff(*ALL, username="ana"), staff(*ALL, username="ben")
    conversation, _ = new_chat()
    heard: list[Ring] = []
    client = Client()
    client.force_login(ana)
    assert post(client, conversation, "takeover").status_code == 200
    ana.delete()
    doorbell.overhear(heard.append)
    try:
        client.force_login(ben)
        assert post(client, conversation, "takeover").status_code == 200
    finally:
        doorbell.overhear_no_more(heard.append)
    assert [frame for ring in heard for frame in ring.frames] == [{"type": "state", "state": "human", "who": "ben"}]
