"""What the agent remembers: facts that a customer gave, and the notes of a long conversation."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from agent_app.models.conversations import Conversation

MOST_FACTS = 30  # of one conversation; the oldest goes


class FactQuerySet(models.QuerySet["Fact"]):
    def live(self, now: datetime | None = None) -> "FactQuerySet":
        return self.filter(expires_at__gt=now or timezone.now())

    def expired(self, now: datetime) -> "FactQuerySet":
        return self.filter(expires_at__lte=now)

    def of_user(self, user_id: str) -> "FactQuerySet":
        """All that is remembered of a customer, also where the identity was only claimed."""
        return self.filter(Q(user_id=user_id) | Q(conversation__user_id=user_id))

    def known_to(self, conversation: Conversation) -> "FactQuerySet":
        """What a turn of this conversation may know: its own facts and, for a proven identity, that customer's."""
        mine = Q(conversation=conversation)
        if conversation.verified and conversation.user_id:
            mine |= Q(user_id=conversation.user_id)
        return self.live().filter(mine).order_by("created_at", "id")

    def remember(self, conversation: Conversation, name: str, value: str, message_seq: int) -> "Fact | None":
        """Keeps a fact; the newer one of a name takes the older one's place. None when nothing is to be remembered."""
        if not settings.AGENT_MEMORY_DAYS:
            return None
        now = timezone.now()
        self.expired(now).delete()
        kept, _ = self.update_or_create(
            conversation=conversation,
            name=name,
            defaults={
                # A claimed identity must not write into the proven one's memory.
                "user_id": conversation.user_id if conversation.verified else None,
                "value": value,
                "message_seq": message_seq,
                "created_at": now,
                "expires_at": now + timedelta(days=settings.AGENT_MEMORY_DAYS),
            },
        )
        newest = self.filter(conversation=conversation).order_by("-created_at", "-id")
        self.filter(pk__in=[fact.pk for fact in newest[MOST_FACTS:]]).delete()
        return kept


class Fact(models.Model):
    """One thing that the customer said about themselves, with the message in which they said it."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="facts", db_index=False)
    user_id = models.CharField("customer", max_length=200, null=True, blank=True, help_text="only a proven identity")
    name = models.CharField(max_length=40)
    value = models.CharField(max_length=300)
    message_seq = models.PositiveIntegerField("said in message")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()

    objects = FactQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["conversation", "name"], name="fact_once_a_conversation")]
        indexes = [
            models.Index(fields=["user_id"], name="fact_of_user", condition=Q(user_id__isnull=False)),
            models.Index(fields=["expires_at"], name="fact_expiring"),
        ]

    def __str__(self) -> str:
        return f"fact {self.pk}"


class ConversationSummary(models.Model):
    """A model's notes of the messages up to `upto`, which no turn sees any more."""

    conversation = models.OneToOneField(Conversation, models.CASCADE, primary_key=True, related_name="summary")
    upto = models.PositiveIntegerField()
    text = models.TextField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "conversation summaries"

    def __str__(self) -> str:
        return f"up to message {self.upto}"

    @classmethod
    def keep(cls, conversation_id: int, upto: int, text: str) -> None:
        """Never puts older notes over newer ones: two turns may end at the same time."""
        values = {"upto": upto, "text": text, "updated_at": timezone.now()}
        if not cls.objects.filter(conversation_id=conversation_id, upto__lt=upto).update(**values):
            cls.objects.get_or_create(conversation_id=conversation_id, defaults=values)
