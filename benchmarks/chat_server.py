"""The desk with two echoes beside it, in one process: what `benchmarks/chat.py` measures against.

`/echo/channels/` is a bare Channels consumer, `/echo/asgi/` the server alone.
"""

import os
import sys
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "supportdesk.settings")

from channels.generic.websocket import AsyncWebsocketConsumer

from supportdesk.asgi import application as desk


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data)


channels_echo = Echo.as_asgi()


async def asgi_echo(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket" and scope["path"] == "/echo/channels/":
        await channels_echo(scope, receive, send)
    elif scope["type"] == "websocket" and scope["path"] == "/echo/asgi/":
        await asgi_echo(scope, receive, send)
    else:
        await desk(scope, receive, send)


if __name__ == "__main__":
    from supportdesk import server

    config = server.configured("127.0.0.1", int(sys.argv[1]))
    config.app = "benchmarks.chat_server:application"
    server.Server(config).run()
