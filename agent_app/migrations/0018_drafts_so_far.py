"""The drafts that there are know of whose questions they were made."""

import re

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.utils.crypto import salted_hmac
from django.utils.text import slugify


def digest_of(words: str) -> str:
    return salted_hmac("agent_app.drafted", words, algorithm="sha256").hexdigest() if words else ""


def say_of_whose(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Of what is a draft now, by the example questions in it that are a customer's."""
    sources = apps.get_model("agent_app", "DraftSource").objects
    asked = apps.get_model("agent_app", "ExampleQuestion").objects.filter(
        article__published=False, article__from_folder=False
    )
    for question in asked.exclude(conversation=None, customer=""):
        text = question.text.strip()[:200]
        sources.create(
            article_id=question.article_id,
            conversation_id=question.conversation_id,
            customer=question.customer,
            title=digest_of(" ".join(re.findall(r"\w+", text.casefold()))),
            slug=digest_of(slugify(text)[:100].strip("-")),
        )


class Migration(migrations.Migration):
    dependencies = [("agent_app", "0017_whose_drafts")]

    operations = [migrations.RunPython(say_of_whose, migrations.RunPython.noop)]
