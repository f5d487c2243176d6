"""`manage.py runserver`: `serve`, started anew whenever a source file changes."""

import socket
from contextlib import suppress
from typing import Any

import django
import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from uvicorn.supervisors import ChangeReload


class Command(BaseCommand):
    help = "Serves the desk for development: as `serve` does, and again after every change of a source file."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("addrport", nargs="?", default="", help="port, or address:port")

    def handle(self, *args: Any, addrport: str, **options: Any) -> None:
        host, _, port = addrport.rpartition(":")
        if port and not port.isdigit():
            raise CommandError(f"{addrport!r} is not a port or address:port: write 8000 or 127.0.0.1:8000.")
        # uvicorn's supervisor watches and listens; the application is the child's affair.
        watched = uvicorn.Config(
            "supportdesk.asgi:application",
            host=host or settings.HOST,
            port=int(port or settings.PORT),
            reload=True,
            reload_dirs=[str(settings.BASE_DIR / name) for name in ("supportdesk", "sessions_app", "agent_app")],
            log_config=None,
        )
        self.stdout.write(f"Supportdesk on http://{watched.host}:{watched.port}/, again after each change")
        with suppress(KeyboardInterrupt):
            ChangeReload(watched, target=serve_here, sockets=[watched.bind_socket()]).run()


def serve_here(sockets: list[socket.socket] | None) -> None:
    """In the child, a new process that has not set Django up when it finds this function."""
    django.setup()
    from supportdesk.server import Server, configured

    with suppress(KeyboardInterrupt):
        Server(configured(settings.HOST, settings.PORT)).run(sockets)
