"""What staff do in the admin is in the audit log, too: Django's own log can be changed by whoever may change a row."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from agent_app.models import AuditEntry


class Numbered:
    """Stands for an object in Django's own log, which calls each thing what str() makes of it."""

    def __init__(self, obj: Model) -> None:
        self.pk, self._meta = obj.pk, obj._meta

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} {self.pk}"


class Audited(admin.ModelAdmin):
    """An object is named in both logs as the admin shows it, unless that may be a customer's words."""

    named_in_logs = True

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        self._record(request, "added", obj)
        return super().log_addition(request, self._named(obj), message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        self._record(request, "changed", obj, fields=changed_fields(message))
        return super().log_change(request, self._named(obj), message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        for obj in queryset:
            self._record(request, "deleted", obj)
        return super().log_deletions(request, [self._named(obj) for obj in queryset])  # type: ignore[arg-type]

    def _named(self, obj: Any) -> Any:
        return obj if self.named_in_logs else Numbered(obj)

    def _record(self, request: HttpRequest, act: str, obj: Model, **details: Any) -> None:
        name = {"name": str(obj)} if self.named_in_logs else {}
        record(request, f"{self.opts.model_name}.{act}", number=str(obj.pk), **name, **details)


def record(request: HttpRequest, action: str, **details: Any) -> None:
    AuditEntry.record(action, "", request.user.get_username(), **details)


def changed_fields(message: Any) -> list[str]:
    """The names in the admin's own account of a change, [{"changed": {"fields": […]}}, …]."""
    if not isinstance(message, list):
        return []
    return [field for part in message for field in part.get("changed", {}).get("fields", [])]


admin.site.unregister([User, Group])


@admin.register(User)
class AuditedUserAdmin(Audited, UserAdmin):
    pass


@admin.register(Group)
class AuditedGroupAdmin(Audited, GroupAdmin):
    pass
