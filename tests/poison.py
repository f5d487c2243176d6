"""A responder for tests that kills its process on certain words, in a message or in what is attached to it."""

import os
from collections.abc import AsyncGenerator, Mapping

from agent_app.agent.events import Answer, Event, Text, TurnContext
from agent_app.agent.responder import ResponderOptions, Tool
from agent_app.knowledge.retrieval import Hit

DEADLY = "this kills the process"


class PoisonedResponder:
    def __init__(self, options: ResponderOptions) -> None:
        pass

    async def respond(self, context: TurnContext, tools: Mapping[str, Tool]) -> AsyncGenerator[Event, None]:
        read = context.question
        for message in context.asked:
            for attachment in message.attachments:
                hit: Hit = await tools["read_attachment"](context, attachment_id=attachment["id"], query="what is it?")
                read += hit.passage.text if hit.passage else ""
        if DEADLY in read:
            os._exit(9)
        yield Text("I am well.")
        yield Answer("I am well.")
