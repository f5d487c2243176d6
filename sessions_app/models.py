"""The live session as Django knows it: permissions, the admin's page, a name in its log. It has no table."""

from typing import Self

from django.db import models
from django.utils.translation import gettext_lazy as _

from sessions_app.data import SessionData
from sessions_app.live import LiveSessions


class Session(models.Model):
    """A copy of what the store holds, made to be shown; `Session.live` is where it comes from."""

    session_id = models.CharField(_("session"), max_length=200, primary_key=True)
    user_id = models.CharField(_("user"), max_length=200, null=True)
    thread_id = models.CharField(_("thread"), max_length=200, null=True)
    message_count = models.IntegerField(_("messages"), default=0)
    escalated = models.BooleanField(_("escalated"), default=False)
    metadata = models.JSONField(_("metadata"), default=dict)
    request_id = models.CharField(_("request"), max_length=200, null=True)
    created_at = models.DateTimeField(_("created"), null=True)
    updated_at = models.DateTimeField(_("updated"), null=True)
    last_activity = models.DateTimeField(_("last activity"), null=True)

    objects = models.Manager()
    live = LiveSessions()

    # Seconds left when the store was read.
    remaining: float = 0.0

    class Meta:
        managed = False
        default_permissions = ("view",)
        permissions = [
            ("expire_session", "Can expire live session"),
            ("extend_session", "Can extend live session"),
        ]
        verbose_name = _("live session")
        verbose_name_plural = _("live sessions")

    def __str__(self) -> str:
        return self.session_id

    @classmethod
    def of(cls, data: SessionData, remaining: float | None) -> Self:
        session = cls(**{field.attname: getattr(data, field.attname) for field in cls._meta.concrete_fields})
        session.remaining = remaining or 0.0
        return session
