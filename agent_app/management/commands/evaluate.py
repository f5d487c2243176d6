"""Measures the answers on labelled questions. Needs no migrated database: it builds its own index from the files."""

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from agent_app.knowledge.embedding import WrongModel, load_embedder
from agent_app.knowledge.evaluation import MEANING, NotQuestions, ask, measure, read_questions, sources_of
from agent_app.knowledge.report import page, told_of_shared
from agent_app.knowledge.retrieval import KnowledgeIndex
from agent_app.management.commands.load_knowledge import read_folder


class Command(BaseCommand):
    help = "Asks labelled questions and prints how well they were answered. Files: lines of {text, label}."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--examples", type=Path, help="example questions; a label is an article's slug")
        parser.add_argument("--questions", type=Path, required=True, help='label null or "oos": no answer exists')
        parser.add_argument("--articles", type=Path, help="a folder of Markdown articles")
        parser.add_argument("--json", action="store_true", help="nothing but JSON on stdout")
        parser.add_argument("--report", type=Path, help="write a page with plots, confusions and examples")

    def handle(self, *args: Any, **options: Any) -> None:
        if not (options["examples"] or options["articles"]):
            raise CommandError("give --examples FILE, --articles FOLDER, or both")
        report = options["report"]
        if report and (report.is_dir() or not report.parent.is_dir()):  # said before minutes of work, not after
            raise CommandError(f"--report: {report} cannot be written: name a file in a folder that is there")
        try:
            questions = read_questions(options["questions"])
            examples = read_questions(options["examples"]) if options["examples"] else []
            embedder = load_embedder(settings.KNOWLEDGE_EMBEDDER)
        except (NotQuestions, OSError, WrongModel) as error:
            raise CommandError(str(error)) from error
        articles = read_folder(options["articles"]) if options["articles"] else []
        index = KnowledgeIndex.build(sources_of(examples, articles), embedder.embed)
        index.search("warm up", embedder.embed)
        asked = ask(index, questions, embedder.embed)
        measured = measure(asked)
        if report:
            report.write_text(page(index, asked, measured), encoding="utf-8")
        if shared := told_of_shared(index):
            self.stderr.write(shared)
        if options["json"]:
            self.stdout.write(json.dumps(measured))
            return
        for key, value in measured.items():
            self.stdout.write(f"{key:22}{value!s:>10}  {MEANING[key]}")
