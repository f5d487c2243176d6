"""The store's scripts on their server: loaded again when it has forgotten them, sent on when a slot has moved."""

import asyncio
from collections.abc import Sequence
from typing import Any

from sessions_app.lua import WRITING, scripts
from sessions_app.servers import Server
from sessions_app.stores.breaker import available
from sessions_app.stores.clients import AnyClient, client_for
from sessions_app.stores.coalescing import Line, Refused, pack

# A command that gets one of these was not run: it may be sent again.
NOT_RUN = ("NOSCRIPT", "MOVED", "ASK", "TRYAGAIN")
TRIES = 4


class Scripts:
    def __init__(self, server: Server, roots: Sequence[str]) -> None:
        self.server = server
        self.roots = roots
        self._scripts = scripts()
        self._sources = {script.sha: script.source for script in self._scripts.values()}
        self._here: tuple[asyncio.AbstractEventLoop | None, AnyClient | None] = (None, None)

    @property
    def available(self) -> bool:
        return available(self.server)

    def client(self) -> AnyClient:
        loop = asyncio.get_running_loop()
        here, client = self._here
        if here is not loop or client is None:
            client = client_for(self.server, self._sources)
            self._here = (loop, client)
        return client

    async def line(self, bucket: int) -> Line:
        client = self.client()
        root = self.roots[bucket]
        return client.line(root) or await client.connected(root)

    async def run(self, bucket: int, name: str, *texts: str) -> Any:
        """`texts`: the root, the session's key if the script is of a session, arguments."""
        script = self._scripts[name]
        root = texts[0]
        client = self.client()
        line = client.line(root) or await client.connected(root)
        try:
            reply = await line.send(pack(("EVALSHA", script.sha, script.keys, *texts)))
        except Refused as refused:
            reply = await self._again(bucket, refused, pack(("EVAL", script.source, script.keys, *texts)))
        if line.breaker.unsettled and reply is not None and name in WRITING:
            line.breaker.accepted()
        return reply

    async def read(self, bucket: int, *command: str) -> tuple[Any, int]:
        """(the reply, the server's time in microseconds, which is not before the call)."""
        client, root = self.client(), self.roots[bucket]
        line = client.line(root) or await client.connected(root)
        try:
            return await line.read(pack(command)), line.server_now
        except Refused as refused:
            reply = await self._again(bucket, refused, pack(command))
            return reply, (await self.line(bucket)).server_now

    async def _again(self, bucket: int, refused: Refused, packed: bytes) -> Any:
        for attempt in range(TRIES):
            if refused.code not in NOT_RUN:
                raise refused
            if refused.code != "NOSCRIPT":
                await asyncio.sleep(0.02 * attempt)
                await self.client().moved()
            try:
                return await (await self.line(bucket)).read(packed)
            except Refused as next_refused:
                refused = next_refused
        raise refused

    async def everywhere(self, index: str, command: str, *arguments: str) -> list[Any]:
        """The replies of all buckets to a command on one of their indexes, in one round trip."""
        return list(
            await asyncio.gather(
                *(self._reply(bucket, command, root + index, *arguments) for bucket, root in enumerate(self.roots))
            )
        )

    async def _reply(self, bucket: int, *command: str) -> Any:
        reply, _ = await self.read(bucket, *command)
        return reply

    async def run_everywhere(self, name: str, *arguments: str) -> list[Any]:
        """The answers of all buckets to a script of theirs, in one round trip."""
        return list(
            await asyncio.gather(*(self.run(bucket, name, root, *arguments) for bucket, root in enumerate(self.roots)))
        )
