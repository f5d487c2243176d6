"""Tickets in the admin: what was asked of a person, and in which chat."""

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from agent_app.admin.reading import ReadOnlyAdmin, conversation_link, state_badge
from agent_app.models import Ticket


@admin.register(Ticket)
class TicketAdmin(ReadOnlyAdmin):
    list_display = ("number", "chat", "state_now", "category", "priority", "created_at")
    list_filter = ("conversation__state", "category", "priority", "created_at")
    list_select_related = ("conversation",)
    search_fields = ("number__istartswith", "conversation__user_id__istartswith")
    show_full_result_count = False
    date_hierarchy = "created_at"
    fields = ("number", "chat", "state_now", "category", "priority", "reason", "created_at")

    class Media:
        css = {"all": ("agent_app/admin.css",)}

    @admin.display(description=_("conversation"))
    def chat(self, ticket: Ticket) -> SafeString:
        return conversation_link(ticket.conversation)

    @admin.display(description=_("state"))
    def state_now(self, ticket: Ticket) -> SafeString:
        return state_badge(ticket.conversation)
