"""The demo shop's back end: made-up customers, orders, invoices and stock, served by the desk itself over HTTP.

It stands in for a company's own systems where none is configured. It is shut unless DEMO_BACKEND says `on`; `auto`
opens it under DEBUG, without a real back end, in registry mode and in `manage.py serve --prepare`.
"""

from django.conf import settings
from django.utils.crypto import salted_hmac

_wanted = False


def open_for_this_process() -> bool:
    """What `serve --prepare` does: True if the shop is open now."""
    global _wanted
    _wanted = True
    return is_open()


def is_open() -> bool:
    if settings.DEMO_BACKEND != "auto":
        return bool(settings.DEMO_BACKEND == "on")
    wanted = _wanted or settings.AGENT_TOOL_REGISTRY_MODE == "registry"
    return wanted and settings.DEBUG and not settings.BACKENDS


def access_key() -> str:
    """The bearer that its doors want: the same on every instance, and nobody else's."""
    return salted_hmac("agent_app.demo", "access key", algorithm="sha256").hexdigest()


def identity_key() -> str:
    """With which the demo page proves its made-up customers where the site has set no IDENTITY_SECRET."""
    return salted_hmac("agent_app.demo", "identity key", algorithm="sha256").hexdigest()
