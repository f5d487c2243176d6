"""What the loop asks of a responder, and what a responder may ask of the tools."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agent_app.agent.events import Event, TurnContext


class Tool(Protocol):
    """One tool as a responder sees it; calling it keeps the tool's policy (identity, timeout)."""

    @property
    def name(self) -> str: ...

    async def __call__(self, context: TurnContext, **arguments: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class ResponderOptions:
    """What the settings say to a responder; each takes from it what it needs."""

    scripted_delay: float = 0.0
    model: str = ""
    turn_timeout: float = 45.0


class Responder(Protocol):
    def respond(self, context: TurnContext, tools: Mapping[str, Tool]) -> AsyncIterator[Event]:
        """Yields the turn's events; the last one is its `Answer`."""
        ...
