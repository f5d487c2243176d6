"""Sweeps what has run out: expired sessions, their conversations, conversations past retention.

Each step takes a bounded batch in a transaction of its own, and finds anew what is left: it may run on several
machines at once, and be stopped at any moment and begun again.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from agent_app import chat
from agent_app.erasing import erase, forget_old_indexes
from agent_app.journal import journal
from agent_app.management.progress import Progress
from agent_app.models import AuditSeal, Conversation, Erasure, Message
from sessions_app.stores import InMemorySessionStore, StoreUnavailable, get_store

logger = logging.getLogger(__name__)

STORE_AWAY = 3  # the exit code when the durable half is done and the store could not be asked
CLOSED_AT_ONCE = 200
DELETED_AT_ONCE = 500
SHOWN = 20  # of those that a dry run names


@dataclass
class Report:
    dry_run: bool
    store: str = ""
    # None: not known, since the sessions are another process's, or the store is away, or this is a dry run.
    sessions_swept: int | None = None
    conversations_closed: int = 0
    conversations_deleted: int = 0
    messages_deleted: int = 0
    erasures_finished: int = 0
    audit_sealed: int = 0
    audit_head: str = ""  # the newest seal's hash, for `verify_audit --head`


class Command(BaseCommand):
    help = "Sweeps expired sessions, closes their conversations and deletes conversations past retention."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would go and why, and change nothing")
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        self.plain = not options["json"]
        report = Report(options["dry_run"])
        try:
            self.run(report)
        except KeyboardInterrupt:
            raise CommandError(
                "Stopped. What was done stays done; run it again for the rest.", returncode=130
            ) from None
        finally:
            journal.close()
        if not self.plain:
            self.stdout.write(json.dumps(asdict(report)))
        if report.store == "away":
            raise CommandError(
                "The session store is unavailable: live sessions were not swept. The rest is done.",
                returncode=STORE_AWAY,
            )

    def run(self, report: Report) -> None:
        self.sweep_sessions(report)
        now = timezone.now()
        if report.dry_run:
            self.foretell(report, now)
        else:
            report.conversations_closed = self.close_expired(now)
            report.conversations_deleted, report.messages_deleted = self.delete_old(now)
            report.erasures_finished = self.finish_erasures(report)
            report.audit_sealed, report.audit_head = self.seal_audit()
            self.say(
                f"Conversations: {report.conversations_closed} closed, {report.conversations_deleted} deleted "
                f"with {report.messages_deleted} messages."
            )

    def say(self, line: str) -> None:
        if self.plain:
            self.stdout.write(line)

    # ---- live sessions --------------------------------------------------------------------------------

    def sweep_sessions(self, report: Report) -> None:
        store = get_store()
        if isinstance(store, InMemorySessionStore):
            report.store = "in_memory"
            self.say("Live sessions: they belong to the server process, which sweeps them itself.")
            return
        try:
            if report.dry_run:
                live = async_to_sync(store.count_active)()
                self.say(f"Live sessions: {live} stay; the store's expired ones would be swept.")
            else:
                report.sessions_swept = async_to_sync(store.cleanup_expired)()
                self.say(f"Live sessions: {report.sessions_swept} expired ones swept.")
            report.store = "redis"
        except StoreUnavailable:
            report.store = "away"
            self.say("Live sessions: the store is unavailable.")

    # ---- conversations --------------------------------------------------------------------------------

    def foretell(self, report: Report, now: datetime) -> None:
        expired = Conversation.objects.expired(now).order_by("live_until")
        old = Conversation.objects.past_retention(now).order_by("updated_at")
        report.conversations_closed, report.conversations_deleted = expired.count(), old.count()
        report.messages_deleted = Message.objects.filter(conversation__in=old.order_by()).count()
        self.say(f"Conversations to close: {report.conversations_closed}.")
        for chat_ in expired[:SHOWN]:
            self.say(f"  {chat_.thread_id}: answered, and its time ran out at {chat_.live_until:%Y-%m-%d %H:%M} UTC")
        days = settings.CONVERSATION_RETENTION_DAYS
        self.say(f"Conversations to delete: {report.conversations_deleted}, with {report.messages_deleted} messages.")
        for chat_ in old[:SHOWN]:
            self.say(f"  {chat_.thread_id}: closed on {chat_.closed_at:%Y-%m-%d}, kept for {days} days")

    def close_expired(self, now: datetime) -> int:
        closed = 0
        with self.progress("closed", Conversation.objects.expired(now).count) as advance:
            while batch := async_to_sync(chat.expire_due)(CLOSED_AT_ONCE):
                closed += batch
                advance(batch)
        return closed

    def delete_old(self, now: datetime) -> tuple[int, int]:
        conversations = messages = 0
        with self.progress("deleted", Conversation.objects.past_retention(now).count) as advance:
            for gone, said in batches_deleted(now):
                conversations, messages = conversations + gone, messages + said
                advance(gone)
        return conversations, messages

    # ---- erasures -------------------------------------------------------------------------------------

    def finish_erasures(self, report: Report) -> int:
        finished = 0
        for erasure in Erasure.objects.unfinished():
            try:
                erase(erasure)
            except StoreUnavailable:
                report.store = "away"
                self.say(f"Erasure {erasure.number}: the store is unavailable.")
            else:
                finished += 1
                self.say(f"Erasure {erasure.number}: finished.")
        forget_old_indexes()
        return finished

    # ---- the audit log --------------------------------------------------------------------------------

    def seal_audit(self) -> tuple[int, str]:
        """Seals what was recorded since the last run; how many rows this run sealed, and the head."""
        rows = 0
        while seal := AuditSeal.seal_next():
            rows += seal.last - seal.first + 1
            logger.info("audit.sealed seal=%d rows=%d-%d head=%s", seal.number, seal.first, seal.last, seal.hash)
        newest = AuditSeal.newest()
        if newest is not None:
            self.say(f"Audit log: {rows} entries sealed, head {newest.hash}.")
        return rows, newest.hash if newest else ""

    def progress(self, verb: str, count: Callable[[], int]) -> Progress:
        shown = self.plain and self.stdout.isatty()
        return Progress(self.stdout, verb, count() if shown else 0)


def batches_deleted(now: datetime, size: int = DELETED_AT_ONCE) -> Iterator[tuple[int, int]]:
    """Deletes a batch at each step, and gives how many conversations and messages it was.

    Another machine at the same time takes other conversations (PostgreSQL) or its turn (SQLite).
    """
    while deleted := delete_batch(now, size):
        yield deleted


def delete_batch(now: datetime, size: int) -> tuple[int, int] | None:
    with transaction.atomic():
        # By the index (state, updated_at): a chat's end is its last change, so the oldest come first.
        old = Conversation.objects.past_retention(now).select_for_update(skip_locked=True)
        ids = list(old.order_by("updated_at", "id").values_list("pk", flat=True)[:size])
        if not ids:
            return None
        _, of_each = Conversation.objects.filter(pk__in=ids).delete()
    return of_each.get("agent_app.Conversation", 0), of_each.get("agent_app.Message", 0)
