"""What the customer was asked to agree to: a write's exact arguments, committed before anything is tried.

Offered by the commit of the answer that shows it, begun and declined by a comparison in its row (`DecideWrite`), and
settled by the commit of the answer that says what came of it. Its id is the Idempotency-Key of the write, so that
whoever takes the turn over repeats the same intent.

One that was begun and never settled may have been done. It is offered again until somebody knows.
"""

from datetime import timedelta

from django.db import models

from agent_app.models.conversations import Conversation
from agent_app.models.turns import UNSETTLED

OPEN_FOR = timedelta(minutes=15)  # from the offer to the customer's word


class ConfirmationQuerySet(models.QuerySet["Confirmation"]):
    def wanted(self, conversation_id: int, which: str) -> "Confirmation | None":
        """The one that a word on `which` is about: a later offer takes the place of an earlier one, unless that was
        begun. UNSETTLED: the newest that was begun.
        """
        newest_first = self.filter(conversation_id=conversation_id).order_by("-pk")
        begun = newest_first.filter(state=Confirmation.State.BEGUN)
        if which == UNSETTLED:
            return begun.first()
        return begun.filter(public_id=which).first() or newest_first.first()


class Confirmation(models.Model):
    class State(models.TextChoices):
        OFFERED = "offered"
        DECLINED = "declined"
        EXPIRED = "expired"
        BEGUN = "begun", "begun: it may have been done"
        DONE = "done"
        REFUSED = "refused", "refused by the back end"

    public_id = models.CharField(max_length=32, unique=True)
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="confirmations")
    tool = models.CharField(max_length=100)
    arguments = models.JSONField(default=dict)
    summary = models.TextField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.OFFERED)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    changed_at = models.DateTimeField()

    objects = ConfirmationQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.tool} · {self.state}"
