"""The desk's list and thread: who may see them, and what they show."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from agent_app.desk.inbox import short_age
from agent_app.models import Conversation, Message, Ticket
from agent_app.models.conversations import hash_token, new_id

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.slow]


def conversation(*texts: tuple[str, str], **values: Any) -> Conversation:
    """One with these messages, as (role, text)."""
    now = timezone.now()
    made = Conversation.objects.create(
        session_id=new_id(),
        token_hash=hash_token(new_id()),
        live_until=now + timedelta(minutes=30),
        last_seq=len(texts),
        **values,
    )
    for seq, (role, text) in enumerate(texts, 1):
        Message.objects.create(conversation=made, seq=seq, public_id=new_id(), role=role, text=text, created_at=now)
    return made


@pytest.fixture
def ana() -> User:
    user = User.objects.create_user("ana", password="x", first_name="Ana", last_name="Byrne", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_conversation"))
    return user


@pytest.fixture
def staff(client: Client, ana: User) -> Client:
    client.force_login(ana)
    return client


def names(response: Any) -> list[str]:
    return [card["name"] for card in response.context["cards"]]


def test_a_stranger_is_sent_to_the_login(client: Client) -> None:
    for path in ("/desk/", f"/desk/{conversation().thread_id}/"):
        response = client.get(path)
        assert (response.status_code, response.headers["Location"]) == (302, f"/admin/login/?next={path}")


def test_staff_without_the_permission_are_told_so(client: Client) -> None:
    client.force_login(User.objects.create_user("bob", password="x", is_staff=True))
    for path in ("/desk/", f"/desk/{conversation(('customer', 'secret')).thread_id}/"):
        response = client.get(path)
        assert response.status_code == 403
        assert "Can view conversation" in response.text
        assert "secret" not in response.text


def test_who_is_no_staff_any_more_reads_nothing(staff: Client, ana: User) -> None:
    chat = conversation(("customer", "secret"))
    User.objects.filter(pk=ana.pk).update(is_staff=False)
    for path in ("/desk/?tab=all", f"/desk/{chat.thread_id}/"):
        response = staff.get(path)
        assert response.status_code == 403
        assert "secret" not in response.text


def test_the_desk_opens_where_somebody_waits(staff: Client) -> None:
    assert staff.get("/desk/").headers["Location"] == "/desk/?tab=all"
    conversation(state="waiting", waiting_since=timezone.now())
    assert staff.get("/desk/").headers["Location"] == "/desk/?tab=waiting"


def test_tabs_hold_and_count_their_own(staff: Client, ana: User) -> None:
    conversation(user_id="with the AI")
    conversation(user_id="waits", state="waiting", waiting_since=timezone.now())
    conversation(user_id="mine", state="human", assignee=ana)
    conversation(user_id="of another", state="human")
    conversation(user_id="gone", state="closed")
    shown = {tab: set(names(staff.get(f"/desk/?tab={tab}"))) for tab in ("waiting", "mine", "ai", "all")}
    assert shown == {
        "waiting": {"waits"},
        "mine": {"mine"},
        "ai": {"with the AI"},
        "all": {"with the AI", "waits", "mine", "of another"},
    }
    response = staff.get("/desk/?tab=all")
    assert [tab.count for tab in response.context["tabs"]] == [1, 1, 1, 4]
    assert "<title>(1) Desk</title>" in response.text


def test_who_waits_longest_comes_first_elsewhere_who_wrote_last(staff: Client) -> None:
    now = timezone.now()
    conversation(
        user_id="early", state="waiting", waiting_since=now - timedelta(hours=1), updated_at=now - timedelta(minutes=9)
    )
    conversation(user_id="late", state="waiting", waiting_since=now, updated_at=now)
    assert names(staff.get("/desk/?tab=waiting")) == ["early", "late"]
    assert names(staff.get("/desk/?tab=all")) == ["late", "early"]
    assert [card["age"] for card in staff.get("/desk/?tab=waiting").context["cards"]] == ["1 h", "now"]  # of waiting


def test_search_finds_by_customer_ticket_thread_and_words(staff: Client) -> None:
    wanted = conversation(("customer", "a torn fly sheet"), user_id="maeve", state="waiting")
    Ticket.objects.create(number="ESC-7K2M", conversation=wanted)
    conversation(("customer", "boots"), user_id="tom")
    for words in ("MAEVE", "esc-7k2m", wanted.thread_id[:10], "torn fly"):
        assert names(staff.get("/desk/", {"tab": "all", "q": words})) == ["maeve"]
    response = staff.get("/desk/", {"tab": "all", "q": "kayak"})
    assert "Nothing in “All” matches “kayak”." in response.text


def test_a_card_previews_what_people_said_and_marks_who_needs_an_answer(staff: Client) -> None:
    conversation(("customer", "It is **torn**"), ("system", "I have asked a person"), state="human")
    response = staff.get("/desk/?tab=all")
    card = response.context["cards"][0]
    assert (card["name"], card["preview"], card["needs_answer"]) == ("Visitor", "It is torn", True)
    assert '<a class="card needs-answer"' in response.text


def test_a_thread_shows_every_message_and_escapes_what_customers_type(staff: Client) -> None:
    chat = conversation(
        ("customer", "<script>alert(1)</script>"), ("agent", "**Sorry** [1]"), state="human", ticket="ESC-1"
    )
    chat.messages.filter(seq=2).update(citations=[{"n": 1, "title": "Returns", "url": "/help/returns/", "snippet": ""}])
    page = staff.get(f"/desk/{chat.thread_id}/?tab=all").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<strong>Sorry</strong>" in page
    assert '<a href="/help/returns/" target="_blank" rel="noopener">1. Returns</a>' in page
    assert "ESC-1" in page


def test_a_thread_that_is_not_there(staff: Client) -> None:
    assert staff.get("/desk/0123456789abcdef/").status_code == 404


def test_the_list_costs_the_same_for_many_as_for_one(
    staff: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(120):
        conversation(("customer", "Hello"), user_id=f"customer {number}")
    with django_assert_max_num_queries(6):
        response = staff.get("/desk/?tab=all")
    assert len(names(response)) == 100
    assert "The first 100 are shown" in response.text


def test_a_desk_that_shows_the_list_is_given_the_chat_without_it(
    staff: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    chat = conversation(("customer", "Where is my order?"), user_id="asked for")
    conversation(("customer", "Hello"), user_id="beside it")
    with django_assert_max_num_queries(12):
        page = staff.get(f"/desk/{chat.thread_id}/?tab=ai&part=chat").text
    assert "Where is my order?" in page
    assert "beside it" not in page
    assert f"/desk/{chat.thread_id}/?tab=ai" not in page
    assert "beside it" in staff.get(f"/desk/{chat.thread_id}/?tab=ai").text


def test_nothing_of_the_desk_is_kept_by_caches(staff: Client) -> None:
    assert "no-store" in staff.get("/desk/?tab=all").headers["Cache-Control"]


@pytest.mark.parametrize(
    ("age", "shown"),
    [({"seconds": 59}, "now"), ({"minutes": 59}, "59 min"), ({"hours": 23}, "23 h"), ({"hours": 49}, "2 d")],
)
def test_ages_are_short(age: dict[str, int], shown: str) -> None:
    assert short_age(timedelta(**age)) == shown
