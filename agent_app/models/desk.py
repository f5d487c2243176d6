"""What the desk keeps beside the log: tickets of escalations."""

import secrets

from django.db import models
from django.utils import timezone

from agent_app.models.conversations import Conversation

# No I, L, O, U, 0 or 1: a ticket's number is read out on the phone.
TICKET_LETTERS = b"23456789ABCDEFGHJKMNPQRSTVWXYZ"
# Every turn gets a number in case it needs one; so it is made from eight random bytes in one step.
TICKET_BYTES = bytes(TICKET_LETTERS[byte % len(TICKET_LETTERS)] for byte in range(256))


class Ticket(models.Model):
    """One wish for a person: made by an escalation, in the transaction that moves the chat to `waiting`."""

    number = models.CharField(max_length=16, unique=True)
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="tickets")
    reason = models.TextField(blank=True)
    category = models.CharField(max_length=32, default="general")
    priority = models.CharField(max_length=16, default="normal")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.number

    @staticmethod
    def new_number() -> str:
        """Unique for practical purposes (30^8); the column's constraint decides."""
        return "ESC-" + secrets.token_bytes(8).translate(TICKET_BYTES).decode()
