"""Customers, a person and faults over two real instances; then the log is held against what everybody was told.

    make soak SECONDS=600 SEED=7 DATABASE=postgres

The seed decides what is tried and when; what the machine makes of it differs from run to run.
"""

import argparse
import asyncio
import json
import os
import random
import secrets
import shutil
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from tests.desk import CHECKOUT
from tests.faults import faults
from tests.faults.customer import PATIENCE, Customer
from tests.faults.promises import Chat, Ledger
from tests.faults.stage import Stage

CUSTOMERS = 60
FEWER = 20  # in a run of less than a minute, which shares the machine with other tests
ANSWERED_WITHIN = timedelta(seconds=20)  # after the last fault, every chat
PAGE = 200

Say = Callable[[str], None]


class Staff:
    """A person who takes over, replies, releases, and away customers whose time runs out."""

    def __init__(self, stage: Stage, ledger: Ledger, dice: random.Random) -> None:
        self.stage = stage
        self.ledger = ledger
        self.dice = dice
        self.leave = asyncio.Event()
        self._has: list[Chat] = []
        self._process: Process | None = None

    async def start(self) -> None:
        """Before the first fault, for it looks itself up in the database."""
        environ = os.environ | {"DATABASE_URL": self.stage.database_url}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.faults.staff", cwd=CHECKOUT, env=environ, stdin=PIPE, stdout=PIPE
        )
        assert self._process.stdout is not None
        assert await self._process.stdout.readline(), "The staff's process did not start"

    async def run(self) -> None:
        assert self._process is not None
        try:
            while not self.leave.is_set():
                await self._act()
                await asyncio.sleep(self.dice.uniform(0.1, 0.6))
        finally:
            if self._process.stdin is not None:
                self._process.stdin.close()  # before Python 3.12 `communicate` leaves it open, and the person stays
            await self._process.communicate()

    async def _act(self) -> None:
        busy = [chat for chat in self.ledger.chats[-CUSTOMERS:] if not chat.ended and chat not in self._has]
        if self._has and self.dice.random() < 0.5:
            await self._serve(self._has[0])
        elif busy:
            await self._interrupt(self.dice.choice(busy))

    async def _serve(self, chat: Chat) -> None:
        if self.dice.random() < 0.5 and await self._ask("reply", chat) == "done":
            return
        if await self._ask("release", chat) != "unavailable":
            self._has.remove(chat)

    async def _interrupt(self, chat: Chat) -> None:
        if self.dice.random() < 0.3:
            await self._ask("expire", chat)
        elif await self._ask("take over", chat) == "done":
            self._has.append(chat)

    async def _ask(self, what: str, chat: Chat) -> str:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, "session_id": chat.session_id}).encode() + b"\n")
        answer: str = json.loads(await self._process.stdout.readline())
        if answer == "done":
            self.ledger.counts[f"times a person did: {what}"] += 1
        return answer


class Driver:
    def __init__(self, stage: Stage, seed: str, customers: int, say: Say) -> None:
        self.stage = stage
        self.seed = seed
        self.say = say
        self._reading = asyncio.Semaphore(10)
        self.ledger = Ledger()
        self.http = httpx.AsyncClient(timeout=PATIENCE, trust_env=False, limits=httpx.Limits(max_connections=100))
        self.customers = [Customer(stage, self.ledger, self.http, self.dice(f"customer {n}")) for n in range(customers)]
        self.staff = Staff(stage, self.ledger, self.dice("staff"))

    def dice(self, of_whom: str) -> random.Random:
        return random.Random(f"{self.seed} {of_whom}")

    async def run(self, seconds: float) -> Ledger:
        await self.staff.start()
        customers = [asyncio.create_task(customer.run()) for customer in self.customers]
        staff = asyncio.create_task(self.staff.run())
        await self._break_things(seconds)
        healed = datetime.now(UTC)
        self.staff.leave.set()
        for customer in self.customers:
            customer.leave.set()
        await asyncio.wait(customers, timeout=ANSWERED_WITHIN.total_seconds())
        for customer in self.customers:
            customer.give_up.set()
        await asyncio.gather(staff, *customers)
        await self._settle(healed)
        await asyncio.gather(*(customer.catch_up(10) for customer in self.customers))
        await self._audit(healed)
        await self._leave()
        return self.ledger

    async def _break_things(self, seconds: float) -> None:
        """One fault after another; a long run has longer pauses, in which much is written."""
        lanes = enumerate(faults.lanes(self.stage))
        await asyncio.gather(*(self._lane(lane, self.dice(f"faults {number}"), seconds) for number, lane in lanes))

    async def _lane(self, possible: list[faults.Fault], dice: random.Random, seconds: float) -> None:
        until = time.monotonic() + seconds
        pause = min(10.0, max(3.0, seconds / 30))
        await asyncio.sleep(dice.uniform(0.5, 2))
        while time.monotonic() < until:
            fault = dice.choice(possible)
            name = fault.__name__.replace("_", " ")
            self.say(f"{until - time.monotonic():6.1f} s left: {name}")
            self.ledger.faults[name] += 1
            await fault(self.stage, dice)
            await asyncio.sleep(dice.uniform(0.5, pause))

    async def _settle(self, healed: datetime) -> None:
        """Until nobody waits, or the time allowed is over; then the audit."""
        waiting = list(self.ledger.chats)
        while waiting and datetime.now(UTC) - healed < ANSWERED_WITHIN:
            logs = await asyncio.gather(*(self._log_of(chat) for chat in waiting))
            waiting = [chat for chat, (state, log) in zip(waiting, logs, strict=True) if self.ledger.waits(state, log)]

    async def _audit(self, healed: datetime) -> None:
        last_answer = healed
        logs = await asyncio.gather(*(self._log_of(chat) for chat in self.ledger.chats))
        for chat, (state, log) in zip(self.ledger.chats, logs, strict=True):
            self.ledger.audit(chat, state, log)
            times = [datetime.fromisoformat(message["created_at"]) for message in log if message["role"] == "agent"]
            last_answer = max([last_answer, *times])
        seconds = (last_answer - healed).total_seconds()
        self.say(f"The last answer came {seconds:.1f} s after the last fault.")
        if last_answer - healed > ANSWERED_WITHIN:
            self.ledger.broken(5, f"answers came up to {seconds:.0f} s after the last fault", self.ledger.chats[-1])

    async def _log_of(self, chat: Chat) -> tuple[str, list[dict[str, Any]]]:
        url = f"{self.stage.instances[0].url}/api/v1/chat/sessions/{chat.session_id}"
        log: list[dict[str, Any]] = []
        while True:
            page = await self._get(f"{url}/messages/?limit={PAGE}&after={len(log)}", chat)
            log += page["results"]
            if not page["has_more"]:
                return (await self._get(f"{url}/", chat))["state"], log

    async def _get(self, url: str, chat: Chat) -> dict[str, Any]:
        answer = "no answer"
        for _ in range(20):
            try:
                async with self._reading:
                    response = await self.http.get(url, headers=chat.headers)
            except httpx.TransportError:
                await asyncio.sleep(0.5)
                continue
            if response.status_code == 200:
                body: dict[str, Any] = response.json()
                return body
            answer = f"{response.status_code} {response.text}"
            await asyncio.sleep(0.5)
        raise AssertionError(f"No instance gives the log of a chat: {answer}")

    async def _leave(self) -> None:
        for customer in self.customers:
            if customer.tab is not None:
                await customer.tab.close(rudely=True)
        await self.http.aclose()


@asynccontextmanager
async def staged(folder: Path, database: str) -> AsyncIterator[Stage]:
    stage = Stage(folder, database)
    try:
        await stage.start()
        yield stage
    finally:
        await stage.stop()


async def soak(folder: Path, database: str, seconds: float, seed: str, say: Say) -> Ledger:
    async with staged(folder, database) as stage:
        say(f"{database}, {seconds:.0f} s, seed {seed}")
        ledger = await Driver(stage, seed, CUSTOMERS if seconds >= 60 else FEWER, say).run(seconds)
    say(ledger.report())
    for line, times in tracebacks(folder):
        say(f"in the logs: {times} × {line}")
    return ledger


def tracebacks(folder: Path) -> list[tuple[str, int]]:
    """The last line of each traceback that the instances logged."""
    ends: dict[str, int] = {}
    for log in folder.glob("desk-*.log"):
        inside = False
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith("Traceback"):
                inside = True
            elif inside and line and not line.startswith((" ", "|", "+", "\t")):
                ends[line] = ends.get(line, 0) + 1
                inside = False
    return sorted(ends.items(), key=lambda end: -end[1])


def tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the driver's report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--keep", action="store_true", help="keep the logs and the database, and say where they are")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        ledger = asyncio.run(soak(folder, asked.database, asked.seconds, asked.seed, tell))
    finally:
        if asked.keep:
            tell(str(folder))
        else:
            shutil.rmtree(folder)
    return 0 if ledger.kept else 1


if __name__ == "__main__":
    sys.exit(main())
