"""Who did what at the desk: append only."""

from typing import Any

from django.db import models
from django.utils import timezone


class AuditEntry(models.Model):
    """One act of staff, operator or system, on a session or a conversation. Never holds message text."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor = models.CharField(max_length=150, help_text="a username, or 'system'")
    action = models.CharField(max_length=64)
    session_id = models.CharField(max_length=200, db_index=True)
    details = models.JSONField(default=dict)

    class Meta:
        ordering = ["-at", "-id"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"

    def __str__(self) -> str:
        return f"{self.action} by {self.actor}"

    @classmethod
    def record(cls, action: str, session_id: str, actor: str | None = None, **details: Any) -> "AuditEntry":
        return cls.objects.create(
            action=action, session_id=session_id, actor=(actor or "system")[:150], details=details
        )
