"""What customers attach to their messages: a row here, the bytes in the default storage.

A row goes with its conversation, and its file goes after the commit that deleted the row. So whatever deletes a
conversation (retention, an erasure, the admin) deletes its files, too.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import DatabaseError, IntegrityError, models, transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils import timezone

from agent_app.models.conversations import Conversation, new_id
from agent_app.models.refusal import Refused, Unavailable

logger = logging.getLogger(__name__)

MOST_A_MESSAGE = 5
MOST_A_CHAT = 100


def stored_name(session_id: str, attachment_id: str) -> str:
    """Where an upload keeps its bytes. One folder a conversation, so that erasing one is one folder."""
    return f"attachments/{session_id}/{attachment_id}"


class AttachmentQuerySet(models.QuerySet["Attachment"]):
    def store(self, conversation: Conversation, name: str, content_type: str, data: bytes) -> "Attachment":
        """Keeps an upload that has been checked. Refused when the chat holds too many, or is gone; Unavailable when the
        storage does not take it.
        """
        if self.filter(conversation=conversation).count() >= MOST_A_CHAT:
            raise Refused("invalid", f"A chat holds at most {MOST_A_CHAT} files: start a new one.", field="file")
        made = Attachment(conversation=conversation, name=name, content_type=content_type, size=len(data))
        place = stored_name(conversation.session_id, made.public_id)
        try:
            kept = default_storage.save(place, ContentFile(data))
        except OSError as error:
            logger.error("attachment.not_kept error=%s", error.strerror)
            with suppress(OSError):  # a full disk has taken the beginning
                forget_file(place)
            raise Unavailable from error
        made.file.name = kept
        try:
            made.save(force_insert=True)
        except DatabaseError as error:
            forget_file(kept)
            if isinstance(error, IntegrityError):  # the conversation was erased meanwhile
                raise Refused("not_found", "There is no such chat for this token. Start a new one.") from None
            raise
        return made

    def past_retention(self, now: datetime) -> "AttachmentQuerySet":
        days = settings.ATTACHMENT_RETENTION_DAYS
        if not days:
            return self.none()
        return self.filter(conversation__state="closed", conversation__closed_at__lt=now - timedelta(days=days))

    def send(self, conversation: Conversation, ids: Sequence[str]) -> list[dict[str, Any]]:
        """The attachment objects for a message that is about to be stored, in the order asked. From now on they stay.

        Refused `invalid` unless all of them were uploaded to this conversation.
        """
        found = {attachment.public_id: attachment for attachment in self.filter(conversation=conversation)}
        if not all(id_ in found for id_ in ids):
            message = "There is no such attachment: upload it again, or send the message without it."
            raise Refused("invalid", message, field="attachments")
        wanted = [found[id_] for id_ in ids]
        if not all(attachment.sent for attachment in wanted):
            self.filter(pk__in=[attachment.pk for attachment in wanted]).update(sent=True)
        return [attachment.to_wire(conversation.session_id) for attachment in wanted]

    def withdraw(self, conversation: Conversation, id_: str) -> bool:
        """Deletes an upload that no message holds yet; False when one does. DoesNotExist when there is none."""
        with transaction.atomic():
            attachment = self.select_for_update().get(conversation=conversation, public_id=id_)
            if attachment.sent:
                return False
            attachment.delete()
        return True


class Attachment(models.Model):
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="attachments")
    public_id = models.CharField(max_length=32, unique=True, default=new_id, editable=False)
    name = models.CharField(max_length=120)
    content_type = models.CharField(max_length=100, help_text="told by the content, not by the name")
    size = models.PositiveIntegerField(help_text="bytes")
    file = models.FileField(max_length=300, editable=False)
    sent = models.BooleanField(default=False, help_text="a message holds it")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = AttachmentQuerySet.as_manager()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"attachment {self.pk}"

    def to_wire(self, session_id: str) -> dict[str, Any]:
        return {
            "id": self.public_id,
            "name": self.name,
            "content_type": self.content_type,
            "size": self.size,
            "url": f"/api/v1/chat/sessions/{session_id}/attachments/{self.public_id}/",
        }

    def data(self) -> bytes:
        """Raises FileNotFoundError where the storage has lost it."""
        with self.file.open() as file:
            return bytes(file.read())


@receiver(post_delete, sender=Attachment)
def attachment_deleted(sender: type[Attachment], instance: Attachment, **kwargs: Any) -> None:
    # A signal, because a cascade calls no model's delete(); after the commit, because a rollback brings no file back.
    transaction.on_commit(partial(forget_file, str(instance.file.name)))


def forget_file(name: str) -> None:
    default_storage.delete(name)
    # A folder is named after the session: the last file takes it along. Other storages have no folders.
    with suppress(OSError, NotImplementedError):
        os.rmdir(default_storage.path(str(PurePosixPath(name).parent)))
