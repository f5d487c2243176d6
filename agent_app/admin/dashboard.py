"""The admin's index as a dashboard: what is open, who answers, how soon, and whether store and database are well."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import mean, median
from time import perf_counter
from typing import Any

from django.db import connection
from django.db.models import Count, Min, Q
from django.db.models.functions import TruncHour
from django.utils import timezone

from agent_app.models import Conversation, Feedback, Message, UnansweredQuestion
from sessions_app.models import Session
from sessions_app.stores import StoreUnavailable

HOURS = 24
SAMPLE = 1000  # of the newest conversations, from which the first answer's median is taken; and of the newest ratings
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
class Dashboard:
    """All of it in eight queries and one question to the store."""

    open: dict[str, int]
    by_agent: int
    by_person: int
    first_answer: float | None  # seconds, median
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
        answers = self.by_agent + self.by_person
        return round(100 * self.by_agent / answers) if answers else None

    @classmethod
    def now(cls) -> "Dashboard":
        since = timezone.now() - timedelta(hours=HOURS)
        answers, ratings = answers_since(since), newest_ratings()
        return cls(
            open=open_by_state(),
            by_agent=answers["agent"],
            by_person=answers["staff"],
            first_answer=median_first_answer(since),
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


def answers_since(since: datetime) -> dict[str, int]:
    # Through the conversations: they have an index by time, messages have none.
    recent = Conversation.objects.filter(updated_at__gte=since).order_by()
    said = Q(messages__created_at__gte=since)
    return recent.aggregate(
        agent=Count("messages", filter=said & Q(messages__role=Role.AGENT)),
        staff=Count("messages", filter=said & Q(messages__role=Role.STAFF)),
    )


def median_first_answer(since: datetime) -> float | None:
    newest = Conversation.objects.filter(updated_at__gte=since).order_by("-updated_at").values("pk")[:SAMPLE]
    waits = (
        Message.objects.filter(conversation__in=list(newest.values_list("pk", flat=True)))
        .order_by()
        .values("conversation")
        .annotate(
            asked=Min("created_at", filter=Q(role=Role.CUSTOMER)),
            answered=Min("created_at", filter=Q(role__in=[Role.AGENT, Role.STAFF])),
        )
        .filter(asked__isnull=False, answered__isnull=False)
        .values_list("asked", "answered")
    )
    seconds = [(answered - asked).total_seconds() for asked, answered in waits]
    return median(seconds) if seconds else None


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
    recent = Conversation.objects.filter(updated_at__gte=since, created_at__gte=since).order_by()
    counted: dict[Any, int] = dict(
        recent.annotate(hour=TruncHour("created_at")).values_list("hour").annotate(Count("pk"))
    )
    first = timezone.localtime(since).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    starts = [first + timedelta(hours=number) for number in range(HOURS)]
    peak = max([counted.get(start, 0) for start in starts] + [4])
    return [
        Hour(start, counted.get(start, 0), 10 * place, round(60 * counted.get(start, 0) / peak, 1))
        for place, start in enumerate(starts)
    ]


def live_sessions() -> int | None:
    try:
        return int(Session.live.stats()["active_sessions"])
    except StoreUnavailable:
        return None
