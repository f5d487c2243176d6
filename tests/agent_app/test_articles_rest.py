"""The knowledge doors: who may write what the agent answers from, and what is said when it cannot be kept."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from agent_app.knowledge.indexing import knowledge
from agent_app.models import Article, AuditEntry, Conversation
from tests.staff import logged_in

pytestmark = [pytest.mark.integration, pytest.mark.django_db]

API = "/api/v1/knowledge/"
ALL = tuple(f"agent_app.{verb}_article" for verb in ("view", "add", "change", "delete"))
TENT = {"title": "Tent care", "body": "Dry it first.", "questions": ["How do I wash my tent?", "tent smells"]}

DOORS: list[tuple[str, str, Any, str, int]] = [
    ("get", "articles/", None, "view_article", 200),
    ("post", "articles/", {"title": "New", "body": "Text."}, "add_article", 201),
    ("get", "articles/boots/", None, "view_article", 200),
    ("put", "articles/boots/", {"title": "Boots", "body": "Wax."}, "change_article", 200),
    ("patch", "articles/boots/", {"published": False}, "change_article", 200),
    ("delete", "articles/boots/", None, "delete_article", 204),
    ("get", "search/?limit=0", None, "view_article", 400),  # who may gets as far as being told what is wrong
]

PEOPLE: list[tuple[str, Callable[[str], Client], int | None]] = [
    ("stranger", lambda needed: Client(), 401),
    ("customer", lambda needed: Client(headers={"Authorization": f"Bearer {Conversation.new_token()}"}), 401),
    ("no staff", lambda needed: logged_in(*ALL, is_staff=False), 403),
    ("without", lambda needed: logged_in(*(each for each in ALL if not each.endswith(needed))), 403),
    ("with", lambda needed: logged_in(f"agent_app.{needed}"), None),
    ("superuser", lambda needed: logged_in(is_superuser=True), None),
]


@pytest.fixture
def boots() -> Article:
    article = Article.objects.create(slug="boots", title="Boot care", body="Wax them while they are warm.")
    article.set_questions(["How do I care for my boots?"])
    return article


@pytest.fixture
def client() -> Client:
    return logged_in(*ALL)


def call(client: Client, method: str, path: str, body: Any = None) -> Any:
    sent = () if body is None else (body, "application/json")
    return getattr(client, method)(API + path, *sent)


@pytest.mark.parametrize(("name", "person", "refusal"), PEOPLE, ids=[each[0] for each in PEOPLE])
def test_exactly_the_permitted_succeed(
    boots: Article, name: str, person: Callable[[str], Client], refusal: int | None
) -> None:
    for method, path, body, needed, success in DOORS:
        Article.objects.all().delete()
        boots.pk = None
        boots.save(force_insert=True)
        client = person(needed)
        answer = call(client, method, path, body)
        assert answer.status_code == (refusal or success), (method, path)
        if refusal:
            assert answer.json()["code"] == {401: "unauthorized", 403: "forbidden"}[refusal]
            assert list(Article.objects.values_list("slug", "body")) == [("boots", boots.body)]
        User.objects.all().delete()


def test_write_read_change_delete(client: Client) -> None:
    made = call(client, "post", "articles/", TENT)
    assert made.status_code == 201
    assert made.json() | {"created_at": "", "updated_at": ""} == {
        "slug": "tent-care",
        "title": "Tent care",
        "body": "Dry it first.",
        "language": "en",
        "published": True,
        "questions": TENT["questions"],
        "url": "/help/tent-care/",
        "created_at": "",
        "updated_at": "",
    }
    assert call(client, "get", "articles/tent-care/").json() == made.json()
    changed = call(client, "patch", "articles/tent-care/", {"questions": ["My tent is wet"]}).json()
    assert (changed["questions"], changed["body"]) == (["My tent is wet"], "Dry it first.")
    moved = call(client, "put", "articles/tent-care/", {"slug": "tents", "title": "Tents", "body": "Air them."}).json()
    assert (moved["slug"], moved["questions"]) == ("tents", ["My tent is wet"])
    assert call(client, "delete", "articles/tents/").status_code == 204
    assert call(client, "get", "articles/tents/").json()["code"] == "not_found"


def test_the_log_names_the_fields_that_were_written(client: Client, boots: Article) -> None:
    for body in ({"nope": 1, "url": "/x/"}, {"title": "Boots", "body": "Wax.", "my words": 1}):
        assert call(client, "patch", "articles/boots/", body).status_code == 200
    changes = AuditEntry.objects.filter(action="article.changed").order_by("pk")
    assert [entry.details["fields"] for entry in changes] == [[], ["body", "title"]]


def test_pages_and_words(client: Client, boots: Article) -> None:
    for number in range(4):
        Article.objects.create(slug=f"a{number}", title=f"Article {number}", body="Waterproof." if number % 2 else "-")
    first = call(client, "get", "articles/?limit=3").json()
    second = call(client, "get", f"articles/?limit=3&cursor={first['next_cursor']}").json()
    assert [each["slug"] for each in first["results"] + second["results"]] == ["a0", "a1", "a2", "a3", "boots"]
    assert second["next_cursor"] is None
    found = call(client, "get", "articles/?q=waterproof").json()["results"]
    assert [each["slug"] for each in found] == ["a1", "a3"]


def test_a_list_asks_the_same_number_of_queries(client: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        Article.objects.create(slug=f"a{number}", title="A", body="B").set_questions(["one", "two"])
    with django_assert_max_num_queries(8):
        assert len(call(client, "get", "articles/").json()["results"]) == 20


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": "", "body": "x"}, "title"),
        ({"title": "x"}, "body"),
        ({"title": "x", "body": ""}, "body"),
        ({"title": "x" * 201, "body": "x"}, "title"),
        ({"title": "x", "body": "x" * 100_001}, "body"),
        ({"title": "x", "body": "a\x00b"}, "body"),
        ({"title": "x", "body": "x", "slug": "no spaces"}, "slug"),
        ({"title": "…", "body": "x"}, "slug"),
        ({"title": "x", "body": "x", "questions": "one"}, "questions"),
        ({"title": "x", "body": "x", "questions": ["q" * 501]}, "questions.0"),
        ({"title": "x", "body": "x", "published": "perhaps"}, "published"),
    ],
)
def test_what_cannot_be_kept_is_told_which_part(client: Client, body: Any, field: str) -> None:
    answer = call(client, "post", "articles/", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert answer.json()["field"].startswith(field.split(".")[0])
    assert not Article.objects.exists()


def test_a_slug_is_taken_once(client: Client, boots: Article) -> None:
    answer = call(client, "post", "articles/", {"slug": "boots", "title": "x", "body": "y"})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (409, "conflict", "slug")
    assert Article.objects.get().title == "Boot care"


def test_a_draft_is_not_published_unwritten(client: Client) -> None:
    """Customers would be told "(Write the answer here.)"."""
    draft = Article.objects.begin()
    refused = call(client, "patch", f"articles/{draft.slug}/", {"published": True})
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (400, "invalid", "title")
    refused = call(client, "patch", f"articles/{draft.slug}/", {"published": True, "title": "Yodelling"})
    assert (refused.status_code, refused.json()["field"]) == (400, "body")
    assert not Article.objects.published().exists()
    written = {"published": True, "title": "Yodelling", "body": "It is welcome."}
    done = call(client, "patch", f"articles/{draft.slug}/", written)
    assert (done.status_code, done.json()["slug"]) == (200, "yodelling")


@pytest.mark.django_db(transaction=True)  # the index is read and built on a thread of its own
def test_search_finds_what_was_written(client: Client) -> None:
    call(client, "post", "articles/", TENT)
    call(client, "post", "articles/", {"title": "Gift cards", "body": "They never expire."})
    knowledge.forget()  # else the index may be a second old, and another test's
    found = call(client, "get", "search/?q=my tent smells&limit=1").json()
    assert [each["slug"] for each in found["results"]] == ["tent-care"]
    assert (found["results"][0]["url"], found["results"][0]["passage"]) == ("/help/tent-care/", "Dry it first.")
    assert 0 <= found["probability"] <= 1
    assert found["band"] in ("answer", "clarify", "unknown")
    assert call(client, "get", "search/").json()["field"] == "q"
    assert call(client, "get", "search/?q=x&limit=99").json()["field"] == "limit"
