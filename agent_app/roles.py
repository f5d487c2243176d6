"""Three ready roles, made by every `migrate`: groups that have at least these permissions. What an admin added to one
stays, and a group of that name that was there before is only added to.
"""

from collections.abc import Mapping
from typing import Any

READ = (
    "agent_app.view_conversation",
    "agent_app.view_message",
    "agent_app.view_ticket",
    "agent_app.view_feedback",
    "agent_app.view_cannedreply",
    "agent_app.view_note",
    "agent_app.view_fact",
    "agent_app.view_article",
    "sessions_app.view_session",
)
ACT = (
    "agent_app.takeover_conversation",
    "agent_app.release_conversation",
    "agent_app.reply_conversation",
    "agent_app.resolve_conversation",
    "agent_app.add_note",
)
LEAD = (
    "agent_app.assign_conversation",
    "agent_app.delete_fact",
    "agent_app.add_cannedreply",
    "agent_app.change_cannedreply",
    "agent_app.delete_cannedreply",
    "agent_app.view_auditentry",
    "agent_app.view_mail",
    "sessions_app.expire_session",
    "sessions_app.extend_session",
)
KNOWLEDGE = (
    "agent_app.view_article",
    "agent_app.add_article",
    "agent_app.change_article",
    "agent_app.delete_article",
    "agent_app.view_examplequestion",
    "agent_app.add_examplequestion",
    "agent_app.change_examplequestion",
    "agent_app.delete_examplequestion",
    "agent_app.view_unansweredquestion",
    "agent_app.change_unansweredquestion",
    "agent_app.delete_unansweredquestion",
)
ROLES: Mapping[str, tuple[str, ...]] = {
    "Support agent": (*READ, *ACT),
    "Support lead": (*READ, *ACT, *LEAD),
    "Knowledge editor": KNOWLEDGE,
}


def make_roles(using: str = "default", **about: Any) -> None:
    """Idempotent; runs after every `migrate`."""
    from django.contrib.auth.models import Group, Permission

    found = Permission.objects.using(using).select_related("content_type")
    by_name = {f"{each.content_type.app_label}.{each.codename}": each for each in found}
    for role, permissions in ROLES.items():
        group, _ = Group.objects.using(using).get_or_create(name=role)
        group.permissions.add(*(by_name[name] for name in permissions if name in by_name))
