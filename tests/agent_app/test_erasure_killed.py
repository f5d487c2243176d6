"""An erasure whose process is killed in the middle, again and again."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.desk import CHECKOUT, Desk

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def manage(desk: Desk, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "manage.py", *words]
    return subprocess.Popen(
        command, cwd=CHECKOUT, env=desk.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def count(desk: Desk, query: str) -> int:
    if not desk.environ["DATABASE_URL"].startswith("sqlite"):
        pytest.skip("not for PostgreSQL: this test reads the file")
    with sqlite3.connect(desk.environ["DATABASE_URL"].removeprefix("sqlite:///"), timeout=30) as database:
        return int(database.execute(query).fetchone()[0])


MANY = """
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from agent_app.models import AuditEntry, Conversation, Message, UnansweredQuestion
now = timezone.now()
rows = Conversation.objects.bulk_create([
    Conversation(session_id=f"w{n}", token_hash=f"w{n}", user_id="wronskij", live_until=now, last_seq=1,
                 state="ai" if n % 5 == 0 else "closed") for n in range(2000)
])
Message.objects.bulk_create([
    Message(conversation=row, seq=1, public_id=f"m{row.pk}", role="customer", text="Wronskij", created_at=now)
    for row in rows
])
UnansweredQuestion.objects.bulk_create([UnansweredQuestion(text="Wronskij?", conversation=row) for row in rows])
for row in rows[:300]:
    AuditEntry.record("chat.looked_at", row.session_id, "ana", user_id="wronskij")
    default_storage.save(f"attachments/{row.session_id}/a", ContentFile(b"Wronskij"))
"""


def test_killed_at_any_moment_it_is_gone_on_with(tmp_path: Path) -> None:
    """SIGKILL at random moments until it has come through; what the receipt counts is what there was."""
    desk = Desk(tmp_path, USE_SHARED_CONTEXT="false")
    assert manage(desk, "shell", "-v0", "-c", MANY).wait(600) == 0
    chance = random.Random(7)
    kills = 0
    left = [2000]
    while kills < 4:
        running = manage(desk, "erase_customer", "wronskij", "--json")
        # Until it has begun to delete, and then a moment more.
        while running.poll() is None and remaining(desk) == left[-1]:
            pass
        until = time.monotonic() + chance.uniform(0, 0.1)
        while running.poll() is None and time.monotonic() < until:
            pass
        if running.poll() is not None:
            break
        running.send_signal(signal.SIGKILL)
        running.wait()
        kills += 1
        left.append(remaining(desk))
    assert kills > 2, "it was killed in the middle, and more than once"
    out, errors = manage(desk, "cleanup", "--json").communicate()
    assert json.loads(out)["erasures_finished"] in (0, 1), errors
    with sqlite3.connect(desk.environ["DATABASE_URL"].removeprefix("sqlite:///")) as database:
        dump = "\n".join(database.iterdump())
        state = database.execute("select subject, removed, finished_at from agent_app_erasure").fetchall()
    assert "ronskij" not in dump
    removed = json.loads(state[0][1])
    assert (removed["conversations"], removed["messages"], removed["unanswered questions"]) == (2000, 2000, 2000)
    assert state[0][0] == ""
    assert not [each for each in (tmp_path / "media").rglob("*") if each.is_file()]
    assert manage(desk, "verify_audit", "--json").wait() == 0


def remaining(desk: Desk) -> int:
    return count(desk, "select count(*) from agent_app_conversation where user_id = 'wronskij'")
