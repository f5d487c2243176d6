"""The admin's index as a dashboard: what is open, who answers, how soon, and whether store and database are well."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import mean, median
from time import perf_counter

from django.db import connection, models
from django.db.models import Count, Min, Q, Value
from django.utils import timezone

from agent_app.models import Conversation, Feedback, Message, UnansweredQuestion
from sessions_app.models import Session
from sessions_app.stores import StoreUnavailable

HOURS = 24
SAMPLE = 1000  # of the newest conversations, whose answers are counted; and of the newest ratings
RATED_WITHIN = timedelta(days=30)

Role = Message.Role


@dataclass(frozen=True, slots=True)
class Hour:
    start: datetime
    opened: int
    x: int
    height: float

    @property
    def y(self) -> float:
        return 60 - self.height


@dataclass(frozen=True, slots=True)
class Answers:
    by_agent: int
    by_person: int
    first: float | None  # seconds until a chat's first answer, median
    of_newest: int | None  # chats, where there are more; None: of all


@dataclass(frozen=True, slots=True)
class Dashboard:
    """All of it in eight queries and one question to the store, which cost the same however many chats there are."""

    open: dict[str, int]
    answers: Answers
    hours: list[Hour]
    unanswered: int
    rating: float | None  # 1 to 5, the average
    rated: int
    database_ms: float  # of one round trip
    live: int | None  # None: the store is away

    @property
    def opened(self) -> int:
        return sum(hour.opened for hour in self.hours)

    @property
    def share_by_agent(self) -> int | None:
        answers = self.answers.by_agent + self.answers.by_person
        return round(100 * self.answers.by_agent / answers) if answers else None

    @classmethod
    def now(cls) -> "Dashboard":
        since = timezone.now() - timedelta(hours=HOURS)
        ratings = newest_ratings()
        return cls(
            open=open_by_state(),
            answers=answers_since(since),
            hours=opened_by_hour(since),
            unanswered=UnansweredQuestion.objects.unresolved().count(),
            rating=mean(ratings) if ratings else None,
            rated=len(ratings),
            database_ms=round_trip(),
            live=live_sessions(),
        )

    @property
    def database(self) -> str:
        return str(connection.display_name)


def open_by_state() -> dict[str, int]:
    counted = Conversation.objects.open().order_by().values_list("state").annotate(Count("pk"))
    return {"waiting": 0, "human": 0, "ai": 0} | dict(counted)


def answers_since(since: datetime) -> Answers:
    """Of the chats that moved since then, the newest SAMPLE of them: more would take as long as there are more.

    Through the conversations: they have an index by time, messages have none.
    """
    newest = list(Conversation.objects.moved_since(since).newest_first(SAMPLE + 1).values_list("pk", flat=True))
    lately = Q(created_at__gte=since)
    chats = (
        Message.objects.filter(conversation__in=newest[:SAMPLE])
        .order_by()
        .values("conversation")
        .annotate(
            asked=Min("created_at", filter=Q(role=Role.CUSTOMER)),
            answered=Min("created_at", filter=Q(role__in=[Role.AGENT, Role.STAFF])),
            agent=Count("pk", filter=lately & Q(role=Role.AGENT)),
            staff=Count("pk", filter=lately & Q(role=Role.STAFF)),
        )
        .values_list("asked", "answered", "agent", "staff")
    )
    rows = list(chats)
    waits = [(answered - asked).total_seconds() for asked, answered, _, _ in rows if asked and answered]
    return Answers(
        by_agent=sum(agent for _, _, agent, _ in rows),
        by_person=sum(staff for _, _, _, staff in rows),
        first=median(waits) if waits else None,
        of_newest=SAMPLE if len(newest) > SAMPLE else None,
    )


def newest_ratings() -> list[int]:
    """By the row, which needs no index by time."""
    rated = Feedback.objects.filter(rating__isnull=False, said_at__gte=timezone.now() - RATED_WITHIN)
    return [rating for rating in rated.order_by("-pk").values_list("rating", flat=True)[:SAMPLE] if rating]


def round_trip() -> float:
    """Milliseconds until the database has answered a question that costs it nothing."""
    began = perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    return 1000 * (perf_counter() - began)


def opened_by_hour(since: datetime) -> list[Hour]:
    first = timezone.localtime(since).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    starts = [first + timedelta(hours=number) for number in range(HOURS)]
    # Each a range of the index by time, in one query: to group by the hour would work on every row by itself.
    each, *others = [
        Conversation.objects.filter(created_at__gte=start, created_at__lt=start + timedelta(hours=1))
        .order_by()
        .values_list(Value(place, models.IntegerField()))
        .annotate(Count("pk"))
        for place, start in enumerate(starts)
    ]
    counted: dict[int, int] = dict(each.union(*others, all=True))
    peak = max([*counted.values(), 4])
    return [
        Hour(start, counted.get(place, 0), 10 * place, round(60 * counted.get(place, 0) / peak, 1))
        for place, start in enumerate(starts)
    ]


def live_sessions() -> int | None:
    try:
        return int(Session.live.stats()["active_sessions"])
    except StoreUnavailable:
        return None
