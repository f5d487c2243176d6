from datetime import datetime
from typing import Any

from django.apps import AppConfig


class AgentAppConfig(AppConfig):
    name = "agent_app"
    verbose_name = "Support desk"

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        from agent_app import checks  # noqa: F401 - registers the system checks
        from agent_app.roles import make_roles
        from sessions_app.signals import session_ended, session_extended, staff_acted

        session_ended.connect(close_conversation, dispatch_uid="agent_app.session_ended")
        session_extended.connect(keep_conversation, dispatch_uid="agent_app.session_extended")
        # This app is the last that has permissions to give: those of the others are there by now.
        post_migrate.connect(make_roles, sender=self, dispatch_uid="agent_app.roles")
        staff_acted.connect(record_act, dispatch_uid="agent_app.staff_acted")


async def close_conversation(sender: Any, session_id: str, reason: str, actor: str | None = None, **more: Any) -> None:
    from agent_app import chat

    await chat.session_has_ended(session_id, reason, actor)


async def keep_conversation(sender: Any, session_id: str, until: datetime, **more: Any) -> None:
    from agent_app import chat

    await chat.keep_chat(session_id, until)


def record_act(sender: Any, action: str, session_id: str, actor: str, details: dict[str, Any], **more: Any) -> None:
    from agent_app.models import AuditEntry

    AuditEntry.record(f"session.{action}", session_id, actor, **details)
