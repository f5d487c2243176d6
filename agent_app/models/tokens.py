"""Keys by which a program uses the staff's doors in the name of a member of staff."""

import secrets
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Permission
from django.db import InterfaceError, OperationalError, models
from django.db.models import Q
from django.utils import timezone

from agent_app.models.conversations import hash_token

PREFIX = "sdk_"  # so that a key that got into a log or a repository is seen for what it is
LIFETIME = timedelta(days=90)
NOTED_EVERY = timedelta(minutes=1)


def in_ninety_days() -> datetime:
    return timezone.now() + LIFETIME


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def usable(self) -> "ApiTokenQuerySet":
        return self.filter(expires_at__gt=timezone.now(), user__is_active=True, user__is_staff=True)

    def opened_by(self, secret: str) -> "ApiToken | None":
        return self.usable().select_related("user").filter(digest=hash_token(secret)).first()


class ApiToken(models.Model):
    """It may do what both its user and its scopes may; of the secret only the SHA-256 is kept."""

    name = models.CharField(max_length=100, help_text="what uses it, such as 'night report'")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens", editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.ManyToManyField(Permission, blank=True, help_text="what it may do, where its user may do it, too")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(default=in_ninety_days)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return self.name

    def seal(self, user: Any) -> str:
        """Makes this new token the user's; gives its secret, which is not kept and cannot be shown again."""
        secret = PREFIX + secrets.token_urlsafe(32)
        self.user, self.digest = user, hash_token(secret)
        return secret

    def allows(self, permission: str) -> bool:
        app, codename = permission.split(".")
        return self.scopes.filter(content_type__app_label=app, codename=codename).exists()

    def note_use(self) -> None:
        """Once a minute at most: a busy program must not write a row with every request. Left out where the database is
        busy: who only reads is not refused for it.
        """
        now = timezone.now()
        long_ago = Q(last_used_at=None) | Q(last_used_at__lt=now - NOTED_EVERY)
        if self.last_used_at is None or self.last_used_at < now - NOTED_EVERY:
            with suppress(OperationalError, InterfaceError):
                type(self).objects.filter(long_ago, pk=self.pk).update(last_used_at=now)
