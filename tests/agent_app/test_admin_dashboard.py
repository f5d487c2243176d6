"""The admin's index, and what a knowledge editor finds there: unanswered questions, and a question tried."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agent_app.admin.dashboard import SAMPLE, Dashboard
from agent_app.knowledge.indexing import knowledge
from agent_app.models import Article, Conversation, Feedback, Message, UnansweredQuestion
from tests.staff import live, logged_in, put, store_away  # noqa: F401 - fixtures

pytestmark = [pytest.mark.integration, pytest.mark.django_db]

QUESTIONS = "/admin/agent_app/unansweredquestion/"


def conversation(name: str, *said: tuple[str, float], state: str = "ai", hours: float = 1) -> Conversation:
    """`said` are (role, seconds after the chat was opened)."""
    opened = timezone.now() - timedelta(hours=hours)
    row = Conversation.objects.create(
        session_id=name, token_hash=name, state=state, live_until=opened, created_at=opened, updated_at=opened
    )
    Message.objects.bulk_create(
        Message(
            conversation=row,
            seq=seq,
            public_id=f"{name}-{seq}",
            role=role,
            text="hello",
            created_at=opened + timedelta(seconds=seconds),
        )
        for seq, (role, seconds) in enumerate(said, 1)
    )
    return row


@pytest.fixture
def client() -> Client:
    return logged_in(is_superuser=True)


def test_the_desk_in_numbers(live: str) -> None:  # noqa: F811
    a = conversation("a", ("customer", 0), ("agent", 2), ("customer", 30), ("agent", 31))
    b = conversation("b", ("customer", 0), ("agent", 4), state="waiting")
    conversation("c", ("customer", 0), ("staff", 60), state="human", hours=3)
    conversation("d", ("customer", 0), state="waiting")
    long_ago = conversation("e", ("customer", 0), ("agent", 900), hours=30)
    conversation("f", ("customer", 0), ("agent", 3), state="closed")
    put("a")
    Feedback.objects.rate(a, 4, "")
    Feedback.objects.rate(b, 5, "")
    Feedback.objects.judge(a, 2, helpful=False)
    Feedback.objects.rate(long_ago, 1, "")
    Feedback.objects.filter(conversation=long_ago).update(said_at=timezone.now() - timedelta(days=31))
    desk = Dashboard.now()
    assert desk.open == {"ai": 2, "waiting": 2, "human": 1}
    assert (desk.answers.by_agent, desk.answers.by_person, desk.share_by_agent) == (4, 1, 80)
    assert (desk.answers.first, desk.answers.of_newest) == (3.5, None)
    assert (desk.rating, desk.rated) == (4.5, 2)
    assert desk.database_ms > 0
    assert (desk.opened, len(desk.hours), desk.live) == (5, 24, 1)
    assert max(hour.height for hour in desk.hours) <= 60


def test_of_more_chats_than_are_counted_it_says_so(client: Client, live: str) -> None:  # noqa: F811
    now = timezone.now()
    rows = [
        Conversation(session_id=f"c{number}", token_hash=f"c{number}", live_until=now, updated_at=at, created_at=at)
        for number in range(SAMPLE + 1)
        for at in [now - timedelta(hours=number / SAMPLE)]
    ]
    Message.objects.bulk_create(
        Message(conversation=row, seq=1, public_id=row.session_id, role="agent", text="x", created_at=row.updated_at)
        for row in Conversation.objects.bulk_create(rows)
    )
    page = client.get("/admin/").content.decode()
    assert f"{SAMPLE} by AI, 0 by people in the newest {SAMPLE} chats" in page
    assert f"Chats opened in the last 24 hours: {SAMPLE + 1}" in page


def test_an_empty_desk(live: str) -> None:  # noqa: F811
    desk = Dashboard.now()
    assert (desk.open["waiting"], desk.share_by_agent, desk.answers.first, desk.live) == (0, None, None, 0)


def test_the_index_shows_it_to_whoever_may_see_conversations(client: Client, live: str) -> None:  # noqa: F811
    conversation("a", state="waiting")
    page = client.get("/admin/").content.decode()
    assert "Waiting for a person" in page
    assert "Chats opened in the last 24 hours: 1" in page
    other = logged_in("agent_app.view_article", username="editor").get("/admin/").content.decode()
    assert "Waiting for a person" not in other
    assert "Articles" in other


def test_the_index_says_that_the_store_is_away(client: Client, store_away: None) -> None:  # noqa: F811
    answer = client.get("/admin/")
    assert answer.status_code == 200
    assert "store unavailable" in answer.content.decode()


def test_its_queries_do_not_grow(live: str) -> None:  # noqa: F811
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            Dashboard.now()
        return len(captured)

    conversation("first", ("customer", 0), ("agent", 2))
    few = queries()
    for number in range(50):
        conversation(f"c{number}", ("customer", 0), ("agent", 2))
    assert queries() == few <= 8


def test_a_question_of_a_customer_is_tried(client: Client) -> None:
    question = UnansweredQuestion.objects.remember("Do you sell canoes & dogs?", conversation("a").pk)
    page = client.get(QUESTIONS).content.decode()
    link = next(part for part in page.split('"') if part.startswith("/admin/agent_app/article/try/"))
    assert link == f"/admin/agent_app/article/try/?question={question.pk}"
    assert 'value="Do you sell canoes &amp; dogs?"' in client.get(link).content.decode()
    reader = logged_in("agent_app.view_article", username="reader")
    assert "canoes" not in reader.get(link).content.decode()


def test_questions_are_taken_off_the_list(client: Client) -> None:
    question = UnansweredQuestion.objects.remember("Do you sell canoes?")
    UnansweredQuestion.objects.remember("Another")
    chosen = {"action": "resolve", "_selected_action": [question.pk]}
    reader = logged_in("agent_app.view_unansweredquestion", username="reader")
    reader.post(QUESTIONS, chosen)
    assert UnansweredQuestion.objects.unresolved().count() == 2
    client.post(QUESTIONS, chosen)
    assert UnansweredQuestion.objects.unresolved().get().text == "Another"


@pytest.mark.django_db(transaction=True)  # the index is read and built on a thread of its own
def test_a_question_is_tried(client: Client) -> None:
    Article.objects.create(slug="tent-care", title="Tent care", body="Dry it **first**. <script>x</script>")
    knowledge.forget()  # else the index may be a second old, and another test's
    page = client.post("/admin/agent_app/article/try/", {"q": "how do I care for a tent"}).content.decode()
    assert "Tent care" in page
    assert "Dry it <strong>first</strong>." in page
    assert "<script>x" not in page
    assert "The agent" in page
    empty = client.get("/admin/agent_app/article/try/").content.decode()
    assert "A customer asks:" in empty
    assert "The agent" not in empty


@pytest.mark.parametrize(
    ("who", "status"), [("stranger", 302), ("without", 403), ("with", 200)], ids=["stranger", "without", "with"]
)
def test_trying_needs_to_see_articles(who: str, status: int) -> None:
    clients: dict[str, Any] = {
        "stranger": Client,
        "without": lambda: logged_in("agent_app.view_ticket"),
        "with": lambda: logged_in("agent_app.view_article"),
    }
    assert clients[who]().get("/admin/agent_app/article/try/").status_code == status
