"""The staff's lists at every size: live sessions in the admin and over REST (Valkey), the others from the database.

    python -m benchmarks.desk [--sizes 100,100000,1000000] [--conversations 100000] [--rounds 15]

Prints for each size the calls of the store, the commands that Valkey counted for them (what is asked for at once goes
out as one pipeline), the queries, and the milliseconds of a page: the median of the rounds, and the best. Then how soon
an expiry in the admin of one instance closes a socket of another; then each bar with its value and OK or SHORT. On
SQLite (PostgreSQL with DATABASE_URL), with sessions in a Valkey of its own. A tenth of the conversations is open.
"""

import argparse
import asyncio
import inspect
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))
from benchmarks.bars import Bars  # noqa: E402 - the path comes first
from tests.chat_client import Chat  # noqa: E402
from tests.conftest import ValkeyServer  # noqa: E402
from tests.desk import Desk  # noqa: E402
from tests.desk_client import Office  # noqa: E402

AT_ONCE = 2000
STORE_CALLS = 4
LIVE_MS = 150
LIVE_RATIO = 1.5
LIST_QUERIES = 12
LIST_MS = 250
CLOSED_WITHIN = 1.0  # seconds
EXPIRIES = 5


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
            SessionData(
                f"s{n:07}",
                user_id=f"u{n % 5000 if n >= 100 else 7}",
                thread_id=f"t{n}",
                message_count=3,
                escalated=n < 100 or n % 50 == 0,
            )
            for n in numbers
        ]
        await asyncio.gather(*(store.set(session.session_id, session, ttl=86_400) for session in made))


def fill_conversations(first: int, last: int) -> None:
    from django.utils import timezone

    from agent_app.models import AuditEntry, Conversation, Feedback, Message

    now = timezone.now()
    states = ["closed"] * 90 + ["ai"] * 5 + ["waiting"] * 3 + ["human"] * 2
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


class Calls:
    """Counts the calls of the store's own methods; what one method asks of another is no call."""

    def __init__(self) -> None:
        from sessions_app.stores import SessionStore, get_store

        self.made = 0
        self._within: ContextVar[bool] = ContextVar("within", default=False)
        store = get_store()
        for name, method in vars(SessionStore).items():
            if inspect.iscoroutinefunction(method) and not name.startswith("_"):
                setattr(store, name, self._counted(getattr(store, name)))

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(*args: Any, **options: Any) -> Any:
            if self._within.get():
                return await method(*args, **options)
            self.made += 1
            token = self._within.set(True)
            try:
                return await method(*args, **options)
            finally:
                self._within.reset(token)

        return counted


class Pages:
    """One member of staff, and the pages that are asked for again and again."""

    def __init__(self, valkey: ValkeyServer, rounds: int) -> None:
        import redis
        from django.contrib.auth.models import User
        from django.test import Client

        self.server = redis.Redis.from_url(valkey.url)
        self.calls = Calls()
        self.rounds = rounds
        self.client = Client()
        self.client.force_login(User.objects.create_superuser("ana"))

    def measure(self, address: str) -> "Figures":
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        self.open(address)
        calls, commands = self.calls.made, self.commands()
        with CaptureQueriesContext(connection) as captured:
            self.open(address)
        calls, commands = self.calls.made - calls, self.commands() - commands - 1  # the look itself
        queries = len(captured)  # now: the next request forgets them
        taken = []
        for _ in range(self.rounds):
            began = time.perf_counter()
            self.open(address)
            taken.append((time.perf_counter() - began) * 1000)
        return calls, commands, queries, statistics.median(taken), min(taken)

    def commands(self) -> int:
        return int(self.server.info("stats")["total_commands_processed"])

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
    "desk inbox": "/desk/?tab=all",
    "desk inbox, waiting": "/desk/?tab=waiting",
    "desk inbox, a user": "/desk/?tab=all&q=u4321",
    "GET /api/v1/desk/conversations/": "/api/v1/desk/conversations/?state=open&limit=100",
}
OTHER_PAGES = {
    "feedback": "/admin/agent_app/feedback/",
    "letters": "/admin/agent_app/mail/",
    "audit log": "/admin/agent_app/auditentry/",
    "dashboard": "/admin/",
}


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head() -> None:
    row("page", "rows", "store calls", "commands", "queries", "ms median", "ms best", "× smallest")
    row(*["---"] * 8)


Figures = tuple[int, int, int, float, float]  # calls, commands, queries, ms at the median and at best


def measured(pages: Pages, size: int, addresses: dict[str, str], at: dict[str, list[Figures]]) -> None:
    """Of this size, beside what is there of smaller ones."""
    for name, address in addresses.items():
        figures = pages.measure(address)
        at.setdefault(name, []).append(figures)
        calls, commands, queries, median, least = figures
        ratio = least / at[name][0][4]
        row(name, f"{size:,}", calls, commands, queries, f"{median:.1f}", f"{least:.1f}", f"{ratio:.2f}")


def judge(bars: Bars, live: dict[str, list[Figures]], lists: dict[str, list[Figures]]) -> None:
    for name, sizes in live.items():
        calls, queries = {figures[0] for figures in sizes}, {figures[2] for figures in sizes}
        said = f"{sorted(calls)} calls, {sorted(queries)} queries"
        bars.add(f"{name}: the same at each size", "one number each", said, len(calls) == len(queries) == 1)
        bars.add(f"{name}: calls", f"≤ {STORE_CALLS}", max(calls), max(calls) <= STORE_CALLS)
        ratio, median = sizes[-1][3] / sizes[0][3], sizes[-1][3]
        bars.add(f"{name}: largest to smallest", f"≤ {LIVE_RATIO} ×", f"{ratio:.2f} ×", ratio <= LIVE_RATIO)
        bars.add(f"{name}: the largest", f"≤ {LIVE_MS} ms", f"{median:.0f} ms", median <= LIVE_MS)
    for name, sizes in lists.items():
        _, _, queries, median, _ = sizes[-1]
        bars.add(f"{name}: queries", f"≤ {LIST_QUERIES}", queries, queries <= LIST_QUERIES)
        bars.add(f"{name}: the largest", f"≤ {LIST_MS} ms", f"{median:.0f} ms", median <= LIST_MS)


# ---- an expiry that is felt elsewhere ----


async def seconds_to_close(folder: Path, valkey: ValkeyServer) -> list[float]:
    """From the click on *Yes, expire* at one instance to the end of the customer's socket at another."""
    shared = {
        "USE_SHARED_CONTEXT": "true",
        "REDIS_URL": f"{valkey.url.rpartition('/')[0]}/7",
        "CHAT_SESSION_RATE_LIMIT": "10000/min",
    }
    here = Desk(folder, **shared)
    here.start()
    there = Desk(folder, **shared, DATABASE_URL=here.environ["DATABASE_URL"])
    there.start()
    office = Office(here)
    try:
        boss = office.hire("boss", is_superuser=True, may=())
        return [await expired_at(here, there, boss.session) for _ in range(EXPIRIES)]
    finally:
        office.close()
        for desk in (here, there):
            desk.stop()


async def expired_at(here: Desk, there: Desk, login: str) -> float:
    import httpx
    from django.contrib.admin.utils import quote

    chat = await Chat.open(there.url)
    page = f"{here.url}{LIVE}{quote(chat.session_id)}/expire/"
    async with chat.socket() as socket, httpx.AsyncClient(cookies={"sessionid": login}, timeout=30) as admin:
        await socket.until("welcome")
        form = (await admin.get(page)).text
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        assert found is not None, form[:500]
        ended = asyncio.create_task(socket.close_code())
        began = time.perf_counter()
        answered = await admin.post(page, data={"csrfmiddlewaretoken": found[1], "confirmed": "yes"})
        assert answered.status_code == 302, answered.status_code
        assert await ended == 4410
        return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="100,100000,1000000", help="live sessions")
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    bars = Bars()
    with tempfile.TemporaryDirectory() as folder:
        valkey = prepare(folder)
        try:
            pages = Pages(valkey, options.rounds)
            head()
            live: dict[str, list[Figures]] = {}
            lists: dict[str, list[Figures]] = {}
            filled = 0
            for size in sizes:
                asyncio.run(fill_store(filled, size))
                filled = size
                measured(pages, size, LIVE_PAGES, live)
            filled = 0
            for size in (100, options.conversations):
                fill_conversations(filled, size)
                filled = size
                measured(pages, size, DATABASE_PAGES, lists)
                measured(pages, size, OTHER_PAGES, {})
            judge(bars, live, lists)
            valkey.stop()  # its million of sessions
            valkey.start()
            (Path(folder) / "two").mkdir()
            taken = asyncio.run(seconds_to_close(Path(folder) / "two", valkey))
            worst = max(taken)
            bars.add(
                f"an expiry on one instance closes a socket of another (worst of {EXPIRIES})",
                f"≤ {CLOSED_WITHIN} s",
                f"{worst:.2f} s",
                worst <= CLOSED_WITHIN,
            )
            return bars.tell()
        finally:
            valkey.stop()


if __name__ == "__main__":
    sys.exit(main())
