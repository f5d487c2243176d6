"""Articles in the database: loaded, indexed, swapped, shared."""

import asyncio
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from agent_app.knowledge.indexing import Knowledge, knowledge
from agent_app.models import Article, ExampleQuestion, IndexGeneration, KnowledgeState, TextVector, UnansweredQuestion

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def forgetful(settings) -> Iterator[None]:  # type: ignore[no-untyped-def]
    """Each test has a database of its own, and this process's index is of the one before."""
    settings.KNOWLEDGE_EMBEDDER = "none"
    knowledge.forget()
    yield
    knowledge.forget()


def load(folder: Path, *options: str) -> str:
    out = StringIO()
    call_command("load_knowledge", str(folder), *options, stdout=out)
    return out.getvalue()


def write(folder: Path, slug: str, title: str, body: str) -> None:
    (folder / f"{slug}.md").write_text(f"---\ntitle: {title}\nquestions: [{title} please]\n---\n\n{body}\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "delivery", "Delivery times", "Parcels take three days.")
    write(tmp_path, "returns", "Return an item", "You have thirty days.")
    return tmp_path


def test_load_knowledge_reports_and_removes(folder: Path) -> None:
    assert "2 added, 0 changed, 0 removed" in load(folder)
    assert "0 added, 0 changed, 0 removed, 0 skipped, 2 unchanged" in load(folder)
    write(folder, "returns", "Return an item", "You have sixty days.")
    (folder / "delivery.md").unlink()
    assert "0 added, 1 changed, 1 removed" in load(folder)
    assert list(Article.objects.values_list("slug", "body")) == [("returns", "You have sixty days.")]


def test_load_knowledge_names_what_several_articles_share(folder: Path) -> None:
    assert "several" not in load(folder)
    (folder / "refunds.md").write_text("---\ntitle: Refunds\nquestions: [Return an item please!]\n---\n\nIn a week.\n")
    said = load(folder)
    assert "1 text stands in several articles. " in said
    assert "Leave each text in one of its articles" in said
    assert "\n  “Return an item please!”: refunds, returns\n" in said


def test_load_knowledge_leaves_what_people_wrote(folder: Path) -> None:
    Article.objects.create(slug="returns", title="Ours", body="Written in the admin.")
    assert "1 added, 0 changed, 0 removed, 1 skipped" in load(folder)
    assert Article.objects.get(slug="returns").title == "Ours"


def test_load_knowledge_leaves_what_articles_learned(folder: Path) -> None:
    """Each start with `serve --prepare` loads the folder again: what staff taught an article must still be there."""
    load(folder)
    returns = Article.objects.get(slug="returns")
    returns.questions.create(text="my boots pinch, take them back", customer=ExampleQuestion.digest_of("ana"))
    assert "0 changed, 0 removed, 0 skipped, 2 unchanged" in load(folder)
    write(folder, "returns", "Return an item", "You have sixty days.")
    assert "1 changed" in load(folder)
    assert returns.questions.get(text="my boots pinch, take them back").is_a_customers
    assert [each.text for each in returns.questions.all()] == [
        "Return an item please",
        "my boots pinch, take them back",
    ]
    assert "2 unchanged" in load(folder)
    returns.questions.create(text="not the folder's, nor a customer's")
    assert "1 changed" in load(folder)


def test_load_knowledge_dry_run_and_mistakes(folder: Path) -> None:
    assert "would be: 2 added" in load(folder, "--dry-run")
    assert not Article.objects.exists()
    (folder / "broken.md").write_text("no title")
    with pytest.raises(CommandError, match=r"broken\.md: it has no title"):
        load(folder)


async def test_every_change_is_searchable_on_every_instance(folder: Path) -> None:
    other = Knowledge()
    await _thread(load, folder)
    assert (await other.search("how long do parcels take")).hits[0].source.slug == "delivery"
    await Article.objects.acreate(slug="kayaks", title="Kayaks", body="We rent kayaks.")
    knowledge.renew()
    other._looked_at = 0.0  # a moment has passed
    assert (await other.search("kayaks")).hits[0].source.slug == "kayaks"
    await Article.objects.filter(slug="kayaks").aupdate(published=False)
    knowledge.renew()
    other._looked_at = 0.0
    assert all(hit.source.slug != "kayaks" for hit in (await other.search("kayaks")).hits)
    other._keeper.shutdown()


async def _thread(function, *arguments):  # type: ignore[no-untyped-def]
    from asgiref.sync import sync_to_async

    return await sync_to_async(function)(*arguments)


def test_a_second_build_embeds_only_what_is_new(folder: Path) -> None:
    load(folder)
    before = set(TextVector.objects.values_list("pk", flat=True))
    article = Article.objects.get(slug="returns")
    article.learn("send it back")
    knowledge.renew()
    assert len(set(TextVector.objects.values_list("pk", flat=True)) - before) == 1
    TextVector.objects.create(embedder="one before", digest="0" * 64, vector=b"")
    article.delete()
    knowledge.renew()
    assert TextVector.objects.count() < len(before)
    assert not TextVector.objects.filter(embedder="one before").exists(), "its texts may be gone"


def test_one_generation_is_kept_and_one_builds_at_a_time(folder: Path) -> None:
    load(folder)
    for number in range(5):
        Article.objects.filter(slug="returns").update(body=f"You have {number} days.")
        knowledge.renew()
    assert IndexGeneration.objects.get().revision == KnowledgeState.current_revision()
    assert KnowledgeState.take_build()
    assert not KnowledgeState.take_build()
    Article.objects.filter(slug="returns").update(body="Somebody else builds this.")
    assert "Somebody" not in knowledge.renew().sources[1].body


def test_unanswered_questions_teach() -> None:
    article = Article.objects.create(slug="kayaks", title="Kayaks", body="We rent kayaks.")
    asked = UnansweredQuestion.objects.remember("do you have canoes")
    asked.answered_by(article)
    assert article.question_texts() == ["do you have canoes"]
    assert not UnansweredQuestion.objects.unresolved().exists()


async def test_search_leaves_the_event_loop_alone(folder: Path) -> None:
    await _thread(load, folder)
    findings = await knowledge.search("how long do parcels take", article="returns")
    assert findings.hits[0].source.slug == "returns"
    assert not await knowledge.search("how long do parcels take", article="no-such-article")


async def test_a_watching_instance_finds_the_change_by_itself(folder: Path) -> None:
    await _thread(load, folder)
    other = Knowledge()
    await other.start()
    assert (await other.search("kayaks")).hits[0].source.slug != "kayaks"
    await Article.objects.acreate(slug="kayaks", title="Kayaks", body="We rent kayaks.")
    async with asyncio.timeout(120):
        while (await other.search("kayaks")).hits[0].source.slug != "kayaks":  # noqa: ASYNC110 - as a customer would
            await asyncio.sleep(0.02)
    await other.stop()
    other._keeper.shutdown()
