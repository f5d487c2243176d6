"""A desk of its own for a test: `manage.py serve` as its operator runs it, in another process."""

import atexit
import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import closing
from functools import cache
from pathlib import Path

import httpx
import psycopg

from tests.chat_client import PATIENCE, PLAIN
from tests.conftest import free_port

CHECKOUT = Path(__file__).resolve().parent.parent
LONGEST_START = 240  # seconds, and as many to an end: a busy machine may start several at a time
NEWEST_INDEX = "SELECT payload FROM agent_app_indexgeneration ORDER BY id DESC LIMIT 1"


class Desk:
    """One running instance; settings are given as in the environment."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = int(settings.pop("PORT", 0)) or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.sockets = f"ws://127.0.0.1:{self.port}"
        self.log = folder / f"desk-{self.port}.log"
        folders = {"MEDIA_ROOT": str(folder / "media"), "STATIC_ROOT": str(folder / "static")}
        self.environ = os.environ | {"PORT": str(self.port), **folders} | settings
        if "DATABASE_URL" not in settings:
            self.environ["DATABASE_URL"] = database_of_its_own(folder)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Returns once /healthz answers; raises with the log when it does not within LONGEST_START.

        The sample knowledge is there without `--prepare`, too; with it the start is that of `make run`.
        """
        self.launch(*options)
        self.wait()

    def launch(self, *options: str) -> None:
        command = [sys.executable, "manage.py", "serve", *options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=CHECKOUT, env=self.environ, stdout=log, stderr=log)

    def wait(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + LONGEST_START
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop(signal.SIGKILL)
                raise AssertionError(f"The desk did not start:\n{self.log.read_text()}")
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", verify=PLAIN).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit code; the process has ended when this returns."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(LONGEST_START)


def collect_static(environ: dict[str, str]) -> None:
    """What a desk needs that starts with DEBUG off."""
    command = [sys.executable, "manage.py", "collectstatic", "--noinput", "-v", "0"]
    subprocess.run(command, cwd=CHECKOUT, env=environ, check=True)


def until_they_hear_each_other(*desks: Desk) -> None:
    """Until each has heard of all the others: before that a ring reaches nobody, and what it tells is found by the
    poll, or is lost where it only passes by.
    """
    deadline = time.monotonic() + LONGEST_START
    for desk in desks:
        while neighbours_of(desk) < len(desks) - 1:
            assert time.monotonic() < deadline, desk.log.read_text()
            time.sleep(0.05)


def neighbours_of(desk: Desk) -> int:
    parts = httpx.get(f"{desk.url}/readyz", verify=PLAIN, timeout=PATIENCE).json()["parts"]
    return int(parts["doorbell"]["neighbours"])


def database_of_its_own(folder: Path) -> str:
    """The address of a database with the sample knowledge: on the run's PostgreSQL when there is one, else in `folder`.

    On PostgreSQL it is left behind, since a test may start a desk on it again; the run's server goes as a whole.
    """
    template = prepared_database()
    if template.startswith("sqlite:///"):
        shutil.copy(template.removeprefix("sqlite:///"), folder / "desk.sqlite3")
        return f"sqlite:///{folder / 'desk.sqlite3'}"
    return create_database(template.rpartition("/")[2])


@cache
def prepared_database() -> str:
    """Migrated, loaded and indexed once a run: building the index takes seconds, copying it none.

    The processes of one run (pytest-xdist's workers) share it: the first that comes makes it, the others wait.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    folder = Path(tempfile.gettempdir()) / f"desk-{run}" if run else Path(tempfile.mkdtemp(prefix="desk-"))
    folder.mkdir(exist_ok=True)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / "address"
        if not made.exists():
            made.write_text(make_database(folder))
        return made.read_text()


def make_database(folder: Path) -> str:
    on_postgres = os.environ.get("DATABASE_URL", "").startswith("postgres")
    address = create_database() if on_postgres else f"sqlite:///{folder}/template.sqlite3"
    for command in ("migrate", "load_knowledge"):
        arguments = [sys.executable, "manage.py", command, "-v", "0"]
        environ = os.environ | {"DATABASE_URL": address}
        subprocess.run(arguments, cwd=CHECKOUT, env=environ, check=True, stdout=subprocess.DEVNULL)
    return address


def prepared_index() -> bytes:
    """The index that the prepared database holds: building it takes seconds."""
    address = prepared_database()
    if address.startswith("sqlite:///"):
        with closing(sqlite3.connect(address.removeprefix("sqlite:///"))) as file:
            row = file.execute(NEWEST_INDEX).fetchone()
    else:
        with psycopg.connect(address) as connection:
            row = connection.execute(NEWEST_INDEX).fetchone()
    assert row is not None
    return bytes(row[0])


def create_database(template: str = "template1") -> str:
    name = f"desk_{uuid.uuid4().hex}"
    server = os.environ["DATABASE_URL"]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return f"{server.rpartition('/')[0]}/{name}"
