"""API tokens in the admin: made for oneself, shown once, taken back by deleting."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import Permission
from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _

from agent_app.admin.audited import Audited
from agent_app.models.tokens import ApiToken

# What the REST doors ask for.
SCOPES = {
    "sessions_app": ("session",),
    "agent_app": ("article", "conversation", "ticket", "auditentry", "note", "cannedreply", "erasure", "fact"),
}


@admin.register(ApiToken)
class ApiTokenAdmin(Audited):
    list_display = ("name", "user", "created_at", "expires_at", "last_used_at")
    list_select_related = ("user",)
    fields = ("name", "scopes", "expires_at")
    filter_horizontal = ("scopes",)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[ApiToken]:
        tokens = super().get_queryset(request)
        return tokens if request.user.is_superuser else tokens.filter(user=request.user)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "scopes":
            offered = models.Q(pk__in=())
            for app, names in SCOPES.items():
                offered |= models.Q(content_type__app_label=app, content_type__model__in=names)
            kwargs["queryset"] = Permission.objects.filter(offered).select_related("content_type")
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        # A token may do what its user may: nobody gives another's token more.
        return super().has_change_permission(request, obj) and (obj is None or obj.user_id == request.user.pk)

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        secret = obj.seal(request.user)
        super().save_model(request, obj, form, change)
        self.message_user(
            request,
            format_html(_("Copy the token now, it cannot be shown again: {}"), format_html("<code>{}</code>", secret)),
            messages.WARNING,
        )
