"""What the chat's way of one message costs, against a bare echo on the same server in the same run.

    python -m benchmarks.chat [--rounds 5] [--seconds 3] [--sockets 50,200,1000] [--database sqlite,postgres]

For each database a table by one server process and one by two, and single figures. The server has one core; the load,
Valkey and PostgreSQL have the other. Rounds are interleaved and medians printed, for the machine's speed drifts; read
the ratios. Chainlit is measured beside us where requirements/peers.txt is installed in build/peers (or --peers FOLDER).
"""

import argparse
import asyncio
import itertools
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import orjson
import uvloop

from benchmarks.bars import Bars
from benchmarks.chat_client import LightSocket, LightStream
from benchmarks.chat_peer import Chainlit
from benchmarks.chat_rig import Result, Server, Step, measure
from tests.conftest import ValkeyServer
from tests.faults.postgres import PostgresServer, programs

# Durable acks and full turns by one server process, as ratios to the bare Channels echo: by database and sockets.
RATIOS = {
    ("sqlite", 50): (1.0, 0.35),
    ("sqlite", 200): (1.2, 0.45),
    ("postgres", 50): (1.3, 0.5),
    ("postgres", 200): (1.6, 0.6),
}
MOST_CPU = 10  # of a turn, in CPU of a bare ASGI echo
MOST_DELTA = 60  # ms
MOST_ACK = 25  # ms, or three times a bare fsync
MOST_MEMORY = 60  # KB
TEXT = "Where is my order? I am waiting for it since Monday."
numbers = itertools.count()


# ---- what is measured ----


async def echoes(servers: Sequence[Server], path: str, sockets: int) -> list[Step]:
    frame = orjson.dumps({"type": "send", "client_id": "00000000", "text": TEXT})

    def step(socket: LightSocket) -> Step:
        async def once() -> None:
            socket.send(frame)
            await socket.next()

        return once

    return [step(await LightSocket.connect(servers[n % len(servers)].port, path)) for n in range(sockets)]


async def open_chats(server: Server, count: int) -> list[dict[str, str]]:
    async with httpx.AsyncClient(timeout=60) as http:
        return [(await http.post(f"{server.url}/api/v1/chat/sessions/", json={})).json() for _ in range(count)]


def message() -> bytes:
    return orjson.dumps({"type": "send", "client_id": f"{next(numbers)}", "text": TEXT})


async def chats(servers: Sequence[Server], sockets: int, mark: bytes) -> list[Step]:
    """Each socket has a chat of its own, sends a message, and goes on once a frame with `mark` came."""

    def step(socket: LightSocket) -> Step:
        async def once() -> None:
            socket.send(message())
            await socket.until(mark)

        return once

    steps = []
    for number, opened in enumerate(await open_chats(servers[0], sockets)):
        socket = await LightSocket.connect(servers[number % len(servers)].port, "/ws/chat/")
        await socket.hello(opened["token"])
        steps.append(step(socket))
    return steps


async def streams(servers: Sequence[Server], callers: int) -> list[Step]:
    """Each caller has a chat of its own, posts a message, and reads the turn's events to their end."""

    def step(stream: LightStream, opened: dict[str, str]) -> Step:
        path = f"/api/v1/chat/sessions/{opened['session_id']}/messages/"

        async def once() -> None:
            await stream.post(path, opened["token"], orjson.dumps({"text": TEXT}))

        return once

    opened = await open_chats(servers[0], callers)
    return [step(LightStream(servers[number % len(servers)].port), chat) for number, chat in enumerate(opened)]


async def taken_over(server: Server) -> None:
    """Gives every chat there is to a person, so that messages are stored and acknowledged and nothing answers."""
    code = "from agent_app.models import Conversation; Conversation.objects.update(state='human')"
    await asyncio.to_thread(server.manage, "shell", "--no-imports", "-v0", "-c", code)


async def compare(servers: Sequence[Server], sockets: int, rounds: int, seconds: float) -> dict[str, Result]:
    """Prints the table, and gives it."""
    acks = await chats(servers, sockets, b'"type":"ack"')
    await taken_over(servers[0])
    rows: dict[str, list[Step]] = {
        "bare ASGI echo": await echoes(servers, "/echo/asgi/", sockets),
        "bare Channels echo": await echoes(servers, "/echo/channels/", sockets),
        "durable ack": acks,
        "full turn": await chats(servers, sockets, b'"role":"agent"'),
    }
    if sockets <= 50:
        rows["full turn over SSE"] = await streams(servers, sockets)
    results = {name: Result() for name in rows}
    for _ in range(rounds):
        for name, steps in rows.items():
            await measure(servers, steps, seconds, results[name])
    reference = results["bare Channels echo"]
    print(f"\n{sockets:4} sockets        per second   × echo   CPU µs   p50 ms   p99 ms")
    for name, result in results.items():
        print(
            f"{name:20} {result.rate:10.0f} {result.rate / reference.rate:8.2f} {result.cost:8.0f}"
            f" {result.percentile(0.5):8.1f} {result.percentile(0.99):8.1f}"
        )
    ratio = results["full turn"].cost / results["bare ASGI echo"].cost
    print(f"full turn's CPU against the bare ASGI echo's: {ratio:.1f} ×", flush=True)
    return results


def judge(bars: Bars, database: str, sockets: int, results: dict[str, Result]) -> None:
    """By one server process: the bars are ratios to the bare Channels echo, and to the bare ASGI echo's CPU."""
    echo, turn = results["bare Channels echo"].rate, results["full turn"]
    acks, turns = RATIOS[database, sockets]
    for name, bar, rate in (("acks", acks, results["durable ack"].rate), ("turns", turns, turn.rate)):
        bars.add(f"{name}, {database}, {sockets} sockets, × echo", f"≥ {bar}", f"{rate / echo:.2f}", rate >= bar * echo)
    cpu = turn.cost / results["bare ASGI echo"].cost
    bars.add(
        f"a turn's CPU, {database}, {sockets} sockets, × ASGI echo", f"≤ {MOST_CPU}", f"{cpu:.1f}", cpu <= MOST_CPU
    )


async def compare_peer(server: Server, peer: Chainlit, sockets: int, rounds: int, seconds: float) -> None:
    """Both on their echo path: a message in, the server's own message with the same text out."""
    ours, theirs = Result(), Result()
    our_steps, their_steps = await chats([server], sockets, b'"role":"agent"'), await peer.steps(sockets, TEXT)
    for _ in range(rounds):
        await measure([server], our_steps, seconds, ours)
        await measure([peer.server], their_steps, seconds, theirs)
    print(f"\n{sockets:4} sockets        per second   CPU µs   p50 ms   p99 ms")
    for name, result in (("full turn", ours), ("Chainlit's echo", theirs)):
        numbers = f"{result.cost:8.0f} {result.percentile(0.5):8.1f} {result.percentile(0.99):8.1f}"
        print(f"{name:20} {result.rate:10.0f} {numbers}", flush=True)


# ---- single figures ----


async def first_delta(server: Server, count: int) -> list[float]:
    """Seconds from `send` to the first piece of the answer, one at a time on an idle server."""
    (opened,) = await open_chats(server, 1)
    socket = await LightSocket.connect(server.port, "/ws/chat/")
    await socket.hello(opened["token"])
    times = []
    for _ in range(count):
        began = time.perf_counter()
        socket.send(message())
        await socket.until(b'"type":"delta"')
        times.append(time.perf_counter() - began)
        await socket.until(b'"status":"ended"')
    socket.close()
    return times


async def paced(steps: Sequence[Step], per_second: float, seconds: float) -> list[float]:
    """Seconds of every step, at a steady load that the steps share; a step waits for its last one."""
    times: list[float] = []
    start = time.perf_counter()

    async def drive(step: Step, due: float) -> None:
        while due < start + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            await step()
            times.append(time.perf_counter() - began)
            due += len(steps) / per_second

    await asyncio.gather(*(drive(step, start + number / per_second) for number, step in enumerate(steps)))
    return times


async def ack_times(server: Server, folder: Path, per_second: float) -> tuple[list[float], list[float]]:
    """Seconds from `send` to `ack` over 50 sockets, which nothing answers, and of a bare write of 4 KB and its fsync.

    Both at the same load and in turns of a second: a disk that now and then takes a third of a second for one fsync
    shows it in both, whereas a few hundred fsyncs in a row before and after would all fall between two such stalls.
    """
    acks = await chats([server], 50, b'"type":"ack"')
    await taken_over(server)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(len(acks)) as threads, (folder / "fsync").open("wb", buffering=0) as file:

        def write() -> None:
            file.write(b"x" * 4096)
            os.fsync(file.fileno())

        async def bare() -> None:
            await loop.run_in_executor(threads, write)

        ours: list[float] = []
        disk: list[float] = []
        for _ in range(10):
            ours += await paced(acks, per_second, 1.0)
            disk += await paced([bare] * len(acks), per_second, 1.0)
    return ours, disk


async def resume(server: Server, messages: int, count: int) -> list[float]:
    """Seconds from hello to the last of that many missed messages."""
    (opened,) = await open_chats(server, 1)
    writer = await LightSocket.connect(server.port, "/ws/chat/")
    await writer.hello(opened["token"])
    for _ in range(messages // 2):
        writer.send(message())
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
        group[0].send(message())
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


def row(name: str, times: list[float]) -> tuple[float, float]:
    """Prints it; gives p95 and p99."""
    ordered = sorted(times)
    p50, p95, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 for share in (0.5, 0.95, 0.99))
    print(f"{name:44} {p50:8.1f} {p95:8.1f} {p99:8.1f}")
    return p95, p99


async def single_figures(server: Server, folder: Path, rate: float, database: str, bars: Bars) -> None:
    print(f"\n{'milliseconds':44} {'p50':>8} {'p95':>8} {'p99':>8}")
    delta, _ = row("first delta after send, idle", await first_delta(server, 200))
    bars.add(f"first delta, {database}, p95 in ms", f"≤ {MOST_DELTA}", f"{delta:.1f}", delta <= MOST_DELTA)
    acks, disk = await ack_times(server, folder, rate / 10)
    _, ack = row(f"ack at a tenth of the load ({rate / 10:.0f}/s)", acks)
    _, fsync = row("a bare write and fsync of 4 KB at the same", disk)
    if database == "sqlite":
        most = max(MOST_ACK, 3 * fsync)
        bars.add("ack at a tenth of the load, sqlite, p99 in ms", f"≤ {most:.0f}", f"{ack:.1f}", ack <= most)
    row("a turn over SSE", await streamed(server, 50))
    row("resume of 200 messages", await resume(server, 200, 30))
    row("a message to 50 sockets of its chat", await fan_out(server, 50, 50))
    chat, echo = await memory_of_sockets(server, 500)
    print(f"memory of an idle socket: chat {chat:.0f} KB, bare Channels echo {echo:.0f} KB")
    over = chat - echo
    bars.add(f"an idle socket, {database}, KB over the echo's", f"≤ {MOST_MEMORY}", f"{over:.0f}", over <= MOST_MEMORY)


# ---- the run ----


@asynccontextmanager
async def running(folder: Path, redis_url: str, database: str, instances: int) -> AsyncIterator[list[Server]]:
    """That many instances over a new database."""
    folder.mkdir()  # noqa: ASYNC240 - nothing else runs yet
    postgres = PostgresServer(folder, durable=True) if database == "postgres" else None
    if postgres is not None:
        await asyncio.to_thread(postgres.create)
    servers = [Server(folder, redis_url, postgres.url if postgres else "") for _ in range(instances)]
    try:
        for server in servers:
            await server.start()
        yield servers
    finally:
        for server in servers:
            server.stop()
        if postgres is not None:
            postgres.stop("fast")


async def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=3.0)
    options.add_argument("--sockets", default="50,200,1000")
    options.add_argument("--database", default="sqlite,postgres" if programs() else "sqlite")
    options.add_argument("--instances", default="1,2")
    options.add_argument("--peers", type=Path, default=Path("build/peers"))
    chosen = options.parse_args()
    sizes = [int(size) for size in chosen.sockets.split(",")]
    os.sched_setaffinity(0, {1})
    bars = Bars()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)  # noqa: ASYNC240 - nothing else runs yet; PostgreSQL does not run as root
        valkey = ValkeyServer(folder)
        valkey.start()
        try:
            for database in chosen.database.split(","):
                for instances in map(int, chosen.instances.split(",")):
                    print(f"\n## {database}, {instances} instance{'s' * (instances > 1)}")
                    place = folder / f"{database}{instances}"
                    async with running(place, valkey.url, database, instances) as servers:
                        tables = {size: await compare(servers, size, chosen.rounds, chosen.seconds) for size in sizes}
                        if instances == 1:
                            for size, table in tables.items():
                                if (database, size) in RATIOS:
                                    judge(bars, database, size, table)
                            most = max(table["durable ack"].rate for table in tables.values())
                            await single_figures(servers[0], place, most, database, bars)
                        if instances == 1 and database == "sqlite" and Chainlit.is_installed(chosen.peers):
                            async with Chainlit.running(chosen.peers, place) as peer:
                                await compare_peer(servers[0], peer, 50, chosen.rounds, chosen.seconds)
        finally:
            valkey.stop()
    return bars.tell()


if __name__ == "__main__":
    raise SystemExit(uvloop.run(main()))
