"""Letters are only looked at: the desk writes them. How often customers were forgotten tells memories to forget, too."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agent_app", "0012_confirmations_and_demo_shop")]

    operations = [
        migrations.AlterModelOptions(
            name="mail",
            options={"default_permissions": ("view",), "ordering": ["-pk"], "verbose_name": "letter"},
        ),
        migrations.AddField("knowledgestate", "forgotten", models.PositiveBigIntegerField(default=0)),
    ]
