import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import agent_app.models.tokens


class Migration(migrations.Migration):
    dependencies = [
        ("agent_app", "0002_knowledge"),
        ("auth", "0012_alter_user_first_name_max_length"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ApiToken",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(help_text="what uses it, such as 'night report'", max_length=100)),
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("expires_at", models.DateTimeField(default=agent_app.models.tokens.in_ninety_days)),
                ("last_used_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "scopes",
                    models.ManyToManyField(
                        blank=True, help_text="what it may do, where its user may do it, too", to="auth.permission"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="api_tokens",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "API token",
                "ordering": ["-created_at"],
            },
        ),
    ]
