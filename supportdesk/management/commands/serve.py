"""`manage.py serve`: the desk under uvicorn, with the drain of server.py."""

import logging
from io import StringIO
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils.module_loading import import_string

from agent_app import demo
from agent_app.escalation import policy

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Serves the desk (HTTP, SSE and WebSockets). SIGTERM drains: turns finish, sockets are told to come back."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.HOST, help="address to listen on (default: HOST)")
        parser.add_argument("--port", type=int, default=settings.PORT, help="port to listen on (default: PORT)")
        parser.add_argument(
            "--prepare",
            action="store_true",
            help="first migrate, load the sample knowledge and, under DEBUG, make the demo admin and open the demo "
            "shop: all in this process",
        )

    def handle(self, *args: Any, host: str, port: int, prepare: bool, **options: Any) -> None:
        from supportdesk.server import serve

        require_production_settings()
        require_importable()
        require_policy()
        if prepare:
            self.prepare()
        else:
            require_migrations()
        self.stdout.write(f"Supportdesk on http://{host}:{port}/")
        serve(host, port)

    def prepare(self) -> None:
        call_command("migrate", verbosity=0)
        # With its index, which takes seconds the first time: the first customer must not hear "I do not know".
        said = StringIO()
        call_command("load_knowledge", stdout=said)
        self.stdout.write(f"Sample knowledge: {' '.join(said.getvalue().splitlines()[-2:])}")
        if settings.DEBUG:
            call_command("demo_admin")
        demo.open_for_this_process()


def require_production_settings() -> None:
    """With DEBUG off: what would otherwise answer every request with an error."""
    if settings.DEBUG:
        return
    if not settings.ALLOWED_HOSTS:
        raise CommandError("ALLOWED_HOSTS is empty and DEBUG is off: write the names of this site, comma separated.")
    # Pages name their assets through the manifest.
    if not (settings.STATIC_ROOT / "staticfiles.json").is_file():
        raise CommandError(f"{settings.STATIC_ROOT} holds no collected static files: run manage.py collectstatic.")


def require_importable() -> None:
    """What the settings name by dotted path: a wrong one would end the start with a traceback."""
    paths = [("AGENT_TOOLS", path) for path in settings.AGENT_TOOLS]
    if settings.AGENT_RESPONDER:
        paths.append(("AGENT_RESPONDER", settings.AGENT_RESPONDER))
    for name, path in paths:
        try:
            import_string(path)
        except ImportError as error:
            raise CommandError(f"{name}={path!r} cannot be imported ({error}): write the dotted path.") from None


def require_policy() -> None:
    """A policy that cannot be read would let every message pass, "I want to talk to a person" included."""
    try:
        policy()
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from None


def require_migrations() -> None:
    """New code over an older database would answer every message with an error.

    A database that is away stops nothing here: the desk starts, /readyz says so, and it serves once it is back.
    """
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        logger.warning("serve.database_away")
        return
    finally:
        connection.close()
    if missing:
        raise CommandError(f"The database lacks {len(missing)} migrations: run manage.py migrate.")
