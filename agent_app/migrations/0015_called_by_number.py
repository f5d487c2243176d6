"""What was learned so far says whose it is, and Django's own log calls what may hold a customer's words by its number."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import F, Value
from django.db.models.functions import Concat
from django.utils.crypto import salted_hmac

NUMBERED = {
    "article": "article",
    "attachment": "attachment",
    "conversation": "conversation",
    "fact": "fact",
    "unansweredquestion": "question",
}
ERASED = "(erased)"


def name_by_number(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    log = apps.get_model("admin", "LogEntry").objects
    for model, called in NUMBERED.items():
        rows = log.filter(content_type__app_label="agent_app", content_type__model=model, object_id__isnull=False)
        rows.exclude(object_repr=ERASED).update(object_repr=Concat(Value(f"{called} "), F("object_id")))
    # An account of what was added to an article, or taken out, names the example questions.
    articles = log.filter(content_type__app_label="agent_app", content_type__model="article")
    articles.filter(change_message__contains='"object"').update(change_message="")


def say_whose(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Phrasings that are to the letter what a customer asked in vain."""
    phrasings = apps.get_model("agent_app", "ExampleQuestion").objects
    asked = apps.get_model("agent_app", "UnansweredQuestion").objects
    for question in asked.filter(conversation__isnull=False, article__isnull=False).select_related("conversation"):
        user_id = question.conversation.user_id
        digest = salted_hmac("agent_app.learned", user_id, algorithm="sha256").hexdigest() if user_id else ""
        same = phrasings.filter(article=question.article_id, text=question.text[:500].strip(), conversation=None)
        same.update(conversation=question.conversation_id, customer=digest)


class Migration(migrations.Migration):
    dependencies = [
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("agent_app", "0014_whose_words"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.RunPython(name_by_number, migrations.RunPython.noop),
        migrations.RunPython(say_whose, migrations.RunPython.noop),
    ]
