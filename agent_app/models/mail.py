"""Letters that the desk owes: to staff about a wish for a person, to a customer who left about a reply."""

from contextlib import suppress
from datetime import datetime, timedelta

from django.db import IntegrityError, models, transaction
from django.db.models import Exists, OuterRef, Q, Value
from django.db.models.functions import Concat
from django.utils import timezone

from agent_app.models.conversations import Conversation
from agent_app.models.desk import Ticket

LOST_AFTER = timedelta(minutes=10)  # a letter in sending for longer: its process died, perhaps behind the sending
AGAIN_AFTER = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2))
OWED_FOR = timedelta(hours=1)  # older wishes for a person are not written about after an outage


class Seen(models.Model):
    """How far the customer's own devices have been shown what people wrote."""

    conversation = models.OneToOneField(Conversation, models.CASCADE, primary_key=True, related_name="seen")
    seq = models.PositiveIntegerField()

    class Meta:
        default_permissions = ()
        verbose_name_plural = "seen"

    def __str__(self) -> str:
        return f"{self.conversation_id} up to {self.seq}"

    @classmethod
    def upto(cls, conversation_id: int, seq: int) -> None:
        """Never moves back. Nothing is kept of a conversation that was erased meanwhile."""
        if not cls.objects.filter(conversation_id=conversation_id, seq__lt=seq).update(seq=seq):
            with suppress(IntegrityError):
                cls.objects.get_or_create(conversation_id=conversation_id, defaults={"seq": seq})


class MailQuerySet(models.QuerySet["Mail"]):
    def owe_escalations(self, now: datetime) -> None:
        """A letter for each chat in which a person was asked for lately; one for a ticket, whoever looks first."""
        lately = Conversation.objects.in_line().filter(waiting_since__gt=now - OWED_FOR)
        letters = self.filter(event=Concat(Value("ticket:"), OuterRef("ticket")))
        for conversation in lately.filter(~Exists(letters), ticket__isnull=False)[:200]:
            self.owe(Mail.Kind.ESCALATION, conversation, f"ticket:{conversation.ticket}", now)

    def owe(self, kind: str, conversation: Conversation, event: str, due_at: datetime) -> None:
        """Once for an event, also when two instances ask at the same moment."""
        try:
            with transaction.atomic():
                self.create(kind=kind, conversation=conversation, event=event, due_at=due_at)
        except IntegrityError:
            pass  # it is owed already: by this event, or a reply's letter that will hold this one, too

    def due(self, now: datetime) -> "MailQuerySet":
        return self.filter(state=Mail.State.DUE, due_at__lte=now).order_by("due_at")

    def give_up_lost(self, now: datetime) -> int:
        """A letter whose sender died is perhaps with its reader: it is not sent again. How many there were."""
        lost = self.filter(state=Mail.State.SENDING, claimed_at__lt=now - LOST_AFTER)
        return lost.update(state=Mail.State.IN_DOUBT)


class Mail(models.Model):
    """One letter for one event. Its text is made when it is sent; no address is kept here."""

    class Kind(models.TextChoices):
        ESCALATION = "escalation", "to staff: a customer asks for a person"
        REPLY = "reply", "to a customer who left: somebody answered"

    class State(models.TextChoices):
        DUE = "due", "to be sent"
        SENDING = "sending", "being sent"
        SENT = "sent", "sent"
        NOT_NEEDED = "not_needed", "not needed any more"
        FAILED = "failed", "failed"
        IN_DOUBT = "in_doubt", "perhaps sent"

    kind = models.CharField(max_length=16, choices=Kind.choices)
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="mails")
    event = models.CharField(max_length=100, unique=True)
    state = models.CharField(max_length=12, choices=State.choices, default=State.DUE)
    due_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    claimed_at = models.DateTimeField(null=True, blank=True)

    objects = MailQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        verbose_name = "letter"
        default_permissions = ("view",)
        indexes = [models.Index(fields=["due_at"], name="mail_due", condition=Q(state="due"))]
        constraints = [
            # One letter holds every reply until it is sent.
            models.UniqueConstraint(
                fields=["conversation"], condition=Q(kind="reply", state="due"), name="mail_one_reply_due"
            )
        ]

    def __str__(self) -> str:
        return self.event

    def claim(self) -> bool:
        """This process, and no other, sends it now."""
        mine = Mail.objects.filter(pk=self.pk, state=Mail.State.DUE)
        claimed = mine.update(state=Mail.State.SENDING, claimed_at=timezone.now(), attempts=models.F("attempts") + 1)
        if claimed:
            self.refresh_from_db(fields=["state", "claimed_at", "attempts"])
        return bool(claimed)

    def settle(self, state: str) -> None:
        Mail.objects.filter(pk=self.pk, state=Mail.State.SENDING).update(state=state)

    def fail(self) -> bool:
        """It was not sent: again later, or never. True when it will be tried again."""
        if self.attempts > len(AGAIN_AFTER):
            self.settle(Mail.State.FAILED)
            return False
        self.due_at = timezone.now() + AGAIN_AFTER[self.attempts - 1]
        try:
            with transaction.atomic():
                mine = Mail.objects.filter(pk=self.pk, state=Mail.State.SENDING)
                mine.update(state=Mail.State.DUE, due_at=self.due_at)
        except IntegrityError:  # a later reply's letter is due, and will hold all of this one
            self.settle(Mail.State.NOT_NEEDED)
        return True


def ticket_of(conversation: Conversation) -> Ticket | None:
    """The newest wish for a person in this chat."""
    return conversation.tickets.order_by("-created_at", "-pk").first()
