"""uvicorn, ending as the chat protocol promises: nothing acknowledged is lost, every socket is told."""

import asyncio
import gc
import logging
import signal
import sys
from contextlib import suppress
from types import FrameType

import uvicorn

from supportdesk.lifespan import process

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 10  # for running turns, from the protocol's "Under pressure"
CLOSE_SECONDS = 5  # for sockets and responses after that, before they are cut


class Server(uvicorn.Server):
    """uvicorn sends 1012 before it waits; here turns drain first, while the port still answers /readyz with 503."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        process.draining = True
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list | None = None) -> None:
        await super().startup(sockets)
        # Django and the index are hundreds of thousands of objects that stay: a collection need not look at them again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)

    async def shutdown(self, sockets: list | None = None) -> None:
        logger.info("server.draining seconds=%d", DRAIN_SECONDS)
        drain = asyncio.ensure_future(process.drain(DRAIN_SECONDS))
        # A second Ctrl-C means now. uvicorn only sets a flag for it, so the flag is looked at.
        while not drain.done() and not self.force_exit:
            await asyncio.wait([drain], timeout=0.1)
        drain.cancel()
        await asyncio.gather(drain, return_exceptions=self.force_exit)
        await super().shutdown(sockets)


def configured(host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        "supportdesk.asgi:application",
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="supportdesk.websockets:WebSocketProtocol",
        # Far above the protocol's 64 KiB, so that the consumer answers a large frame with 4413, not uvicorn with 1009.
        ws_max_size=1024 * 1024,
        # Chat frames are small: compressing each costs more CPU and memory than it saves.
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        access_log=False,
        # The customer's address is read from X-Forwarded-For by TRUSTED_PROXIES, in one place.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )


def serve(host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT, then drains; the process ends with 0."""
    # uvicorn raises the signal again once it has stopped: a drained process has ended well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with suppress(KeyboardInterrupt):
        Server(configured(host, port)).run()
