from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Session",
            fields=[
                (
                    "session_id",
                    models.CharField(max_length=200, primary_key=True, serialize=False, verbose_name="session"),
                ),
                ("user_id", models.CharField(max_length=200, null=True, verbose_name="user")),
                ("thread_id", models.CharField(max_length=200, null=True, verbose_name="thread")),
                ("message_count", models.IntegerField(default=0, verbose_name="messages")),
                ("escalated", models.BooleanField(default=False, verbose_name="escalated")),
                ("metadata", models.JSONField(default=dict, verbose_name="metadata")),
                ("request_id", models.CharField(max_length=200, null=True, verbose_name="request")),
                ("created_at", models.DateTimeField(null=True, verbose_name="created")),
                ("updated_at", models.DateTimeField(null=True, verbose_name="updated")),
                ("last_activity", models.DateTimeField(null=True, verbose_name="last activity")),
            ],
            options={
                "verbose_name": "live session",
                "verbose_name_plural": "live sessions",
                "permissions": [
                    ("expire_session", "Can expire live session"),
                    ("extend_session", "Can extend live session"),
                ],
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
    ]
