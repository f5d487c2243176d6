"""What `manage.py check` and the start say about where live sessions are kept."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register


@register(Tags.caches)
def memory_store_in_production(**kwargs: Any) -> list[CheckMessage]:
    backend = settings.CACHES.get("sessions", {}).get("BACKEND", "")
    if settings.DEBUG or backend != "sessions_app.cache.IndexedLocMemCache":
        return []
    return [
        Warning(
            "Live sessions are kept in the memory of each process, and DEBUG is off.",
            hint="Set USE_SHARED_CONTEXT=true and REDIS_URL, so that every process and instance shares them.",
            id="sessions_app.W001",
        )
    ]
