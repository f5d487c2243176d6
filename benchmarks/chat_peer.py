"""Chainlit, a well-known chat server in Python, on its echo path: a message in, the same text out as a message.

It stores nothing here (it has no data layer by default), where ours has committed twice: read the figures so.
"""

import asyncio
import os
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from benchmarks.chat_client import LightSocket
from benchmarks.chat_rig import Server, Step

APPLICATION = """
import chainlit as cl

@cl.on_message
async def echo(message: cl.Message):
    await cl.Message(content=message.content).send()
"""


class ChainlitServer(Server):
    def __init__(self, environment: Path, folder: Path) -> None:
        super().__init__(folder, "")
        self._command = [str(environment.absolute() / "bin" / "chainlit"), "run", "app.py", "--headless", "--port"]
        self._folder = folder / "chainlit"

    def launch(self) -> None:
        self._folder.mkdir()
        (self._folder / "app.py").write_text(APPLICATION)
        environ = {**os.environ, "CHAINLIT_APP_ROOT": str(self._folder)}
        with (self._folder / "log").open("wb") as log:
            command = [*self._command, str(self.port)]
            self.process = subprocess.Popen(command, cwd=self._folder, env=environ, stdout=log, stderr=log)
        os.sched_setaffinity(self.process.pid, {0})


class Chainlit:
    def __init__(self, server: ChainlitServer) -> None:
        self.server = server

    @staticmethod
    def is_installed(environment: Path) -> bool:
        return (environment / "bin" / "chainlit").exists()

    @classmethod
    @asynccontextmanager
    async def running(cls, environment: Path, folder: Path) -> AsyncIterator["Chainlit"]:
        server = ChainlitServer(environment, folder)
        server.launch()
        try:
            await server.answers("/")
            yield cls(server)
        finally:
            server.stop()

    async def steps(self, sockets: int, text: str) -> list[Step]:
        return [self._step(await self._connect(), text) for _ in range(sockets)]

    async def _connect(self) -> LightSocket:
        """Engine.IO 4 with Socket.IO inside: 0 opens, 40 connects, 42 is an event."""
        socket = await LightSocket.connect(self.server.port, "/ws/socket.io/?EIO=4&transport=websocket")
        await socket.until(b"0{")
        who = {
            "sessionId": str(uuid.uuid4()),
            "clientType": "webapp",
            "userEnv": "{}",
            "chatProfile": "",
            "threadId": "",
        }
        socket.send(b"40" + orjson.dumps(who))
        await socket.until(b"40{")
        socket.send(b'42["connection_successful"]')
        await asyncio.sleep(0)
        return socket

    def _step(self, socket: LightSocket, text: str) -> Step:
        async def once() -> None:
            message = {
                "id": str(uuid.uuid4()),
                "threadId": "",
                "name": "user",
                "type": "user_message",
                "output": text,
                "createdAt": "2026-01-01T00:00:00Z",
            }
            socket.send(b"42" + orjson.dumps(["client_message", {"message": message, "fileReferences": []}]))
            while True:
                frame = await socket.next()
                if frame == b"2":  # Engine.IO's ping
                    socket.send(b"3")
                elif b'"assistant_message"' in frame:
                    return

        return once
