"""The desks that a simulation starts for itself: `manage.py serve` as its operator runs it, on files of their own."""

import asyncio
import os
import secrets
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings

from agent_app import demo
from agent_app.simulation.wire import Wire

STARTS_WITHIN = 300.0  # seconds; the first start builds the knowledge's index
STOPS_WITHIN = 20.0
BACK_ENDS = ("crm", "billing", "inventory")


class DoesNotStart(Exception):
    """A desk of our own ended, or did not answer in time; the text has the end of its log."""


class Desk:
    """One process. `settings` are given as in the environment, over those of this process."""

    def __init__(self, folder: Path, name: str, **settings_: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"{name}.log"
        self.database = folder / f"{name}.sqlite3"
        environ = {"DATABASE_URL": f"sqlite:///{self.database}", "MEDIA_ROOT": str(folder / "media")}
        self.environ = os.environ | OURS | environ | settings_
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *options: str) -> None:
        """Returns once /readyz says that it is ready. Raises DoesNotStart."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(settings.BASE_DIR / "manage.py"), "serve"),
                *("--host", "127.0.0.1", "--port", str(self.port), *options),
                cwd=settings.BASE_DIR,
                env=self.environ,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + STARTS_WITHIN
        async with httpx.AsyncClient(trust_env=False) as http:
            while not await self._is_ready(http):
                if self.process.returncode is not None or time.monotonic() > deadline:
                    await self.stop(signal.SIGKILL)
                    raise DoesNotStart(f"the desk did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
                await asyncio.sleep(0.05)

    async def _is_ready(self, http: httpx.AsyncClient) -> bool:
        try:
            return (await http.get(f"{self.url}/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def is_whole(self) -> bool:
        """It runs, and no circuit to a back end is open."""
        if self.process is None or self.process.returncode is not None:
            return False
        async with httpx.AsyncClient(trust_env=False) as http:
            try:
                metrics = (await http.get(f"{self.url}/metrics")).text
            except httpx.TransportError:
                return False
        return not any(
            line.startswith("supportdesk_circuit_open{") and line.endswith(" 1.0") for line in metrics.splitlines()
        )

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(how)
        try:
            async with asyncio.timeout(STOPS_WITHIN):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    async def die(self) -> None:
        await self.stop(signal.SIGKILL)

    def tracebacks(self) -> int:
        """How many its log holds: a desk under simulation has no reason to log one."""
        return self.log.read_text(errors="replace").count("Traceback (most recent call last)")


# A desk for development, whatever this process is: nothing of the operator's own systems is touched.
OURS = {
    "DEBUG": "true",
    "ALLOWED_HOSTS": "",
    "ALLOWED_ORIGINS": "",
    "SECURE_SSL_REDIRECT": "false",
    "TRUSTED_PROXIES": "",
    "USE_SHARED_CONTEXT": "false",
    "CHAT_RATE_LIMIT": "100000/min",
    "CHAT_SESSION_RATE_LIMIT": "100000/min",
    "CHAT_DEBUG_METADATA": "true",
    "EMAIL_HOST": "",
    "STAFF_EMAIL": "",
    "AGENT_RESPONDER": "",
    "AGENT_TOOL_REGISTRY_MODE": "registry",
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "line",
    **{f"{name.upper()}_{what}": "" for name in BACK_ENDS for what in ("URL", "KEY")},
}


class Desks:
    """One desk with the demo shop; and, when a scenario asks for it, two that reach that shop over wires."""

    def __init__(self, folder: Path, model: str = "") -> None:
        self.folder = folder
        self.identity_key = secrets.token_urlsafe(32)
        # The demo shop's own key is made of the SECRET_KEY, so that it has to be this process's.
        self.settings = {
            "SECRET_KEY": settings.SECRET_KEY,
            "IDENTITY_SECRET": self.identity_key,
            "AGENT_MODEL": model,
        }
        self.shop = Desk(folder, "shop", DEMO_BACKEND="on", **self.settings)
        self.pair: list[Desk] = []
        self.wires: list[Wire] = []
        self.broken: set[str] = set()  # names of the faults since the pair was whole

    async def start(self) -> None:
        await self.shop.start("--prepare")
        # Before the first chat: the pair begins with the same knowledge and nothing else.
        await asyncio.to_thread(copy_database, self.shop.database, self.folder / "pair.sqlite3")

    async def whole_pair(self) -> list[Desk]:
        """Both instances, running, with whole wires and closed circuits: begun, or begun again, where they are not."""
        if not self.pair:
            await self._make_pair()
        self.broken.clear()
        for wire in self.wires:
            wire.mend()
        await asyncio.gather(*(self._make_whole(desk) for desk in self.pair))
        return self.pair

    async def _make_pair(self) -> None:
        for name in ("first", "second"):
            wire = Wire(self.shop.url)
            await wire.start()
            self.wires.append(wire)
            reached: dict[str, str] = {"DEMO_BACKEND": "off", "TURN_LEASE": "3", "TURN_RECOVERY_INTERVAL": "1"}
            for back_end in BACK_ENDS:
                reached[f"{back_end.upper()}_URL"] = f"http://127.0.0.1:{wire.port}/demo/backend/{back_end}"
                reached[f"{back_end.upper()}_KEY"] = demo.access_key()
            reached["DATABASE_URL"] = f"sqlite:///{self.folder / 'pair.sqlite3'}"
            self.pair.append(Desk(self.folder, name, **self.settings, **reached))

    async def _make_whole(self, desk: Desk) -> None:
        if not await desk.is_whole():
            await desk.stop()
            await desk.start()

    async def stop(self) -> None:
        await asyncio.gather(*(desk.stop() for desk in (self.shop, *self.pair)))
        for wire in self.wires:
            await wire.stop()

    def tracebacks(self) -> int:
        return sum(desk.tracebacks() for desk in (self.shop, *self.pair) if desk.log.exists())

    def break_(self, name: str, value: Any) -> None:
        """A scenario's fault, on both wires: which instance writes next is not known before."""
        self.broken.add(name)
        for desk, wire in zip(self.pair, self.wires, strict=True):
            match name, value:
                case "back_end", "down" | "up":
                    wire.down = value == "down"
                case "answers_lost", int():
                    wire.answers_lost = value
                case "writes_refused", int():
                    wire.writes_refused = value
                case "kill", "before_write":
                    wire.before_write = self.killing(desk)
                case "kill", "after_write":
                    wire.after_write = self.killing(desk)

    def unmet(self) -> list[str]:
        """Faults that no request met: what was to be shown was not."""
        return sorted(self.broken.difference(*(wire.met for wire in self.wires)))

    def killing(self, desk: Desk) -> Callable[[], Awaitable[None]]:
        async def kill() -> None:
            # The other instance, which takes the turn over, must live.
            for wire in self.wires:
                wire.before_write = wire.after_write = None
            await desk.die()

        return kill


def copy_database(from_: Path, to: Path) -> None:
    with closing(sqlite3.connect(from_)) as source, closing(sqlite3.connect(to)) as copy:
        source.backup(copy)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
