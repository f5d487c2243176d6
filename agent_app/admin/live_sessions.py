"""Live sessions with what the desk knows of them: the conversation's state, its transcript, its turn."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from agent_app.admin.reading import conversation_link, end_by_staff, state_badge, transcript
from agent_app.models import Conversation
from sessions_app.admin import SessionAdmin
from sessions_app.models import Session

admin.site.unregister(Session)


@admin.register(Session)
class LiveSessionAdmin(SessionAdmin):
    list_display = (
        "session_id",
        "user_id",
        "state",
        "message_count",
        "escalated",
        "created",
        "last_active",
        "time_left",
    )
    change_list_template = "admin/agent_app/live_session/change_list.html"
    change_form_template = "admin/agent_app/live_session/change_form.html"
    fieldsets = (
        *SessionAdmin.fieldsets[:2],
        (_("Conversation"), {"fields": ("state", "conversation", "lease", "attempts")}),
        *SessionAdmin.fieldsets[2:],
    )

    def complete(self, sessions: list[Session]) -> list[Session]:
        found = Conversation.objects.filter(session_id__in=[session.pk for session in sessions])
        of_session = {conversation.session_id: conversation for conversation in found}
        for session in sessions:
            session.chat = of_session.get(session.pk)  # type: ignore[attr-defined]
        return sessions

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Session | None:
        session = super().get_object(request, object_id, from_field)
        return self.complete([session])[0] if session else None

    def end(self, request: HttpRequest, session_ids: list[str]) -> list[str]:
        """Also those chats whose session the store has lost: what staff expire is over, whatever was lost."""
        ended = super().end(request, session_ids)
        lost = Conversation.objects.open().filter(session_id__in=set(session_ids).difference(ended))
        return ended + [chat.session_id for chat in lost if end_by_staff(request, chat)]

    @admin.display(description=_("state"), empty_value="–")
    def state(self, session: Session) -> SafeString | None:
        return state_badge(chat) if (chat := chat_of(session)) else None

    @admin.display(description=_("conversation"))
    def conversation(self, session: Session) -> SafeString | None:
        return conversation_link(chat) if (chat := chat_of(session)) else None

    @admin.display(description=_("turn"))
    def lease(self, session: Session) -> str | None:
        chat = chat_of(session)
        if chat is None or chat.turn_holder is None or chat.turn_until is None:
            return str(_("Nobody is answering."))
        return _("%(holder)s answers, until %(time)s at most.") % {
            "holder": chat.turn_holder,
            "time": chat.turn_until.strftime("%H:%M:%S"),
        }

    @admin.display(description=_("attempts"))
    def attempts(self, session: Session) -> int | None:
        return chat.turn_attempts if (chat := chat_of(session)) else None

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        chat = Conversation.objects.filter(session_id=unquote(object_id)).first()
        said = transcript(chat) if chat and request.user.has_perm("agent_app.view_conversation") else {}
        return super().change_view(request, object_id, form_url, {**said, **(extra_context or {})})


def chat_of(session: Session) -> Conversation | None:
    return getattr(session, "chat", None)
