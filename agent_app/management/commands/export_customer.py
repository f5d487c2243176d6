"""Writes everything of a customer into one ZIP, to be given to them."""

import getpass
import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from agent_app.export import export


class Command(BaseCommand):
    help = "Writes one ZIP with everything of a customer: data.json for programs, index.html to read, and their files."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user_id", help="the customer, as your website names them")
        parser.add_argument("--output", type=Path, default=Path("customer.zip"), help="the file to write")
        parser.add_argument("--force", action="store_true", help="write over a file that is there")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["output"]
        how = os.O_CREAT | os.O_WRONLY | (os.O_TRUNC if options["force"] else os.O_EXCL)
        try:
            number = os.open(path, how, 0o600)  # nobody else's to read
        except OSError as error:
            raise CommandError(f"{path} cannot be written ({error.strerror}); --force writes over a file.") from error
        with os.fdopen(number, "wb") as file:
            os.fchmod(number, 0o600)  # also where a file was there that others could read
            chats = export(options["user_id"], file, f"operator {getpass.getuser()}")
        self.stdout.write(f"{path}: {chats} chats of {options['user_id']}.")
