"""How the desk reaches its own demo shop: through its whole HTTP stack, without knowing where it listens."""

import httpx
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler


def own_transport() -> httpx.AsyncBaseTransport:
    """HTTP into this process's own application: middleware, routing and views as for a request from outside."""
    # The two say the same of an application, one with a dict where the other has a mapping.
    return httpx.ASGITransport(app=ASGIHandler(), client=("127.0.0.1", 0))  # type: ignore[arg-type]


def own_address() -> str:
    """An address that the host check and a redirect to https let through."""
    named = [host.lstrip(".") for host in settings.ALLOWED_HOSTS if host != "*"]
    return f"{'https' if settings.SECURE_SSL_REDIRECT else 'http'}://{named[0] if named else 'localhost'}"
