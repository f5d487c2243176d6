"""One fixed sentence after a fixed delay: the responder of tests and benchmarks."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

from agent_app.agent.events import Answer, Event, Text, TurnContext
from agent_app.agent.responder import ResponderOptions, Tool

SENTENCE = "Thank you for your message. This is a scripted answer."


class ScriptedResponder:
    def __init__(self, options: ResponderOptions) -> None:
        self._delay = options.scripted_delay

    async def respond(self, context: TurnContext, tools: Mapping[str, Tool]) -> AsyncGenerator[Event, None]:
        if self._delay:
            await asyncio.sleep(self._delay)
        yield Text(SENTENCE)
        yield Answer(SENTENCE)
