"""What the agent remembers of customers, to be seen and to be deleted, and what its model has used, day by day."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from agent_app.admin.audited import Audited
from agent_app.admin.reading import ReadOnlyAdmin, conversation_link
from agent_app.models import DailyUse, Fact
from agent_app.models.budget import MICROS


@admin.register(Fact)
class FactAdmin(Audited, ReadOnlyAdmin):
    list_display = ("name", "value", "customer", "chat", "message_seq", "expires_at")
    list_select_related = ("conversation",)
    list_filter = ("expires_at",)
    search_fields = ("user_id__istartswith", "conversation__user_id__istartswith", "name__istartswith")
    search_help_text = _("A customer, or the name of a fact.")
    show_full_result_count = False
    fields = ("name", "value", "customer", "chat", "message_seq", "created_at", "expires_at")

    @admin.display(description=_("remembered for"))
    def customer(self, fact: Fact) -> str:
        return fact.user_id or str(_("this chat alone"))

    @admin.display(description=_("said in"))
    def chat(self, fact: Fact) -> SafeString:
        return conversation_link(fact.conversation)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("agent_app.delete_fact")


@admin.register(DailyUse)
class DailyUseAdmin(ReadOnlyAdmin):
    list_display = ("day", "turns", "requests", "input_tokens", "output_tokens", "price")
    fields = list_display

    @admin.display(description=_("US dollars"))
    def price(self, use: DailyUse) -> str:
        return f"{use.price_micros / MICROS:.4f}" if use.price_micros else "–"
