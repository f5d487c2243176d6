"""What the chat's way of one message costs, against a bare echo on the same server in the same run.

    python -m benchmarks.chat [--rounds 5] [--seconds 3] [--sockets 50,200]

One server process on one core, the load from the other. Rounds are interleaved and medians printed, for the machine's
speed drifts; read the ratios. The database is a new SQLite file, or the PostgreSQL that DATABASE_URL names.
"""

import argparse
import asyncio
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import orjson
import uvloop

from benchmarks.chat_client import LightSocket
from tests.conftest import ValkeyServer, free_port

ROOT = Path(__file__).resolve().parent.parent
TEXT = "Where is my order? I am waiting for it since Monday."
PATIENCE = 20.0  # seconds for one step; a benchmark that waits for ever says nothing
TICK = os.sysconf("SC_CLK_TCK")


class Server:
    """The desk under test, on core 0."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {
            "SECRET_KEY": "only-for-benchmarks",
            "DEBUG": "true",
            "LOG_LEVEL": "WARNING",
            "DATABASE_URL": f"sqlite:///{folder / 'bench.sqlite3'}",
            **os.environ,
            "USE_SHARED_CONTEXT": "true",
            "REDIS_URL": redis_url,
            "AGENT_RESPONDER": "agent_app.agent.scripted.ScriptedResponder",
            "CHAT_RATE_LIMIT": "100000000/min",
            "CHAT_SESSION_RATE_LIMIT": "100000000/min",
            "CHAT_MAX_SOCKETS": "1000",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def manage(self, *command: str) -> None:
        subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=self.environ, check=True)

    def launch(self) -> None:
        self.manage("migrate", "-v0")
        command = [sys.executable, "-m", "benchmarks.chat_server", str(self.port)]
        self.process = subprocess.Popen(command, cwd=ROOT, env=self.environ)
        os.sched_setaffinity(self.process.pid, {0})

    async def start(self) -> None:
        self.launch()
        async with httpx.AsyncClient() as http:
            for _ in range(300):
                try:
                    if (await http.get(f"{self.url}/healthz")).status_code == 200:
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
numbers = itertools.count()


async def measure(server: Server, steps: list[Step], seconds: float, result: Result) -> None:
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

    cpu, began = server.cpu(), time.perf_counter()
    await asyncio.gather(*(drive(step) for step in steps))
    elapsed = time.perf_counter() - began
    result.rates.append(count / elapsed)
    result.costs.append((server.cpu() - cpu) / max(1, count) * 1e6)


# ---- what is measured ----


async def echoes(server: Server, path: str, sockets: int) -> list[Step]:
    frame = orjson.dumps({"type": "send", "client_id": "00000000", "text": TEXT})

    def step(socket: LightSocket) -> Step:
        async def once() -> None:
            socket.send(frame)
            await socket.next()

        return once

    return [step(await LightSocket.connect(server.port, path)) for _ in range(sockets)]


async def open_chats(server: Server, count: int) -> list[dict[str, str]]:
    async with httpx.AsyncClient(timeout=30) as http:
        return [(await http.post(f"{server.url}/api/v1/chat/sessions/", json={})).json() for _ in range(count)]


async def chats(server: Server, sockets: int, mark: bytes) -> list[Step]:
    """Each socket has a chat of its own, sends a message, and goes on once a frame with `mark` came."""

    def step(socket: LightSocket) -> Step:
        async def once() -> None:
            socket.send(orjson.dumps({"type": "send", "client_id": f"{next(numbers)}", "text": TEXT}))
            await socket.until(mark)

        return once

    steps = []
    for opened in await open_chats(server, sockets):
        socket = await LightSocket.connect(server.port, "/ws/chat/")
        await socket.hello(opened["token"])
        steps.append(step(socket))
    return steps


async def taken_over(server: Server) -> None:
    """Gives every chat there is to a person, so that messages are stored and acknowledged and nothing answers."""
    code = "from agent_app.models import Conversation; Conversation.objects.update(state='human')"
    server.manage("shell", "--no-imports", "-v0", "-c", code)


async def compare(server: Server, sockets: int, rounds: int, seconds: float) -> float:
    """Prints the table; gives the durable acks a second."""
    acks = await chats(server, sockets, b'"type":"ack"')
    await taken_over(server)
    rows: dict[str, list[Step]] = {
        "bare ASGI echo": await echoes(server, "/echo/asgi/", sockets),
        "bare Channels echo": await echoes(server, "/echo/channels/", sockets),
        "durable ack": acks,
        "full turn": await chats(server, sockets, b'"role":"agent"'),
    }
    results = {name: Result() for name in rows}
    for _ in range(rounds):
        for name, steps in rows.items():
            await measure(server, steps, seconds, results[name])
    reference = results["bare Channels echo"]
    print(f"\n{sockets} sockets        per second   × echo   CPU µs   p50 ms   p99 ms")
    for name, result in results.items():
        print(
            f"{name:20} {result.rate:10.0f} {result.rate / reference.rate:8.2f} {result.cost:8.0f}"
            f" {result.percentile(0.5):8.1f} {result.percentile(0.99):8.1f}"
        )
    ratio = results["full turn"].cost / results["bare ASGI echo"].cost
    print(f"full turn's CPU against the bare ASGI echo's: {ratio:.1f} ×")
    return results["durable ack"].rate


# ---- single figures ----


async def first_delta(server: Server, count: int) -> list[float]:
    """Seconds from `send` to the first piece of the answer, one at a time on an idle server."""
    (opened,) = await open_chats(server, 1)
    socket = await LightSocket.connect(server.port, "/ws/chat/")
    await socket.hello(opened["token"])
    times = []
    for _ in range(count):
        began = time.perf_counter()
        socket.send(orjson.dumps({"type": "send", "client_id": f"{next(numbers)}", "text": TEXT}))
        await socket.until(b'"type":"delta"')
        times.append(time.perf_counter() - began)
        await socket.until(b'"status":"ended"')
    socket.close()
    return times


async def ack_times(server: Server, per_second: float, seconds: float) -> list[float]:
    """Seconds from `send` to `ack` at a steady load over 50 sockets, which nothing answers."""
    sockets = []
    for opened in await open_chats(server, 50):
        sockets.append(await LightSocket.connect(server.port, "/ws/chat/"))
        await sockets[-1].hello(opened["token"])
    await taken_over(server)
    times: list[float] = []

    async def drive(socket: LightSocket, offset: float) -> None:
        began = time.perf_counter() + offset
        while (due := began) < end:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sent = time.perf_counter()
            socket.send(orjson.dumps({"type": "send", "client_id": f"{next(numbers)}", "text": TEXT}))
            await socket.until(b'"type":"ack"')
            times.append(time.perf_counter() - sent)
            began += 50 / per_second

    end = time.perf_counter() + seconds
    await asyncio.gather(*(drive(socket, number / per_second) for number, socket in enumerate(sockets)))
    for socket in sockets:
        socket.close()
    return times


def disk_times(folder: Path, count: int) -> list[float]:
    """Seconds of a bare write of 4 KB and its fsync: what no durable acknowledgement can be faster than."""
    times = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return times


async def resume(server: Server, messages: int, count: int) -> list[float]:
    """Seconds from hello to the last of that many missed messages."""
    (opened,) = await open_chats(server, 1)
    writer = await LightSocket.connect(server.port, "/ws/chat/")
    await writer.hello(opened["token"])
    for _ in range(messages // 2):
        writer.send(orjson.dumps({"type": "send", "client_id": f"{next(numbers)}", "text": TEXT}))
        await writer.until(b'"status":"ended"')
    times = []
    for _ in range(count):
        socket = await LightSocket.connect(server.port, "/ws/chat/")
        began = time.perf_counter()
        await socket.hello(opened["token"])
        await socket.until(b'"seq":%d,' % messages)
        times.append(time.perf_counter() - began)
        socket.close()
    writer.close()
    return times


async def fan_out(server: Server, sockets: int, count: int) -> list[float]:
    """Seconds from `send` until every one of the chat's sockets has the message."""
    (opened,) = await open_chats(server, 1)
    group = [await LightSocket.connect(server.port, "/ws/chat/") for _ in range(sockets)]
    for socket in group:
        await socket.hello(opened["token"])
    times = []
    for _ in range(count):
        began = time.perf_counter()
        group[0].send(orjson.dumps({"type": "send", "client_id": f"{next(numbers)}", "text": TEXT}))
        await asyncio.gather(*(socket.until(b'"role":"customer"') for socket in group))
        times.append(time.perf_counter() - began)
        await asyncio.gather(*(socket.until(b'"status":"ended"') for socket in group))
    for socket in group:
        socket.close()
    return times


async def streamed(server: Server, count: int) -> list[float]:
    """Seconds of a whole turn as server-sent events, one at a time."""
    (opened,) = await open_chats(server, 1)
    times = []
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {opened['token']}"}, timeout=30) as http:
        url = f"{server.url}/api/v1/chat/sessions/{opened['session_id']}/messages/"
        for _ in range(count):
            began = time.perf_counter()
            response = await http.post(url, json={"text": TEXT}, headers={"Accept": "text/event-stream"})
            assert b"event: done" in response.content
            times.append(time.perf_counter() - began)
    return times


async def memory_of_sockets(server: Server, count: int) -> tuple[float, float]:
    """KB of an idle chat socket, and of a bare echo's."""
    before = server.memory()
    echoing = [await LightSocket.connect(server.port, "/echo/channels/") for _ in range(count)]
    between = server.memory()
    chatting = []
    for opened in await open_chats(server, count):
        socket = await LightSocket.connect(server.port, "/ws/chat/")
        await socket.hello(opened["token"])
        chatting.append(socket)
    after = server.memory()
    for socket in [*echoing, *chatting]:
        socket.close()
    return (after - between) / count / 1024, (between - before) / count / 1024


def row(name: str, times: list[float]) -> None:
    ordered = sorted(times)
    p50, p95, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 for share in (0.5, 0.95, 0.99))
    print(f"{name:44} {p50:8.1f} {p95:8.1f} {p99:8.1f}")


async def single_figures(server: Server, folder: Path, rate: float) -> None:
    print(f"\n{'milliseconds':44} {'p50':>8} {'p95':>8} {'p99':>8}")
    row("first delta after send, idle", await first_delta(server, 200))
    disk = disk_times(folder, 200)
    row(f"ack at a tenth of the load ({rate / 10:.0f}/s)", await ack_times(server, rate / 10, 10))
    row("a bare write and fsync of 4 KB", disk + disk_times(folder, 200))
    row("a turn over SSE", await streamed(server, 50))
    row("resume of 200 messages", await resume(server, 200, 30))
    row("a message to 50 sockets of its chat", await fan_out(server, 50, 50))
    chat, echo = await memory_of_sockets(server, 500)
    print(f"memory of an idle socket: chat {chat:.0f} KB, bare Channels echo {echo:.0f} KB")


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=3.0)
    options.add_argument("--sockets", default="50,200")
    chosen = options.parse_args()
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as folder:
        valkey = ValkeyServer(Path(folder))
        valkey.start()
        server = Server(Path(folder), valkey.url)
        try:
            await server.start()
            rates = [
                await compare(server, sockets, chosen.rounds, chosen.seconds)
                for sockets in map(int, chosen.sockets.split(","))
            ]
            await single_figures(server, Path(folder), max(rates))
        finally:
            server.stop()
            valkey.stop()


if __name__ == "__main__":
    uvloop.run(main())
