"""What the loop asks of a responder, and what a responder may ask of the tools."""

import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent_app.agent.events import Event, ToolError, ToolOutcome, TurnContext
from agent_app.agent.spending import Prices, Spent


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


class WrongModel(Exception):
    """AGENT_MODEL names what cannot be used; the message is one line that says what to write."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the desk kept of this conversation and this customer, and what a model may still spend."""

    facts: tuple[tuple[str, str], ...] = ()  # (name, value), as the customer gave them
    summary: str = ""  # of the messages up to `summary_upto`
    summary_upto: int = 0
    tokens_left: float = math.inf  # of the conversation's and the day's budget, the lesser


class Notes(Protocol):
    """What a responder with a model asks the desk to keep. None of it raises when the database is away."""

    async def known(self, context: TurnContext) -> Known: ...

    async def count(self, context: TurnContext, spent: Spent) -> None:
        """Adds to the conversation's and to the day's account, which all instances share."""
        ...

    async def keep_summary(self, context: TurnContext, upto: int, text: str) -> None: ...


class NoNotes:
    """Nothing is known, kept or counted."""

    async def known(self, context: TurnContext) -> Known:
        return Known()

    async def count(self, context: TurnContext, spent: Spent) -> None:
        pass

    async def keep_summary(self, context: TurnContext, upto: int, text: str) -> None:
        pass


@dataclass(frozen=True, slots=True)
class ResponderOptions:
    """What the settings say to a responder; each takes from it what it needs."""

    scripted_delay: float = 0.0
    model: str = ""
    turn_timeout: float = 45.0
    max_steps: int = 8  # requests to the model in one turn
    max_tool_calls: int = 12  # in one turn
    max_tokens: int = 60_000  # of one turn, what is sent and what comes back
    prices: Prices = field(default_factory=Prices)
    notes: Notes = field(default_factory=NoNotes)


class Responder(Protocol):
    def respond(self, context: TurnContext, tools: Mapping[str, Tool]) -> AsyncIterator[Event]:
        """Yields the turn's events; the last one is its `Answer`."""
        ...
