"""`manage.py cleanup` over many expired chats: alone, and two at once.

    python -m benchmarks.cleanup [--chats 100000]

Prints a table: seconds, chats a second, the peak of memory, and what each run says it closed and deleted. On SQLite
(PostgreSQL with DATABASE_URL), with sessions in a Valkey of its own.
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
from tests.conftest import ValkeyServer

CHECKOUT = Path(__file__).resolve().parent.parent
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


class Run:
    """One cleanup, its time and the peak of its memory as the kernel counted it."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.began = time.monotonic()
        self.process = manage("cleanup", "--json", environ=environ)
        self.peak = 0
        self.seconds = 0.0
        self.report: dict[str, object] = {}

    def wait(self) -> None:
        reader = threading.Thread(target=self._read)
        reader.start()
        while self.process.poll() is None:
            self.peak = max(self.peak, resident_peak(self.process.pid))
            time.sleep(0.05)
        self.seconds = time.monotonic() - self.began
        reader.join()

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


def tell(name: str, chats: int, *runs: Run) -> None:
    seconds = max(run.seconds for run in runs)
    closed = [int(str(run.report["conversations_closed"])) for run in runs]
    deleted = [int(str(run.report["conversations_deleted"])) for run in runs]
    swept = [int(str(run.report["sessions_swept"])) for run in runs]
    peak = max(run.peak for run in runs)
    rate = chats / seconds
    print(
        f"| {name} | {chats:,} | {seconds:.1f} | {rate:,.0f} | {peak} | "
        f"{' + '.join(map(str, closed))} | {' + '.join(map(str, deleted))} | {' + '.join(map(str, swept))} |",
        flush=True,
    )
    assert sum(closed) + sum(deleted) == chats, "each of them once"


def main() -> None:
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
            print("| what | chats | s | a second | peak MB | closed | deleted | swept |")
            print("| --- | --- | --- | --- | --- | --- | --- | --- |")
            plan = [("expired, few", 0, chats // 100, 1), ("expired, one run", 0, chats, 1)]
            plan += [("expired, two at once", 0, chats, 2), ("past retention, one run", 400, chats, 1)]
            plan += [("past retention, two at once", 400, chats, 2)]
            for number, (name, days, count, runs) in enumerate(plan):
                script = MANY.format(days=days, chats=count, name=f"r{number}-")
                assert manage("shell", "-v0", "-c", script, environ=environ).wait() == 0
                started = [Run(environ) for _ in range(runs)]
                waiting = [threading.Thread(target=run.wait) for run in started]
                for thread in waiting:
                    thread.start()
                for thread in waiting:
                    thread.join()
                tell(name, count, *started)
        finally:
            valkey.stop()


if __name__ == "__main__":
    main()
