"""What staff made of a customer's words before the erasure: drafts, phrasings, what Django's log calls things."""

import re
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from agent_app import chat
from agent_app.demo import books
from agent_app.erasing import erase
from agent_app.knowledge.indexing import knowledge
from agent_app.models import (
    Article,
    Conversation,
    DemoRecord,
    Erasure,
    ExampleQuestion,
    Fact,
    Feedback,
    IndexGeneration,
    Message,
    UnansweredQuestion,
)
from agent_app.models.erasure import forget_chats
from agent_app.models.missed import missed_questions
from tests.staff import logged_in, use_memory
from tests.traces import left_of, whole_database

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.slow]

ADMIN = "/admin/agent_app"
USER = "anna.karenina@example.com"
ASKED = "Does the train to Obiralowka carry Wronskij?"
SLUG = "does-the-train-to-obiralowka-carry-wronskij"
WORDS = ("karenina", "wronskij", "obiralowka")


@pytest.fixture
def editor(settings: Any) -> Client:
    use_memory(settings)
    return logged_in(is_superuser=True, username="lewin")


def asked_in_vain(text: str = ASKED, user_id: str | None = USER) -> UnansweredQuestion:
    conversation, _ = async_to_sync(chat.open_chat)(user_id, True, {})
    Message.objects.create(
        conversation=conversation, seq=1, public_id="1" * 32, role="customer", text=text, created_at=timezone.now()
    )
    Conversation.objects.filter(pk=conversation.pk).update(last_seq=1, customer_count=1, asked_upto=1, answered_upto=1)
    return UnansweredQuestion.objects.remember(text, conversation.pk)


def drafted(editor: Client) -> Article:
    """By the button of the learning page."""
    editor.post(f"{ADMIN}/unansweredquestion/draft/", {"key": [each.key for each in missed_questions(10)]})
    return Article.objects.latest("pk")


def saved(editor: Client, article: Article | None, **fields: str) -> Article:
    """The article's form, sent as its page shows it but for these fields."""
    address = f"{ADMIN}/article/add/" if article is None else f"{ADMIN}/article/{article.pk}/change/"
    page = editor.get(address)
    shown = {**page.context["adminform"].form.initial, "language": "en", "body": "They leave on time."}
    form = {name: shown[name] for name in ("title", "slug", "body", "language") if name in shown}
    formset = page.context["inline_admin_formsets"][0].formset
    form |= {f"questions-{name}": value for name, value in formset.management_form.initial.items()}
    for each in formset.initial_forms:
        form |= {f"{each.prefix}-{name}": each[name].value() for name in ("id", "article", "text")}
    answer = editor.post(address, {name: value for name, value in {**form, **fields}.items() if value is not None})
    assert answer.status_code == 302, answer.context["errors"]
    return Article.objects.get(pk=article.pk) if article else Article.objects.latest("pk")


def past_retention() -> None:
    Conversation.objects.update(state="closed", closed_at=timezone.now() - timedelta(days=999))
    forget_chats(dict(Conversation.objects.values_list("pk", "session_id")), "retention")
    assert not Conversation.objects.exists()


def erased() -> None:
    erase(Erasure.objects.of_customer(USER, "ana"))
    assert left_of(WORDS, whole_database()) == []
    assert Erasure.objects.get().doubts(USER) == []


def test_a_draft_that_was_saved_and_deleted(editor: Client) -> None:
    asked_in_vain()
    draft = saved(editor, drafted(editor))
    editor.post(f"{ADMIN}/article/{draft.pk}/delete/", {"post": "yes"})
    assert not Article.objects.exists()
    erased()
    assert LogEntry.objects.count() == 2


def test_a_draft_that_was_deleted_from_the_list(editor: Client) -> None:
    asked_in_vain()
    drafts = [saved(editor, drafted(editor)).pk]
    asked_in_vain("And when does it reach Obiralowka?")
    drafts.append(saved(editor, drafted(editor)).pk)
    chosen = {"action": "delete_selected", "_selected_action": drafts, "post": "yes"}
    editor.post(f"{ADMIN}/article/", chosen)
    assert not Article.objects.exists()
    erased()


def test_a_draft_that_was_given_another_title(editor: Client) -> None:
    asked_in_vain()
    draft = saved(editor, saved(editor, drafted(editor)), title="What trains carry")
    erased()
    draft.refresh_from_db()
    assert (draft.title, draft.question_texts()) == ("What trains carry", [])


def test_a_draft_that_was_published(editor: Client) -> None:
    """What an editor wrote is the company's, with an address made of it; what the customer asked is not."""
    asked_in_vain()
    article = saved(editor, drafted(editor), title="What trains carry", published="on")
    assert (article.slug, article.published) == ("what-trains-carry", True)
    erased()
    assert Article.objects.published().get() == article


@pytest.mark.parametrize(
    ("title", "slug"), [(ASKED, SLUG), (ASKED.upper().rstrip("?"), f"{SLUG}-2")], ids=["to the letter", "nearly"]
)
def test_a_draft_that_is_called_by_the_question(editor: Client, title: str, slug: str) -> None:
    """An editor may have copied it there, or nearly."""
    asked_in_vain()
    draft = saved(editor, drafted(editor), title=title, slug=slug)
    assert Erasure(scope="customer", subject=USER).foretold()["titles of drafts"] == 1
    erased()
    draft.refresh_from_db()
    assert (draft.title, draft.slug) == ("(erased)", f"erased-{draft.pk}")
    assert Erasure.objects.get().removed["titles of drafts"] == 1


@pytest.mark.parametrize("taken_out", [False, True])
def test_a_draft_called_by_the_question_of_a_chat_that_retention_deleted(editor: Client, taken_out: bool) -> None:
    asked_in_vain()
    draft = saved(editor, drafted(editor), title=ASKED, slug=SLUG)
    if taken_out:
        draft.set_questions([])
    past_retention()
    draft.refresh_from_db()
    assert (draft.title, draft.slug) == (ASKED, SLUG)
    foretold = Erasure(scope="customer", subject=USER).foretold()
    assert foretold == {"questions behind drafts": 1, "titles of drafts": 1} | (
        {} if taken_out else {"example questions": 1}
    )
    erased()
    assert Erasure.objects.get().removed.items() >= foretold.items()


def test_a_draft_that_was_made_before_the_key_changed(editor: Client, settings: Any) -> None:
    asked_in_vain()
    saved(editor, drafted(editor), title=ASKED, slug=SLUG)
    past_retention()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key of enough letters, to be sure of it"
    erased()


def test_what_the_company_wrote_stays_where_a_customer_asked_the_same(editor: Client) -> None:
    """With no link to them it is the company's, to the letter though it be."""
    first, second = "Which kayaks are there?", "Do you sell canoes?"
    published = Article.objects.create(slug="canoes", title="Canoes", body="Two.")
    published.set_questions([second])
    draft = Article.objects.create(slug="which-kayaks-are-there", title=first, body="Three.", published=False)
    for text in (first, second):
        asked_in_vain(text)
    editor.post(f"{ADMIN}/unansweredquestion/drop/", {"key": [each.key for each in missed_questions(10)]})
    foretold = Erasure(scope="customer", subject=USER).foretold()
    assert not {"example questions", "titles of drafts"} & set(foretold)
    erased()
    assert not {"example questions", "titles of drafts"} & set(Erasure.objects.get().removed)
    assert published.question_texts() == [second]
    draft.refresh_from_db()
    assert (draft.title, draft.slug) == (first, "which-kayaks-are-there")


def test_what_another_customer_asked_stays(editor: Client) -> None:
    """In the same words, and taught to an article as theirs."""
    same = "Is there a samovar aboard?"
    articles = [Article.objects.create(slug=slug, title=slug, body="Yes.") for slug in ("tea", "trains")]
    for user_id, article in zip(("levin", USER), articles, strict=True):
        asked_in_vain(same, user_id)
        form = {"article": article.slug, "key": [each.key for each in missed_questions(10)], "confirmed": "yes"}
        editor.post(f"{ADMIN}/unansweredquestion/teach/", form)
    foretold = Erasure(scope="customer", subject=USER).foretold()
    erased()
    assert [article.question_texts() for article in articles] == [[same], []]
    assert foretold["example questions"] == Erasure.objects.get().removed["example questions"] == 1
    assert ExampleQuestion.objects.of_user("levin").exists()


def test_a_draft_of_two_customers_questions(editor: Client) -> None:
    """What it is called goes with the one who asked that."""
    asked_in_vain("Is there a samovar aboard?", "levin")
    asked_in_vain()
    draft = saved(editor, drafted(editor), title="Is there a samovar aboard?", slug="is-there-a-samovar-aboard")
    erased()
    draft.refresh_from_db()
    assert (draft.title, draft.slug) == ("Is there a samovar aboard?", "is-there-a-samovar-aboard")
    assert draft.question_texts() == ["Is there a samovar aboard?"]
    erase(Erasure.objects.of_customer("levin", "ana"))
    draft.refresh_from_db()
    assert (draft.title, draft.slug) == ("(erased)", f"erased-{draft.pk}")


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        # In other words and at another place, behind a question of the editor's own.
        (["q1", "q2", "How are blancmanges made?", "Do trains to Obiralowka carry Mr Wronskij?"], 3),
        # One of the company's was taken out before it.
        (["q2", "Do trains to Obiralowka carry Mr Wronskij?"], 1),
        # Made two of.
        (["q1", "Does the train to Obiralowka stop?", "Does the train carry Wronskij?", "q2"], 2),
        # In words that are like none of before: nobody can say whose they are.
        (["q1", "q2", "Obiralowka?"], 2),
    ],
)
def test_a_phrasing_that_a_program_put_in_other_words(editor: Client, sent: list[str], left: int) -> None:
    question = asked_in_vain()
    article = Article.objects.create(slug="trains", title="Trains", body="On time.")
    article.set_questions(["q1", "q2"])
    question.answered_by(article)
    address = "/api/v1/knowledge/articles/trains/"
    assert editor.patch(address, {"questions": sent}, "application/json").status_code == 200
    past_retention()
    erased()
    assert len(article.question_texts()) == left


def test_a_draft_of_one_question_of_the_list(editor: Client) -> None:
    question = asked_in_vain()
    page = editor.get(f"{ADMIN}/unansweredquestion/").content.decode()
    links = re.findall(r'(?:href|formaction)="([^"]*)"', page)
    assert left_of(WORDS, "\n".join(links)) == []
    button = re.search(r'formaction="([^"]+)"[^>]* name="(\w+)" value="(\w+)"', page)
    assert button is not None
    editor.post(button[1], {button[2]: button[3]})
    draft = Article.objects.get()
    assert draft.question_texts() == [ASKED]
    question.refresh_from_db()
    assert question.article == draft
    erased()


def test_a_question_is_tried_without_its_words_in_an_address(editor: Client) -> None:
    question = asked_in_vain()
    page = editor.get(f"{ADMIN}/article/try/?question={question.pk}")
    assert "Obiralowka" in page.content.decode()
    assert 'method="post"' in page.content.decode()
    assert editor.get(f"{ADMIN}/article/try/?question=x").status_code == 404


def test_a_phrasing_that_an_editor_corrected(editor: Client) -> None:
    """It says whose words it is made of, whatever became of them."""
    asked_in_vain()
    draft = drafted(editor)
    question = draft.questions.get()
    saved(editor, draft, **{"questions-0-text": "Does the train to Obiralowka carry Mr Wronskij, too?"})
    assert ExampleQuestion.objects.get().text != question.text
    erased()


def test_a_phrasing_that_an_editor_wrote_anew_below_and_deleted(editor: Client) -> None:
    asked_in_vain()
    draft = drafted(editor)
    anew = {"questions-TOTAL_FORMS": "3", "questions-0-DELETE": "on", "questions-1-article": str(draft.pk)}
    anew |= {"questions-1-text": "Are there trains at night?", "questions-2-article": str(draft.pk)}
    saved(editor, draft, **anew, **{"questions-2-text": "Do trains to Obiralowka carry Wronskij?"})
    assert len(draft.question_texts()) == 2
    erased()
    assert draft.question_texts() == ["Are there trains at night?"]


@pytest.mark.parametrize("published", [True, False])
def test_a_phrasing_of_a_chat_that_retention_deleted(editor: Client, published: bool) -> None:
    """What was learned outlives the chat, but not the customer's wish."""
    asked_in_vain()
    article = Article.objects.create(slug="trains", title="Trains", body="On time.", published=published)
    form = {"article": "trains", "key": [each.key for each in missed_questions(10)], "confirmed": "yes"}
    editor.post(f"{ADMIN}/unansweredquestion/teach/", form)
    assert article.question_texts() == [ASKED]
    past_retention()
    assert article.question_texts() == [ASKED]
    assert Erasure(scope="customer", subject=USER).foretold() == {"example questions": 1}
    erased()


def test_a_phrasing_of_one_chat_goes_with_that_chat(editor: Client) -> None:
    first, second = asked_in_vain(), asked_in_vain("Is there a samovar aboard?")
    draft = drafted(editor)
    assert first.conversation is not None
    erase(Erasure.objects.of_chat(first.conversation, "ana"))
    assert draft.question_texts() == [second.text]
    assert left_of(("wronskij",), whole_database()) == []


def test_the_index_that_held_a_phrasing_which_an_editor_took_out(editor: Client) -> None:
    question = asked_in_vain()
    article = Article.objects.create(slug="trains", title="Trains", body="On time.")
    question.answered_by(article)
    knowledge.renew()
    held = IndexGeneration.objects.latest("pk")
    article.set_questions([])
    erased()
    assert not IndexGeneration.objects.filter(pk=held.pk).exists()
    assert IndexGeneration.objects.exists()


def test_a_fact_that_staff_deleted_in_the_admin(editor: Client) -> None:
    conversation = asked_in_vain().conversation
    fact = Fact.objects.create(
        conversation=conversation,
        user_id=USER,
        name="loves Wronskij",
        value="Wronskij",
        message_seq=1,
        expires_at=timezone.now() + timedelta(days=1),
    )
    editor.post(f"{ADMIN}/fact/{fact.pk}/delete/", {"post": "yes"})
    assert not Fact.objects.exists()
    assert LogEntry.objects.get().object_id == str(fact.pk)
    erased()


def test_a_made_up_customer_is_as_on_the_first_day(editor: Client) -> None:
    books.reset()
    told, others = DemoRecord.objects.get(number="1050"), DemoRecord.objects.filter(owner="C-1002")
    before = DemoRecord.objects.count(), list(others.values_list("pk", flat=True))
    told.data["address"] = "Obiralowka 7"
    told.save()
    erase(Erasure.objects.of_customer("ana@example.com", "ana"))
    assert left_of(WORDS, whole_database()) == []
    assert before == (DemoRecord.objects.count(), list(others.values_list("pk", flat=True)))
    assert DemoRecord.objects.get(number="1050").owner == "C-1001"


def test_chats_that_were_ended_in_the_admin_and_deleted_past_it(editor: Client) -> None:
    """Rows that are gone lead nobody to what the log says of them; so it says nothing."""
    row: Any = asked_in_vain().conversation
    editor.post(f"{ADMIN}/conversation/{row.pk}/end/", {"confirmed": "yes"})
    assert LogEntry.objects.exists()
    Feedback.objects.all().delete()
    Conversation.objects.all().delete()
    erased()
