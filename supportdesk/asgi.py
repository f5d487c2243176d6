"""The whole desk as one ASGI application: pages and REST, chat sockets, and the start and stop of its parts."""

import os
import warnings
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "supportdesk.settings")
http = get_asgi_application()  # sets Django up: what follows imports models

from agent_app.routing import websocket_urlpatterns  # noqa: E402
from supportdesk.lifespan import lifespan  # noqa: E402

# WhiteNoise gives each static file as a plain iterator, which Django reads in a thread: nothing of ours to change.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")


async def no_such_socket(scope: Any, receive: Any, send: Any) -> None:
    """Refuses an unknown path: URLRouter itself would raise, and a stranger could fill the log with tracebacks."""
    await receive()
    await send({"type": "websocket.close", "code": 4404})


# Channels routes to ASGI applications, the stubs know views alone.
unknown = re_path("", no_such_socket)  # type: ignore[arg-type]

application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": URLRouter([*websocket_urlpatterns, unknown]),
        "lifespan": lifespan,
    }
)
