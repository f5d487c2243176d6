"""What the desk keeps beside the log: tickets of escalations, private notes, canned replies."""

import random
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from agent_app.models.conversations import Conversation, wire_time
from agent_app.models.people import display_name

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
        return "ESC-" + random.randbytes(8).translate(TICKET_BYTES).decode()  # noqa: S311 - not a secret


class NoteQuerySet(models.QuerySet["Note"]):
    def write(self, conversation: Conversation, author: Any, text: str, client_id: str | None) -> tuple["Note", bool]:
        """The note, and whether it is new: one that was sent before under the same `client_id` is given again."""
        new = {"text": text, "author_name": display_name(author), "after": conversation.last_seq}
        if client_id is None:
            return self.create(conversation=conversation, author=author, **new), True
        return self.get_or_create(conversation=conversation, author=author, client_id=client_id, defaults=new)

    def later_than(self, note_id: int) -> "NoteQuerySet":
        return self.filter(pk__gt=note_id).order_by("pk")


class Note(models.Model):
    """What staff tell each other about a chat. No message: it has no seq, and no customer's door reads this table."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="notes")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    author_name = models.CharField(max_length=150)
    text = models.TextField()
    after = models.PositiveIntegerField(help_text="seq of the message behind which it was written")
    client_id = models.CharField(max_length=100, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = NoteQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["conversation", "author", "client_id"],
                condition=models.Q(client_id__isnull=False),
                name="note_sent_once",
            )
        ]

    def __str__(self) -> str:
        return f"note {self.pk} by {self.author_name}"

    def to_wire(self) -> dict[str, Any]:
        wire = {
            "id": self.pk,
            "text": self.text,
            "author": self.author_name,
            "created_at": wire_time(self.created_at),
            "after": self.after,
        }
        return wire if self.client_id is None else {**wire, "client_id": self.client_id}


class CannedReplyQuerySet(models.QuerySet["CannedReply"]):
    def fitting(self, words: str) -> "CannedReplyQuerySet":
        """A shortcut that begins so, or words of title or text; all of them without words."""
        if not words:
            return self
        named = models.Q(shortcut__istartswith=words) | models.Q(title__icontains=words)
        return self.filter(named | models.Q(text__icontains=words))


class CannedReply(models.Model):
    """A text that staff send often; `/` and its shortcut bring it into the composer."""

    title = models.CharField(max_length=100)
    shortcut = models.SlugField(max_length=40, unique=True, help_text="what is typed behind / at the desk")
    text = models.TextField(help_text="Markdown")

    objects = CannedReplyQuerySet.as_manager()

    class Meta:
        ordering = ["title", "pk"]
        verbose_name_plural = "canned replies"

    def __str__(self) -> str:
        return self.title

    def to_wire(self) -> dict[str, Any]:
        return {"id": self.pk, "title": self.title, "text": self.text, "shortcut": self.shortcut}
