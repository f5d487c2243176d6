"""`manage.py runserver`: `serve`, started anew whenever a source file changes."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Serves the desk for development: as `serve` does, and again after every change of a source file."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("addrport", nargs="?", default="", help="port, or address:port")

    def handle(self, *args: Any, addrport: str, **options: Any) -> None:
        from supportdesk.server import serve

        host, _, port = addrport.rpartition(":")
        if port and not port.isdigit():
            raise CommandError(f"{addrport!r} is not a port or address:port: write 8000 or 127.0.0.1:8000.")
        serve(host or settings.HOST, int(port or settings.PORT), reload=True)
