"""What customers say of a chat, or of one answer in it."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from agent_app.models.conversations import Conversation


class FeedbackQuerySet(models.QuerySet["Feedback"]):
    def unhelpful(self) -> "FeedbackQuerySet":
        """Answers that did not help and that nobody has learned from yet."""
        return self.filter(helpful=False, resolved_at__isnull=True)

    def rate(self, conversation: Conversation, rating: int, comment: str) -> None:
        """The customer's rating of the whole chat; a later one replaces it."""
        said = {"rating": rating, "comment": comment, "said_at": timezone.now()}
        self.update_or_create(conversation=conversation, seq=None, defaults=said)

    def judge(self, conversation: Conversation, seq: int, helpful: bool, comment: str = "") -> bool:
        """Whether one answer helped, and why not; a later word replaces it. False when there is no such answer."""
        if not conversation.messages.filter(seq=seq, role__in=["agent", "staff"]).exists():
            return False
        said = {"helpful": helpful, "comment": comment, "said_at": timezone.now(), "resolved_at": None}
        self.update_or_create(conversation=conversation, seq=seq, defaults=said)
        return True


class Feedback(models.Model):
    """`seq` names the answer it is about; without one it is about the chat."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="feedback")
    seq = models.PositiveIntegerField(null=True, blank=True)
    rating = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(5)]
    )
    helpful = models.BooleanField(null=True, blank=True)
    comment = models.TextField(blank=True)
    said_at = models.DateTimeField(default=timezone.now)
    resolved_at = models.DateTimeField(null=True, blank=True, help_text="somebody has learned from it")

    objects = FeedbackQuerySet.as_manager()

    class Meta:
        ordering = ["-said_at", "-id"]
        verbose_name_plural = "feedback"
        indexes = [
            models.Index(
                fields=["-said_at"], condition=models.Q(helpful=False, resolved_at=None), name="feedback_unhelpful"
            )
        ]
        constraints = [
            models.UniqueConstraint(fields=["conversation", "seq"], name="feedback_once_a_message"),
            models.UniqueConstraint(
                fields=["conversation"], condition=models.Q(seq__isnull=True), name="feedback_once_a_chat"
            ),
        ]

    def __str__(self) -> str:
        if self.seq is None:
            return f"{self.rating} of 5"
        return f"message {self.seq}: {'helpful' if self.helpful else 'not helpful'}"
