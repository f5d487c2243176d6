"""Phrasings that customers asked say whose words they are."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agent_app", "0013_letters_and_forgetting")]

    operations = [
        migrations.AddField(
            "examplequestion",
            "conversation",
            models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="taught",
                to="agent_app.conversation",
            ),
        ),
        migrations.AddField(
            "examplequestion",
            "customer",
            models.CharField(blank=True, default="", editable=False, help_text="a digest", max_length=64),
        ),
        migrations.AlterField(
            "article",
            "slug",
            models.SlugField(
                help_text="its address; a draft's is made of the title when it is published",
                max_length=120,
                unique=True,
            ),
        ),
        migrations.AddIndex(
            "examplequestion",
            models.Index(
                condition=models.Q(("customer", ""), _negated=True), fields=["customer"], name="question_of_customer"
            ),
        ),
    ]
