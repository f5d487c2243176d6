"""Makes articles of documents: PDF, HTML, DOCX, Markdown, text, and CSV of questions and answers."""

import re
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils.text import slugify

from agent_app.knowledge.documents import MOST_TEXT, Document, Unreadable, decoded, read_document, rows_by
from agent_app.knowledge.indexing import knowledge
from agent_app.knowledge.passages import FRONT_MATTER, NotAnArticle, Source, parse, title_of
from agent_app.knowledge.report import told_of_shared
from agent_app.models import Article

QUESTION_HEADS = ("question", "questions", "q", "frage", "title")
ANSWER_HEADS = ("answer", "answers", "a", "antwort", "body", "text")
QUESTION_MARKS = ("?", "؟", "？")
SEPARATORS = "\t|;,"  # the rarer in prose, the earlier: it wins where nothing else decides


class Taken(Exception):
    """An article of this slug is there that the file did not make; the message says what to do."""


class Command(BaseCommand):
    help = "Imports documents as articles. A document imported again replaces its article, and no other one."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("paths", nargs="+", type=Path, help="files, or folders of files")
        parser.add_argument("--language", default="en")
        parser.add_argument("--draft", action="store_true", help="do not publish them yet")

    def handle(self, *args: Any, paths: list[Path], language: str, draft: bool, **options: Any) -> None:
        failed = 0
        made: dict[str, Path] = {}
        for file in files_of(paths):
            try:
                changes = keep(file, articles_of(file, language), made, published=not draft)
            except (Unreadable, NotAnArticle, Taken) as error:
                failed += 1
                self.stderr.write(f"{file.name}: {error}")
                continue
            made |= dict.fromkeys(changes, file)
            for slug, what in changes.items():
                self.stdout.write(f"{what} {slug}")
        index = knowledge.renew()
        held = len(index.sources)
        self.stdout.write(f"The index holds {held} article{'' if held == 1 else 's'}.")
        if shared := told_of_shared(index):
            self.stdout.write(shared)
        if failed:
            raise CommandError(f"{failed} file{'' if failed == 1 else 's'} could not be imported.")


def files_of(paths: list[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise CommandError(f"{path} does not exist")
        files += sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return list({file.resolve(): file for file in files}.values())


def articles_of(file: Path, language: str) -> list[Source]:
    data = file.read_bytes()
    document = read_document(file.name, data)
    if document.shortened and document.kind != "csv":  # the rows of a CSV are read from the file itself
        raise Unreadable(f"it holds more than {MOST_TEXT:,} characters of text: split it")
    if document.kind == "csv":
        return answers_of(decoded(data), language)
    if FRONT_MATTER.match(document.text):
        return [parse(document.text, slug_of(file.stem))]
    return [Source(slug_of(file.stem), title_for(document, file), without_title(document.text), language)]


def title_for(document: Document, file: Path) -> str:
    return (title_of(document.text) if document.kind != "pdf" else "") or re.sub(r"[-_]+", " ", file.stem).capitalize()


def without_title(text: str) -> str:
    return re.sub(r"\A\s*#\s+.*\n+", "", text) or text


def answers_of(text: str, language: str) -> list[Source]:
    """An article a row: a column of questions and one of answers; several rows of one answer are its phrasings."""
    separator, rows = separated(text)
    head = columns_of(rows[0]) if rows else None
    question, answer = head or (0, 1)
    # Nothing is behind the last column: a separator there is one of the answer's own, in a cell without quotes.
    to_the_end = head is None or answer == len(rows[0]) - 1
    phrasings: dict[str, list[str]] = {}
    for number, row in enumerate(rows[1:] if head else rows, 1):
        if len(row) <= max(question, answer) or not row[question].strip() or not row[answer].strip():
            raise NotAnArticle(f"row {number} has no question or no answer")
        said = separator.join(row[answer:]).rstrip(separator + " ") if to_the_end else row[answer]
        phrasings.setdefault(said.strip(), []).append(row[question].strip())
    return [
        Source(slug_of(questions[0]), questions[0][:200], answered, language, tuple(questions[1:]))
        for answered, questions in phrasings.items()
    ]


def separated(text: str) -> tuple[str, list[list[str]]]:
    """The separator that divides the most rows into question and answer, and the rows."""
    return max(((separator, rows_by(separator, text)) for separator in SEPARATORS), key=lambda found: fitness(found[1]))


def fitness(rows: list[list[str]]) -> tuple[int, ...]:
    """Of two separators that divide as many rows the better one ends questions where a question ends."""
    pairs = [row for row in rows if len(row) > 1 and row[0].strip() and row[1].strip()]
    asking = sum(row[0].rstrip().endswith(QUESTION_MARKS) for row in pairs)
    return bool(rows) and columns_of(rows[0]) is not None, len(pairs), asking, sum(len(row) == 2 for row in pairs)


def columns_of(head: list[str]) -> tuple[int, int] | None:
    """Where questions and answers are; None for what is no head."""
    names = [cell.strip().lower() for cell in head]
    places = [
        next((names.index(name) for name in known if name in names), None) for known in (QUESTION_HEADS, ANSWER_HEADS)
    ]
    question, answer = places
    return None if question is None or answer is None else (question, answer)


def slug_of(text: str) -> str:
    slug = slugify(text)[:100].strip("-")
    if not slug:
        raise NotAnArticle("its name has no letter that a slug could be made of")
    return slug


def keep(file: Path, sources: list[Source], made: dict[str, Path], published: bool) -> dict[str, str]:
    """All articles of a file, or none of them: what was done, by slug. `made`: those of the files before it.

    Raises Taken for an article that is not of this file. A file is known by its name: its folder may change.
    """
    changes: dict[str, str] = {}
    with transaction.atomic():
        for source in sources:
            if source.slug in changes:
                raise Taken(f"two of its rows would be the article {source.slug!r}: word one question in another way")
            other = made.get(source.slug)
            if other:
                raise Taken(f"{other} has just made the article {source.slug!r}: {another_slug(file, source)}")
            article = Article.objects.select_for_update().filter(slug=source.slug).first()
            if article and article.imported_from != file.name:
                by = f"was imported from {article.imported_from}" if article.imported_from else "was made by no import"
                raise Taken(f"the article {source.slug!r} {by}: {another_slug(file, source)}, or delete the article")
            changes[source.slug] = "replaced" if article else "added"
            article = article or Article(slug=source.slug, imported_from=file.name)
            article.title, article.body, article.language = source.title[:200], source.body, source.language
            article.published = published
            questions = article.with_learned(source.questions)
            article.save()
            article.set_questions(questions)
    return changes


def another_slug(file: Path, source: Source) -> str:
    """How to get another slug: it is made of the question or of the file's name, or stands in the file."""
    if file.suffix.lower() == ".csv":
        return "word its question in another way"
    return "rename the file" if source.slug == slugify(file.stem)[:100].strip("-") else "write another slug in it"
