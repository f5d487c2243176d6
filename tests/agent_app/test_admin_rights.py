"""Customers' rights in the admin, what customers said, and what the audit log knows of what staff did."""

# ruff: noqa: F811 - fixtures of tests.staff

import io
import json
import zipfile
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from agent_app.models import Article, AuditEntry, Conversation, Erasure, Feedback, Message
from tests.agent_app.test_erasure import USER, media, opened  # noqa: F401 - a fixture
from tests.staff import is_live, live, logged_in, put, staff  # noqa: F401 - fixtures

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.slow]

ERASE, EXPORT = "/admin/agent_app/erasure/erase/", "/admin/agent_app/erasure/export/"
RIGHTS = (
    "agent_app.erase_customer",
    "agent_app.export_customer",
    "agent_app.view_erasure",
    "agent_app.view_conversation",
)


@pytest.fixture
def client(live: str) -> Client:
    return logged_in(*RIGHTS)


def acts() -> list[tuple[str, str]]:
    return list(AuditEntry.objects.order_by("id").values_list("action", "actor"))


def test_a_customer_is_erased_after_one_question(client: Client) -> None:
    row = opened()
    asked = client.post(ERASE, {"user_id": USER}).content.decode()
    assert f"Erase everything of {USER}?" in asked
    assert "<li>2 messages</li>" in asked
    assert Conversation.objects.exists()
    answer = client.post(ERASE, {"user_id": USER, "confirmed": "yes"}, follow=True)
    receipt = Erasure.objects.get()
    page = answer.content.decode()
    assert answer.redirect_chain[0][0] == f"/admin/agent_app/erasure/{receipt.pk}/change/"
    assert "This receipt holds." in page
    assert receipt.asked_by == "ana"
    assert not is_live(row.session_id)
    assert USER not in page
    assert ("customer.erased", "ana") in acts()


def test_from_a_conversation_no_address_names_the_customer(client: Client) -> None:
    row, other = opened(), opened()
    page = client.get(f"/admin/agent_app/conversation/{row.pk}/change/").content.decode()
    for address in (f"{ERASE}?conversation={row.pk}", f"{EXPORT}?conversation={row.pk}"):
        assert f'href="{address}"' in page
        assert USER in client.get(address).content.decode()
    chat = f"{ERASE}?conversation={row.pk}&amp;scope=chat"
    assert f'href="{chat}"' in page
    confirm = client.get(chat.replace("&amp;", "&")).content.decode()
    assert "Erase the chat" in confirm
    client.post(ERASE, {"conversation": row.pk, "scope": "chat", "confirmed": "yes"})
    assert Conversation.objects.get() == other


@pytest.mark.parametrize("given", [{}, {"user_id": " "}, {"scope": "chat"}, {"conversation": "x"}, {"scope": "world"}])
def test_what_names_nobody_erases_nothing(client: Client, given: dict[str, str]) -> None:
    opened()
    answer = client.post(ERASE, {**given, "confirmed": "yes"})
    assert answer.status_code == 200
    assert not Erasure.objects.exists()
    assert Conversation.objects.exists()


def test_markup_in_a_customers_name_is_text(client: Client) -> None:
    assert "<script>x" not in client.post(ERASE, {"user_id": "<script>x</script>"}).content.decode()


@pytest.mark.parametrize("who", ["stranger", "without", "with", "superuser"])
@pytest.mark.parametrize(
    ("address", "needed"),
    [
        (ERASE, "agent_app.erase_customer"),
        (EXPORT, "agent_app.export_customer"),
        ("/admin/agent_app/erasure/", "agent_app.view_erasure"),
        ("/admin/agent_app/feedback/", "agent_app.view_feedback"),
    ],
)
def test_each_page_needs_its_own_permission(live: str, address: str, needed: str, who: str) -> None:
    client = {
        "stranger": Client,
        "without": lambda: logged_in(*(each for each in RIGHTS if each != needed)),
        "with": lambda: logged_in(needed),
        "superuser": lambda: logged_in(is_superuser=True),
    }[who]()
    expected = {"stranger": 302, "without": 403}.get(who, 200)
    assert client.get(address).status_code == expected
    if address in (ERASE, EXPORT):
        assert client.post(address, {"user_id": "x"}).status_code == expected
        if expected != 200:
            client.post(address, {"user_id": "x", "confirmed": "yes"})
            assert not Erasure.objects.exists()


def test_receipts_are_only_read(client: Client) -> None:
    erasure = Erasure.objects.of_customer(USER, "ana")
    root = logged_in(is_superuser=True, username="root")
    assert root.get("/admin/agent_app/erasure/add/").status_code == 403
    assert root.post(f"/admin/agent_app/erasure/{erasure.pk}/delete/", {"post": "yes"}).status_code == 403
    assert USER not in root.get(f"/admin/agent_app/erasure/{erasure.pk}/change/").content.decode()


# ---- the export ----


def exported(client: Client, **given: str) -> zipfile.ZipFile:
    answer = client.post(EXPORT, {"user_id": USER, "confirmed": "yes", **given})
    assert answer.headers["Content-Type"] == "application/zip"
    return zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))


def test_the_export_holds_what_there_is_of_the_customer_and_nobody_else(client: Client) -> None:
    first, second = opened(), opened(text="a red bag")
    opened("somebody else", "a samovar")
    archive = exported(client)
    data = json.loads(archive.read("data.json"))
    assert [chat["session_id"] for chat in data["conversations"]] == [first.session_id, second.session_id]
    chat = data["conversations"][1]
    assert [message["text"] for message in chat["messages"]] == ["a red bag", "You said: a red bag"]
    assert chat["feedback"][0]["comment"] == "It never found a red bag"
    assert chat["unanswered_questions"][0]["text"].startswith("Does the train")
    everything = b"".join(archive.read(name) for name in archive.namelist()).decode()
    assert "samovar" not in everything
    assert "looked_up" not in everything, "the audit log is not the customer's"
    assert "a red bag" in archive.read("chats/00002.html").decode()
    assert 'href="chats/00002.html"' in archive.read("index.html").decode()
    assert ("customer.exported", "ana") in acts()


def test_markup_in_a_message_stays_text_and_nothing_is_fetched(client: Client) -> None:
    hostile = '<script>alert(1)</script><img src="https://evil.example/x.png" onerror="alert(1)">'
    row = opened(text=hostile)
    Message.objects.filter(conversation=row, seq=2).update(
        text=f"{hostile} ![x](https://evil.example/y.png) [go](javascript:alert(1))"
    )
    Feedback.objects.rate(row, 1, hostile)
    archive = exported(client)
    for name in archive.namelist():
        if name.endswith(".html"):
            page = archive.read(name).decode()
            assert "<script" not in page, name
            assert "<img" not in page, name
            assert 'href="javascript' not in page, name
            assert "default-src 'none'" in page, name


def test_files_are_in_it_under_names_that_cannot_lead_out(client: Client, media: Any) -> None:
    from agent_app.models import Attachment

    row = opened()
    Attachment.objects.store(row, "../../evil.txt", "text/plain", b"what was attached")
    Attachment.objects.store(row, "same.txt", "text/plain", b"one")
    Attachment.objects.store(row, "same.txt", "text/plain", b"two")
    archive = exported(client)
    names = [name for name in archive.namelist() if "/files/" in name]
    assert len(set(names)) == 3
    assert not [name for name in names if ".." in name.split("/")]
    assert sorted(archive.read(name) for name in names) == [b"one", b"two", b"what was attached"]


def test_nobody_known_gives_an_empty_export(client: Client) -> None:
    archive = exported(client, user_id="nobody")
    assert json.loads(archive.read("data.json"))["conversations"] == []
    assert "None." in archive.read("index.html").decode()


# ---- feedback ----


def test_feedback_leads_to_its_chat_in_few_queries(client: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        row = Conversation.objects.create(session_id=f"s{number}", token_hash=f"t{number}", live_until="2100-01-01T00Z")
        Feedback.objects.rate(row, 4, f"<b>kind</b> {number}")
    reader = logged_in("agent_app.view_feedback", username="reader")
    with django_assert_max_num_queries(8):
        page = reader.get("/admin/agent_app/feedback/").content.decode()
    assert "&lt;b&gt;kind&lt;/b&gt; 29" in page
    assert "kind&lt;/b&gt; 29" not in reader.get("/admin/agent_app/feedback/?about=answer").content.decode()
    assert f"/admin/agent_app/conversation/{row.pk}/change/" in page


# ---- what the audit log knows ----

LIVE = "/api/v1/sessions/"
ALL = tuple(f"sessions_app.{verb}_session" for verb in ("view", "expire", "extend"))


def rest(client: Client, method: str, path: str, body: dict[str, Any] | None = None) -> None:
    answer = getattr(client, method)(path, body or {}, content_type="application/json")
    assert answer.status_code < 300, answer.content


def test_everything_staff_do_to_sessions_over_rest(live: str) -> None:
    client = logged_in(*ALL)
    for name in ("s1", "s2"):
        put(name)
    rest(client, "patch", f"{LIVE}s1/", {"metadata": {"secret": "Wronskij"}})
    rest(client, "post", f"{LIVE}s1/extend/", {"seconds": 60})
    rest(client, "delete", f"{LIVE}s1/")
    rest(client, "post", f"{LIVE}expire/", {"session_ids": ["s2"]})
    rest(client, "post", f"{LIVE}cleanup/")
    entries = list(AuditEntry.objects.order_by("id"))
    assert [(entry.action, entry.session_id) for entry in entries] == [
        ("session.changed", "s1"),
        ("session.extended", "s1"),
        ("session.ended", "s1"),
        ("session.ended", "s2"),
        ("session.swept", ""),
    ]
    assert {entry.actor for entry in entries} == {"ana"}
    assert entries[0].details == {"fields": ["metadata"]}
    assert entries[1].details == {"seconds": 60}


def test_changes_of_knowledge_over_rest(db: None) -> None:
    client = logged_in(*(f"agent_app.{verb}_article" for verb in ("view", "add", "change", "delete")))
    rest(client, "post", "/api/v1/knowledge/articles/", {"title": "Trains", "body": "They leave."})
    rest(client, "patch", "/api/v1/knowledge/articles/trains/", {"body": "They arrive."})
    number = str(Article.objects.get().pk)
    rest(client, "delete", "/api/v1/knowledge/articles/trains/")
    assert acts() == [("article.added", "ana"), ("article.changed", "ana"), ("article.deleted", "ana")]
    assert AuditEntry.objects.get(action="article.changed").details == {"number": number, "fields": ["body"]}


def test_changes_in_the_admin(db: None) -> None:
    client = logged_in(is_superuser=True)
    article = {"title": "Trains", "slug": "trains", "body": "They leave.", "language": "en", "published": "on"}
    inline = {"questions-TOTAL_FORMS": "0", "questions-INITIAL_FORMS": "0"}
    assert client.post("/admin/agent_app/article/add/", article | inline).status_code == 302
    row = Article.objects.get()
    change = f"/admin/agent_app/article/{row.pk}/change/"
    assert client.post(change, article | inline | {"body": "They arrive."}).status_code == 302
    chosen = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    assert client.post("/admin/agent_app/article/", chosen).status_code == 302
    expires = {"expires_at_0": "2100-01-01", "expires_at_1": "00:00:00"}
    scope = Permission.objects.get(codename="extend_session").pk
    answer = client.post("/admin/agent_app/apitoken/add/", {"name": "report", "scopes": [scope], **expires})
    assert answer.status_code == 302
    person = staff(username="bob")
    assert client.post(f"/admin/auth/user/{person.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not User.objects.filter(username="bob").exists()
    assert acts() == [
        ("article.added", "ana"),
        ("article.changed", "ana"),
        ("article.deleted", "ana"),
        ("apitoken.added", "ana"),
        ("user.deleted", "ana"),
    ]
    changed = AuditEntry.objects.get(action="article.changed").details or {}
    assert changed == {"number": str(row.pk), "fields": ["Body"]}
    made = AuditEntry.objects.get(action="apitoken.added").details or {}
    assert (made["name"], set(made)) == ("report", {"name", "number"}), "nothing of the secret"
