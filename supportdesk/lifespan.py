"""What starts with the process and stops with it, in order."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from agent_app.desk.live import live
from agent_app.engine import engine
from agent_app.knowledge.indexing import knowledge
from agent_app.reaching import reaching
from sessions_app.stores import get_store
from sessions_app.sweeper import Sweeper

logger = logging.getLogger(__name__)


class Part(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Process:
    """This process's parts, and whether it is about to end."""

    def __init__(self) -> None:
        self.draining = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Starts every part; stops those that started in the opposite order, also when a later one fails."""
        async with AsyncExitStack() as started:
            for part in self.parts():
                await part.start()
                started.push_async_callback(part.stop)
            yield

    def parts(self) -> list[Part]:
        """In the order of starting: answers need knowledge, and the sweeper's signals need the chat."""
        return [knowledge, engine, live, reaching, Sweeper(get_store(), settings.SESSION_CLEANUP_INTERVAL)]

    async def drain(self, seconds: float) -> None:
        """Tells every socket to come back elsewhere and gives running turns `seconds` to finish."""
        self.draining = True
        await engine.drain(seconds)


process = Process()


async def lifespan(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """The ASGI lifespan protocol over `process`."""
    await receive()
    try:
        async with process.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except ImproperlyConfigured as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    except Exception:  # the outermost edge: the server must hear of it, and the log gets the traceback
        logger.exception("process.failed")
        await send({"type": "lifespan.startup.failed", "message": "A part of the desk did not start or stop."})
        return
    await send({"type": "lifespan.shutdown.complete"})
