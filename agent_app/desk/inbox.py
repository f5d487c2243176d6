"""What the desk's list shows: tabs with counts, search, one card for each open conversation."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from django.db.models import Count, Exists, OuterRef, Q, Subquery
from django.utils import timezone

from agent_app.markdown import to_text
from agent_app.models import Conversation, Message
from agent_app.models.conversations import ConversationQuerySet

MOST_CARDS = 100
PREVIEW = 140  # characters
State = Conversation.State


@dataclass(frozen=True, slots=True)
class Tab:
    name: str
    label: str
    only: Q
    order: tuple[str, ...]
    empty: str
    count: int = 0


def tabs_of(user_id: int | None) -> list[Tab]:
    """Each with its count, in one query. Whoever waits longest comes first; elsewhere, whoever wrote last."""
    newest = ("-updated_at", "-id")
    tabs = [
        Tab("waiting", "Waiting", Q(state=State.WAITING), ("updated_at", "id"), "Nobody is waiting for a person."),
        Tab("mine", "Mine", Q(state=State.HUMAN, assignee=user_id), newest, "You have taken over no chat."),
        Tab("ai", "AI", Q(state=State.AI), newest, "The assistant is answering nobody right now."),
        Tab("all", "All", Q(), newest, "No chat is open. A customer's first message opens one."),
    ]
    counts = Conversation.objects.open().aggregate(**{tab.name: Count("pk", filter=tab.only) for tab in tabs})
    return [Tab(tab.name, tab.label, tab.only, tab.order, tab.empty, counts[tab.name]) for tab in tabs]


@dataclass(frozen=True, slots=True)
class Card:
    """One conversation in the list."""

    thread_id: str
    name: str
    verified: bool
    state: str
    answers: str
    preview: str
    needs_answer: bool
    age: str

    @classmethod
    def of(cls, conversation: Conversation, now: datetime) -> Self:
        """Of a conversation with `last_text` and `last_role` (see `cards_of`)."""
        last_role, last_text = conversation.last_role, conversation.last_text  # type: ignore[attr-defined]
        with_people = conversation.state in {State.WAITING, State.HUMAN}
        return cls(
            thread_id=conversation.thread_id,
            name=conversation.user_id or "Visitor",
            verified=conversation.verified,
            state=conversation.state,
            answers=who_answers(conversation),
            preview=to_text(last_text or "")[:PREVIEW],
            needs_answer=with_people and last_role == Message.Role.CUSTOMER,
            age=short_age(now - conversation.updated_at),
        )


def cards_of(tab: Tab, words: str) -> list[Card]:
    """At most MOST_CARDS, and one more if there are more, so that the page can say so."""
    said = Message.objects.filter(conversation=OuterRef("pk")).exclude(role=Message.Role.SYSTEM)
    last = said.order_by("-seq")
    found = matching(Conversation.objects.open().filter(tab.only), words).select_related("assignee")
    found = found.annotate(last_text=Subquery(last.values("text")[:1]), last_role=Subquery(last.values("role")[:1]))
    now = timezone.now()
    return [Card.of(conversation, now) for conversation in found.order_by(*tab.order)[: MOST_CARDS + 1]]


def matching(conversations: ConversationQuerySet, words: str) -> ConversationQuerySet:
    """By the customer's id, the ticket's number, the thread's id, or what was written."""
    if not words:
        return conversations
    said = Message.objects.filter(conversation=OuterRef("pk"), text__icontains=words)
    named = Q(user_id__icontains=words) | Q(ticket__iexact=words) | Q(thread_id__startswith=words.lower())
    return conversations.filter(named | Exists(said))


def who_answers(conversation: Conversation) -> str:
    if conversation.state == State.HUMAN and conversation.assignee is not None:
        return conversation.assignee.get_full_name() or conversation.assignee.get_username()
    return {State.AI: "AI", State.WAITING: "Waiting", State.HUMAN: "A person", State.CLOSED: "Closed"}[
        State(conversation.state)
    ]


def short_age(age: timedelta) -> str:
    """As short as a card needs it: now, 5 min, 3 h, 2 d."""
    minutes = int(age.total_seconds() // 60)
    if minutes < 1:
        return "now"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 24 * 60 else f"{minutes // (24 * 60)} d"
