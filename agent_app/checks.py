"""What `manage.py check` and the start say about letters and files."""

import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register


@register("mail", deploy=True)
def letters_in_the_log(**kwargs: Any) -> list[CheckMessage]:
    """In place of Django's mail.E001, which names a setting that operators do not have."""
    backend = settings.MAILERS["default"]["BACKEND"] if hasattr(settings, "MAILERS") else settings.EMAIL_BACKEND
    if backend != "django.core.mail.backends.console.EmailBackend":
        return []
    return [
        Warning(
            "Letters are printed to the log, names and texts with them, and reach nobody.",
            hint="Set EMAIL_HOST and what belongs to it, so that staff and customers get them.",
            id="agent_app.W001",
        )
    ]


@register(Tags.files)
def files_cannot_be_kept(**kwargs: Any) -> list[CheckMessage]:
    """A warning alone: everything else works, and a folder of another machine may be back soon."""
    folder = Path(settings.MEDIA_ROOT)
    there = next(place for place in (folder, *folder.parents) if os.path.exists(place))  # the rest is made when needed
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return []
    return [
        Warning(
            f"MEDIA_ROOT={str(folder)!r} cannot be written: customers' files are refused.",
            hint="Let the desk's user write there, or name another folder in MEDIA_ROOT.",
            id="agent_app.W002",
        )
    ]
