"""The servers that benchmarks/chat.py loads, and how it counts: rates, CPU, percentiles."""

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.conftest import free_port

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 20.0  # seconds for one step; a benchmark that waits for ever says nothing
TICK = os.sysconf("SC_CLK_TCK")


class Server:
    """One process of the desk under test, on core 0."""

    def __init__(self, folder: Path, redis_url: str, database_url: str = "") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {
            "SECRET_KEY": "only-for-benchmarks",
            "DEBUG": "false",
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "LOG_LEVEL": "WARNING",
            **os.environ,
            "DATABASE_URL": database_url or f"sqlite:///{folder / 'bench.sqlite3'}",
            "USE_SHARED_CONTEXT": "true",
            "REDIS_URL": redis_url,
            "AGENT_RESPONDER": "agent_app.agent.scripted.ScriptedResponder",
            "CHAT_RATE_LIMIT": "100000000/min",
            "CHAT_SESSION_RATE_LIMIT": "100000000/min",
            "CHAT_MAX_SOCKETS": "1000",
            "CHAT_MAX_WAITING_REST": "1000",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def manage(self, *command: str) -> None:
        subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=self.environ, check=True)

    def launch(self) -> None:
        command = [sys.executable, "-m", "benchmarks.chat_server", str(self.port)]
        self.process = subprocess.Popen(command, cwd=ROOT, env=self.environ)
        os.sched_setaffinity(self.process.pid, {0})

    async def start(self) -> None:
        self.manage("migrate", "-v0")
        self.launch()
        await self.answers("/healthz")

    async def answers(self, path: str) -> None:
        async with httpx.AsyncClient() as http:
            for _ in range(300):
                try:
                    if (await http.get(self.url + path)).status_code == 200:
                        return
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        raise RuntimeError("the server did not start")

    def cpu(self) -> float:
        """CPU seconds of the server process so far, all its threads."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory(self) -> int:
        """Resident bytes."""
        assert self.process is not None
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()


@dataclass
class Result:
    """What a row of a table says."""

    rates: list[float] = field(default_factory=list)  # per second
    costs: list[float] = field(default_factory=list)  # µs of server CPU each
    times: list[float] = field(default_factory=list)  # seconds each, of all rounds

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def cost(self) -> float:
        return statistics.median(self.costs)

    def percentile(self, share: float) -> float:
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


Step = Callable[[], Awaitable[None]]


async def measure(servers: Sequence[Server], steps: list[Step], seconds: float, result: Result) -> None:
    """Every step again and again, each as fast as it is answered."""
    end = time.perf_counter() + seconds
    count = 0

    async def drive(step: Step) -> None:
        nonlocal count
        while (began := time.perf_counter()) < end:
            async with asyncio.timeout(PATIENCE):
                await step()
            result.times.append(time.perf_counter() - began)
            count += 1

    cpu, began = sum(server.cpu() for server in servers), time.perf_counter()
    await asyncio.gather(*(drive(step) for step in steps))
    elapsed = time.perf_counter() - began
    result.rates.append(count / elapsed)
    cpu = sum(server.cpu() for server in servers) - cpu
    result.costs.append(cpu / max(1, count) * 1e6)
