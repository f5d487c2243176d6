"""What the desk's list shows: tabs with counts, search, one card for each open conversation."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.utils import timezone

from agent_app.desk import cards
from agent_app.desk.presence import presence
from agent_app.models import Conversation
from agent_app.models.people import display_name

MOST_CARDS = 100
State = Conversation.State


@dataclass(frozen=True, slots=True)
class Tab:
    name: str
    label: str
    shows: cards.Wanted
    count: int
    empty: str


def tabs_of(user_id: int) -> list[Tab]:
    """Each with its count, in one query."""
    counts = cards.Counts().of(user_id)
    return [
        Tab("waiting", "Waiting", cards.Wanted(State.WAITING), counts["waiting"], "Nobody is waiting for a person."),
        Tab("mine", "Mine", cards.Wanted(assignee=user_id), counts["mine"], "You have taken over no chat."),
        Tab("ai", "AI", cards.Wanted(State.AI), counts["ai"], "The assistant is answering nobody right now."),
        Tab("all", "All", cards.Wanted(), counts["all"], "No chat is open. A customer's first message opens one."),
    ]


def cards_of(tab: Tab, words: str) -> tuple[list[dict[str, Any]], bool]:
    """At most MOST_CARDS, and whether there are more; each with how long it has waited, or since it changed."""
    shown, following = cards.page(replace(tab.shows, q=words), "", MOST_CARDS)
    now, looking = timezone.now(), presence.looking()
    ages = (short_age(now - (each.waiting_since or each.updated_at)) for each in shown)
    aged = [{**cards.card(each, looking), "age": age} for each, age in zip(shown, ages, strict=True)]
    return aged, following is not None


def who_answers(conversation: Conversation) -> str:
    if conversation.state == State.HUMAN and conversation.assignee is not None:
        return display_name(conversation.assignee)
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
