"""What is only read in the admin, and what a conversation looks like there."""

from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from agent_app import chat
from agent_app.models import Conversation, Message
from sessions_app.live import EXPIRED_BY_STAFF

# Of a transcript on a page; the whole of a longer one is in its export.
NEWEST_MESSAGES = 300


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False


# Short enough for a column.
STATES = {
    Conversation.State.AI: _("AI"),
    Conversation.State.WAITING: _("Waiting"),
    Conversation.State.HUMAN: _("Person"),
    Conversation.State.CLOSED: _("Closed"),
}


def state_badge(conversation: Conversation) -> SafeString:
    return format_html(
        '<span class="state state-{}" title="{}">{}</span>',
        conversation.state,
        conversation.get_state_display(),
        STATES[Conversation.State(conversation.state)],
    )


def conversation_link(conversation: Conversation) -> SafeString:
    url = reverse("admin:agent_app_conversation_change", args=(conversation.pk,))
    return format_html('<a href="{}">{}</a>', url, conversation.name)


def transcript(conversation: Conversation) -> dict[str, Any]:
    """For the template: the newest messages in their order, and how many came before them."""
    newest = list(conversation.messages.order_by("-seq")[:NEWEST_MESSAGES])
    return {"conversation": conversation, "messages_shown": newest[::-1], "earlier": earlier_than(newest)}


def end_by_staff(request: HttpRequest, conversation: Conversation) -> bool:
    """Closes the chat wherever it is open; False if it was closed before."""
    ended = async_to_sync(chat.end_chat)(conversation.pk, EXPIRED_BY_STAFF, request.user.get_username())
    if ended:
        who = request.user.pk
        LogEntry.objects.log_actions(who, [conversation], CHANGE, "Ended the chat.")  # type: ignore[arg-type]
    return ended


def whole(text: str) -> int:
    """A row's number out of an address; 0, which no row has, for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def earlier_than(newest: list[Message]) -> int:
    return newest[-1].seq - 1 if newest else 0
