"""An article says which file an import made it of."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agent_app", "0018_drafts_so_far")]

    operations = [
        migrations.AddField(
            "Article",
            "imported_from",
            models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                help_text="the name of the file that import_knowledge made it of",
                max_length=255,
            ),
        ),
    ]
