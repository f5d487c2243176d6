"""Who of the staff is there."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import models
from django.utils import timezone

MAY_TAKE_OVER = "agent_app.takeover_conversation"
LAPSES = timedelta(seconds=45)  # after the last sign of an open desk
SIGN_EVERY = 15.0  # seconds between two such signs
MOST_PEOPLE = 200


def display_name(user: Any) -> str:
    """As colleagues and customers see it."""
    return str(user.get_full_name() or user.get_username())[:150]


def person(user: Any) -> dict[str, Any]:
    return {"id": user.pk, "name": display_name(user)}


def colleagues() -> models.QuerySet[Any]:
    """The active staff who may take chats over, superusers among them."""
    users = get_user_model().objects
    backend = "django.contrib.auth.backends.ModelBackend"
    return users.with_perm(MAY_TAKE_OVER, backend=backend).filter(is_staff=True)


class AttendanceQuerySet(models.QuerySet["Attendance"]):
    def online(self, now: datetime) -> "AttendanceQuerySet":
        return self.filter(away=False, seen_at__gt=now - LAPSES, user__is_active=True, user__is_staff=True)

    def set_away(self, user: Any, away: bool) -> None:
        self.update_or_create(user=user, defaults={"away": away, "seen_at": timezone.now()})

    def note_signs(self, user_ids: set[int]) -> None:
        """These have a desk open right now. Who never said so is not away."""
        now = timezone.now()
        known = set(self.filter(user_id__in=user_ids).values_list("user_id", flat=True))
        self.filter(user_id__in=known).update(seen_at=now)
        new = get_user_model().objects.filter(pk__in=user_ids - known)
        self.bulk_create([self.model(user=user, seen_at=now) for user in new], ignore_conflicts=True)

    def roll(self) -> list[dict[str, Any]]:
        """Everyone who may take chats over, by name, and whether they are online."""
        there = set(self.online(timezone.now()).values_list("user_id", flat=True))
        people = [{**person(user), "online": user.pk in there} for user in colleagues().order_by("pk")[:MOST_PEOPLE]]
        return sorted(people, key=lambda each: (each["name"].casefold(), each["id"]))


class Attendance(models.Model):
    """Whether somebody is at the desk: an open desk gives a sign every few seconds, and its owner may be away."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="attendance")
    away = models.BooleanField(default=False)
    seen_at = models.DateTimeField()

    objects = AttendanceQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        verbose_name_plural = "attendance"

    def __str__(self) -> str:
        return f"{self.user_id} {'away' if self.away else 'there'}"
