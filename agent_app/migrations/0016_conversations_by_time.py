"""The dashboard counts the chats that were opened in each hour."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agent_app", "0015_called_by_number")]

    operations = [
        migrations.AddIndex("conversation", models.Index(fields=["created_at"], name="conversation_opened")),
    ]
