"""Our server's WebSocket protocol: several frames in one event, as a real client reads them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from websockets.asyncio.client import connect

from agent_app import sockets
from supportdesk.server import configured
from supportdesk.websockets import SEND_TEXTS

SIZES = [0, 125, 126, 65_535, 65_536, 200_000]  # on both sides of where a frame's head grows


@asynccontextmanager
async def served(application: Any) -> AsyncIterator[str]:
    config = configured("127.0.0.1", 0)
    config.app, config.lifespan, config.loop = application, "off", "none"
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has only this flag
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"ws://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


async def test_frames_of_any_size_arrive_whole_and_in_order() -> None:
    texts = ["€" * (size // 3) + "x" * (size % 3) for size in SIZES]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert SEND_TEXTS in scope["extensions"]
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": SEND_TEXTS, "texts": [text.encode() for text in texts]})
        await send({"type": "websocket.send", "text": "the end"})
        await receive()

    async with served(application) as url, connect(url) as client:
        assert [await client.recv() for _ in texts] == texts
        assert await client.recv() == "the end"


async def test_who_sends_to_a_client_that_has_gone_is_told() -> None:
    told: asyncio.Future[type[Exception]] = asyncio.get_running_loop().create_future()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
        try:
            await send({"type": SEND_TEXTS, "texts": [b"late"]})
        except OSError as error:
            told.set_result(type(error))

    async with served(application) as url:
        async with connect(url):
            pass
        async with asyncio.timeout(60):
            assert issubclass(await told, OSError)


async def test_a_reader_that_takes_nothing_stops_the_sender() -> None:
    sent = 0

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(1000):
            await send({"type": SEND_TEXTS, "texts": [b"x" * 100_000]})
            sent += 1

    async with served(application) as url, connect(url, max_queue=1) as client:
        client.transport.pause_reading()
        before = -1
        while sent != before:  # until nothing more goes out
            before = sent
            await asyncio.sleep(0.3)
        assert 0 < sent < 1000
        client.transport.resume_reading()
        for _ in range(sent + 1):
            await client.recv()
        client.transport.abort()


def test_the_doors_and_the_server_mean_the_same_event() -> None:
    assert sockets.SEND_TEXTS == SEND_TEXTS
