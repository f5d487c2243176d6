"""Live sessions in the admin, read from the store itself; nothing here asks the database for a session."""

import json
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote, unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from sessions_app.chart import Chart
from sessions_app.live import Overview
from sessions_app.models import Session
from sessions_app.stores import StoreUnavailable

TEMPLATES = "admin/sessions_app/session"
CURSOR = "cursor"
SHOWN_IDS = 20  # of those that a confirmation is about


class EscalatedFilter(admin.SimpleListFilter):
    title = gettext_lazy("escalated")
    parameter_name = "escalated"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", gettext_lazy("Yes")), ("no", gettext_lazy("No"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        return queryset  # the store filters


class CursorChangeList(ChangeList):
    """The admin's own list, in pages by cursor: as fast at the millionth row as at the first, and never a COUNT."""

    following: str | None

    def read(self) -> tuple[list[Any], str | None]:
        """One page, and the cursor of the next; ValueError on a cursor that no page gave."""
        raise NotImplementedError

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return {name: value for name, value in super().get_filters_params(params).items() if name != CURSOR}

    def get_results(self, request: HttpRequest) -> None:
        try:
            self.result_list, self.following = self.read()
        except ValueError:
            if CURSOR not in self.params:
                raise
            del self.params[CURSOR]  # begin at the beginning
            self.result_list, self.following = self.read()
        self.result_count = len(self.result_list)
        self.full_result_count = self.result_count  # no words of "all" beside the search
        self.show_full_result_count = False
        self.show_admin_actions = bool(self.result_list)
        self.can_show_all = self.multi_page = False

    @property
    def first_page(self) -> str | None:
        return self.get_query_string(remove=[CURSOR]) if CURSOR in self.params else None

    @property
    def next_page(self) -> str | None:
        return self.get_query_string({CURSOR: self.following}) if self.following else None


class LiveChangeList(CursorChangeList):
    """Filled from the store. Its QuerySet is never evaluated."""

    model_admin: "SessionAdmin"
    overview: Overview

    def read(self) -> tuple[list[Session], str | None]:
        escalated = {"yes": True, "no": False}.get(self.params.get("escalated", ""))
        cursor = self.params.get(CURSOR)
        if self.query:
            found = Session.live.search(self.query, cursor, self.list_per_page, escalated)
        else:
            found = Session.live.page_with_overview(cursor, self.list_per_page, escalated)
        sessions, following, self.overview = found
        return self.model_admin.complete(sessions), following


class ExtendForm(forms.Form):
    minutes = forms.IntegerField(min_value=1, max_value=1440, initial=30)


@admin.register(Session)
class SessionAdmin(admin.ModelAdmin):
    list_display: tuple[Any, ...] = (
        "session_id",
        "user_id",
        "message_count",
        "escalated",
        "created",
        "last_active",
        "time_left",
    )
    list_filter = (EscalatedFilter,)
    list_per_page = 100
    search_fields = ("session_id", "user_id")
    search_help_text = gettext_lazy("A whole session id or user id.")
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    actions = ("expire_selected", "extend_selected")
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("session_id", "user_id", "thread_id", "request_id")}),
        (
            gettext_lazy("Activity"),
            {
                "fields": (
                    "message_count",
                    "escalated",
                    "created_at",
                    "updated_at",
                    "last_activity",
                    "time_left",
                )
            },
        ),
        (gettext_lazy("Metadata"), {"fields": ("readable_metadata",)}),
    )

    # ---- what there is to see -------------------------------------------------------------------------

    def complete(self, sessions: list[Session]) -> list[Session]:
        """Called with each page of the list, so that a subclass may add what it knows, once for all of them."""
        return sessions

    @admin.display(description=gettext_lazy("created"))
    def created(self, session: Session) -> SafeString | None:
        return ago(session.created_at)

    @admin.display(description=gettext_lazy("last activity"))
    def last_active(self, session: Session) -> SafeString | None:
        return ago(session.last_activity)

    @admin.display(description=gettext_lazy("time left"))
    def time_left(self, session: Session) -> str:
        return duration(session.remaining)

    @admin.display(description=gettext_lazy("metadata"))
    def readable_metadata(self, session: Session) -> str:
        return format_html("<pre>{}</pre>", json.dumps(session.metadata, indent=2, ensure_ascii=False))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LiveChangeList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Session | None:
        return Session.live.one(object_id)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        try:
            response = super().changelist_view(request, extra_context)
        except StoreUnavailable:
            return self.store_away(request)
        if isinstance(response, TemplateResponse) and response.context_data and "cl" in response.context_data:
            overview = response.context_data["cl"].overview
            response.context_data |= {
                "title": _("Live sessions"),
                "overview": overview,
                "chart": Chart.of(overview.activity),
            }
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {
            "may_expire": self.has_expire_permission(request),
            "may_extend": self.has_extend_permission(request),
            **(extra_context or {}),
        }
        try:
            return super().change_view(request, object_id, form_url, context)
        except StoreUnavailable:
            return self.store_away(request)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            return super().history_view(request, object_id, extra_context)
        except StoreUnavailable:
            return self.store_away(request)

    def store_away(self, request: HttpRequest) -> HttpResponse:
        """A banner in the place of what cannot be known; 503, so that no monitor takes it for an empty desk."""
        context = {**self.page(request, _("Live sessions")), "cl": {"opts": self.opts}}
        return TemplateResponse(request, f"{TEMPLATES}/unavailable.html", context, status=503)

    def page(self, request: HttpRequest, title: str) -> dict[str, Any]:
        """What the admin's own templates want to know of any page."""
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "has_view_permission": self.has_view_permission(request),
            "media": self.media,
        }

    # ---- what there is to do --------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        wrap = self.admin_site.admin_view
        return [
            path("expire-user/", wrap(self.expire_user_view), name=f"{name}_expire_user"),
            path("<path:object_id>/expire/", wrap(self.expire_view), name=f"{name}_expire"),
            path("<path:object_id>/extend/", wrap(self.extend_view), name=f"{name}_extend"),
            *super().get_urls(),
        ]

    @admin.action(permissions=["expire"], description=gettext_lazy("Expire selected %(verbose_name_plural)s"))
    def expire_selected(self, request: HttpRequest, queryset: QuerySet[Session]) -> HttpResponse:
        return self.expire(request, request.POST.getlist(ACTION_CHECKBOX_NAME), action="expire_selected")

    @admin.action(permissions=["extend"], description=gettext_lazy("Extend selected %(verbose_name_plural)s"))
    def extend_selected(self, request: HttpRequest, queryset: QuerySet[Session]) -> HttpResponse:
        return self.extend(request, request.POST.getlist(ACTION_CHECKBOX_NAME), action="extend_selected")

    def expire_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.expire(request, [unquote(object_id)])

    def extend_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.extend(request, [unquote(object_id)])

    def expire_user_view(self, request: HttpRequest) -> HttpResponse:
        """All of the user of one session: an address that named the user would end up in logs and histories."""
        if not self.has_expire_permission(request):
            raise PermissionDenied
        try:
            user_id = request.POST.get("user_id") or user_of(request.GET.get("session", ""))
            session_ids = Session.live.of_user(user_id) if user_id else []
        except StoreUnavailable:
            return self.store_away(request)
        if not user_id:
            self.message_user(request, _("This live session has ended, or is nobody's."), messages.WARNING)
            return self.back()
        if not session_ids:
            self.message_user(request, _("%s has no live sessions.") % user_id, messages.WARNING)
            return self.back()
        return self.expire(request, session_ids, user_id=user_id)

    def expire(self, request: HttpRequest, session_ids: list[str], **context: Any) -> HttpResponse:
        if not self.has_expire_permission(request):
            raise PermissionDenied
        if request.POST.get("confirmed") != "yes":
            return self.confirm(request, "expire", session_ids, **context)
        try:
            ended = self.end(request, session_ids)
        except StoreUnavailable:
            return self.store_away(request)
        self.tell(
            request,
            ngettext("%d live session was expired.", "%d live sessions were expired.", len(ended)) % len(ended),
            len(session_ids) - len(ended),
        )
        return self.back()

    def end(self, request: HttpRequest, session_ids: list[str]) -> list[str]:
        """The ids of those that had not ended before."""
        return Session.live.expire(session_ids, by=request.user)

    def extend(self, request: HttpRequest, session_ids: list[str], **context: Any) -> HttpResponse:
        if not self.has_extend_permission(request):
            raise PermissionDenied
        form = ExtendForm(request.POST if request.POST.get("confirmed") == "yes" else None)
        if not form.is_valid():
            return self.confirm(request, "extend", session_ids, form=form, **context)
        minutes = form.cleaned_data["minutes"]
        try:
            extended = Session.live.extend(session_ids, minutes * 60, by=request.user)
        except StoreUnavailable:
            return self.store_away(request)
        count = len(extended)
        self.tell(
            request,
            ngettext(
                "%(count)d live session has %(minutes)d more minutes.",
                "%(count)d live sessions have %(minutes)d more minutes.",
                count,
            )
            % {"count": count, "minutes": minutes},
            len(session_ids) - count,
        )
        return self.back(extended[0] if count == 1 and not context else None)

    def confirm(self, request: HttpRequest, act: str, session_ids: list[str], **context: Any) -> HttpResponse:
        page = self.page(request, _("Expire live sessions") if act == "expire" else _("Extend live sessions"))
        page |= {
            "original": page["title"],  # the last of the breadcrumbs
            "act": act,
            "session_ids": session_ids,
            "shown_ids": session_ids[:SHOWN_IDS],
            "more": max(0, len(session_ids) - SHOWN_IDS),
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            **context,
        }
        return TemplateResponse(request, f"{TEMPLATES}/confirm.html", page)

    def tell(self, request: HttpRequest, done: str, too_late: int) -> None:
        self.message_user(request, done, messages.SUCCESS)
        if too_late:
            late = ngettext("%d had ended before.", "%d had ended before.", too_late) % too_late
            self.message_user(request, late, messages.WARNING)

    def back(self, session_id: str | None = None) -> HttpResponseRedirect:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        if session_id is None:
            return HttpResponseRedirect(reverse(f"{name}_changelist", current_app=self.admin_site.name))
        return HttpResponseRedirect(
            reverse(f"{name}_change", args=(quote(session_id),), current_app=self.admin_site.name)
        )

    # ---- who may --------------------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        return False

    def has_expire_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        return request.user.has_perm("sessions_app.expire_session")

    def has_extend_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        return request.user.has_perm("sessions_app.extend_session")


def user_of(session_id: str) -> str | None:
    """Raises StoreUnavailable."""
    session = Session.live.one(session_id)
    return session.user_id if session is not None else None


def duration(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return _("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes}
    if minutes:
        return _("%d min") % minutes
    return _("%d s") % whole


def ago(when: datetime | None) -> SafeString | None:
    """How long ago, in one unit; the exact time under the pointer."""
    if when is None:
        return None
    seconds = max(0, int((timezone.now() - when).total_seconds()))
    for length, text in ((86400, _("%d d ago")), (3600, _("%d h ago")), (60, _("%d min ago"))):
        if seconds >= length:
            shown = text % (seconds // length)
            break
    else:
        shown = _("%d s ago") % seconds
    exact = date_format(timezone.localtime(when), "DATETIME_FORMAT")
    return format_html('<time datetime="{}" title="{}">{}</time>', when.isoformat(), exact, shown)
