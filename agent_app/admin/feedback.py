"""Feedback in the admin: what customers said of chats and of answers."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from agent_app.admin.reading import ReadOnlyAdmin, conversation_link
from agent_app.models import Feedback


class AboutFilter(admin.SimpleListFilter):
    title = _("what it is about")
    parameter_name = "about"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("chat", _("the chat")), ("answer", _("one answer"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Feedback]) -> QuerySet[Feedback]:
        wanted = self.value()
        return queryset.filter(seq__isnull=wanted == "chat") if wanted in {"chat", "answer"} else queryset


@admin.register(Feedback)
class FeedbackAdmin(ReadOnlyAdmin):
    list_display = ("said_at", "about", "rating", "helpful", "short_comment", "chat")
    list_filter = ("rating", "helpful", AboutFilter, "said_at")
    list_select_related = ("conversation",)
    list_per_page = 50
    search_fields = ("comment",)
    show_full_result_count = False
    fields = ("said_at", "about", "rating", "helpful", "comment", "chat")

    @admin.display(description=_("about"))
    def about(self, feedback: Feedback) -> str:
        return str(_("message %d") % feedback.seq if feedback.seq is not None else _("the chat"))

    @admin.display(description=_("comment"))
    def short_comment(self, feedback: Feedback) -> str:
        return feedback.comment[:200]

    @admin.display(description=_("conversation"))
    def chat(self, feedback: Feedback) -> SafeString:
        return conversation_link(feedback.conversation)
