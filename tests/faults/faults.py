"""What can go wrong, one function each. Each breaks something, waits, and leaves everything whole again."""

import asyncio
import random
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing

from tests.faults.proxy import Proxy
from tests.faults.stage import LEASE, Instance, Stage

Fault = Callable[[Stage, random.Random], Awaitable[None]]


def one(stage: Stage, dice: random.Random) -> Instance:
    return dice.choice(stage.instances)


# ---- instances ----


async def kill_an_instance(stage: Stage, dice: random.Random) -> None:
    instance = one(stage, dice)
    await instance.stop(signal.SIGKILL)
    await asyncio.sleep(dice.uniform(0, 2))
    await instance.start()


async def restart_an_instance(stage: Stage, dice: random.Random) -> None:
    """As its operator does it: it drains, then ends by itself."""
    instance = one(stage, dice)
    await instance.stop(signal.SIGTERM)
    await instance.start()


async def make_a_zombie(stage: Stage, dice: random.Random) -> None:
    """Stopped for longer than the lease; it wakes up in the middle of turns that others have taken."""
    instance = one(stage, dice)
    instance.send(signal.SIGSTOP)
    await asyncio.sleep(LEASE + dice.uniform(0.5, 3))
    instance.send(signal.SIGCONT)


async def kill_both_instances(stage: Stage, dice: random.Random) -> None:
    await asyncio.gather(*(instance.stop(signal.SIGKILL) for instance in stage.instances))
    await asyncio.gather(*(instance.start() for instance in stage.instances))


# ---- Valkey ----


async def empty_valkey(stage: Stage, dice: random.Random) -> None:
    stage.valkey.stop(signal.SIGKILL)
    await asyncio.sleep(dice.uniform(0, 3))
    await asyncio.to_thread(stage.valkey.start)


async def pause_valkey(stage: Stage, dice: random.Random) -> None:
    assert stage.valkey.process is not None
    stage.valkey.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(dice.uniform(1, 6))
    stage.valkey.process.send_signal(signal.SIGCONT)


# ---- the database ----


async def restart_postgres(stage: Stage, dice: random.Random) -> None:
    assert stage.postgres is not None
    await asyncio.to_thread(stage.postgres.stop, dice.choice(["immediate", "fast"]))
    await asyncio.sleep(dice.uniform(0, 2))
    await asyncio.to_thread(stage.postgres.start)


async def lose_commits(stage: Stage, dice: random.Random) -> None:
    """The connection is lost under COMMIT, now after it arrived, now before: nobody knows which."""
    wire = one(stage, dice).database
    assert wire is not None
    for _ in range(dice.randint(1, 4)):
        lost = wire.lost_answers
        wire.lose_answer_to(b"COMMIT", and_request=dice.random() < 0.5)
        for _ in range(20):
            if wire.lost_answers > lost:
                break
            await asyncio.sleep(0.1)


async def lock_the_file(stage: Stage, dice: random.Random) -> None:
    """Another process is in the middle of a write, sometimes for longer than the desk waits (5 s)."""
    connected = sqlite3.connect(stage.file, isolation_level=None, timeout=10, check_same_thread=False)
    with closing(connected) as database:
        try:
            await asyncio.to_thread(database.execute, "BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return  # it is locked: an instance was stopped in the middle of its own write
        await asyncio.sleep(dice.uniform(1, 7))
        database.execute("ROLLBACK")


# ---- wires ----


async def cut(wire: Proxy, dice: random.Random) -> None:
    for _ in range(dice.randint(1, 3)):
        wire.cut()
        await asyncio.sleep(dice.uniform(0, 0.5))


async def delay(wire: Proxy, dice: random.Random) -> None:
    wire.delay = dice.uniform(0.05, 0.5)
    await asyncio.sleep(dice.uniform(1, 4))
    wire.delay = 0.0


async def hold(wire: Proxy, dice: random.Random) -> None:
    """Half open: nothing arrives and nobody is told; then all of it does, or the connection is reset."""
    wire.hold()
    await asyncio.sleep(dice.uniform(1, 6))
    if dice.random() < 0.5:
        wire.cut()
    wire.let_go()


def on_wire(name: str, harm: Callable[[Proxy, random.Random], Awaitable[None]]) -> Fault:
    async def fault(stage: Stage, dice: random.Random) -> None:
        wire: Proxy = getattr(one(stage, dice), name)
        await harm(wire, dice)

    fault.__name__ = f"{harm.__name__}_the_wire_to_{name}"
    return fault


TO_INSTANCES: list[Fault] = [
    kill_an_instance,
    kill_an_instance,
    restart_an_instance,
    make_a_zombie,
    make_a_zombie,
    kill_both_instances,
]
AROUND_THEM: list[Fault] = [
    empty_valkey,
    pause_valkey,
    *(on_wire(name, harm) for name in ("front", "store") for harm in (cut, delay, hold)),
]
ON_SQLITE: list[Fault] = [lock_the_file]
ON_POSTGRES: list[Fault] = [
    restart_postgres,
    lose_commits,
    lose_commits,
    *(on_wire("database", harm) for harm in (cut, delay, hold)),
]


def lanes(stage: Stage) -> list[list[Fault]]:
    """Faults of two lanes may happen at the same time, those of one lane follow each other."""
    return [TO_INSTANCES, AROUND_THEM + (ON_POSTGRES if stage.postgres else ON_SQLITE)]
