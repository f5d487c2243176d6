"""What the loop asks of a responder, and what a responder may ask of the tools."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agent_app.agent.events import Event, ToolError, ToolOutcome, TurnContext


class Tool(Protocol):
    """One tool as a responder sees it. However it is called, its policy holds: identity, confirmation, time limit."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def schema(self) -> dict[str, Any]:
        """The arguments as JSON schema (an object without additional properties)."""
        ...

    @property
    def writes(self) -> bool: ...

    async def __call__(self, context: TurnContext, **arguments: Any) -> Any:
        """What the function gives, or NeedsConfirmation. Raises what the function raises, NotAllowed, TimeoutError."""
        ...

    async def call(self, context: TurnContext, arguments: Mapping[str, Any] | str | None) -> ToolOutcome:
        """A call with arguments as a model writes them (JSON text, or what it parses to): checked, never raises."""
        ...


async def call_tool(
    tools: Mapping[str, Tool], context: TurnContext, name: str, arguments: Mapping[str, Any] | str | None
) -> ToolOutcome:
    """The tool of that name with raw arguments; a name that is none is an error that says which there are."""
    tool = tools.get(name)
    if tool is None:
        known = ", ".join(sorted(tools)) or "none"
        return ToolError(name, "unknown_tool", f"There is no tool of this name. There are: {known}.")
    return await tool.call(context, arguments)


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
