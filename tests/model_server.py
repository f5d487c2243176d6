"""A server that speaks OpenAI's chat completions as a test tells it to: real HTTP on loopback, streamed, and faulty."""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]


@dataclass
class Reply:
    """What one request gets. `chunks` are sent one by one; then the answer ends, breaks off or falls silent."""

    chunks: Sequence[bytes] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    then: str = "end"  # end, cut or hang
    pause: float = 0.0  # seconds between two chunks


Script = Callable[[Body], Reply]


def chunk(delta: Body, finish: str | None = None, usage: Body | None = None) -> bytes:
    choices = [] if usage is not None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    body = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "scripted", "choices": choices}
    return b"data: " + json.dumps(body | {"usage": usage}).encode() + b"\n\n"


def usage_of(prompt: int, completion: int) -> Body:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def pieces(text: str, size: int = 12) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def says(text: str, size: int = 12, **more: Any) -> Reply:
    """A whole answer, streamed in pieces of `size` characters."""
    said = [chunk({"role": "assistant", "content": piece}) for piece in pieces(text, size)]
    return Reply([*said, *ending("stop", len(text) // 4)], **more)


def calls(*wanted: tuple[str, Any], text: str = "") -> Reply:
    """Tool calls of one step; arguments that are no mapping are sent as they stand."""
    said = [chunk({"role": "assistant", "content": piece}) for piece in pieces(text)]
    for index, (name, arguments) in enumerate(wanted):
        raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
        function = {"name": name, "arguments": ""}
        said.append(
            chunk({"tool_calls": [{"index": index, "id": f"c{index}", "type": "function", "function": function}]})
        )
        said += [
            chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}) for piece in pieces(raw, 9)
        ]
    return Reply([*said, *ending("tool_calls", 20)])


def ending(reason: str, completion: int) -> list[bytes]:
    return [chunk({}, reason), chunk({}, usage=usage_of(100, completion)), b"data: [DONE]\n\n"]


def breaks_off(text: str) -> Reply:
    return Reply([chunk({"role": "assistant", "content": piece}) for piece in pieces(text)], then="cut")


def falls_silent(text: str = "") -> Reply:
    return Reply([chunk({"role": "assistant", "content": piece}) for piece in pieces(text)], then="hang")


def fails(status: int, **headers: str) -> Reply:
    body = json.dumps({"error": {"message": "scripted failure", "type": "scripted", "code": None}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply([body], status, {"Content-Type": "application/json", **named})


def writes_garbage() -> Reply:
    return Reply([b'data: {"id": "1", "choices": [{"ind\n\n', b"data: [DONE]\n\n"])


def in_turn(*replies: Reply) -> Script:
    """One after the other; the last again and again."""
    left = list(replies)
    return lambda body: left.pop(0) if len(left) > 1 else left[0]


class ModelServer:
    """Answers by `script`, on a thread of its own. `requests` are the bodies that came, oldest first."""

    def __init__(self) -> None:
        self.script: Script = lambda body: says("Hello.")
        self.requests: list[Body] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> "ModelServer":
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def stop(self) -> None:
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def settings(self) -> dict[str, str]:
        """What a desk is told to use this model."""
        return {"AGENT_MODEL": "openai-chat:scripted", "OPENAI_BASE_URL": f"{self.url}/v1", "OPENAI_API_KEY": "none"}

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; True when the connection serves the next one, too."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line[15:]) for line in head.splitlines() if line.startswith("content-length:"))
        body = json.loads(await reader.readexactly(length))
        self.requests.append(body)
        reply = self.script(body)
        headers = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"} | reply.headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {reply.status} Scripted\r\n{lines}\r\n".encode())
        for piece in reply.chunks:
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
            if reply.pause:
                await asyncio.sleep(reply.pause)
        if reply.then == "hang":
            await asyncio.sleep(3600)
        if reply.then == "cut":
            writer.transport.abort()
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True
