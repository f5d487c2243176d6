"""The desk's list as data: cards of conversations, in pages and by id, with counts, for REST and for the socket."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, datetime
from typing import Any

from django.db.models import Count, OuterRef, Q, Subquery
from django.db.models.functions import Substr

from agent_app.markdown import to_text
from agent_app.models import Conversation, Message, Ticket
from agent_app.models.conversations import ConversationQuerySet, wire_time
from agent_app.models.people import person

PREVIEW = 140  # characters
READ_OF_A_TEXT = 400  # characters of Markdown that give a preview
SEARCHED = 2000  # of the conversations that changed last, those whose texts are searched
MOST_FOUND = 2000
State = Conversation.State
OPEN = (State.AI, State.WAITING, State.HUMAN)
LAST = "\U0010ffff"

Looking = Mapping[int, Sequence[dict[str, Any]]]


class NoSuchCursor(ValueError):
    """Not one that a page gave."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a page is to show. `state`: open, all, or one state. `assignee`: a user's id, "none", or None for any."""

    state: str = "open"
    assignee: int | str | None = None
    q: str = ""

    def conversations(self) -> ConversationQuerySet:
        found = Conversation.objects.all()
        if self.state == "open":
            found = found.filter(state__in=OPEN)
        elif self.state != "all":
            found = found.filter(state=self.state)
        if self.assignee == "none":
            found = found.filter(assignee=None)
        elif self.assignee is not None:
            found = found.filter(assignee_id=int(self.assignee))
        return found.filter(pk__in=matching(found, self.q)) if self.q else found

    @property
    def by_wait(self) -> bool:
        return self.state == State.WAITING


def matching(conversations: ConversationQuerySet, words: str) -> list[int]:
    """By the beginning of a user's or thread's id, a ticket, or words that were written in a recent conversation."""
    named = Q(user_id__gte=words, user_id__lt=words + LAST) | Q(
        thread_id__gte=words.lower(), thread_id__lt=words.lower() + LAST
    )
    if words != words.lower():
        named |= Q(user_id__gte=words.lower(), user_id__lt=words.lower() + LAST)
    found = set(conversations.filter(named).values_list("pk", flat=True)[:MOST_FOUND])
    tickets = Ticket.objects.filter(number=words.upper())
    found |= set(conversations.filter(pk__in=tickets.values("conversation")).values_list("pk", flat=True))
    recent = list(conversations.newest_first(SEARCHED).values_list("pk", flat=True))
    said = Message.objects.filter(conversation__in=recent, text__icontains=words)
    found |= set(said.values_list("conversation", flat=True).distinct())
    return list(found)


def page(wanted: Wanted, cursor: str, limit: int) -> tuple[list[Conversation], str | None]:
    """Whoever waits longest comes first, elsewhere whoever changed last; and the next page's cursor."""
    found = with_last(wanted.conversations())
    place = parsed(cursor) if cursor else None
    if wanted.by_wait:
        found = found.filter(waiting_since__isnull=False).order_by("waiting_since", "id")
        if place is not None:
            when, last = place
            found = found.filter(Q(waiting_since__gte=when) & (Q(waiting_since__gt=when) | Q(pk__gt=last)))
        rows = list(found[: limit + 1])
    else:
        rows = list(found.newest_first(limit + 1, place))
    shown = rows[:limit]
    if len(rows) == len(shown):
        return shown, None
    moment = shown[-1].waiting_since if wanted.by_wait else shown[-1].updated_at
    return shown, f"{moment.isoformat() if moment else ''}~{shown[-1].pk}"


def parsed(cursor: str) -> tuple[datetime, int]:
    """The row that the page before ended with; NoSuchCursor unless a page can have given it."""
    moment, _, pk = cursor.partition("~")
    try:
        when, last = datetime.fromisoformat(moment), int(pk)
    except ValueError:
        raise NoSuchCursor(cursor) from None
    # The first and the last year have moments that are past the calendar in UTC, or a STEP later.
    if when.tzinfo is None or not MINYEAR < when.year < MAXYEAR or not 0 <= last < 2**63:
        raise NoSuchCursor(cursor)
    return when, last


def of_ids(ids: Iterable[int]) -> list[Conversation]:
    return list(with_last(Conversation.objects.filter(pk__in=list(ids))))


def with_last(conversations: ConversationQuerySet) -> ConversationQuerySet:
    """With what a card shows beside the row: the newest message that is no system text, and the ticket's priority."""
    said = Message.objects.filter(conversation=OuterRef("pk")).exclude(role=Message.Role.SYSTEM).order_by("-seq")
    ticket = Ticket.objects.filter(number=OuterRef("ticket"))
    return conversations.select_related("assignee").annotate(
        last_text=Subquery(said.values(start=Substr("text", 1, READ_OF_A_TEXT))[:1]),
        last_role=Subquery(said.values("role")[:1]),
        priority=Subquery(ticket.values("priority")[:1]),
    )


def card(conversation: Any, looking: Looking) -> dict[str, Any]:
    """Of a conversation `with_last`."""
    with_people = conversation.state in {State.WAITING, State.HUMAN}
    assignee = person(conversation.assignee) if conversation.assignee is not None else None
    return {
        "id": conversation.thread_id,
        "name": conversation.user_id or "Visitor",
        "verified": conversation.verified,
        "state": conversation.state,
        "assignee": assignee,
        "answers": answers(conversation.state, assignee),
        "preview": to_text(conversation.last_text or "")[:PREVIEW],
        "preview_role": conversation.last_role,
        "needs_answer": with_people and conversation.last_role == Message.Role.CUSTOMER,
        "last_seq": conversation.last_seq,
        "updated_at": wire_time(conversation.updated_at),
        "waiting_since": wire_time(conversation.waiting_since),
        "ticket": conversation.ticket,
        "priority": conversation.priority,
        "looking": [{"id": each["id"], "name": each["name"]} for each in looking.get(conversation.pk, ())],
    }


def answers(state: str, assignee: dict[str, Any] | None) -> str:
    """Who answers the customer now."""
    if state == State.HUMAN:
        return str(assignee["name"]) if assignee else "A person"
    return "Closed" if state == State.CLOSED else "AI"


class Counts:
    """How many conversations are open, by who answers; of one person's own by `of`."""

    def __init__(self) -> None:
        groups = Conversation.objects.filter(state__in=OPEN).values_list("state", "assignee").annotate(Count("pk"))
        self._by_state: Counter[str] = Counter()
        self._by_person: Counter[int] = Counter()
        for state, assignee, count in groups.order_by():
            self._by_state[state] += count
            if assignee is not None:
                self._by_person[assignee] += count

    def of(self, user_id: int) -> dict[str, int]:
        by_state = {state.value: self._by_state[state] for state in (State.WAITING, State.HUMAN, State.AI)}
        return {**by_state, "mine": self._by_person[user_id], "all": sum(by_state.values())}
