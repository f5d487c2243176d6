"""Learning in the admin: what was asked in vain, one click to an article, each change looked at before."""

import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agent_app.knowledge.indexing import knowledge
from agent_app.models import (
    Article,
    Conversation,
    ExampleQuestion,
    Feedback,
    IndexGeneration,
    Message,
    UnansweredQuestion,
)
from agent_app.models.conversations import new_id
from agent_app.models.missed import missed_questions
from tests.staff import logged_in

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.slow]

BASE = "/admin/agent_app/unansweredquestion/"
KAYAKS = ["do you sell kayaks", "can I buy a kayak from you", "are kayaks for sale here"]


@pytest.fixture
def shop_knowledge() -> Iterator[None]:
    knowledge.forget()
    call_command("load_knowledge", stdout=StringIO())
    yield
    knowledge.forget()


@pytest.fixture
def editor() -> Client:
    return logged_in(is_superuser=True)


def judged(question: str, reason: str = "", title: str = "Return an item") -> Feedback:
    """A chat in which an answer did not help."""
    now = timezone.now()
    chat = Conversation.objects.create(session_id=new_id(), token_hash=new_id(), live_until=now, last_seq=2)
    cited = [{"n": 1, "title": title, "url": "/help/returns/", "snippet": ""}]
    said: list[dict[str, Any]] = [
        {"seq": 1, "role": "customer", "text": question},
        {"seq": 2, "role": "agent", "text": "An answer", "reply_to": 1, "citations": cited},
    ]
    Message.objects.bulk_create(Message(conversation=chat, public_id=new_id(), created_at=now, **each) for each in said)
    Feedback.objects.judge(chat, 2, False, reason)
    return Feedback.objects.get(conversation=chat)


def keys() -> list[str]:
    return [each.key for each in missed_questions(100)]


def test_like_questions_stand_together_with_what_did_not_help(editor: Client, shop_knowledge: None) -> None:
    for text in [*KAYAKS, "what is the weather <b>"]:
        UnansweredQuestion.objects.remember(text)
    judged("do you have kayaks", reason="Not what I asked")
    page = editor.get(f"{BASE}groups/").content.decode()
    assert page.count('<form method="post" class="missed">') == 2
    assert "asked 4 times" in page.replace("\n", " ")
    assert "1 answer did not help" in page
    assert "answered with “Return an item”: <q>Not what I asked</q>" in page
    assert "weather &lt;b&gt;" in page
    assert "Nothing is open" in logged_in_after_drop(editor)


def logged_in_after_drop(editor: Client) -> str:
    editor.post(f"{BASE}drop/", {"key": keys()})
    return editor.get(f"{BASE}groups/").content.decode()


def test_a_phrasing_is_looked_at_and_then_added(editor: Client, shop_knowledge: None) -> None:
    asked = "where on earth has my stuff got to"
    UnansweredQuestion.objects.remember(asked)
    feedback = judged("my things are nowhere to be seen")
    form = {"article": "track-order", "key": keys()}
    page = editor.post(f"{BASE}teach/", form).content.decode()
    assert "would learn these phrasings" in page
    assert "Of the open questions" in page
    article = Article.objects.get(slug="track-order")
    assert asked not in article.question_texts()
    done = editor.post(f"{BASE}teach/", {**form, "confirmed": "yes"}, follow=True).content.decode()
    assert "2 phrasings were added to" in done
    assert {asked, "my things are nowhere to be seen"} <= set(article.question_texts())
    assert missed_questions(10) == []
    assert UnansweredQuestion.objects.get().article == article
    feedback.refresh_from_db()
    assert feedback.resolved_at is not None
    assert knowledge.renew().search(asked, knowledge.embedder.embed).hits[0].source.slug == "track-order"
    Feedback.objects.judge(feedback.conversation, 2, False, "Still wrong")
    assert [each.reason for each in missed_questions(10)] == ["Still wrong"]


def test_a_phrasing_in_the_wrong_article_is_seen_before_it_does_harm(editor: Client, shop_knowledge: None) -> None:
    wrong = Article.objects.get(slug="returns").question_texts()[0]
    UnansweredQuestion.objects.remember(wrong)
    page = editor.post(f"{BASE}teach/", {"article": "jobs", "key": keys()}).content.decode()
    assert "would now be answered differently" in page


def test_one_click_makes_a_draft(editor: Client) -> None:
    for text in KAYAKS:
        UnansweredQuestion.objects.remember(text)
    wanted = [each.key for text in KAYAKS for each in missed_questions(10) if each.text == text]
    page = editor.post(f"{BASE}draft/", {"key": wanted}, follow=True).content.decode()
    assert "This is a draft" in page
    made = Article.objects.get()
    assert (made.title, made.published, made.question_texts()) == (f"Draft {made.pk}", False, KAYAKS)
    assert missed_questions(10) == []


def test_a_draft_gets_its_address_when_it_is_published() -> None:
    Article.objects.create(slug="kayaks", title="Taken", body="x", published=False)
    article = Article.objects.begin()
    article.title, article.published = "Kayaks", True
    with pytest.raises(ValidationError, match="Write the answer"):
        article.full_clean()
    article.body = "We sell two."
    article.full_clean()
    article.save()
    assert article.slug == "kayaks-2"
    article.title = f"Draft {article.pk}"
    with pytest.raises(ValidationError, match="Give it a title"):
        article.full_clean()


def test_a_phrasing_stays_a_customers_in_other_words() -> None:
    chat = judged("do you sell kayaks").conversation
    Conversation.objects.update(user_id="anna")
    chat.refresh_from_db()
    article = Article.objects.create(slug="a", title="A", body="x")
    article.learn("do you sell kayaks", chat)
    article.set_questions(["Do you sell kayaks?"])  # put in other words at its place
    article.set_questions(["What about boats?", "Do you sell kayaks?"])  # moved
    mine = ExampleQuestion.objects.of_user("anna")
    assert [question.text for question in mine] == ["Do you sell kayaks?"]
    assert list(ExampleQuestion.objects.of_chats([chat.session_id])) == list(mine)


def test_what_the_company_wrote_is_no_customers_for_being_sent_beside_theirs() -> None:
    chat = judged("do you sell kayaks").conversation
    article = Article.objects.create(slug="a", title="A", body="x")
    article.set_questions(["Which boots are warm?", "Which gloves are warm?"])
    article.learn("do you sell kayaks", chat)
    # Theirs is taken out, one of the company's is put in other words, one is new.
    article.set_questions(["Which boots are the warmest?", "Which gloves are warm?"])
    assert not ExampleQuestion.objects.exclude(conversation=None).exists()
    article.learn("do you sell kayaks", chat)
    article.set_questions(["What about tents?", "Which of the boots is warm?", "Do you sell a kayak?"])
    assert ExampleQuestion.objects.exclude(conversation=None).get().text == "Do you sell a kayak?"


def test_an_article_of_the_most_and_longest_questions_is_put_in_other_words_at_once() -> None:
    chat = judged("do you sell kayaks").conversation
    article = Article.objects.create(slug="a", title="A", body="x")
    words = [f"{number:03} " + " ".join(f"{number * 31 + place:x}" for place in range(120)) for number in range(200)]
    article.set_questions([text[:500] for text in words[1:]])
    article.learn("do you sell kayaks", chat)
    began = time.monotonic()
    article.set_questions([text[:500][::-1] for text in words])
    assert time.monotonic() - began < 30
    assert ExampleQuestion.objects.exclude(conversation=None).count() == 1


def test_a_phrasing_is_found_under_the_key_that_the_site_had(settings: Any) -> None:
    chat = judged("do you sell kayaks").conversation
    chat.user_id = "anna"
    Article.objects.create(slug="a", title="A", body="x").learn("do you sell kayaks", chat)
    before, settings.SECRET_KEY = settings.SECRET_KEY, "another key of enough letters, to be sure of it"
    assert not ExampleQuestion.objects.of_user("anna").exists()
    settings.SECRET_KEY_FALLBACKS = [before]
    assert ExampleQuestion.objects.of_user("anna").exists()


@pytest.mark.parametrize("name", ["teach", "draft", "drop"])
def test_with_nothing_ticked_one_is_told_to(name: str, editor: Client, shop_knowledge: None) -> None:
    UnansweredQuestion.objects.remember("do you sell kayaks")
    articles = Article.objects.count()
    answer = editor.post(f"{BASE}{name}/", {"article": "track-order"}, follow=True)
    assert answer.redirect_chain == [(f"{BASE}groups/", 302)]
    page = answer.content.decode()
    assert '<li class="warning">Tick at least one question.</li>' in page
    assert "off the list." not in page
    assert len(missed_questions(10)) == 1
    assert Article.objects.count() == articles


@pytest.mark.parametrize("name", ["teach", "draft", "drop"])
def test_who_may_only_look_changes_nothing(name: str) -> None:
    UnansweredQuestion.objects.remember("do you sell kayaks")
    Article.objects.create(slug="a", title="A", body="x")
    reader = logged_in("agent_app.view_unansweredquestion", "agent_app.view_article")
    form = {"article": "a", "key": keys(), "confirmed": "yes"}
    assert reader.post(f"{BASE}{name}/", form).status_code == 403
    assert "formaction" not in reader.get(f"{BASE}groups/").content.decode()
    assert reader.get(f"{BASE}{name}/").status_code in {403, 404}
    assert len(missed_questions(10)) == 1
    assert Article.objects.count() == 1


def test_the_form_is_tried_before_it_is_saved(editor: Client, shop_knowledge: None) -> None:
    revision = Article.objects.get(slug="returns").updated_at
    form = {
        "title": "Kayaks",
        "slug": "kayaks",
        "body": "We sell two kayaks, the **Otter** and the Seal.",
        "language": "en",
        "published": "on",
        "questions-0-text": KAYAKS[0],
        "questions-1-text": KAYAKS[1],
        "questions-2-text": "taken away",
        "questions-2-DELETE": "on",
        "q": KAYAKS[2],
        "instead_of": "",
    }
    UnansweredQuestion.objects.remember(KAYAKS[2])
    page = editor.post("/admin/agent_app/article/preview/", form).content.decode()
    assert "this article" in page
    assert "<strong>Otter</strong>" in page
    assert "Of the open questions" in page
    assert "it answers from" in page
    assert not Article.objects.filter(slug="kayaks").exists()
    assert Article.objects.get(slug="returns").updated_at == revision
    assert "Write a title" in editor.post("/admin/agent_app/article/preview/", {"title": " "}).content.decode()
    reader = logged_in("agent_app.view_article", username="reader")
    assert reader.post("/admin/agent_app/article/preview/", form).status_code == 403


def test_another_title_is_no_other_answer(editor: Client, shop_knowledge: None) -> None:
    article = Article.objects.get(slug="jobs")
    asked = {f"questions-{n}-text": text for n, text in enumerate(article.question_texts())}
    form = {"title": "Work with us", "slug": "jobs", "body": article.body, "published": "on", "instead_of": "jobs"}
    page = editor.post("/admin/agent_app/article/preview/", form | asked).content.decode()
    assert "Every known question is answered as before." in page


def test_emptying_an_article_shows_who_would_be_left_alone(editor: Client, shop_knowledge: None) -> None:
    form = {"title": "Nothing", "slug": "returns", "body": "", "published": "on", "instead_of": "returns"}
    page = editor.post("/admin/agent_app/article/preview/", form).content.decode()
    assert "would now be answered differently" in page


def test_the_reliability_table_of_an_index(editor: Client, shop_knowledge: None) -> None:
    generation = IndexGeneration.objects.defer("payload").latest("id")
    listed = editor.get("/admin/agent_app/indexgeneration/").content.decode()
    assert str(generation) in listed
    page = editor.get(f"/admin/agent_app/indexgeneration/{generation.pk}/change/").content.decode()
    assert page.count("<circle") == len(generation.calibration["table"])
    assert f"{generation.calibration['answer_at']:.3f}" in page
    assert "5 %" in page
    assert 'style="' not in page.split('class="reliability"')[1]  # the policy forbids it


def test_what_several_articles_share_is_named_beside_the_calibration(editor: Client, shop_knowledge: None) -> None:
    def page(client: Client) -> str:
        newest = IndexGeneration.objects.defer("payload").latest("id")
        return client.get(f"/admin/agent_app/indexgeneration/{newest.pk}/change/").content.decode()

    assert "several articles" not in page(editor)
    asked = "Where is <my> order?"
    for slug in ("jobs", "returns"):
        Article.objects.get(slug=slug).questions.create(text=asked)
    knowledge.renew()
    shown = page(editor)
    assert "1 text stands in several articles" in shown
    assert shown.count("Where is &lt;my&gt; order?") == 1
    for slug in ("jobs", "returns", "track-order"):  # the shop's own question
        assert f'href="/admin/agent_app/article/{Article.objects.get(slug=slug).pk}/change/"' in shown
    assert "several articles" not in page(logged_in("agent_app.view_indexgeneration", username="measurer"))


def test_the_form_says_what_another_article_asks_already(editor: Client, shop_knowledge: None) -> None:
    form = {"title": "Kayaks", "slug": "kayaks", "body": "Two.", "published": "on", "instead_of": ""}
    page = editor.post("/admin/agent_app/article/preview/", form).content.decode()
    assert "stands in other articles" not in page
    known = Article.objects.get(slug="returns").question_texts()[0]
    page = editor.post("/admin/agent_app/article/preview/", form | {"questions-0-text": f"{known}!"}).content.decode()
    assert "stands in other articles" in page
    assert "?q=returns" in page


def test_queries_do_not_grow() -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            missed_questions(100)
        return len(captured)

    judged("one")
    few = queries()
    for number in range(20):
        judged(f"question {number}")
    assert queries() == few <= 4
