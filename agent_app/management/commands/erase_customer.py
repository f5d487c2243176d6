"""Erases everything of a customer, and gives a receipt that can be checked later."""

import getpass
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from agent_app.erasing import erase
from agent_app.journal import journal
from agent_app.management.progress import Progress
from agent_app.models import Conversation, Erasure
from sessions_app.stores import InMemorySessionStore, StoreUnavailable, get_store

NOT_SOUND = 1
STORE_AWAY = 3


class Command(BaseCommand):
    help = (
        "Erases everything of a customer: live sessions, conversations, attachments, memory, questions, audit details. "
        "It may be stopped at any moment and run again. With --verify it checks a receipt instead."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user_id", nargs="?", default="", help="the customer, as your website names them")
        parser.add_argument("--chat", metavar="SESSION_ID", default="", help="only this chat, such as a visitor's")
        parser.add_argument(
            "--verify",
            metavar="RECEIPT",
            default="",
            help="check this receipt; with a USER_ID also that it is theirs and that nothing of them is here",
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        self.plain = not options["json"]
        user_id, session_id = options["user_id"], options["chat"]
        try:
            if options["verify"]:
                self.verify(options["verify"], user_id or session_id)
            elif bool(user_id) == bool(session_id):
                raise CommandError("Write a USER_ID, or --chat SESSION_ID.")
            elif options["dry_run"]:
                self.foretell(user_id, session_id)
            else:
                self.erase(asked(user_id, session_id))
        except KeyboardInterrupt:
            raise CommandError(
                "Stopped. What is erased stays erased; run it again, or cleanup, for the rest.", returncode=130
            ) from None
        finally:
            journal.close()

    def erase(self, erasure: Erasure) -> None:
        shown = self.plain and self.stdout.isatty()
        try:
            with Progress(self.stdout, "chats erased", erasure.chats().count() if shown else 0) as advance:
                erase(erasure, advance)
        except StoreUnavailable as error:
            raise CommandError(f"{erasure.number} is unfinished. {error}", returncode=STORE_AWAY) from error
        self.say(erasure.receipt())
        if self.plain and isinstance(get_store(), InMemorySessionStore):
            self.stdout.write(
                "Sessions in memory belong to the server process: they go at their timeout or its restart."
            )

    def foretell(self, user_id: str, session_id: str) -> None:
        scope = Erasure.Scope.CUSTOMER if user_id else Erasure.Scope.CHAT
        self.say({"would_remove": Erasure(scope=scope, subject=user_id or session_id).foretold()})

    def verify(self, number: str, subject: str) -> None:
        erasure = Erasure.objects.filter(number=number.strip().upper()).first()
        if erasure is None:
            raise CommandError(f"There is no receipt {number}.", returncode=NOT_SOUND)
        wrong = erasure.doubts(subject)
        self.say({**erasure.receipt(), "sound": not wrong, "doubts": wrong})
        if wrong:
            raise CommandError(f"The receipt {number} does not hold: {len(wrong)} doubts.", returncode=NOT_SOUND)

    def say(self, told: dict[str, Any]) -> None:
        if not self.plain:
            self.stdout.write(json.dumps(told))
            return
        for name, value in told.items():
            if isinstance(value, dict):
                self.stdout.write(f"{name}:" if value else f"{name}: nothing")
                for what, count in value.items():
                    self.stdout.write(f"  {count} {what}")
            elif isinstance(value, list):
                for line in value:
                    self.stdout.write(f"{name}: {line}")
            elif value not in (None, ""):
                self.stdout.write(f"{name}: {value}")


def asked(user_id: str, session_id: str) -> Erasure:
    operator = f"operator {getpass.getuser()}"
    if user_id:
        return Erasure.objects.of_customer(user_id, operator)
    conversation = Conversation.objects.filter(session_id=session_id).first()
    if conversation is None:
        raise CommandError(f"There is no chat {session_id}.")
    return Erasure.objects.of_chat(conversation, operator)
