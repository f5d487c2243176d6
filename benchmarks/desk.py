"""The staff's lists at every size: live sessions in the admin and over REST (Valkey), the others from the database.

    python -m benchmarks.desk [--sizes 100,100000,1000000] [--conversations 100000] [--rounds 15]

Prints for each size the calls of the store (commands that Valkey counted, by round trips), the queries, and the
milliseconds of a page: the median of the rounds, and of the best. The bar: the same calls and queries at every size, at
the largest at most 1.5 × the time at the smallest.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))
from tests.conftest import ValkeyServer  # noqa: E402 - the path comes first

AT_ONCE = 2000


def prepare(folder: str) -> ValkeyServer:
    """A desk of its own: an empty SQLite (or DATABASE_URL), and sessions in a Valkey that ends with this program."""
    valkey = ValkeyServer(Path(folder))
    valkey.start()
    os.environ |= {"USE_SHARED_CONTEXT": "true", "REDIS_URL": valkey.url, "LOG_LEVEL": "ERROR", "DEBUG": "true"}
    os.environ.setdefault("DATABASE_URL", f"sqlite:///{folder}/desk.sqlite3")
    os.environ["DJANGO_SETTINGS_MODULE"] = "supportdesk.settings"
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    settings.DEBUG = False  # else Django keeps every query
    settings.ALLOWED_HOSTS = ["*"]
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": PLAIN_STATIC}}
    call_command("migrate", verbosity=0)
    return valkey


PLAIN_STATIC = "django.contrib.staticfiles.storage.StaticFilesStorage"


async def fill_store(first: int, last: int) -> None:
    from sessions_app.stores import SessionData, get_store

    store = get_store()
    for start in range(first, last, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, last))
        made = [
            SessionData(f"s{n:07}", user_id=f"u{n % 5000}", thread_id=f"t{n}", message_count=3, escalated=n % 50 == 0)
            for n in numbers
        ]
        await asyncio.gather(*(store.set(session.session_id, session, ttl=86_400) for session in made))


def fill_conversations(first: int, last: int) -> None:
    from django.utils import timezone

    from agent_app.models import AuditEntry, Conversation, Feedback, Message

    now = timezone.now()
    states = ["closed"] * 80 + ["ai"] * 10 + ["waiting"] * 5 + ["human"] * 5
    for start in range(first, last, 5000):
        rows = Conversation.objects.bulk_create(
            [
                Conversation(
                    session_id=f"c{n}", token_hash=f"c{n}", user_id=f"u{n % 5000}", state=states[n % 100], last_seq=2,
                    live_until=now, created_at=now - timedelta(seconds=n), updated_at=now - timedelta(seconds=n // 2),
                )
                for n in range(start, min(start + 5000, last))
            ],
            batch_size=1000,
        )  # fmt: skip
        Message.objects.bulk_create(
            [
                Message(
                    conversation=row, seq=seq, public_id=f"{row.pk}-{seq}", role=role, text="Where is my parcel?",
                    created_at=row.created_at,
                )
                for row in rows
                for seq, role in ((1, "customer"), (2, "agent"))
            ],
            batch_size=1000,
        )  # fmt: skip
        Feedback.objects.bulk_create([Feedback(conversation=row, rating=4) for row in rows[::10]])
        AuditEntry.keep([AuditEntry.made("chat.ended", row.session_id, "ana", reason="x") for row in rows[::5]])


def store_calls(client: Any) -> tuple[int, int]:
    """Commands that Valkey has carried out, and reads of its sockets: what left together is read together."""
    info = client.info("all")
    return int(info["total_commands_processed"]), int(info.get("total_reads_processed", 0))


class Pages:
    """One member of staff, and the pages that are asked for again and again."""

    def __init__(self, valkey: ValkeyServer, rounds: int) -> None:
        import redis
        from django.contrib.auth.models import User
        from django.test import Client

        self.server = redis.Redis.from_url(valkey.url)
        self.rounds = rounds
        self.client = Client()
        self.client.force_login(User.objects.create_superuser("ana"))

    def measure(self, address: str) -> tuple[int, int, int, float, float]:
        """Commands, reads and queries of one page, and its milliseconds (median, best)."""
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        self.open(address)
        own = self.calls_of(lambda: None)
        with CaptureQueriesContext(connection) as captured:
            commands, reads = self.calls_of(lambda: self.open(address))
        queries = len(captured)  # now: the next request forgets them
        taken = []
        for _ in range(self.rounds):
            began = time.perf_counter()
            self.open(address)
            taken.append((time.perf_counter() - began) * 1000)
        return commands - own[0], reads - own[1], queries, statistics.median(taken), min(taken)

    def calls_of(self, act: Callable[[], None]) -> tuple[int, int]:
        before = store_calls(self.server)
        act()
        after = store_calls(self.server)
        return after[0] - before[0], after[1] - before[1]

    def open(self, address: str) -> None:
        answer = self.client.get(address)
        assert answer.status_code == 200, (address, answer.status_code)


LIVE = "/admin/sessions_app/session/"
LIVE_PAGES = {
    "live sessions": LIVE,
    "live sessions, escalated": f"{LIVE}?escalated=yes",
    "live sessions of a user": f"{LIVE}?q=u7",
    "GET /api/v1/sessions/": "/api/v1/sessions/?limit=100",
}
CHATS = "/admin/agent_app/conversation/"
DATABASE_PAGES = {
    "conversations": CHATS,
    "conversations, waiting": f"{CHATS}?state__exact=waiting",
    "conversations of a user": f"{CHATS}?q=u4321",
    "feedback": "/admin/agent_app/feedback/",
    "audit log": "/admin/agent_app/auditentry/",
    "dashboard": "/admin/",
    "live desk": "/desk/?tab=all",
}


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head() -> None:
    row("page", "rows", "store commands", "store reads", "queries", "ms median", "ms best", "× smallest")
    row(*["---"] * 8)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="100,100000,1000000", help="live sessions")
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        valkey = prepare(folder)
        try:
            pages = Pages(valkey, options.rounds)
            head()
            best: dict[str, float] = {}
            filled = 0
            for size in sizes:
                asyncio.run(fill_store(filled, size))
                filled = size
                for name, address in LIVE_PAGES.items():
                    commands, reads, queries, median, least = pages.measure(address)
                    ratio = least / best.setdefault(name, least)
                    row(name, f"{size:,}", commands, reads, queries, f"{median:.1f}", f"{least:.1f}", f"{ratio:.2f}")
            filled = 0
            for size in (100, options.conversations):
                fill_conversations(filled, size)
                filled = size
                for name, address in DATABASE_PAGES.items():
                    commands, reads, queries, median, least = pages.measure(address)
                    ratio = least / best.setdefault(name, least)
                    row(name, f"{size:,}", commands, reads, queries, f"{median:.1f}", f"{least:.1f}", f"{ratio:.2f}")
        finally:
            valkey.stop()


if __name__ == "__main__":
    main()
