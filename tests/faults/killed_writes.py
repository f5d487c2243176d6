"""Exactly once, by force: processes are killed at each await of a confirmed write, and others finish what they began.

    python -m tests.faults.killed_writes --times 50 [--seed 7] [--json]

A process that has everything imported, and nothing running, forks one for each life. The first takes the customer's
click, answers it, and sends itself SIGKILL at its nth await: its threads, its connections and what they were committing
die as they stand. The customer, who heard nothing, sends the click again; another process takes the turn over, and dies
itself now and then. The order system is slow by as much as chance wants, so that the dead one's request may take effect
before, while or after the other's comes. It says 409 to who asks for what it is still doing. On
SQLite, or on PostgreSQL where DATABASE_URL names a server.

Exit code 1 when a write was done twice or never, was claimed without being done, or was answered twice.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx

from tests.desk import CHECKOUT, create_database
from tests.order_system import ORDER, Answer, OrderSystem, as_json

LONGEST_LIFE = 240  # seconds until a process that hangs is ended
SECOND_DEATHS = 0.25  # of those who take over
DONE = "Order 1050 is cancelled."


@dataclass(frozen=True)
class Life:
    """What a process is to do: the click on `confirmation` (None: it asks for the offer first), up to its `dies_at`th
    await, which it outlives by `lingers` seconds, so that its other threads get as far as chance wants. `click` is the
    click's client_id.
    """

    shop: str
    chat: int | None = None
    confirmation: str = ""
    dies_at: int | None = None
    lingers: float = 0.0
    click: str = "click 1"


class Mortal:
    """Counts the awaits of a coroutine, and kills this process at one of them."""

    def __init__(self, coroutine: Any, life: Life) -> None:
        self.coroutine, self.life, self.awaits = coroutine, life, 0

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self.coroutine.__await__()
        go_on = partial(steps.send, None)
        while True:
            try:
                waits_for = go_on()
            except StopIteration:
                return
            if self.awaits == self.life.dies_at:
                time.sleep(self.life.lingers)  # of this thread alone
                os.kill(os.getpid(), signal.SIGKILL)
            self.awaits += 1
            try:
                go_on = partial(steps.send, (yield waits_for))
            except asyncio.CancelledError as cancelled:
                go_on = partial(steps.throw, cancelled)


# ---- in the forked process ----


async def live(life: Life, tell: Connection) -> None:
    from agent_app import chat
    from agent_app.journal import journal
    from agent_app.models import Conversation
    from tests.talk import Talk

    if life.chat is None:
        talk = Talk((await chat.open_chat("C-1001", True, {}))[0])
        life = replace(life, chat=talk.pk, confirmation=await talk.offer())
    else:
        talk = Talk(await journal.read(Conversation.objects.get, pk=life.chat))
    tell.send(("offered", life.chat, life.confirmation))
    tell.send(("before", [m["text"] for m in await talk.log() if m["role"] == "agent"]))
    body = Mortal(click_and_answer(talk, life.confirmation, life.click), life)

    async def run() -> None:
        await body

    await asyncio.create_task(run())
    tell.send(("after", body.awaits, await talk.log(), await talk.states()))


async def click_and_answer(talk: Any, confirmation: str, client_id: str) -> None:
    """The click as a door takes it, with its client_id where it was sent before, too; then whatever turn is due."""
    from agent_app import chat
    from agent_app.journal import journal
    from agent_app.models.turns import CustomerMessage

    chosen = await chat.choose(talk.conversation, confirmation)
    decision = {"confirmation": confirmation, "agreed": True}
    message = CustomerMessage(talk.pk, chosen.text, client_id, holder=f"process {os.getpid()}", decision=decision)
    sent = await journal.do(message)
    if sent.lease is not None:
        await talk.turn(sent.lease)
    else:
        await talk.taken_over()


def nursery(ask: Connection) -> None:
    """Forks a process for each life that is asked for; answers how it ended and what it told."""
    import django
    from django.conf import settings

    django.setup()
    logging.disable(logging.WARNING)
    # Loaded once, for all.

    import tests.talk  # noqa: F401

    httpx.AsyncClient()

    while (life := ask.recv()) is not None:
        hear, tell = Pipe(duplex=False)
        child = os.fork()
        if child == 0:
            signal.alarm(LONGEST_LIFE)
            settings.BACKENDS = {"inventory": {"url": life.shop, "key": ""}}
            try:
                asyncio.run(live(life, tell))
            except BaseException as error:  # noqa: BLE001 - the edge of a process, which ends in the next line
                tell.send(("error", repr(error)))
            os._exit(0)
        tell.close()
        _, status = os.waitpid(child, 0)
        told = {}
        while hear.poll():
            try:
                what, *about = hear.recv()
            except EOFError:
                break
            told[what] = about
        hear.close()
        ask.send((os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, told))


# ---- in the process that watches ----


class SlowShop(OrderSystem):
    """Takes `before` seconds until a write has its effect, `after` until it is answered; 409 to a key in progress."""

    def __init__(self) -> None:
        self.before = self.after = 0.0
        self.working: Counter[str] = Counter()
        self.said_409 = 0
        self._counting = threading.Lock()
        super().__init__()
        self.server.handle_error = lambda *about: None  # those who asked die all the time

    def answer(self, method: str, path: str, key: str | None) -> Answer:
        if method == "GET" or key is None:
            return super().answer(method, path, key)
        with self._counting:
            busy = self.working[key] > 0
            self.working[key] += 1
            self.said_409 += busy
        try:
            if busy:
                self.requests.append((method, path, key))
                return as_json({"error": "in_progress"}, 409, **{"Retry-After": "0.02"})
            time.sleep(self.before)
            done = super().answer(method, path, key)
            time.sleep(self.after)
            return done
        finally:
            with self._counting:
                self.working[key] -= 1

    def settled(self, key: str) -> None:
        """Waits for the dead one's request, too."""
        while self.working[key]:
            time.sleep(0.002)

    def renew(self, before: float, after: float) -> None:
        self.orders["1050"] = dict(ORDER)
        self.effects.clear()
        self.requests.clear()
        self.before, self.after = before, after


@dataclass
class Tally:
    kills: int = 0
    second_deaths: int = 0
    in_progress: int = 0
    in_doubt: int = 0
    per_await: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    doubles: int = 0
    lost: int = 0
    false_claims: int = 0

    @property
    def awaits(self) -> int:
        return len(self.per_await)

    def to_json(self) -> dict[str, Any]:
        named = ("awaits", "kills", "second_deaths", "in_progress", "in_doubt", "doubles", "lost", "false_claims")
        named += ("problems",)
        return {name: getattr(self, name) for name in named} | {"fewest_kills_of_an_await": min(self.per_await)}


class Killing:
    def __init__(self, ask: Connection, seed: int) -> None:
        self.ask, self.seed = ask, seed
        self.shop = SlowShop()
        self.tally = Tally()

    def lives(self, life: Life) -> tuple[bool, dict[str, Any]]:
        """Whether it was killed as it should be, and what it told before."""
        self.ask.send(life)
        how, told = self.ask.recv()
        if "error" in told or how not in (0, signal.SIGKILL):
            raise RuntimeError(f"{life} ended by signal {how}: {told}")
        return how == signal.SIGKILL, told

    def everywhere(self, times: int) -> Tally:
        """Kills at each await, until there is none more."""
        enough = max(3, times // 4)  # tries in which nobody died: the last awaits are not there in every run
        while True:
            at = self.tally.awaits
            kills = tries = 0
            while kills < times and tries < max(enough, 2 * times):
                kills += self.once(at, random.Random(f"{self.seed}-{at}-{tries}"))
                tries += 1
                if tries == enough and not kills:
                    self.tally.in_progress = self.shop.said_409
                    return self.tally
            print(f"await {at}: killed {kills} times, {len(self.tally.problems)} problems", file=sys.stderr, flush=True)
            self.tally.per_await.append(kills)
            self.tally.kills += kills

    def once(self, at: int, chance: random.Random) -> bool:
        """One life up to that await, and those after it; False where it came to its end before."""
        slow = (0.0, chance.uniform(0, 0.02), chance.uniform(0, 0.3))
        self.shop.renew(chance.choice(slow), chance.choice(slow))
        lingers = chance.choice((0.0, chance.uniform(0, 0.003), chance.uniform(0, 0.02)))
        killed, told = self.lives(Life(self.shop.url, dies_at=at, lingers=lingers))
        pk, confirmation = told["offered"]
        problems, click, dead = [], 1, killed
        while dead or in_doubt(told):
            if not dead:  # its attempts were used up: the customer reads that nobody knows, and confirms once more
                click += 1
                self.tally.in_doubt += 1
            done = list(self.shop.effects)
            again = chance.randrange(0, at + 3) if chance.random() < SECOND_DEATHS else None
            life = Life(self.shop.url, pk, confirmation, again, chance.choice((0.0, 0.002)), f"click {click}")
            dead, told = self.lives(life)
            self.tally.second_deaths += dead
            if any(text.startswith(DONE) for text in told["before"][0]) and not done:
                problems.append("claimed without having been done")
                self.tally.false_claims += 1
        self.shop.settled(confirmation)
        problems += self.judge(confirmation, click, *told["after"][1:])
        self.tally.problems += [f"await {at}: {problem}" for problem in problems]
        return killed

    def judge(self, confirmation: str, clicks: int, log: list[dict[str, Any]], states: list[str]) -> list[str]:
        """Done once, each click stored once and answered once, and the last answer says so."""
        effects = self.shop.effects
        self.tally.doubles += len(effects) > 1
        self.tally.lost += not effects
        problems = [] if effects == [confirmation] else [f"effects {effects}"]
        clicked = [m["seq"] for m in log if m["role"] == "customer"][1:]  # the first asked for the cancellation
        answered = [m["reply_to"] for m in log if m["role"] == "agent"][1:]
        said = [m["text"].startswith(DONE) for m in log if m["role"] == "agent"]
        told_once = said.count(True) == 1 and said[-1]
        if len(clicked) != clicks or answered != clicked or not told_once or states != ["done"]:
            problems.append(f"clicks {clicked}, answers {[m['text'] for m in log]}, {states}")
        return problems


def in_doubt(told: dict[str, Any]) -> bool:
    """The last answer offers it once more."""
    return "after" in told and "confirm" in told["after"][1][-1]


def kill_everywhere(times: int, seed: int) -> Tally:
    """On the database that DATABASE_URL names, which it makes ready."""
    subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], cwd=CHECKOUT, check=True)
    ours, theirs = Pipe()
    nurse = os.fork()  # before there is any thread here: a fork copies one alone
    if nurse == 0:
        ours.close()
        try:
            nursery(theirs)
        finally:
            os._exit(0)
    theirs.close()
    killing = Killing(ours, seed)
    try:
        return killing.everywhere(times)
    finally:
        ours.send(None)
        os.waitpid(nurse, 0)
        killing.shop.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50, help="kills at each await")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    on_postgres = os.environ.get("DATABASE_URL", "").startswith("postgres")
    # In memory where there is such a folder: a killed process loses nothing that a disk would have kept.
    with tempfile.TemporaryDirectory(prefix="killed-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        settings = {
            "DJANGO_SETTINGS_MODULE": "supportdesk.settings",
            "DATABASE_URL": create_database() if on_postgres else f"sqlite:///{folder}/desk.sqlite3",
            "MEDIA_ROOT": folder,
            "OPENBLAS_NUM_THREADS": "1",  # whoever forks should have one thread
            "SECRET_KEY": "a key for a desk that lives for minutes alone",
            "AGENT_TOOL_REGISTRY_MODE": "registry",
        }
        os.environ.update(settings)
        began = time.monotonic()
        tally = kill_everywhere(options.times, options.seed)
    said = {**tally.to_json(), "seconds": round(time.monotonic() - began)}
    if options.json:
        print(json.dumps(said))
    else:
        print("\n".join(f"{name.replace('_', ' '):26} {value}" for name, value in said.items()))
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
