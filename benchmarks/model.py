"""What the loop, the gate and the tools add to a model's streamed answer: `python -m benchmarks.model`.

The same completions, from the same scripted server in a process of its own, over HTTP on loopback, in turn: read raw
by OpenAI's own client, which sends the very same requests; read through pydantic-ai, which makes all providers' formats
one; and as a turn of the agent. Also how long a sentence takes from leaving the server to leaving the gate, beside the
raw reader's chunk.
"""

import argparse
import gc
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "supportdesk.settings")

import django
import uvloop

django.setup()

from openai import AsyncOpenAI  # noqa: E402 - Django must know its settings first

from agent_app.agent.events import Answer, ChatMessage, Text, TurnContext  # noqa: E402
from agent_app.agent.llm import LanguageModelResponder, Talk  # noqa: E402
from agent_app.agent.loop import CustomerSupportAgent  # noqa: E402
from agent_app.agent.model import LanguageModel  # noqa: E402
from agent_app.agent.responder import Known, ResponderOptions  # noqa: E402
from agent_app.agent.spending import Prices  # noqa: E402
from agent_app.tools.registry import RegisteredTool, tool  # noqa: E402
from tests.model_server import Body, ModelServer, Reply, calls, chunk, ending, says  # noqa: E402

ANSWER = "You can return most items within thirty days of delivery. Choose the order and then Return. " * 3
PIECE = 24  # characters of a chunk
SENT = re.compile(r"It is (\d+\.\d+) now\.")


@tool()
async def stock(context: TurnContext, item: str) -> dict[str, Any]:
    """How many of an item there are."""
    return {"item": item, "count": 3}


TOOLS = {"stock": RegisteredTool("stock", stock, stock.policy)}  # type: ignore[attr-defined]


class Stamped:
    """Chunks that say when they were made, a moment apart."""

    def __iter__(self) -> Any:
        for _ in range(5):
            yield chunk({"role": "assistant", "content": f"It is {time.monotonic():.6f} now."})
            yield chunk({"content": " "})
        yield from ending("stop", 60)


def script(body: Body) -> Reply:
    wanted = body["messages"][-1]["content"] or ""
    if "stamps" in str(wanted):
        return Reply(Stamped(), pause=0.01)  # type: ignore[arg-type]
    if "tool" in str(body["messages"][1]["content"]) and body["messages"][-1]["role"] != "tool":
        return calls(("stock", {"item": "tent"}))
    return says(ANSWER, PIECE)


def serve() -> None:
    server = ModelServer()
    server.script = script
    server.start()
    sys.stdout.write(server.url + "\n")
    sys.stdout.flush()
    sys.stdin.read()


def turn(text: str) -> TurnContext:
    message = ChatMessage(1, "customer", text)
    return TurnContext("thread", "session", "ai", None, False, {}, (message,), 0, "ESC-1", time.monotonic() + 40, 8000)


class Bench:
    def __init__(self, url: str) -> None:
        os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"] = f"{url}/v1", "none"
        self.client = AsyncOpenAI(max_retries=0)
        self.agent = CustomerSupportAgent(LanguageModelResponder(ResponderOptions(model="openai-chat:scripted")), TOOLS)
        self.model = LanguageModel("openai-chat:scripted", Prices())
        self.delays: dict[str, list[float]] = {"raw": [], "agent": []}
        self.bodies: dict[str, list[dict[str, Any]]] = {}

    async def learn(self, text: str) -> None:
        """Keeps what the agent asks of the server in such a turn, so that the raw reader asks the very same."""
        asked = self.bodies[text] = []

        async def keep(request: Any) -> None:
            asked.append({k: v for k, v in json.loads(request.content).items() if k != "stream"})

        hooks = self.agent.responder._model._model.client._client.event_hooks  # type: ignore[attr-defined]
        hooks["request"].append(keep)
        await self.turn(text)
        hooks["request"].remove(keep)

    async def raw(self, text: str) -> None:
        for body in self.bodies[text]:  # a turn with a tool is two completions
            stream = await self.client.chat.completions.create(**body, stream=True)
            async for part in stream:
                for choice in part.choices:
                    self.clock("raw", choice.delta.content or "")

    async def read(self, text: str) -> None:
        """The agent's own requests, read without its loop and gate."""
        talk = Talk(turn(text), TOOLS, Known(), ResponderOptions())
        for _ in range(2):
            request = talk.next_request()
            async for _piece in self.model.pieces(request, time.monotonic() + 40):
                pass
            if not request.response.tool_calls:
                return
            async for _event in talk.run(request.response, request.response.tool_calls):
                pass

    async def turn(self, text: str) -> None:
        async for event in self.agent.answer(turn(text)):
            if isinstance(event, Text):
                self.clock("agent", event.text)
            if isinstance(event, Answer) and not event.text:
                raise RuntimeError("the agent said nothing")

    def clock(self, who: str, text: str) -> None:
        for sent in SENT.findall(text):
            self.delays[who].append(time.monotonic() - float(sent))


async def measured(work: Callable[[str], Awaitable[None]], text: str) -> tuple[float, float]:
    """Seconds by the clock, and of this thread's CPU."""
    wall, cpu = time.perf_counter(), time.thread_time()
    await work(text)
    return time.perf_counter() - wall, time.thread_time() - cpu


async def run(url: str, rounds: int) -> None:
    bench = Bench(url)
    for text in ("plain", "with a tool", "stamps"):
        await bench.learn(text)
    for text in ("plain", "with a tool"):
        taken: dict[str, list[tuple[float, float]]] = {"raw": [], "read": [], "agent": []}
        for round_ in range(rounds + 5):
            for name, work in (("raw", bench.raw), ("read", bench.read), ("agent", bench.turn)):
                found = await measured(work, text)
                if round_ >= 5:
                    taken[name].append(found)
        for place, unit in enumerate(("ms by the clock", "ms of CPU")):
            raw, read, ours = (statistics.median(each[place] for each in found) * 1000 for found in taken.values())
            print(
                f"{text:12} {unit:16} raw {raw:6.2f}  pydantic-ai {read:6.2f}  agent {ours:6.2f}"
                f"  adds {ours - raw:6.2f}, of it loop, gate and tools {ours - read:6.2f}  (bar: 5)"
            )
    bench.delays = {"raw": [], "agent": []}
    for _ in range(rounds):
        await bench.raw("stamps")
        await bench.turn("stamps")
    raw, ours = (statistics.median(bench.delays[name]) * 1000 for name in ("raw", "agent"))
    print(f"{'sentence':12} {'ms to its delta':16} raw {raw:6.2f}  agent {ours:6.2f}  adds {ours - raw:6.2f}  (bar: 2)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve()
        return
    command = [sys.executable, "-m", "benchmarks.model", "--serve"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        gc.freeze()
        uvloop.run(run(url, given.rounds))
    finally:
        server.communicate()


if __name__ == "__main__":
    main()
