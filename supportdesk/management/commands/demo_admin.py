"""`manage.py demo_admin`: a staff account to look around with, on a development machine only."""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

NAME = PASSWORD = "admin"  # noqa: S105 - known to everyone, hence refused with DEBUG off


class Command(BaseCommand):
    help = "Makes the demo admin account (admin, password admin) under DEBUG; an account there is stays as it is."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("demo_admin has a known password and needs DEBUG: use manage.py createsuperuser.")
        users = get_user_model()._default_manager
        if not users.filter(username=NAME).exists():
            users.create_superuser(username=NAME, email="", password=PASSWORD)
        self.stdout.write(f"Staff: /admin/ and /desk/, user {NAME}, password {PASSWORD} (demo account, DEBUG only)")
