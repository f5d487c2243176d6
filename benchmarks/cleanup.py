"""`manage.py cleanup` over many chats whose time is over: killed, then gone on with by two at once.

    python -m benchmarks.cleanup [--chats 100000]

Twice: chats that have expired, which it closes, and chats past retention, which it deletes. Each time a small run, with
whose peak of memory the others are compared; then a run over all of them, which is killed (SIGKILL) in the middle; then
two runs at once, which between them do the rest once. Prints a table of the runs, then each bar with its value and OK
or SHORT. On SQLite (PostgreSQL with DATABASE_URL), with sessions in a Valkey of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.bars import Bars
from tests.conftest import ValkeyServer

CHECKOUT = Path(__file__).resolve().parent.parent
GROWTH_MB = 64  # of the peak, from a hundredth of the chats to all of them
LOOK_EVERY = 0.1  # seconds
MANY = """
import asyncio
from datetime import timedelta
from django.utils import timezone
from agent_app.models import Conversation, Message
from sessions_app.stores import SessionData, get_store
past = timezone.now() - timedelta(days={days})
closed = dict(state="closed", closed_at=past) if {days} else {{}}
for start in range(0, {chats}, 5000):
    rows = Conversation.objects.bulk_create([
        Conversation(session_id=f"{name}{{n}}", token_hash=f"{name}{{n}}", live_until=past - timedelta(hours=1),
                     updated_at=past, last_seq=2, **closed)
        for n in range(start, min(start + 5000, {chats}))
    ], batch_size=1000)
    Message.objects.bulk_create([
        Message(conversation=row, seq=seq, public_id=f"{{row.pk}}-{{seq}}", role="customer", text="hello " * 20,
                created_at=past)
        for row in rows for seq in (1, 2)
    ], batch_size=1000)
async def live():
    store = get_store()
    for start in range(0, {chats}, 1000):
        made = [SessionData(f"{name}{{n}}", user_id=f"u{{n % 1000}}") for n in range(start, min(start + 1000, {chats}))]
        await asyncio.gather(*(store.set(session.session_id, session, ttl=0.01) for session in made))
if not {days}:
    asyncio.run(live())
"""


def manage(*words: str, environ: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "manage.py", *words]
    return subprocess.Popen(command, cwd=CHECKOUT, env=environ, stdout=subprocess.PIPE, text=True)


class Work:
    """Chats that cleanup should close or delete, and how many of them are left."""

    def __init__(self, environ: dict[str, str]) -> None:
        os.environ |= environ
        os.environ["DJANGO_SETTINGS_MODULE"] = "supportdesk.settings"
        import django

        django.setup()
        self.environ = environ

    def make(self, name: str, days: int, chats: int) -> None:
        script = MANY.format(days=days, chats=chats, name=name)
        assert manage("shell", "-v0", "-c", script, environ=self.environ).wait() == 0

    def left(self) -> int:
        from django.utils import timezone

        from agent_app.models import Conversation

        now = timezone.now()
        return Conversation.objects.expired(now).count() + Conversation.objects.past_retention(now).count()


class Run:
    """One cleanup, its time and the peak of its memory as the kernel counted it."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.began = time.monotonic()
        self.process = manage("cleanup", "--json", environ=environ)
        self.peak = 0
        self.seconds = 0.0
        self.report: dict[str, int] = {}
        self._ended = threading.Thread(target=self._watch)
        self._reader = threading.Thread(target=self._read)
        self._ended.start()
        self._reader.start()

    def wait(self) -> "Run":
        self._ended.join()
        self._reader.join()
        return self

    def kill_when(self, work: Work, left: int) -> "Run":
        """As soon as so few are left."""
        while self.process.poll() is None and work.left() > left:
            time.sleep(LOOK_EVERY)
        self.process.kill()
        return self.wait()

    @property
    def done(self) -> int:
        return self.report.get("conversations_closed", 0) + self.report.get("conversations_deleted", 0)

    def _watch(self) -> None:
        while self.process.poll() is None:
            self.peak = max(self.peak, resident_peak(self.process.pid))
            time.sleep(LOOK_EVERY)
        self.seconds = time.monotonic() - self.began

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.report = json.loads(self.process.stdout.read() or "{}")


def resident_peak(pid: int) -> int:
    """MB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)


def tell(name: str, before: int, left: int, *runs: Run) -> None:
    seconds = max(run.seconds for run in runs)
    ended = " + ".join(str(run.process.returncode) for run in runs)
    counted = " + ".join(f"{run.done:,}" for run in runs)
    rate = (before - left) / seconds
    peak = max(run.peak for run in runs)
    cells = (name, f"{before:,}", f"{left:,}", f"{seconds:.1f}", f"{rate:,.0f}", peak, counted, ended)
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def measure(work: Work, bars: Bars, verb: str, days: int, chats: int) -> None:
    few = chats // 100
    work.make(f"{verb}-few-", days, few)
    small = Run(work.environ).wait()
    tell(f"{verb}: few", few, work.left(), small)

    work.make(f"{verb}-all-", days, chats)
    killed = Run(work.environ).kill_when(work, chats * 2 // 3)
    rest = work.left()
    tell(f"{verb}: killed", chats, rest, killed)
    both = [Run(work.environ) for _ in range(2)]
    for run in both:
        run.wait()
    tell(f"{verb}: two at once", rest, work.left(), *both)

    bars.add(f"{verb}: killed in the middle", "some done, some left", f"{rest:,} left", 0 < rest < chats)
    bars.add(f"{verb}: nothing left", "0", work.left(), work.left() == 0)
    total = sum(run.done for run in both)
    bars.add(f"{verb}: two at once do it once", f"{rest:,} counted", f"{total:,}", total == rest)
    bars.add(f"{verb}: both end well", "0 and 0", " and ".join(str(run.process.returncode) for run in both),
             all(run.process.returncode == 0 for run in both))  # fmt: skip
    growth = max(run.peak for run in (killed, *both)) - small.peak
    bars.add(f"{verb}: growth of the peak of memory", f"≤ {GROWTH_MB} MB", f"{growth} MB", growth <= GROWTH_MB)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--chats", type=int, default=100_000)
    chats = parser.parse_args().chats
    with tempfile.TemporaryDirectory() as folder:
        valkey = ValkeyServer(Path(folder))
        valkey.start()
        environ = os.environ | {"USE_SHARED_CONTEXT": "true", "REDIS_URL": valkey.url, "MEDIA_ROOT": f"{folder}/media"}
        environ.setdefault("DATABASE_URL", f"sqlite:///{folder}/desk.sqlite3")
        environ["LOG_LEVEL"] = "ERROR"
        try:
            assert manage("migrate", "-v0", environ=environ).wait() == 0
            work, bars = Work(environ), Bars()
            print("| what | chats | left | s | a second | peak MB | counted | exit |")
            print("| --- | --- | --- | --- | --- | --- | --- | --- |")
            measure(work, bars, "closed", 0, chats)
            measure(work, bars, "deleted", 400, chats)
            return bars.tell()
        finally:
            valkey.stop()


if __name__ == "__main__":
    sys.exit(main())
