"""Two instances of the desk on one database and one Valkey, with a proxy in every wire."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ValkeyServer, free_port
from tests.desk import CHECKOUT, Desk
from tests.faults.postgres import PostgresServer
from tests.faults.proxy import Proxy

LEASE = 3  # seconds
SETTINGS = {
    "AGENT_RESPONDER": "agent_app.agent.scripted.ScriptedResponder",
    "AGENT_SCRIPTED_DELAY": "0.2",
    "TURN_LEASE": str(LEASE),
    "TURN_RECOVERY_INTERVAL": "1",
    "CHAT_RATE_LIMIT": "100000/min",
    "CHAT_SESSION_RATE_LIMIT": "100000/min",
    "USE_SHARED_CONTEXT": "true",
}


@dataclass
class Instance:
    """`front` is where customers come in; `store` and `database` lead from the instance to its servers."""

    name: str
    desk: Desk
    front: Proxy
    store: Proxy
    database: Proxy | None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.front.port}"

    @property
    def wires(self) -> list[Proxy]:
        return [wire for wire in (self.front, self.store, self.database) if wire is not None]

    def send(self, what: signal.Signals) -> None:
        assert self.desk.process is not None
        os.kill(self.desk.process.pid, what)

    async def start(self) -> None:
        await asyncio.to_thread(self.desk.start)

    async def stop(self, how: signal.Signals) -> None:
        await asyncio.to_thread(self.desk.stop, how)


class Stage:
    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.valkey = ValkeyServer(folder)
        self.postgres = PostgresServer(folder) if database == "postgres" else None
        self.instances: list[Instance] = []

    @property
    def file(self) -> Path:
        return self.folder / "desk.sqlite3"

    @property
    def database_url(self) -> str:
        return self.postgres.url if self.postgres else f"sqlite:///{self.file}"

    async def start(self) -> None:
        await asyncio.to_thread(self.valkey.start)
        if self.postgres is not None:
            await asyncio.to_thread(self.postgres.create)
        self.instances = [await self._instance(name) for name in "AB"]
        await asyncio.to_thread(self._migrate)
        await asyncio.gather(*(instance.start() for instance in self.instances))

    def _migrate(self) -> None:
        command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        environ = os.environ | {"DATABASE_URL": self.database_url}
        subprocess.run(command, cwd=CHECKOUT, env=environ, check=True, timeout=600)

    async def _instance(self, name: str) -> Instance:
        port = free_port()
        store, front = Proxy(self.valkey.port), Proxy(port)
        database = Proxy(self.postgres.port) if self.postgres else None
        for wire in (store, front, database):
            if wire is not None:
                await wire.start()
        url = f"postgres://supportdesk@127.0.0.1:{database.port}/supportdesk" if database else self.database_url
        reached = {"PORT": str(port), "REDIS_URL": f"redis://127.0.0.1:{store.port}/0", "DATABASE_URL": url}
        return Instance(name, Desk(self.folder, **SETTINGS, **reached), front, store, database)

    async def stop(self) -> None:
        for instance in self.instances:
            if instance.desk.process is not None:
                await instance.stop(signal.SIGKILL)
            for wire in instance.wires:
                await wire.stop()
        self.valkey.stop()
        if self.postgres is not None:
            await asyncio.to_thread(self.postgres.stop)

    def any_url(self, dice: random.Random) -> str:
        return dice.choice(self.instances).url
