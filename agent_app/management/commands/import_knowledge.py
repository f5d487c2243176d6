"""Makes articles of documents: PDF, HTML, DOCX, Markdown, text, and CSV of questions and answers."""

import re
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils.text import slugify

from agent_app.knowledge.documents import MOST_TEXT, Document, Unreadable, csv_rows, decoded, read_document
from agent_app.knowledge.indexing import knowledge
from agent_app.knowledge.passages import FRONT_MATTER, NotAnArticle, Source, parse, title_of
from agent_app.models import Article

QUESTION_HEADS = ("question", "questions", "q", "frage", "title")
ANSWER_HEADS = ("answer", "answers", "a", "antwort", "body", "text")


class Command(BaseCommand):
    help = "Imports documents as articles. A document imported again replaces its article."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("paths", nargs="+", type=Path, help="files, or folders of files")
        parser.add_argument("--language", default="en")
        parser.add_argument("--draft", action="store_true", help="do not publish them yet")

    def handle(self, *args: Any, paths: list[Path], language: str, draft: bool, **options: Any) -> None:
        failed = 0
        for file in files_of(paths):
            try:
                sources = list(articles_of(file, language))
            except (Unreadable, NotAnArticle) as error:
                failed += 1
                self.stderr.write(f"{file.name}: {error}")
                continue
            for source in sources:
                created = keep(source, published=not draft)
                self.stdout.write(f"{'added' if created else 'replaced'} {source.slug}")
        index = knowledge.renew()
        self.stdout.write(f"The index holds {len(index.sources)} articles.")
        if failed:
            raise CommandError(f"{failed} file{'s' if failed > 1 else ''} could not be read.")


def files_of(paths: list[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise CommandError(f"{path} does not exist")
        files += sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return files


def articles_of(file: Path, language: str) -> list[Source]:
    data = file.read_bytes()
    document = read_document(file.name, data)
    if document.shortened and document.kind != "csv":  # the rows of a CSV are read from the file itself
        raise Unreadable(f"it holds more than {MOST_TEXT:,} characters of text: split it")
    if document.kind == "csv":
        return answers_of(csv_rows(decoded(data)), language)
    if FRONT_MATTER.match(document.text):
        return [parse(document.text, slug_of(file.stem))]
    return [Source(slug_of(file.stem), title_for(document, file), without_title(document.text), language)]


def title_for(document: Document, file: Path) -> str:
    return (title_of(document.text) if document.kind != "pdf" else "") or re.sub(r"[-_]+", " ", file.stem).capitalize()


def without_title(text: str) -> str:
    return re.sub(r"\A\s*#\s+.*\n+", "", text) or text


def answers_of(rows: list[list[str]], language: str) -> list[Source]:
    """An article a row: a column of questions and one of answers; several rows of one answer are its phrasings."""
    head = [cell.lower() for cell in rows[0]] if rows else []
    named = [
        next((head.index(name) for name in names if name in head), None) for names in (QUESTION_HEADS, ANSWER_HEADS)
    ]
    question, answer = (0, 1) if None in named else (named[0] or 0, named[1] or 0)
    body = rows if None in named else rows[1:]
    phrasings: dict[str, list[str]] = {}
    for number, row in enumerate(body, 1):
        if len(row) <= max(question, answer) or not row[question] or not row[answer]:
            raise NotAnArticle(f"row {number} has no question or no answer")
        phrasings.setdefault(row[answer], []).append(row[question])
    return [
        Source(slug_of(questions[0]), questions[0][:200], text, language, tuple(questions[1:]))
        for text, questions in phrasings.items()
    ]


def slug_of(text: str) -> str:
    slug = slugify(text)[:100].strip("-")
    if not slug:
        raise NotAnArticle("its name has no letter that a slug could be made of")
    return slug


def keep(source: Source, published: bool) -> bool:
    with transaction.atomic():
        article, created = Article.objects.update_or_create(
            slug=source.slug,
            defaults={
                "title": source.title[:200],
                "body": source.body,
                "language": source.language,
                "published": published,
            },
        )
        article.set_questions(list(source.questions))
    return created
