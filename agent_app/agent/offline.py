"""The responder that needs no network: it quotes the knowledge, or says that it does not know."""

from collections.abc import AsyncGenerator, Mapping

from agent_app.agent import catalogue
from agent_app.agent.events import Answer, Event, Text, TurnContext
from agent_app.agent.responder import ResponderOptions, Tool


class OfflineResponder:
    def __init__(self, options: ResponderOptions) -> None:
        pass

    async def respond(self, context: TurnContext, tools: Mapping[str, Tool]) -> AsyncGenerator[Event, None]:
        yield Text(catalogue.DONT_KNOW)
        yield Answer(catalogue.DONT_KNOW, unanswered=context.question)
