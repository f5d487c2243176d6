"""The desk in the admin: conversations, tickets, articles, the audit log, and live sessions with their chats."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agent_app.models import Article, AuditEntry, Conversation, ExampleQuestion, Message, Ticket
from tests.staff import is_live, live, logged_in, put, staff  # noqa: F401 - fixtures

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.slow]

LIST = "/admin/agent_app/conversation/"
LIVE = "/admin/sessions_app/session/"
WRITES = pytest.mark.django_db(transaction=True)  # the journal writes through a connection of its own


def conversation(name: str, *texts: str, minutes: float = 0, **fields: Any) -> Conversation:
    moment = timezone.now() - timedelta(minutes=minutes)
    row = Conversation.objects.create(
        session_id=name,
        token_hash=name,
        live_until=timezone.now() + timedelta(minutes=30),
        updated_at=moment,
        last_seq=len(texts),
        **fields,
    )
    Message.objects.bulk_create(
        Message(
            conversation=row,
            seq=seq,
            public_id=f"{name}-{seq}",
            role="customer" if seq % 2 else "agent",
            text=text,
            created_at=moment,
        )
        for seq, text in enumerate(texts, 1)
    )
    return row


def page_of(row: Conversation) -> str:
    return reverse("admin:agent_app_conversation_change", args=(row.pk,))


def listed(answer: Any) -> list[str]:
    return [each.session_id for each in answer.context["cl"].result_list]


@pytest.fixture
def client() -> Client:
    return logged_in(is_superuser=True)


# ---- conversations ----------------------------------------------------------------------------------------


def test_the_list_is_newest_first_in_keyset_pages(client: Client) -> None:
    moment = timezone.now()
    for number in range(120):
        conversation(f"c{number:03}", "hello")
    Conversation.objects.update(updated_at=moment)  # all at once: the id decides
    seen: list[str] = []
    address: str | None = LIST
    while address:
        answer = client.get(address)
        seen += listed(answer)
        address = LIST + answer.context["cl"].next_page if answer.context["cl"].next_page else None
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 120


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "2026-01-01~x",
        "2026-01-01T00:00:00~1",
        "~",
        "0001-01-01T00:00:00+14:00~1",
        "9999-12-31T23:59:59-14:00~1",
        f"2026-01-01T00:00:00+00:00~{2**70}",
    ],
)
def test_a_foreign_cursor_begins_at_the_beginning(client: Client, cursor: str) -> None:
    conversation("c1")
    assert listed(client.get(LIST, {"cursor": cursor})) == ["c1"]


def test_the_list_asks_the_same_number_of_queries_whatever_its_length(client: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(LIST)
        return len(captured)

    ana = staff(username="other")
    conversation("first", "hello", assignee=ana)
    queries()
    few = queries()
    for number in range(60):
        conversation(f"c{number}", "hello", "there", assignee=ana if number % 2 else None)
    assert queries() == few <= 6


def test_search_by_name_number_and_words(client: Client) -> None:
    first = conversation("s-1", "My tent leaks", user_id="C-1001")
    conversation("s-2", "Where is my parcel?", "It left on Monday [1].", user_id="c-1001-b")
    Ticket.objects.create(number="ESC-ABCD2345", conversation=first)

    def found(words: str) -> set[str]:
        return set(listed(client.get(LIST, {"q": words})))

    assert found("C-1001") == {"s-1", "s-2"}
    assert found("s-1") == {"s-1"}
    assert found(first.thread_id) == {"s-1"}
    assert found("esc-abcd2345") == {"s-1"}
    assert found("left on monday") == {"s-2"}
    assert found("nothing of the kind") == set()


def test_filters(client: Client) -> None:
    Ticket.objects.create(number="ESC-1", conversation=conversation("waiting", state="waiting", verified=True))
    conversation("ai", minutes=60 * 24 * 40)
    Conversation.objects.filter(session_id="ai").update(created_at=timezone.now() - timedelta(days=400))

    def found(**query: str) -> set[str]:
        return set(listed(client.get(LIST, query)))

    assert found(state__exact="waiting") == {"waiting"}
    assert found(escalated="yes") == {"waiting"}
    assert found(escalated="no") == {"ai"}
    assert found(verified__exact="1") == {"waiting"}
    recent = (timezone.now() - timedelta(days=7)).date().isoformat()
    assert found(created_at__gte=f"{recent} 00:00:00+00:00") == {"waiting"}


def test_the_transcript_is_read_only_in_order_and_escaped(client: Client) -> None:
    row = conversation("c1", "<script>alert(1)</script>", "Second", "Third", metadata={"page": "<b>"})
    Message.objects.filter(seq=2).update(citations=[{"n": 1, "title": "Boots", "url": "/help/boots/", "snippet": ""}])
    page = client.get(page_of(row)).content.decode()
    assert "<script>alert" not in page
    assert page.index("alert(1)") < page.index("Second") < page.index("Third")
    assert 'href="/help/boots/"' in page
    assert "<textarea" not in page
    assert client.post(page_of(row), {"user_id": "C-2"}).status_code == 403


def test_a_link_that_is_no_address_is_not_one(client: Client) -> None:
    row = conversation("c1", "Hello", "Look")
    Message.objects.update(citations=[{"n": 1, "title": "Boots", "url": "javascript:alert(1)", "snippet": ""}])
    assert 'href="javascript:' not in client.get(page_of(row)).content.decode()


def test_a_long_transcript_shows_its_newest_messages(client: Client) -> None:
    row = conversation("c1", *(f"text {number:04}" for number in range(1, 403)))
    page = client.get(page_of(row)).content.decode()
    assert "text 0402" in page
    assert "text 0103" in page
    assert "text 0102" not in page
    assert "102 earlier messages are in the export." in page
    assert "text 0001" in client.get(page_of(row).replace("/change/", "/export/")).content.decode()


def test_export(client: Client) -> None:
    row = conversation("c1", "Größe & <x>?", "Yes.", user_id="C-1")
    address = page_of(row).replace("/change/", "/export/")
    as_json = client.get(address)
    assert as_json.headers["Content-Disposition"] == f'attachment; filename="conversation-{row.thread_id}.json"'
    body = json.loads(as_json.content)
    assert (body["user_id"], body["state"], body["thread_id"]) == ("C-1", "ai", row.thread_id)
    assert [(each["seq"], each["text"]) for each in body["messages"]] == [(1, "Größe & <x>?"), (2, "Yes.")]
    assert "token" not in as_json.content.decode()
    as_text = client.get(address + "?format=text")
    assert as_text.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "Größe & <x>?" in as_text.content.decode()
    assert client.get(LIST + "999/export/").status_code == 404


@WRITES
def test_a_chat_is_ended_once_and_only_after_asking(client: Client, live: str) -> None:  # noqa: F811
    row = conversation("c1", "hello", state="human")
    put("c1")
    address = page_of(row).replace("/change/", "/end/")
    assert "End the chat" in client.get(address).content.decode()
    assert is_live("c1")
    done = client.post(address, {"confirmed": "yes"}, follow=True)
    assert [str(each) for each in done.context["messages"]] == ["The chat has ended."]
    row.refresh_from_db()
    assert (row.state, row.closed_reason) == ("closed", "expired_by_staff")
    assert not is_live("c1")
    assert AuditEntry.objects.get().actor == "ana"
    assert LogEntry.objects.get().change_message == "Ended the chat."
    again = client.post(address, {"confirmed": "yes"}, follow=True)
    assert [str(each) for each in again.context["messages"]] == ["The chat had ended before."]


# ---- live sessions ----------------------------------------------------------------------------------------


def test_live_sessions_show_the_state_of_their_chats(client: Client, live: str) -> None:  # noqa: F811
    conversation("c1", "My tent leaks", state="waiting")
    put("c1", user_id="C-1")
    put("alone")
    page = client.get(LIVE).content.decode()
    assert 'class="state state-waiting"' in page
    assert page.count('class="state ') == 1


def test_the_list_asks_for_all_chats_at_once(client: Client, live: str) -> None:  # noqa: F811
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(LIVE)
        return len(captured)

    conversation("c0")
    put("c0")
    queries()
    few = queries()
    for number in range(1, 100):
        conversation(f"c{number}")
        put(f"c{number}")
    assert queries() == few <= 6


def test_one_live_session_shows_transcript_and_turn(client: Client, live: str) -> None:  # noqa: F811
    until = timezone.now() + timedelta(seconds=9)
    conversation("c1", "My tent leaks", turn_holder="instance-7", turn_until=until, turn_attempts=2)
    put("c1")
    page = client.get(reverse("admin:sessions_app_session_change", args=("c1",))).content.decode()
    assert "My tent leaks" in page
    assert "instance-7 answers" in page


def test_the_transcript_needs_its_own_permission(live: str) -> None:  # noqa: F811
    conversation("c1", "My tent leaks")
    put("c1")
    client = logged_in("sessions_app.view_session")
    page = client.get(reverse("admin:sessions_app_session_change", args=("c1",))).content.decode()
    assert "My tent leaks" not in page


@WRITES
def test_expire_closes_the_chat_also_when_the_store_has_lost_the_session(client: Client, live: str) -> None:  # noqa: F811
    kept, lost = conversation("kept", "hello"), conversation("lost", "hello")
    put("kept")
    chosen = {"action": "expire_selected", "_selected_action": ["kept", "lost", "never"], "confirmed": "yes"}
    answer = client.post(LIVE, chosen, follow=True)
    assert [str(each) for each in answer.context["messages"]] == [
        "2 live sessions were expired.",
        "1 had ended before.",
    ]
    for row in (kept, lost):
        row.refresh_from_db()
        assert (row.state, row.closed_reason) == ("closed", "expired_by_staff")


@WRITES
def test_extend_keeps_the_conversation_alive(client: Client, live: str) -> None:  # noqa: F811
    row = conversation("c1", "hello")
    put("c1", ttl=1800)
    before = row.live_until
    client.post(reverse("admin:sessions_app_session_extend", args=("c1",)), {"confirmed": "yes", "minutes": "60"})
    row.refresh_from_db()
    assert (row.live_until - before).total_seconds() == pytest.approx(3600, abs=120)


# ---- the rest ---------------------------------------------------------------------------------------------


def test_an_article_is_written_with_its_example_questions(client: Client) -> None:
    form = {
        "title": "Tent care",
        "slug": "tent-care",
        "body": "Dry it first.",
        "language": "en",
        "published": "on",
        "questions-TOTAL_FORMS": "2",
        "questions-INITIAL_FORMS": "0",
        "questions-0-text": "How do I wash my tent?",
        "questions-1-text": "",
    }
    answer = client.post("/admin/agent_app/article/add/", form)
    assert answer.status_code == 302
    article = Article.objects.get()
    assert article.question_texts() == ["How do I wash my tent?"]
    assert "Tent care" in client.get("/admin/agent_app/article/?q=wash").content.decode()


def test_articles_ask_the_same_number_of_queries(client: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get("/admin/agent_app/article/")
        return len(captured)

    for number in range(30):
        article = Article.objects.create(slug=f"a{number}", title=f"A{number}", body="x")
        ExampleQuestion.objects.create(article=article, text="one")
        if number == 1:
            queries()
            few = queries()
    assert queries() == few <= 7


def test_tickets_lead_to_their_chat(client: Client) -> None:
    row = conversation("c1", state="waiting")
    Ticket.objects.create(number="ESC-1", conversation=row, reason="<b>late</b>")
    assert page_of(row) in client.get("/admin/agent_app/ticket/").content.decode()


@pytest.mark.parametrize("model", ["conversation", "ticket", "auditentry"])
def test_what_is_only_read_stays_so_for_superusers_too(client: Client, model: str) -> None:
    row = conversation("c1")
    ticket = Ticket.objects.create(number="ESC-1", conversation=row)
    entry = AuditEntry.record("chat.ended", "c1", "ana")
    pk = {"conversation": row, "ticket": ticket, "auditentry": entry}[model].pk
    base = f"/admin/agent_app/{model}/"
    assert client.get(f"{base}{pk}/change/").status_code == 200
    assert client.get(f"{base}add/").status_code == 403
    assert client.post(f"{base}{pk}/change/", {}).status_code == 403
    assert client.post(f"{base}{pk}/delete/", {"post": "yes"}).status_code == 403
    client.post(base, {"action": "delete_selected", "_selected_action": [pk], "post": "yes"})
    assert Conversation.objects.exists()
    assert Ticket.objects.exists()
    assert AuditEntry.objects.exists()


@pytest.mark.parametrize("who", ["stranger", "without", "with", "superuser"])
@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("conversation/", "agent_app.view_conversation"),
        ("conversation/{}/change/", "agent_app.view_conversation"),
        ("conversation/{}/export/", "agent_app.view_conversation"),
        ("conversation/{}/end/", "sessions_app.expire_session"),
        ("ticket/", "agent_app.view_ticket"),
        ("article/", "agent_app.view_article"),
        ("article/add/", "agent_app.add_article"),
        ("auditentry/", "agent_app.view_auditentry"),
    ],
)
def test_each_page_needs_its_own_permission(path: str, needed: str, who: str) -> None:
    row = conversation("c1", "hello")
    others = ("agent_app.view_conversation", "agent_app.view_ticket", "agent_app.view_article")
    client = {
        "stranger": Client,
        "without": lambda: logged_in(*(each for each in others if each != needed)),
        "with": lambda: logged_in("agent_app.view_conversation", needed),
        "superuser": lambda: logged_in(is_superuser=True),
    }[who]()
    answer = client.get(f"/admin/agent_app/{path.format(row.pk)}")
    assert answer.status_code == {"stranger": 302, "without": 403, "with": 200, "superuser": 200}[who]


def test_no_page_needs_inline_script_or_style(client: Client, live: str) -> None:  # noqa: F811
    row = conversation("c1", "hello", "there", state="waiting")
    put("c1", user_id="C-1")
    Ticket.objects.create(number="ESC-1", conversation=row)
    article = Article.objects.create(slug="a", title="A", body="x")
    entry = AuditEntry.record("chat.ended", "c1", "ana")
    for address in (
        "/admin/",
        LIST,
        page_of(row),
        page_of(row).replace("/change/", "/end/"),
        LIVE,
        reverse("admin:sessions_app_session_change", args=("c1",)),
        "/admin/agent_app/article/",
        f"/admin/agent_app/article/{article.pk}/change/",
        "/admin/agent_app/ticket/",
        "/admin/agent_app/auditentry/",
        f"/admin/agent_app/auditentry/{entry.pk}/change/",
    ):
        answer = client.get(address)
        page = answer.content.decode()
        assert answer.status_code == 200, address
        assert not re.search(r"<[^>]*\sstyle=|<[^>]*\son\w+=|<style|<script(?![^>]*\ssrc=)", page), address
