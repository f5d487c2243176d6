"""Says whether the audit log is still what was written, and where it is not."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from agent_app.management.progress import Progress
from agent_app.models import AuditEntry
from agent_app.models.audit_check import AuditCheck

ALTERED = 1  # the exit code when the log is not what was written
SHOWN = 50


class Command(BaseCommand):
    help = (
        "Checks the audit log against its digests and seals: rows that were changed, moved or taken out, and seals "
        "that do not follow one another. Ends with 1 when it finds any."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--head", default="", help="a seal's hash noted earlier, elsewhere: finds a log cut off")
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        plain = not options["json"]
        on_terminal = plain and self.stdout.isatty()
        with Progress(self.stdout, "read", AuditEntry.objects.count() if on_terminal else 0) as advance:
            check = AuditCheck.run(options["head"], advance)
        if plain:
            self.tell(check)
        else:
            self.stdout.write(json.dumps(asdict(check) | {"sound": not check.findings}))
        if check.findings:
            raise CommandError(f"The audit log was altered: {len(check.findings)} findings.", returncode=ALTERED)

    def tell(self, check: AuditCheck) -> None:
        for finding in check.findings[:SHOWN]:
            self.stdout.write(f"{finding.kind}: {finding.says}")
        if len(check.findings) > SHOWN:
            self.stdout.write(f"… and {len(check.findings) - SHOWN} more.")
        self.stdout.write(
            f"{check.entries} entries ({check.erased} with details erased) under {check.seals} seals. "
            f"Head: {check.head or 'nothing is sealed yet'}"
        )
