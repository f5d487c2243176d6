"""What is remembered, of whom and for whom; and what a model may spend. On a real database."""

import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from agent_app.agent.events import ChatMessage, TurnContext
from agent_app.agent.spending import Spent
from agent_app.agent.told import heed
from agent_app.journal import journal
from agent_app.models import Conversation, ConversationSummary, ConversationUse, DailyUse, Fact
from agent_app.models.memory import MOST_FACTS
from agent_app.notes import DeskNotes
from agent_app.tools.failures import NotAllowed
from agent_app.tools.memory import recall, remember
from agent_app.tools.registry import RegisteredTool

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def closed_journal() -> Iterator[None]:
    yield
    journal.close()


def chat(user_id: str | None = None, verified: bool = False) -> Conversation:
    return Conversation.objects.create(
        session_id=Conversation.new_session_id(),
        token_hash=Conversation.new_token(),
        user_id=user_id,
        verified=verified,
        live_until=timezone.now() + timedelta(hours=1),
    )


def turn(conversation: Conversation, *texts: str) -> TurnContext:
    messages = tuple(ChatMessage(seq, "customer", text) for seq, text in enumerate(texts, 1))
    return TurnContext(
        conversation.thread_id,
        conversation.session_id,
        "ai",
        conversation.user_id,
        conversation.verified,
        {},
        messages,
        len(texts) - 1,
        "ESC-1",
        time.monotonic() + 30,
        8000,
    )


def keep(conversation: Conversation, said: str, name: str, value: str) -> str:
    return async_to_sync(remember)(turn(conversation, "hello", said), name, value)


def facts(conversation: Conversation) -> dict[str, str]:
    return {fact.name: fact.value for fact in Fact.objects.known_to(conversation)}


def test_a_fact_has_its_message_and_its_end(settings: Any) -> None:
    settings.AGENT_MEMORY_DAYS = 10
    conversation = chat()
    keep(conversation, "My shoe size is 43, by the way", "Shoe size", "43")
    fact = Fact.objects.get()
    assert (fact.name, fact.value, fact.message_seq) == ("shoe size", "43", 2)
    assert timedelta(days=9) < fact.expires_at - timezone.now() <= timedelta(days=10)
    assert facts(conversation) == {"shoe size": "43"}
    Fact.objects.update(expires_at=timezone.now())
    assert facts(conversation) == {}
    keep(chat(), "I am vegan", "diet", "vegan")
    assert Fact.objects.get().value == "vegan", "what has expired is gone with the next fact"


def test_the_newer_word_counts() -> None:
    conversation = chat()
    keep(conversation, "I wear 43", "shoe size", "43")
    keep(conversation, "no, 44", "shoe size", "44")
    assert facts(conversation) == {"shoe size": "44"}


@pytest.mark.parametrize(("name", "value"), [("size", "45"), ("", "43"), ("x" * 60, "43"), ("size", ""), ("a<b", "43")])
def test_only_the_customers_own_words_are_kept(name: str, value: str) -> None:
    """An article, an attachment or a tool's result that wants to be remembered stands in no message of the customer."""
    with pytest.raises(NotAllowed):
        keep(chat(), "I wear 43", name, value)
    assert not Fact.objects.exists()


def test_another_chat_knows_it_only_for_a_proven_customer() -> None:
    keep(chat("ana", verified=True), "I am vegan", "diet", "vegan")
    keep(chat("ana", verified=False), "I eat meat", "diet", "meat")
    keep(chat(None), "I eat fish", "diet", "fish")
    assert facts(chat("ana", verified=True)) == {"diet": "vegan"}
    assert facts(chat("ana", verified=False)) == {}
    assert facts(chat("ben", verified=True)) == {}
    assert facts(chat(None)) == {}


def test_recall_tells_facts_and_earlier_messages() -> None:
    conversation = chat()
    keep(conversation, "I wear 43", "size", "43")
    told = async_to_sync(recall)(turn(conversation, "I wear 43", "Which size?"))
    assert told == {"facts": [{"fact": "size", "value": "43"}], "messages": ["I wear 43"]}


def test_memory_is_bounded_and_can_be_off(settings: Any) -> None:
    conversation = chat()
    for number in range(MOST_FACTS + 5):
        Fact.objects.remember(conversation, f"f{number}", "x", 1)
    assert Fact.objects.count() == MOST_FACTS
    assert "f0" not in facts(conversation)
    settings.AGENT_MEMORY_DAYS = 0
    assert Fact.objects.remember(chat(), "diet", "vegan", 1) is None
    with pytest.raises(NotAllowed, match="nothing is remembered"):
        keep(conversation, "I am vegan", "diet", "vegan")


@pytest.mark.parametrize("days", [0, 90])
def test_without_memory_nothing_is_said_to_be_noted(days: int, settings: Any) -> None:
    settings.AGENT_MEMORY_DAYS = days
    tools = {
        function.__name__: RegisteredTool(function.__name__, function, function.policy) for function in (remember,)
    }
    noted = async_to_sync(heed)(turn(chat(), "My name is Ana"), tools)
    assert (noted is not None) == bool(days) == Fact.objects.exists()


def test_a_customers_facts_are_found_and_go_with_the_chats() -> None:
    proven, claimed = chat("ana", verified=True), chat("ana")
    keep(proven, "I am vegan", "diet", "vegan")
    keep(claimed, "I wear 43", "size", "43")
    keep(chat("ben", verified=True), "I wear 50", "size", "50")
    assert Fact.objects.of_user("ana").count() == 2
    Conversation.objects.filter(user_id="ana").delete()
    assert [fact.value for fact in Fact.objects.all()] == ["50"]


# ---- what a model spends ----


def spent(tokens: int, dollars: str | None = None) -> Spent:
    return Spent(1, 0, tokens, tokens, Decimal(dollars) if dollars else None)


@pytest.fixture
def midday() -> Iterator[None]:
    """Of this day: an account of a day is another one after midnight."""
    with time_machine.travel(timezone.now().replace(hour=12)):
        yield


@pytest.mark.usefixtures("midday")
def test_all_instances_share_the_days_account() -> None:
    first, second, notes = chat(), chat(), DeskNotes()
    for conversation in (first, second, first):
        async_to_sync(notes.count)(turn(conversation, "hi"), spent(100, "0.002"))
    day = DailyUse.objects.get()
    assert (day.turns, day.requests, day.input_tokens, day.output_tokens, day.price_micros) == (3, 3, 300, 300, 6000)
    assert ConversationUse.objects.get(conversation=first).tokens == 400


@pytest.mark.usefixtures("midday")
def test_what_is_left_is_the_lesser_of_the_two_budgets(settings: Any) -> None:
    settings.AGENT_CONVERSATION_BUDGET, settings.AGENT_DAY_BUDGET = 1000, 700
    first, second, notes = chat(), chat(), DeskNotes()

    def left(conversation: Conversation) -> float:
        return async_to_sync(notes.known)(turn(conversation, "hi")).tokens_left

    assert left(first) == 700
    async_to_sync(notes.count)(turn(first, "hi"), spent(300))
    assert (left(first), left(second)) == (100, 100)
    settings.AGENT_DAY_BUDGET = 0
    assert (left(first), left(second)) == (400, 1000)
    settings.AGENT_CONVERSATION_BUDGET = 0
    assert left(first) == float("inf")
    settings.AGENT_DAY_BUDGET = 10_000
    DailyUse.objects.update(day=timezone.now().date() - timedelta(days=1))
    assert left(first) == 10_000, "a new day has a new account"


def test_older_notes_never_replace_newer_ones() -> None:
    conversation = chat()
    ConversationSummary.keep(conversation.pk, 10, "new")
    ConversationSummary.keep(conversation.pk, 5, "old")
    known = async_to_sync(DeskNotes().known)(turn(conversation, "hi"))
    assert (known.summary, known.summary_upto) == ("new", 10)


def test_staff_see_what_is_remembered_and_delete_it(client: Client) -> None:
    keep(chat("ana", verified=True), "I am vegan", "diet", "vegan")
    fact = Fact.objects.get()
    DailyUse.today().add(1, 100, 20, Decimal("0.5"))
    client.force_login(User.objects.create_superuser("root"))
    assert "vegan" in client.get("/admin/agent_app/fact/").content.decode()
    assert "ana" in client.get(f"/admin/agent_app/fact/{fact.pk}/change/").content.decode()
    assert "0.5000" in client.get("/admin/agent_app/dailyuse/").content.decode()
    client.post(f"/admin/agent_app/fact/{fact.pk}/delete/", {"post": "yes"})
    assert not Fact.objects.exists()
