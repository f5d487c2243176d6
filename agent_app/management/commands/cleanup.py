"""Sweeps what has run out: expired sessions, their conversations, conversations past retention.

Each step takes a bounded batch in a transaction of its own, and finds anew what is left: it may run on several
machines at once, and be stopped at any moment and begun again.
"""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.utils import timezone

from agent_app import chat
from agent_app.doorbell import doorbell
from agent_app.erasing import empty_log, erase, forget_old_indexes
from agent_app.journal import journal
from agent_app.management.progress import Progress
from agent_app.models import Attachment, AuditEntry, AuditSeal, Conversation, Erasure, Fact, Message
from agent_app.models.audit import RETENTION
from agent_app.models.erasure import FOLDER, forget_chats, forget_files
from agent_app.models.refusal import Unavailable
from sessions_app.stores import InMemorySessionStore, StoreUnavailable, get_store

logger = logging.getLogger(__name__)

DATABASE_AWAY = 4
STORE_AWAY = 3  # the exit code when the durable half is done and the store could not be asked
CLOSED_AT_ONCE = 200
DELETED_AT_ONCE = 500
MENDED_AT_ONCE = 500
SHOWN = 20  # of those that a dry run names
PATIENCE = 60.0  # seconds without anything done, after which a database that is busy counts as away
AGAIN = 0.5  # seconds until the next try
BUSY_FOR = 1.0  # seconds of work after which others are let in
PAUSE = 0.11  # seconds; a little more than SQLite's longest sleep between two looks at its lock


@dataclass
class Report:
    dry_run: bool
    store: str = ""
    # None: not known, since the sessions are another process's, or the store is away, or this is a dry run.
    sessions_swept: int | None = None
    conversations_closed: int = 0
    conversations_deleted: int = 0
    messages_deleted: int = 0
    files_deleted: int = 0
    facts_deleted: int = 0
    erasures_finished: int = 0
    audit_sealed: int = 0
    audit_head: str = ""  # the newest seal's hash, for `verify_audit --head`


class Command(BaseCommand):
    help = "Sweeps expired sessions, closes their conversations and deletes conversations past retention."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would go and why, and change nothing")
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")
        parser.add_argument(
            "--patience",
            type=float,
            default=PATIENCE,
            metavar="SECONDS",
            help="how long to go on trying while the database is busy or away (default %(default)g)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.plain = not options["json"]
        report = Report(options["dry_run"])
        try:
            self.run_patiently(report, options["patience"])
        except (Unavailable, OperationalError) as error:
            raise CommandError(
                "The database is away or busy. What was done stays done; run it again for the rest.",
                returncode=DATABASE_AWAY,
            ) from error
        except OSError as error:  # of the files: the store and the database have words of their own
            raise CommandError(
                f"The files in MEDIA_ROOT cannot be deleted ({error.strerror}): let the desk's user write there. "
                "What was done stays done; run it again for the rest."
            ) from error
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

    def run_patiently(self, report: Report, patience: float) -> None:
        """SQLite's lock is not fair: another cleanup at the same time may hold it longer than this one's time limit.

        What was done stays done and is counted, so beginning again finds the rest.
        """
        done, deadline = asdict(report), time.monotonic() + patience
        while True:
            try:
                return self.run(report)
            except (Unavailable, OperationalError):
                if asdict(report) != done:
                    done, deadline = asdict(report), time.monotonic() + patience
                if time.monotonic() > deadline:
                    raise
            self.say("The database is busy or away: waiting for it.")
            time.sleep(AGAIN)

    def run(self, report: Report) -> None:
        now = timezone.now()
        if report.dry_run:
            self.sweep_sessions(report)
            self.foretell(report, now)
        else:
            # Before the sweep, which tells of each end by itself: here two hundred chats share a transaction.
            self.close_expired(report)
            self.sweep_sessions(report)
            self.delete_old(report, now)
            report.files_deleted += delete_lost_files()
            report.facts_deleted += Fact.objects.expired(now).delete()[0]
            AuditEntry.objects.of_no_chat(now).erase(RETENTION)
            put_in_step()
            self.finish_erasures(report)
            self.say(
                f"Conversations: {report.conversations_closed} closed, {report.conversations_deleted} deleted "
                f"with {report.messages_deleted} messages. Files: {report.files_deleted} deleted. "
                f"Facts past their time: {report.facts_deleted} deleted."
            )
            self.seal_audit(report)

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
                report.sessions_swept = (report.sessions_swept or 0) + async_to_sync(store.cleanup_expired)()
                self.say(f"Live sessions: {report.sessions_swept} expired ones swept.")
            report.store = "redis"
        except StoreUnavailable:
            report.store = "away"
            self.say("Live sessions: the store is unavailable.")

    # ---- conversations --------------------------------------------------------------------------------

    def foretell(self, report: Report, now: datetime) -> None:
        expired = Conversation.objects.expired(now).order_by("live_until")
        old = Conversation.objects.past_retention(now).order_by("active_at")
        report.conversations_closed, report.conversations_deleted = expired.count(), old.count()
        report.messages_deleted = Message.objects.filter(conversation__in=old.order_by()).count()
        self.say(f"Conversations to close: {report.conversations_closed}.")
        for chat_ in expired[:SHOWN]:
            self.say(f"  {chat_.thread_id}: answered, and its time ran out at {chat_.live_until:%Y-%m-%d %H:%M} UTC")
        report.files_deleted = Attachment.objects.past_retention(now).count()
        report.erasures_finished = Erasure.objects.unfinished().count()
        days = settings.CONVERSATION_RETENTION_DAYS
        self.say(f"Conversations to delete: {report.conversations_deleted}, with {report.messages_deleted} messages.")
        for chat_ in old[:SHOWN]:
            self.say(f"  {chat_.thread_id}: closed on {chat_.closed_at:%Y-%m-%d}, kept for {days} days")
        self.say(
            f"Attachments to delete: {report.files_deleted}, of chats that ended more than "
            f"{settings.ATTACHMENT_RETENTION_DAYS} days ago."
            if settings.ATTACHMENT_RETENTION_DAYS
            else "Attachments are kept for as long as their conversations."
        )
        report.facts_deleted = Fact.objects.expired(now).count()
        self.say(f"Facts to delete, whose time is over: {report.facts_deleted}.")
        self.say(f"Erasures to finish: {report.erasures_finished}.")
        self.say(f"Audit entries to seal: {AuditEntry.objects.filter(number=None).count()}.")

    def close_expired(self, report: Report) -> None:
        with self.progress("closed", Conversation.objects.expired(timezone.now()).count) as advance:

            def closed(batch: int) -> None:
                report.conversations_closed += batch
                advance(batch)

            async_to_sync(close_expired)(closed)

    def delete_old(self, report: Report, now: datetime) -> None:
        with self.progress("deleted", Conversation.objects.past_retention(now).count) as advance:
            for removed in batches_deleted(now):
                report.conversations_deleted += removed["conversations"]
                report.messages_deleted += removed["messages"]
                report.files_deleted += removed["files"]
                advance(removed["conversations"])
        while deleted := delete_attachments(now):
            report.files_deleted += deleted

    # ---- erasures -------------------------------------------------------------------------------------

    def finish_erasures(self, report: Report) -> None:
        for erasure in Erasure.objects.unfinished():
            try:
                erase(erasure)
            except StoreUnavailable:
                report.store = "away"
                self.say(f"Erasure {erasure.number}: the store is unavailable.")
            else:
                report.erasures_finished += 1
                self.say(f"Erasure {erasure.number}: finished.")
        forget_old_indexes()
        empty_log()

    # ---- the audit log --------------------------------------------------------------------------------

    def seal_audit(self, report: Report) -> None:
        """Seals what was recorded since the last run."""
        while seal := AuditSeal.seal_next():
            report.audit_sealed += seal.last - seal.first + 1
            logger.info("audit.sealed seal=%d rows=%d-%d head=%s", seal.number, seal.first, seal.last, seal.hash)
        newest = AuditSeal.newest()
        if newest is not None:
            report.audit_head = newest.hash
            self.say(f"Audit log: {report.audit_sealed} entries sealed, head {newest.hash}.")

    def progress(self, verb: str, count: Callable[[], int]) -> Progress:
        shown = self.plain and self.stdout.isatty()
        return Progress(self.stdout, verb, count() if shown else 0)


class Manners:
    """Leaves SQLite's lock to whoever else waits for it (customers' messages, another cleanup) now and then.

    Waiting for it is looking again and again, in sleeps of up to 100 ms; who takes it back at once is hardly ever met
    without it, and the others wait in vain until their time is over. PostgreSQL locks rows, and needs none of this.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()

    def pause(self) -> float:
        """How long to pause now, in seconds; mostly not at all."""
        now = time.monotonic()
        if connection.vendor != "sqlite" or now - self.began < BUSY_FOR:
            return 0.0
        self.began = now + PAUSE
        return PAUSE


async def close_expired(advance: Callable[[int], None]) -> None:
    """Closes what has run out, a batch at each step; their sockets hear of it on every instance."""
    manners = Manners()
    async with doorbell.calling():
        before: list[int] = []
        while True:
            due, closed = await chat.expire_due(CLOSED_AT_ONCE)
            if not due or due == before:  # or nobody can close them now: the next run tries again
                return
            before = due
            advance(closed)
            await asyncio.sleep(manners.pause())


def put_in_step() -> None:
    """What instances of an earlier version moved while others ran this one: the lists find it again."""
    ids = list(Conversation.objects.out_of_step().values_list("pk", flat=True))
    for start in range(0, len(ids), MENDED_AT_ONCE):
        some = Conversation.objects.out_of_step().filter(pk__in=ids[start : start + MENDED_AT_ONCE])
        some.update(active_at=F("updated_at"))


def batches_deleted(now: datetime, size: int = DELETED_AT_ONCE) -> Iterator[Counter[str]]:
    """Deletes a batch at each step, and gives how many of what it was.

    Another machine at the same time takes other conversations (PostgreSQL) or its turn (SQLite).
    """
    manners = Manners()
    while removed := delete_batch(now, size):
        yield removed
        time.sleep(manners.pause())


def delete_batch(now: datetime, size: int) -> Counter[str]:
    with transaction.atomic():
        # By the index (state, active_at): a chat's end is its last change, so the oldest come first.
        old = Conversation.objects.past_retention(now).select_for_update(skip_locked=True)
        chats = dict(old.order_by("active_at", "id").values_list("pk", "session_id")[:size])
        return forget_chats(chats, RETENTION) if chats else Counter()


def delete_attachments(now: datetime) -> int:
    """Those of chats that ended too long ago. The files go first, so that a row is left to find each by."""
    with transaction.atomic():
        old = Attachment.objects.past_retention(now).select_for_update(of=("self",), skip_locked=True)
        rows = dict(old.values_list("pk", "file")[:DELETED_AT_ONCE])
        for name in rows.values():
            default_storage.delete(name)
        Attachment.objects.filter(pk__in=list(rows)).delete()
    return len(rows)


def delete_lost_files() -> int:
    """Uploads whose chat is gone: a process ended between its row and its files. How many files."""
    try:
        folders = default_storage.listdir(FOLDER)[0]
    except FileNotFoundError:
        return 0
    deleted = 0
    for start in range(0, len(folders), DELETED_AT_ONCE):
        some = folders[start : start + DELETED_AT_ONCE]
        there = set(Conversation.objects.filter(session_id__in=some).values_list("session_id", flat=True))
        deleted += sum(forget_files(session_id) for session_id in some if session_id not in there)
    return deleted
