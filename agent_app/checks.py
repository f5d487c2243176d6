"""What `manage.py check` and the start say about letters and files."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register


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
