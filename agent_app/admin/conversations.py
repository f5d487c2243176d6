"""Conversations in the admin: found, read, taken away as a file; never edited, for only the journal writes them."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from agent_app.admin.erasures import rights
from agent_app.admin.reading import ReadOnlyAdmin, end_by_staff, state_badge, transcript
from agent_app.desk.cards import parsed
from agent_app.models import Conversation, Message, Ticket
from sessions_app.admin import CURSOR, CursorChangeList, ago

TEMPLATES = "admin/agent_app/conversation"


class EscalationFilter(admin.SimpleListFilter):
    title = _("escalation")
    parameter_name = "escalated"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Escalated")), ("no", _("Answered by AI alone"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Conversation]) -> QuerySet[Conversation]:
        if self.value() == "yes":
            return queryset.filter(Exists(tickets_of_it()))
        if self.value() == "no":
            return queryset.filter(~Exists(tickets_of_it()))
        return queryset


def tickets_of_it() -> QuerySet[Ticket]:
    return Ticket.objects.filter(conversation=OuterRef("pk"))


class ConversationChangeList(CursorChangeList):
    """Newest first; the cursor is the last row's (updated_at, id)."""

    def read(self) -> tuple[list[Conversation], str | None]:
        cursor = self.params.get(CURSOR)
        page = list(self.queryset.newest_first(self.list_per_page + 1, parsed(cursor) if cursor else None))
        shown = page[: self.list_per_page]
        return shown, after(shown[-1]) if len(page) > len(shown) else None


def after(last: Conversation) -> str:
    return f"{last.updated_at.isoformat()}~{last.pk}"


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    list_display = ("called", "state_now", "last_seq", "ticket", "assignee", "created", "updated")
    list_filter = ("state", EscalationFilter, "verified", "created_at")
    list_select_related = ("assignee",)
    list_per_page = 50
    search_fields = ("user_id",)
    search_help_text = _("A user, a ticket, a thread or session id, or words that were written.")
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    change_list_template = f"{TEMPLATES}/change_list.html"
    change_form_template = f"{TEMPLATES}/change_form.html"
    fieldsets = (
        (None, {"fields": ("user_id", "verified", "state_now", "assignee", "ticket", "created_at", "updated_at")}),
        (_("End"), {"fields": ("live_until", "closed_at", "closed_reason")}),
        (_("Turn"), {"fields": ("turn_holder", "turn_until", "turn_attempts", "asked_upto", "answered_upto")}),
        (_("Identifiers"), {"fields": ("thread_id", "session_id", "metadata")}),
    )

    @admin.display(description=_("conversation"))
    def called(self, conversation: Conversation) -> str:
        return conversation.name

    @admin.display(description=_("state"))
    def state_now(self, conversation: Conversation) -> SafeString:
        return state_badge(conversation)

    @admin.display(description=_("created"))
    def created(self, conversation: Conversation) -> SafeString | None:
        return ago(conversation.created_at)

    @admin.display(description=_("last activity"))
    def updated(self, conversation: Conversation) -> SafeString | None:
        return ago(conversation.updated_at)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[CursorChangeList]:
        return ConversationChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Conversation], search_term: str
    ) -> tuple[QuerySet[Conversation], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        named = Q(user_id__istartswith=term) | Q(thread_id=term) | Q(session_id=term) | Q(tickets__number=term.upper())
        named_ids = Conversation.objects.filter(named).values("pk")
        said = Message.objects.filter(conversation=OuterRef("pk"), text__icontains=term)
        return queryset.filter(Q(pk__in=named_ids) | Exists(said)), False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        conversation = self.get_object(request, object_id)
        said: dict[str, Any] = {}
        if conversation and self.has_view_permission(request, conversation):
            said = {
                **transcript(conversation),
                **rights(request),
                "may_end": self.may_end(request) and not conversation.is_closed,
            }
        return super().change_view(request, object_id, form_url, {**said, **(extra_context or {})})

    def may_end(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm("sessions_app.expire_session")

    def end_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ends a chat whose session has perhaps left the store: a person has it, or it was lost."""
        conversation = self.get_object(request, object_id)
        if not self.may_end(request):
            raise PermissionDenied
        if conversation is None:
            raise Http404
        if request.POST.get("confirmed") == "yes":
            if end_by_staff(request, conversation):
                self.message_user(request, _("The chat has ended."), messages.SUCCESS)
            else:
                self.message_user(request, _("The chat had ended before."), messages.WARNING)
            return redirect("admin:agent_app_conversation_change", conversation.pk)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("End chat"),
            "original": conversation,
            "has_view_permission": True,
            "media": self.media,
        }
        return TemplateResponse(request, f"{TEMPLATES}/end.html", context)

    # ---- export ---------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<path:object_id>/export/", wrap(self.export_view), name="agent_app_conversation_export"),
            path("<path:object_id>/end/", wrap(self.end_view), name="agent_app_conversation_end"),
            *super().get_urls(),
        ]

    def export_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        conversation = self.get_object(request, object_id)
        if conversation is None:
            raise Http404
        answer = as_text(conversation) if request.GET.get("format") == "text" else as_json(conversation)
        suffix = "txt" if request.GET.get("format") == "text" else "json"
        answer["Content-Disposition"] = f'attachment; filename="conversation-{conversation.thread_id}.{suffix}"'
        return answer


def as_json(conversation: Conversation) -> HttpResponse:
    said = [message.to_wire() for message in conversation.messages.all()]
    about = {**conversation.to_wire(), "thread_id": conversation.thread_id, "user_id": conversation.user_id}
    return JsonResponse({**about, "messages": said}, json_dumps_params={"ensure_ascii": False, "indent": 2})


def as_text(conversation: Conversation) -> HttpResponse:
    text = render_to_string(
        f"{TEMPLATES}/export.txt", {"conversation": conversation, "messages": conversation.messages.all()}
    )
    return HttpResponse(text, content_type="text/plain; charset=utf-8")
