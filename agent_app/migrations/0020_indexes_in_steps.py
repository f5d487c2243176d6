"""What every message changes is in no index any more; lists and looks go by columns that move in steps."""

from typing import Any

from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.functions import Now

import agent_app.models.conversations

OLD = (
    "conversation_unanswered",
    "conversation_expiring",
    "conversation_by_state",
    "conversation_recent",
    "conversation_of_user",
)
NEW = {
    "conversation_had_a_turn": {"fields": ["turn_until"], "condition": Q(turn_until__isnull=False)},
    "conversation_lives": {"fields": ["state", "live_until"], "condition": Q(state="ai")},
    "conversation_state_active": {"fields": ["state", "-active_at", "-id"]},
    "conversation_active": {"fields": ["-active_at", "-id"]},
    "conversation_user_active": {"fields": ["user_id", "-active_at"]},
}


def as_they_stand(apps: Any, schema_editor: Any) -> None:
    chats = apps.get_model("agent_app", "Conversation").objects.using(schema_editor.connection.alias)
    chats.update(active_at=F("updated_at"))
    # Those that wait for anyone were found by having no lease; now they are by one that has run out.
    chats.filter(turn_until=None, asked_upto__gt=F("answered_upto"), state__in=["ai", "waiting"]).update(turn_until=Now())


def leave_room(apps: Any, schema_editor: Any) -> None:
    """On PostgreSQL a row's next version goes beside it where its page has room, and then into no index."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE agent_app_conversation SET (fillfactor = 80)")


class Migration(migrations.Migration):
    dependencies = [("agent_app", "0019_imported_from")]

    operations = [
        migrations.AddField(
            "Conversation",
            "active_at",
            agent_app.models.conversations.ActiveAt(
                db_default=Now(), editable=False, help_text="updated_at in steps, for the indexes"
            ),
        ),
        # Every row is written while there are few indexes.
        *(migrations.RemoveIndex("Conversation", name) for name in OLD),
        migrations.RunPython(leave_room, migrations.RunPython.noop),
        migrations.RunPython(as_they_stand, migrations.RunPython.noop),
        *(migrations.AddIndex("Conversation", models.Index(name=name, **index)) for name, index in NEW.items()),
    ]
