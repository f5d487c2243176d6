"""Loads a folder of Markdown articles: what is new or changed comes in, what is gone goes."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from agent_app.knowledge.indexing import knowledge
from agent_app.knowledge.passages import NotAnArticle, Source, parse
from agent_app.knowledge.report import told_of_shared
from agent_app.models import Article

SAMPLE = Path(__file__).resolve().parents[2] / "knowledge" / "sample"


class Command(BaseCommand):
    help = "Loads the Markdown articles of a folder. Articles written in the admin or by REST are left alone."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", nargs="?", type=Path, default=SAMPLE, help="default: the sample shop")
        parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
        parser.add_argument("--no-index", action="store_true", help="leave the index to the running server")

    def handle(self, *args: Any, path: Path, dry_run: bool, no_index: bool, **options: Any) -> None:
        sources = read_folder(path)
        with transaction.atomic():
            changes = load(sources)
            if dry_run:
                transaction.set_rollback(True)
        for what, slugs in changes.items():
            for slug in slugs:
                self.stdout.write(f"{what} {slug}")
        counted = ", ".join(f"{len(slugs)} {what}" for what, slugs in changes.items())
        same = len(sources) - len(changes["added"]) - len(changes["changed"]) - len(changes["skipped"])
        self.stdout.write(f"{'would be: ' if dry_run else ''}{counted}, {same} unchanged")
        if not (dry_run or no_index):
            index = knowledge.renew()
            self.stdout.write(f"The index holds {len(index.sources)} articles.")
            if shared := told_of_shared(index):
                self.stdout.write(shared)


def read_folder(path: Path) -> list[Source]:
    if not path.is_dir():
        raise CommandError(f"{path} is not a folder")
    sources: dict[str, Source] = {}
    for file in sorted(path.rglob("*.md")):
        try:
            source = parse(file.read_text(encoding="utf-8"), file.stem.lower().replace("_", "-").replace(" ", "-"))
        except (NotAnArticle, UnicodeDecodeError) as error:
            raise CommandError(f"{file}: {error}") from error
        if source.slug in sources:
            raise CommandError(f"{file}: another article has the slug {source.slug!r} already")
        sources[source.slug] = source
    if not sources:
        raise CommandError(f"{path} holds no Markdown file (*.md)")
    return list(sources.values())


def load(sources: list[Source]) -> dict[str, list[str]]:
    """Makes the folder's articles these. Slugs of what was added, changed, removed, or skipped as written by hand."""
    existing = {article.slug: article for article in Article.objects.with_questions()}
    changes: dict[str, list[str]] = {"added": [], "changed": [], "removed": [], "skipped": []}
    for source in sources:
        article = existing.get(source.slug)
        if article is None:
            article = Article(slug=source.slug, from_folder=True)
            changes["added"].append(source.slug)
        elif not article.from_folder:
            changes["skipped"].append(source.slug)
            continue
        elif is_same(article, source):
            continue
        else:
            changes["changed"].append(source.slug)
        article.title, article.body, article.language = source.title, source.body, source.language
        questions = article.with_learned(source.questions)
        article.save()
        article.set_questions(questions)
    gone = Article.objects.from_folder().exclude(slug__in=[source.slug for source in sources])
    changes["removed"] = list(gone.values_list("slug", flat=True))
    if changes["removed"]:
        gone.delete()
    return changes


def is_same(article: Article, source: Source) -> bool:
    told = (article.title, article.body, article.language)
    same = told == (source.title, source.body, source.language)
    return same and article.question_texts() == article.with_learned(source.questions)
