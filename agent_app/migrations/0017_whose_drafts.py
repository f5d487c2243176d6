"""A draft knows of whose questions it was made."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agent_app", "0016_conversations_by_time")]

    operations = [
        migrations.CreateModel(
            "DraftSource",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "customer",
                    models.CharField(blank=True, default="", editable=False, help_text="a digest", max_length=64),
                ),
                ("title", models.CharField(editable=False, help_text="a digest", max_length=64)),
                ("slug", models.CharField(blank=True, editable=False, help_text="a digest", max_length=64)),
                (
                    "article",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="made_of",
                        to="agent_app.article",
                    ),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="drafted",
                        to="agent_app.conversation",
                    ),
                ),
            ],
            options={
                "verbose_name": "question behind a draft",
                "verbose_name_plural": "questions behind drafts",
                "ordering": ["id"],
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        condition=models.Q(("customer", ""), _negated=True),
                        fields=["customer"],
                        name="draft_of_customer",
                    )
                ],
            },
        ),
    ]
