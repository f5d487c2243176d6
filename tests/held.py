"""A responder for tests that writes the half of its answer, and the rest once it is let go: what a test does in the
middle of an answer it does there however slow the machine is.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from agent_app.agent.events import Answer, Event, Text, TurnContext
from agent_app.agent.responder import ResponderOptions, Tool

FOLDER = "HELD_ANSWERS"  # in the desk's environment: where a file of a session's name holds its answers
BEGINNING = "Thank you for your message. "
REST = "This is all that there is to say."


class HeldResponder:
    def __init__(self, options: ResponderOptions) -> None:
        self._folder = Path(os.environ[FOLDER])

    async def respond(self, context: TurnContext, tools: Mapping[str, Tool]) -> AsyncGenerator[Event, None]:
        yield Text(BEGINNING)
        while (self._folder / context.session_id).exists():  # noqa: ASYNC110 - it is another process that holds it
            await asyncio.sleep(0.02)
        yield Text(REST)
        yield Answer(BEGINNING + REST)


def held_settings(folder: Path) -> dict[str, str]:
    """For a desk whose answers can be held."""
    return {"AGENT_RESPONDER": "tests.held.HeldResponder", FOLDER: str(folder)}


@contextmanager
def held(environ: Mapping[str, str], session_id: str) -> Iterator[None]:
    """While this lasts, no answer in that chat comes to its end. `environ` is the desk's."""
    file = Path(environ[FOLDER]) / session_id
    file.touch()
    try:
        yield
    finally:
        file.unlink()
