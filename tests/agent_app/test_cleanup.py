"""manage.py cleanup: what it takes, what it leaves, what it says, and that it may be stopped and doubled."""

import asyncio
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from agent_app import chat
from agent_app.management.commands import cleanup
from agent_app.models import Conversation, Fact, Message, Ticket
from tests.staff import is_live, live, live_redis, put, store_away  # noqa: F401 - fixtures

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

OLD = timedelta(days=400)


def conversation(name: str, age: timedelta = timedelta(0), **fields: Any) -> Conversation:
    moment = timezone.now() - age
    row = Conversation.objects.create(
        session_id=name, token_hash=name, live_until=moment, updated_at=moment, last_seq=2, **fields
    )
    Message.objects.bulk_create(
        Message(conversation=row, seq=seq, public_id=f"{name}{seq}", role="customer", text="hello", created_at=moment)
        for seq in (1, 2)
    )
    return row


def closed(name: str, age: timedelta) -> Conversation:
    return conversation(name, age, state="closed", closed_at=timezone.now() - age)


def run(*options: str) -> str:
    out = io.StringIO()
    call_command("cleanup", *options, stdout=out)
    return out.getvalue()


def run_json(*options: str) -> dict[str, Any]:
    return json.loads(run("--json", *options))


def names() -> set[str]:
    return set(Conversation.objects.values_list("session_id", flat=True))


@pytest.fixture
def everything() -> None:
    conversation("expired", timedelta(hours=1))
    conversation("waits for the agent", timedelta(hours=1), asked_upto=2, answered_upto=0)
    conversation("waits for a person", timedelta(hours=1), state="waiting")
    conversation("alive", -timedelta(hours=1))
    Ticket.objects.create(number="ESC-1", conversation=closed("old", OLD))
    closed("recent", timedelta(days=300))
    conversation("old but open", OLD, state="human")


def test_files_that_cannot_be_reached_are_said(live: str, settings: Any, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "file").touch()
    settings.MEDIA_ROOT = tmp_path / "file" / "media"
    closed("old", OLD)
    with pytest.raises(CommandError, match=r"MEDIA_ROOT cannot be deleted \(Not a directory\)"):
        run()
    assert names() == {"old"}  # what is left to find its files by


def test_takes_what_has_run_out_and_nothing_else(live: str, everything: None) -> None:  # noqa: F811
    report = run_json()
    assert (report["conversations_closed"], report["conversations_deleted"], report["messages_deleted"]) == (1, 1, 2)
    assert names() == {"expired", "waits for the agent", "waits for a person", "alive", "recent", "old but open"}
    assert set(Conversation.objects.filter(state="closed").values_list("session_id", flat=True)) == {
        "expired",
        "recent",
    }
    assert not Ticket.objects.exists()
    assert run_json() | {"sessions_swept": None} == report | {
        "sessions_swept": None,
        "conversations_closed": 0,
        "conversations_deleted": 0,
        "messages_deleted": 0,
    }, "a second run finds nothing"


def test_facts_go_when_their_time_is_over(live: str) -> None:  # noqa: F811
    now = timezone.now()
    chat = conversation("alive", -timedelta(hours=1))
    for name, until in (("name", now + timedelta(days=1)), ("order", now - timedelta(seconds=1))):
        Fact.objects.create(conversation=chat, name=name, value="…", message_seq=1, expires_at=until)
    assert "Facts to delete, whose time is over: 1." in run("--dry-run")
    assert run_json()["facts_deleted"] == 1
    assert [fact.name for fact in Fact.objects.all()] == ["name"]


def test_a_dry_run_says_what_and_why_and_changes_nothing(live: str, everything: None) -> None:  # noqa: F811
    before = list(Conversation.objects.order_by("pk").values())
    said = run("--dry-run")
    assert "Conversations to close: 1." in said
    assert "Conversations to delete: 1, with 2 messages." in said
    assert f"{Conversation.objects.get(session_id='old').thread_id}: closed on" in said
    assert "kept for 365 days" in said
    assert list(Conversation.objects.order_by("pk").values()) == before
    assert Message.objects.count() == 14
    report = run_json("--dry-run")
    assert (report["dry_run"], report["conversations_closed"], report["conversations_deleted"]) == (True, 1, 1)


def test_retention_of_zero_keeps_for_ever(settings: Any, live: str, everything: None) -> None:  # noqa: F811
    settings.CONVERSATION_RETENTION_DAYS = 0
    assert run_json()["conversations_deleted"] == 0


def test_expired_sessions_are_swept(live_redis: redis.Redis) -> None:  # noqa: F811
    conversation("gone", timedelta(hours=1))
    put("gone", ttl=0.001)
    put("here")
    wait_until_expired(live_redis)
    report = run_json()
    assert (report["store"], report["sessions_swept"]) == ("redis", 1)
    assert Conversation.objects.get(session_id="gone").closed_reason == "expired"
    assert is_live("here")


def wait_until_expired(server: redis.Redis) -> None:
    """Until the server's own clock has moved by two milliseconds."""
    seconds, micros = server.time()
    while tuple(server.time()) < (seconds, micros + 2000):
        pass


def test_in_memory_the_sessions_are_the_servers(settings: Any) -> None:
    put("mine")
    said = run()
    assert "they belong to the server process, which sweeps them itself" in said
    assert "Conversations: 0 closed" in said
    assert run_json()["sessions_swept"] is None


def test_the_store_away_is_a_failure_and_the_durable_half_is_done(store_away: None, everything: None) -> None:  # noqa: F811
    with pytest.raises(CommandError, match="session store is unavailable") as failure:
        run()
    assert failure.value.returncode == cleanup.STORE_AWAY
    assert "old" not in names()
    assert Conversation.objects.get(session_id="expired").state == "closed"


def test_several_at_once_do_it_once(live: str) -> None:  # noqa: F811
    for number in range(60):
        closed(f"old{number}", OLD)
    deleted: list[int] = []
    start = threading.Barrier(3)

    def one() -> None:
        start.wait()
        deleted.extend(gone["conversations"] for gone in cleanup.batches_deleted(timezone.now(), size=7))
        connection.close()

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert sum(deleted) == 60
    assert not Conversation.objects.exists()
    assert not Message.objects.exists()


def test_several_at_once_close_it_once(live: str) -> None:  # noqa: F811
    """Whoever finds that all of a batch was closed by another goes on with the next."""
    for number in range(20):
        conversation(f"expired{number}", timedelta(hours=1, minutes=number))
    mine = async_to_sync(chat.expire_due)(7)
    assert (len(mine[0]), mine[1]) == (7, 7)

    async def both() -> list[tuple[list[int], int]]:
        return await asyncio.gather(*(chat.expire_due(7) for _ in range(2)))

    first, second = async_to_sync(both)()
    together = len({*first[0], *second[0]})  # 7 where they looked at once, up to 13 where one came later
    assert first[1] + second[1] == together
    closed: list[int] = []
    async_to_sync(cleanup.close_expired)(closed.append)
    assert sum(closed) == 13 - together


class UntilItWaits(io.StringIO):
    """Lets go of the database once the command says that it waits for it."""

    def __init__(self, held: sqlite3.Connection) -> None:
        super().__init__()
        self.held = held

    def write(self, text: str) -> int:
        if "waiting for it" in text:
            self.held.rollback()
        return super().write(text)


@pytest.fixture
def held() -> Iterator[sqlite3.Connection]:
    """The database's lock, as another process takes it."""
    if connection.vendor != "sqlite":
        pytest.skip("not for PostgreSQL, which locks rows")
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    yield other
    other.close()
    connection.close()


def test_waits_for_a_database_that_is_busy_and_goes_on(live: str, held: sqlite3.Connection) -> None:  # noqa: F811
    closed("old", OLD)
    held.execute("BEGIN IMMEDIATE")
    out = UntilItWaits(held)
    call_command("cleanup", stdout=out)
    assert "waiting for it" in out.getvalue()
    assert "1 deleted with 2 messages" in out.getvalue()
    assert not names()


def test_a_database_that_stays_busy_is_given_up(live: str, held: sqlite3.Connection) -> None:  # noqa: F811
    closed("old", OLD)
    held.execute("BEGIN IMMEDIATE")
    with pytest.raises(CommandError, match="run it again for the rest") as failure:
        run("--patience", "0.1")
    assert failure.value.returncode == cleanup.DATABASE_AWAY
    held.rollback()
    assert run_json()["conversations_deleted"] == 1


@pytest.mark.slow
def test_a_process_waits_for_a_locked_database_and_gives_it_up(held: sqlite3.Connection) -> None:
    held.execute("BEGIN IMMEDIATE")
    environ = os.environ | {"DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}"}
    command = [sys.executable, "manage.py", "cleanup", "--patience", "0.1"]
    done = subprocess.run(command, env=environ, stderr=subprocess.PIPE, text=True, timeout=300)
    assert (done.returncode, "run it again for the rest" in done.stderr) == (cleanup.DATABASE_AWAY, True), done.stderr


def test_a_bar_on_a_terminal_only(live: str, everything: None) -> None:  # noqa: F811
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    call_command("cleanup", stdout=out)
    assert "[##############################] 1 of 1 deleted" in out.getvalue()
    assert "#" not in run()


@pytest.mark.slow
def test_stopped_in_the_middle_it_goes_on_where_it_was(tmp_path: Any) -> None:
    """A real process, ended without a word; the next two, at once, finish and do it once."""
    environ = os.environ | {"DATABASE_URL": f"sqlite:///{tmp_path / 'desk.sqlite3'}", "USE_SHARED_CONTEXT": "false"}

    def manage(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "manage.py", *words], env=environ, stdout=subprocess.PIPE, text=True)

    assert manage("migrate", "-v0").wait(600) == 0
    assert manage("shell", "-v0", "-c", MANY).wait(600) == 0
    first = manage("cleanup", "--json")
    while first.poll() is None and left(environ) == 20_000:
        pass
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    remaining = left(environ)
    assert 0 < remaining < 20_000, "it was stopped in the middle"
    both = [manage("cleanup", "--json") for _ in range(2)]
    said = [json.loads(process.communicate(timeout=900)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(each["conversations_deleted"] for each in said) == remaining
    assert left(environ) == 0


def left(environ: dict[str, str]) -> int:
    with sqlite3.connect(environ["DATABASE_URL"].removeprefix("sqlite:///")) as database:
        return int(database.execute("select count(*) from agent_app_conversation").fetchone()[0])


MANY = """
from datetime import timedelta
from django.utils import timezone
from agent_app.models import Conversation, Message
old = timezone.now() - timedelta(days=400)
rows = Conversation.objects.bulk_create([
    Conversation(session_id=f"s{n}", token_hash=f"t{n}", state="closed", live_until=old, updated_at=old, closed_at=old)
    for n in range(20_000)
], batch_size=2000)
Message.objects.bulk_create([
    Message(conversation=row, seq=1, public_id=f"m{row.pk}", role="customer", text="hello", created_at=old)
    for row in rows
], batch_size=2000)
"""
