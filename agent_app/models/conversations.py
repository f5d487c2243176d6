"""The durable log: conversations and their numbered messages.

Only the journal writes messages and a conversation's counters (`agent_app.journal`, by the rules of
`agent_app.models.turns`). Everything here reads, or says what a row means.
"""

import hashlib
import random
import re
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import connection, models
from django.db.models import ExpressionWrapper, F, Q, Subquery, Value
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

# What an index is ordered by moves in steps: what changes with each message is in no index, so that PostgreSQL puts a
# row's new version beside the old one (HOT) and no entry into each of twelve indexes. `active_at` is at most this far
# behind `updated_at`, and a chat lives up to this much longer than it has to.
STEP = timedelta(seconds=10)
EVER = datetime(1, 1, 1, tzinfo=UTC)

ASKED_FOR_EMAIL = "your e-mail address"  # the words by which a text of the desk's asks for one
EMAIL = re.compile(r"[^\s<>,;:()\[\]\"']+@[^\s<>,;:()\[\]\"']+[^\s<>,;:()\[\]\"'.!?]")


def is_email(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def new_id() -> str:
    return secrets.token_hex(16)


def new_message_id() -> str:
    """128 random bits; a name, not a secret. The system's randomness gives up the interpreter's lock, which a busy
    process waits for up to 5 ms.
    """
    return f"{random.getrandbits(128):032x}"


@dataclass(slots=True)
class Entry:
    """One message of the log as plain data: what the journal writes and what every door sends.

    A Django model instance costs some 15 µs to make, more than the message's whole share of a commit.
    """

    seq: int
    id: str
    role: str
    text: str
    created_at: datetime
    client_id: str | None = None
    reply_to: int | None = None
    author: str | None = None
    citations: list[dict[str, Any]] = field(default_factory=list)
    attachments: list[dict[str, Any]] = field(default_factory=list)
    choices: list[dict[str, Any]] | None = None
    confirm: dict[str, Any] | None = None
    stopped: bool = False
    turn: str | None = None
    details: dict[str, Any] | None = None  # how the answer came about; the desk's, never on the wire
    as_seen: Any = field(default=None, compare=False, repr=False)  # as the agent sees it, made once

    def to_wire(self) -> dict[str, Any]:
        """The message object of the protocol; optional fields are left out when they say nothing."""
        wire: dict[str, Any] = {
            "seq": self.seq,
            "id": self.id,
            "role": self.role,
            "text": self.text,
            "created_at": wire_time(self.created_at),
            "citations": self.citations,
            "attachments": self.attachments,
        }
        if self.client_id is not None:
            wire["client_id"] = self.client_id
        if self.reply_to is not None:
            wire["reply_to"] = self.reply_to
        if self.author is not None:
            wire["author"] = self.author
        if self.choices:
            wire["choices"] = self.choices
        if self.confirm:
            wire["confirm"] = self.confirm
        if self.stopped:
            wire["stopped"] = True
        if self.turn is not None:
            wire["turn"] = self.turn
        return wire


def wire_time(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def open(self) -> "ConversationQuerySet":
        return self.exclude(state=Conversation.State.CLOSED)

    def waiting(self) -> "ConversationQuerySet":
        return self.filter(state=Conversation.State.WAITING)

    def named(self, thread_id: str) -> "ConversationQuerySet":
        """At most one; text that no database takes names none."""
        return self.filter(thread_id=thread_id) if "\x00" not in thread_id else self.none()

    def of_customer(self, session_id: str, token: str) -> "Conversation":
        """The one chat that this token opens; DoesNotExist for an unknown session and a foreign token alike."""
        return self.get(session_id=session_id, token_hash=hash_token(token))

    def held(self, session_ids: Collection[str]) -> set[str]:
        """Those of these that are there, and stay there until the caller's transaction ends; nobody who writes in
        them waits for that.
        """
        found = self.filter(session_id__in=session_ids).order_by("pk").values_list("session_id", flat=True)
        if connection.vendor != "postgresql" or not session_ids:
            return set(found)  # SQLite has one writer at a time
        sql, params = found.query.sql_with_params()
        with connection.cursor() as cursor:
            # What a foreign key takes: it conflicts with a deletion alone. Django has no word for it.
            cursor.execute(f"{sql} FOR KEY SHARE", params)
            return {row[0] for row in cursor.fetchall()}

    def in_line(self) -> "ConversationQuerySet":
        """Those who wait for a person, the longest first. Served by a partial index."""
        return self.filter(state=Conversation.State.WAITING, waiting_since__isnull=False).order_by(
            "waiting_since", "id"
        )

    def place_in_line(self, conversation_id: int) -> int:
        """1 for the one who has waited longest."""
        since = self.filter(pk=conversation_id).values_list("waiting_since", flat=True).first()
        return self.in_line().filter(waiting_since__lt=since).count() + 1 if since else 1

    def unanswered(self) -> "ConversationQuerySet":
        """Chats in which a customer waits for the agent."""
        # "Neither … nor": by the index of states SQLite would read every chat that is open.
        others = [Conversation.State.HUMAN, Conversation.State.CLOSED]
        return self.filter(asked_upto__gt=F("answered_upto")).exclude(state__in=others)

    def orphaned(self, now: datetime) -> "ConversationQuerySet":
        """A customer waits and nobody holds the turn: the log is the queue. Served by a partial index, which holds the
        chats with a turn, and those that had one lately.
        """
        return self.unanswered().filter(turn_until__lt=now)

    def given_up(self) -> "ConversationQuerySet":
        """A customer waits, and no index knows of it: what an instance of an earlier version gave back. Reads every
        chat that is open.
        """
        agents = [Conversation.State.AI, Conversation.State.WAITING]
        return self.unanswered().filter(state__in=agents, turn_until=None)

    def had_a_turn(self, before: datetime) -> "ConversationQuerySet":
        """A lease ran out before then, and nobody waits: no use to look at them again. Served by the same index."""
        return self.filter(turn_until__lt=before, turn_holder=None, asked_upto__lte=F("answered_upto"))

    def out_of_step(self) -> "ConversationQuerySet":
        """Those that an instance of an earlier version moved, which knew no `active_at`: no list finds them in time.
        Reads every row.
        """
        return self.filter(Q(updated_at__gte=F("active_at") + STEP) | Q(active_at__gt=F("updated_at")))

    def moved_since(self, since: datetime) -> "ConversationQuerySet":
        return self.filter(active_at__gt=since - STEP, updated_at__gte=since)

    def newest_first(self, most: int, before: tuple[datetime, int] | None = None) -> "ConversationQuerySet":
        """Those that moved last, in the order of (updated_at, id), `most` of them; past that place if there is one.

        The index knows `active_at`, which may be a STEP behind: what it says of the last of them, less a step, bounds
        what is sorted.
        """
        found = self
        if before is not None:
            when, pk = before
            # A row that somebody made by hand may be a little ahead.
            found = found.filter(active_at__lt=when + STEP)
            found = found.filter(Q(updated_at__lt=when) | Q(updated_at=when, pk__lt=pk))
        last = Subquery(found.order_by("-active_at", "-id").values("active_at")[most - 1 : most])
        bound = ExpressionWrapper(last - STEP, output_field=models.DateTimeField())
        sought = found.filter(active_at__gt=Coalesce(bound, Value(EVER)))
        return sought.order_by("-updated_at", "-id")[:most]

    def expired(self, now: datetime) -> "ConversationQuerySet":
        """Chats that have run out: with the AI, answered, past their time. Served by a partial index."""
        return self.filter(state=Conversation.State.AI, asked_upto__lte=F("answered_upto"), live_until__lt=now)

    def past_retention(self, now: datetime) -> "ConversationQuerySet":
        days = settings.CONVERSATION_RETENTION_DAYS
        if not days:
            return self.none()
        return self.filter(state=Conversation.State.CLOSED, closed_at__lt=now - timedelta(days=days))


class ActiveAt(models.DateTimeField):
    """As of a new conversation's `updated_at`; the journal moves it."""

    def pre_save(self, instance: models.Model, add: bool) -> Any:
        if add:
            setattr(instance, self.attname, instance.updated_at)  # type: ignore[attr-defined]
        return super().pre_save(instance, add)


class Conversation(models.Model):
    """One chat. `session_id` names it to the customer, `thread_id` to everyone else."""

    class State(models.TextChoices):
        AI = "ai", "AI"
        WAITING = "waiting", "waiting for a person"
        HUMAN = "human", "with a person"
        CLOSED = "closed", "closed"

    thread_id = models.CharField(max_length=32, unique=True, default=new_id, editable=False)
    session_id = models.CharField(max_length=200, unique=True, editable=False)
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    user_id = models.CharField("user", max_length=200, null=True, blank=True)
    verified = models.BooleanField("identity verified", default=False)
    metadata = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=8, choices=State.choices, default=State.AI)
    assignee = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="chats")
    ticket = models.CharField(max_length=16, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    active_at = ActiveAt(db_default=Now(), editable=False, help_text="updated_at in steps, for the indexes")
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_reason = models.CharField(max_length=32, null=True, blank=True)
    waiting_since = models.DateTimeField(null=True, blank=True, help_text="a person was asked for, and none came yet")
    nobody_told = models.BooleanField(default=False, help_text="the customer was told that nobody came")
    email = models.EmailField(null=True, blank=True, help_text="from the customer's verified identity")

    last_seq = models.PositiveIntegerField("messages", default=0)
    customer_count = models.PositiveIntegerField("customer messages", default=0)
    asked_upto = models.PositiveIntegerField(default=0, help_text="seq of the newest customer message")
    answered_upto = models.PositiveIntegerField(default=0, help_text="customer messages up to this seq are answered")
    live_until = models.DateTimeField(help_text="a chat with the AI expires then; nothing moves it back")

    turn_holder = models.CharField(max_length=32, null=True, blank=True, help_text="the instance that answers")
    turn_until = models.DateTimeField(null=True, blank=True, help_text="the holder's lease runs out then")
    turn_fence = models.PositiveBigIntegerField(default=0, help_text="leases taken so far; an older one is refused")
    turn_attempts = models.PositiveSmallIntegerField(default=0, help_text="leases taken since the last answer")
    turn_stop = models.CharField(max_length=32, null=True, blank=True, help_text="the turn that was asked to stop")

    objects = ConversationQuerySet.as_manager()

    class Meta:
        indexes = [
            # None of them knows a column that every message changes: see STEP.
            models.Index(fields=["turn_until"], name="conversation_had_a_turn", condition=Q(turn_until__isnull=False)),
            models.Index(fields=["state", "live_until"], name="conversation_lives", condition=Q(state="ai")),
            models.Index(fields=["state", "-active_at", "-id"], name="conversation_state_active"),
            models.Index(fields=["-active_at", "-id"], name="conversation_active"),
            models.Index(fields=["created_at"], name="conversation_opened"),
            models.Index(fields=["user_id", "-active_at"], name="conversation_user_active"),
            models.Index(
                fields=["waiting_since", "id"], name="conversation_waiting", condition=Q(waiting_since__isnull=False)
            ),
        ]
        permissions = [
            ("takeover_conversation", "Can take a chat over"),
            ("release_conversation", "Can give a chat back to the AI"),
            ("reply_conversation", "Can write to a customer"),
            ("resolve_conversation", "Can resolve a chat"),
            ("assign_conversation", "Can assign a chat to somebody"),
        ]

    def __str__(self) -> str:
        return f"conversation {self.pk}"

    @property
    def name(self) -> str:
        """For staff's eyes. Logs call it by its number, which says nothing of the customer."""
        return f"{self.user_id or 'Visitor'} · {self.thread_id[:8]}"

    @staticmethod
    def new_session_id() -> str:
        return secrets.token_urlsafe(24)

    @staticmethod
    def new_token() -> str:
        return secrets.token_urlsafe(32)

    @property
    def is_closed(self) -> bool:
        return self.state == self.State.CLOSED

    @property
    def expires_at(self) -> datetime | None:
        """None while a person is asked for or answers: such a chat does not expire until it is resolved."""
        return self.live_until if self.state == self.State.AI else None

    def to_wire(self) -> dict[str, Any]:
        """What the customer may know of the session (`GET chat/sessions/{id}/`)."""
        return {
            "session_id": self.session_id,
            "state": self.state,
            "message_count": self.customer_count,
            "escalated": self.ticket is not None or self.state in {self.State.WAITING, self.State.HUMAN},
            "last_seq": self.last_seq,
            "created_at": wire_time(self.created_at),
            "last_activity": wire_time(self.updated_at),
            "expires_at": wire_time(self.expires_at),
        }

    def email_of_customer(self) -> str | None:
        """The verified identity's, else the newest address that the customer wrote after the desk had asked for one.

        It is not copied from there: it goes when the message goes.
        """
        if self.email:
            return self.email
        asked = self.messages.filter(role=Message.Role.SYSTEM, text__contains=ASKED_FOR_EMAIL).order_by("seq").first()
        if asked is None:
            return None
        said = self.messages.after(asked.seq).filter(role=Message.Role.CUSTOMER, text__contains="@")
        for text in said.order_by("-seq").values_list("text", flat=True)[:20]:
            for found in EMAIL.findall(text):
                if is_email(found):
                    return str(found)
        return None

    def as_text(self, entries: list[Entry]) -> str:
        """The chat to read and keep, one paragraph a message."""
        names = {"customer": "You", "agent": "Assistant", "staff": "Support", "system": "—"}
        lines = [f"Chat of {self.created_at:%Y-%m-%d %H:%M} UTC", ""]
        for entry in entries:
            name = entry.author if entry.role == "staff" and entry.author else names[entry.role]
            lines += [f"[{entry.created_at:%H:%M}] {name}: {entry.text}"]
            lines += [f"    [{citation['n']}] {citation['title']}: {citation['url']}" for citation in entry.citations]
            lines += [""]
        return "\n".join(lines)


class MessageQuerySet(models.QuerySet["Message"]):
    def after(self, seq: int) -> "MessageQuerySet":
        return self.filter(seq__gt=seq).order_by("seq")

    def named(self, conversations: Iterable[int], ids: Iterable[str]) -> "MessageQuerySet":
        """The messages with these ids, of these conversations, which are read whole: an index over random ids would
        cost every message a page of its own in the database's log, and this is asked only after a commit in doubt.
        """
        return self.filter(conversation__in=conversations, public_id__in=ids)

    def entries(self) -> list[Entry]:
        """The rows as plain data, without making model instances."""
        return [Entry(*row) for row in self.values_list(*ENTRY_COLUMNS)]


class Message(models.Model):
    """One message; the journal numbers it 1, 2, 3 … within its conversation, without gap or repeat."""

    class Role(models.TextChoices):
        CUSTOMER = "customer"
        AGENT = "agent"
        STAFF = "staff"
        SYSTEM = "system"

    # No index of its own: `message_numbered_once` begins with it.
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="messages", db_index=False)
    seq = models.PositiveIntegerField()
    public_id = models.CharField(max_length=32)  # 128 random bits; see MessageQuerySet.named for why it has no index
    role = models.CharField(max_length=8, choices=Role.choices)
    text = models.TextField()
    created_at = models.DateTimeField()
    client_id = models.CharField(max_length=100, null=True, blank=True)
    reply_to = models.PositiveIntegerField(null=True, blank=True)
    author = models.CharField(max_length=150, null=True, blank=True)
    citations = models.JSONField(default=list, blank=True)
    attachments = models.JSONField(default=list, blank=True)
    choices = models.JSONField(null=True, blank=True)
    confirm = models.JSONField(null=True, blank=True)
    stopped = models.BooleanField(default=False)
    turn = models.CharField(max_length=32, null=True, blank=True)
    details = models.JSONField(null=True, blank=True, help_text="tools used and confidence; never shown to a customer")

    objects = MessageQuerySet.as_manager()

    class Meta:
        ordering = ["seq"]
        constraints = [
            models.UniqueConstraint(fields=["conversation", "seq"], name="message_numbered_once"),
            models.UniqueConstraint(
                fields=["conversation", "role", "client_id"],
                condition=Q(client_id__isnull=False),
                name="message_sent_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.seq} {self.role}"

    def to_entry(self) -> Entry:
        return Entry(*(getattr(self, column) for column in ENTRY_COLUMNS))

    def to_wire(self) -> dict[str, Any]:
        return self.to_entry().to_wire()


# The columns of Message in the order of Entry's fields.
ENTRY_COLUMNS = (
    "seq",
    "public_id",
    "role",
    "text",
    "created_at",
    "client_id",
    "reply_to",
    "author",
    "citations",
    "attachments",
    "choices",
    "confirm",
    "stopped",
    "turn",
    "details",
)
