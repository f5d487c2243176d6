"""A PostgreSQL of the driver's own, so that it can be restarted under the desks."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.conftest import free_port

VERSIONS = Path("/usr/lib/postgresql")  # Debian keeps the server's programs out of PATH
OPTIONS = "-c listen_addresses=127.0.0.1 -c max_connections=100"


def programs() -> Path | None:
    """The folder of the server's programs; None where they are not installed."""
    folders = sorted((folder / "bin" for folder in VERSIONS.glob("*")), reverse=True)
    folders += [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    wanted = ("initdb", "pg_ctl", "createdb")
    return next((folder for folder in folders if all((folder / name).exists() for name in wanted)), None)


class PostgresServer:
    def __init__(self, folder: Path, durable: bool = False) -> None:
        """Not `durable`: without fsync, for what tests kill is a process, never the machine."""
        self.folder = folder / "postgres"
        self.fsync = "on" if durable else "off"
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"postgres://supportdesk@127.0.0.1:{self.port}/supportdesk"

    def create(self) -> None:
        self.folder.mkdir()
        if os.getuid() == 0:  # initdb refuses to run as root
            for folder in (self.folder, *self.folder.parents[:4]):  # pytest's, a worker's own among them
                folder.chmod(folder.stat().st_mode | 0o755)
            shutil.chown(self.folder, self._owner())
        self._run("initdb", "-D", "data", "-U", "supportdesk", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "supportdesk", "supportdesk")

    def start(self) -> None:
        options = f"{OPTIONS} -c fsync={self.fsync} -c port={self.port} -c unix_socket_directories={self.folder}"
        self._run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        """`immediate` is a crash that the next start recovers from; `fast` ends every connection in order."""
        try:
            self._run("pg_ctl", "-D", "data", "-w", "-m", how, "stop")
        except subprocess.CalledProcessError:
            if self.runs():  # a server that had ended by itself is stopped, too
                raise

    def runs(self) -> bool:
        try:
            self._run("pg_ctl", "-D", "data", "status")
        except subprocess.CalledProcessError:
            return False
        return True

    def _owner(self) -> str:
        return "postgres" if "\npostgres:" in Path("/etc/passwd").read_text() else "nobody"

    def _run(self, program: str, *arguments: str) -> None:
        folder = programs()
        assert folder is not None, "PostgreSQL's initdb and pg_ctl are not installed"
        user = self._owner() if os.getuid() == 0 else None
        command = [f"{folder}/{program}", *arguments]
        # No pipes: the server inherits them and would keep them open.
        with (self.folder / "commands").open("ab") as said:
            subprocess.run(command, cwd=self.folder, user=user, stdout=said, stderr=said, check=True, timeout=240)
