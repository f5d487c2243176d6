"""Live sessions over REST: who may, what comes back, and what is said when it does not work."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.utils import timezone

from agent_app.journal import journal
from agent_app.models import AuditEntry, Conversation
from sessions_app.live import let_live
from tests.staff import is_live, live, logged_in, put, seconds_left, staff, store_away  # noqa: F401 - fixtures

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.slow]

ALL = ("sessions_app.view_session", "sessions_app.expire_session", "sessions_app.extend_session")
API = "/api/v1/sessions/"

# method, path, body, the permission it needs, what the permitted get
DOORS = [
    ("get", "", None, "view_session", 200),
    ("get", "stats/", None, "view_session", 200),
    ("get", "s1/", None, "view_session", 200),
    ("patch", "s1/", {"escalated": True}, "extend_session", 200),
    ("delete", "s1/", None, "expire_session", 204),
    ("post", "s1/extend/", {"seconds": 60}, "extend_session", 200),
    ("post", "expire/", {"session_ids": ["s1"]}, "expire_session", 200),
    ("post", "cleanup/", {}, "expire_session", 200),
]


def stranger(needed: str) -> Client:
    return Client()


def customer(needed: str) -> Client:
    token = Conversation.new_token()
    return Client(headers={"Authorization": f"Bearer {token}"})


def person_without_staff_status(needed: str) -> Client:
    return logged_in(*ALL, is_staff=False)


def staff_without_it(needed: str) -> Client:
    return logged_in(*(each for each in ALL if not each.endswith(needed)))


def staff_with_it_alone(needed: str) -> Client:
    return logged_in(f"sessions_app.{needed}")


def superuser(needed: str) -> Client:
    return logged_in(is_superuser=True)


PEOPLE: list[tuple[Callable[[str], Client], int | None]] = [
    (stranger, 401),
    (customer, 401),
    (person_without_staff_status, 403),
    (staff_without_it, 403),
    (staff_with_it_alone, None),
    (superuser, None),
]


def call(client: Client, method: str, path: str, body: Any = None) -> Any:
    sent = () if body is None else (body, "application/json")
    return getattr(client, method)(API + path, *sent)


@pytest.mark.parametrize(("method", "path", "body", "needed", "success"), DOORS)
@pytest.mark.parametrize(("person", "refusal"), PEOPLE, ids=lambda value: getattr(value, "__name__", None))
def test_exactly_the_permitted_succeed(
    person: Callable[[str], Client],
    refusal: int | None,
    method: str,
    path: str,
    body: Any,
    needed: str,
    success: int,
) -> None:
    put("s1")
    answer = call(person(needed), method, path, body)
    assert answer.status_code == (refusal or success)
    if refusal:
        assert answer.json()["code"] == {401: "unauthorized", 403: "forbidden"}[refusal]
        assert is_live("s1"), "who is refused changes nothing"
    if refusal == 401:
        assert answer.headers["WWW-Authenticate"]


@pytest.fixture
def client(live: str) -> Client:  # noqa: F811 - the fixture
    return logged_in(*ALL)


def test_a_page_at_a_time_most_recently_active_first(client: Client) -> None:
    for number in range(5):
        put(f"s{number}", user_id="C-1", metadata={"n": number})
    first = call(client, "get", "?limit=2").json()
    assert [each["session_id"] for each in first["results"]] == ["s4", "s3"]
    assert 300 < first["results"][0]["remaining_seconds"] <= 600
    assert first["results"][0]["metadata"] == {"n": 4}
    second = client.get(API, {"limit": 2, "cursor": first["next_cursor"]}).json()
    third = client.get(API, {"limit": 2, "cursor": second["next_cursor"]}).json()
    assert [each["session_id"] for each in second["results"] + third["results"]] == ["s2", "s1", "s0"]
    assert third["next_cursor"] is None


def test_filters(client: Client) -> None:
    put("mine", user_id="C-1", escalated=True)
    put("mine too", user_id="C-1")
    put("other", user_id="C-2", escalated=True)

    def found(**query: str) -> set[str]:
        return {each["session_id"] for each in client.get(API, query).json()["results"]}

    assert found(user_id="C-1") == {"mine", "mine too"}
    assert found(escalated="true") == {"mine", "other"}
    assert found(escalated="false") == {"mine too"}
    assert found(user_id="C-1", escalated="true") == {"mine"}
    assert found(user_id="nobody") == set()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        ("escalated=maybe", "escalated"),
    ],
)
def test_a_bad_query_is_told_which_part(client: Client, query: str, field: str) -> None:
    answer = call(client, "get", f"?{query}")
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "invalid", field)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("post", "s1/extend/", {}),
        ("post", "s1/extend/", {"seconds": 0}),
        ("post", "s1/extend/", {"seconds": 86401}),
        ("post", "s1/extend/", {"seconds": "soon"}),
        ("post", "expire/", {}),
        ("post", "expire/", {"session_ids": []}),
        ("post", "expire/", {"session_ids": "s1"}),
        ("post", "expire/", {"session_ids": ["s1"], "user_id": "C-1"}),
        ("patch", "s1/", {}),
        ("patch", "s1/", {"message_count": 3}),
        ("patch", "s1/", {"metadata": [1]}),
    ],
)
def test_a_bad_body_changes_nothing(client: Client, method: str, path: str, body: Any) -> None:
    put("s1", user_id="C-1")
    answer = call(client, method, path, body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert is_live("s1")
    assert seconds_left("s1") <= 600


@pytest.mark.parametrize("session_id", ["gone", "x" * 300])
def test_what_is_not_there_is_not_found(client: Client, session_id: str) -> None:
    for method, path, body in [
        ("get", "", None),
        ("delete", "", None),
        ("patch", "", {"escalated": True}),
        ("post", "extend/", {"seconds": 9}),
    ]:
        answer = call(client, method, f"{session_id}/{path}", body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), method
        assert answer.json()["message"] == "There is no such live session: it may have ended."


def test_a_body_with_too_little_is_told_what_to_give(client: Client) -> None:
    put("s1")
    nothing = call(client, "patch", "s1/", {}).json()
    assert nothing["message"] == "Nothing to change: give escalated or metadata."
    both = call(client, "post", "expire/", {"session_ids": ["s1"], "user_id": "C-1"}).json()
    assert both["message"] == "Give either session_ids or user_id."


def test_change_merges_metadata(client: Client) -> None:
    put("s1", metadata={"page": "/tents", "n": 2**53 + 1})
    answer = call(client, "patch", "s1/", {"metadata": {"page": "/boots", "vip": True}, "escalated": True}).json()
    assert answer["metadata"] == {"page": "/boots", "n": 2**53 + 1, "vip": True}
    assert answer["escalated"] is True
    assert LogEntry.objects.get().change_message == "Changed escalated, metadata."


def test_extend_adds_to_what_is_left(client: Client) -> None:
    put("s1", ttl=600)
    answer = call(client, "post", "s1/extend/", {"seconds": 300}).json()
    assert 600 < answer["remaining_seconds"] <= 900
    assert LogEntry.objects.get().object_id == "s1"


def test_expire_of_a_user_ends_theirs_alone(client: Client) -> None:
    for number in range(3):
        put(f"s{number}", user_id="C-1")
    put("other", user_id="C-2")
    assert call(client, "post", "expire/", {"user_id": "C-1"}).json() == {"expired": 3}
    assert is_live("other")
    assert not is_live("s0")
    assert LogEntry.objects.count() == 3
    assert call(client, "post", "expire/", {"session_ids": ["s0", "other"]}).json() == {"expired": 1}


@pytest.mark.django_db(transaction=True)  # the journal writes through a connection of its own
def test_delete_closes_the_conversation_and_writes_the_audit_log(client: Client) -> None:
    chat = open_conversation("s1")
    put("s1")
    assert call(client, "delete", "s1/").status_code == 204
    chat.refresh_from_db()
    assert (chat.state, chat.closed_reason) == ("closed", "expired_by_staff")
    assert AuditEntry.objects.get(session_id="s1").actor == "ana"


@pytest.mark.django_db(transaction=True)  # the journal writes through a connection of its own
def test_extend_moves_the_conversation_too(client: Client) -> None:
    chat = open_conversation("s1")
    put("s1", ttl=600)
    before = chat.live_until
    call(client, "post", "s1/extend/", {"seconds": 7200})
    chat.refresh_from_db()
    assert (chat.live_until - before).total_seconds() == pytest.approx(600 + 7200 - 1800, abs=5)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="not for PostgreSQL: it has no file to lock")
def test_what_the_database_did_not_hear_of_has_not_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = open_conversation("s1")
    put("s1", ttl=600)
    client = logged_in(*ALL)
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.1)
    connection.close()
    journal.close()
    with closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = call(client, "post", "s1/extend/", {"seconds": 7200})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert seconds_left("s1") <= 600
    assert not AuditEntry.objects.filter(session_id="s1").exists()
    assert call(client, "post", "s1/extend/", {"seconds": 7200}).status_code == 200
    assert 7200 < seconds_left("s1") <= 7800
    chat.refresh_from_db()
    assert AuditEntry.objects.get(session_id="s1").action == "session.extended"
    journal.close()
    connection.close()


def test_an_extension_shortens_nothing(live: str) -> None:  # noqa: F811
    """A message may have given the session more between the reading of its time and the setting of it."""
    put("s1", ttl=600)
    assert async_to_sync(let_live)({"s1": 60.0, "gone": 60.0}) == ["s1"]
    assert seconds_left("s1") > 500


def test_a_cross_site_post_is_refused(live: str) -> None:  # noqa: F811
    put("s1")
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff(*ALL))
    assert call(client, "delete", "s1/").status_code == 403
    assert is_live("s1")


def test_the_store_away_is_said(store_away: None) -> None:  # noqa: F811
    client = logged_in(*ALL)
    for method, path, body, _, _ in DOORS:
        answer = call(client, method, path, body)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), (method, path)
        assert int(answer.headers["Retry-After"]) > 0


def open_conversation(session_id: str) -> Conversation:
    return Conversation.objects.create(
        session_id=session_id,
        token_hash=Conversation.new_token(),
        live_until=timezone.now() + timezone.timedelta(seconds=1800),
    )
