"""The tools that the settings name, and the agent made of them."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.conf import settings
from django.utils.module_loading import import_string

from agent_app.agent.events import TurnContext
from agent_app.agent.loop import CustomerSupportAgent
from agent_app.agent.responder import Responder, ResponderOptions
from agent_app.escalation import judge

logger = logging.getLogger(__name__)

OFFLINE = "agent_app.agent.offline.OfflineResponder"

Function = TypeVar("Function", bound=Callable[..., Awaitable[Any]])


class NotAllowed(Exception):
    """The tool's policy forbids this call; the message says why."""


@dataclass(frozen=True, slots=True)
class Policy:
    writes: bool = False
    needs_identity: bool = False
    timeout: float = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class RegisteredTool:
    """A tool function with its policy. Calling it raises NotAllowed, TimeoutError, or what the function raises."""

    name: str
    function: Callable[..., Awaitable[Any]]
    policy: Policy

    @property
    def description(self) -> str:
        return inspect.getdoc(self.function) or ""

    async def __call__(self, context: TurnContext, **arguments: Any) -> Any:
        if self.policy.needs_identity and not context.verified:
            raise NotAllowed(f"{self.name} needs a verified identity")
        async with asyncio.timeout(self.policy.timeout):
            return await self.function(context, **arguments)


def tool(
    *, writes: bool = False, needs_identity: bool = False, timeout: float = 10.0
) -> Callable[[Function], Function]:
    """Gives a tool function its policy: `async def name(context, argument: type) -> plain data`."""

    def mark(function: Function) -> Function:
        function.policy = Policy(writes, needs_identity, timeout)  # type: ignore[attr-defined]
        return function

    return mark


def load_tools() -> dict[str, RegisteredTool]:
    tools = {}
    for path in settings.AGENT_TOOLS:
        function = import_string(path)
        tools[function.__name__] = RegisteredTool(function.__name__, function, function.policy)
    return tools


def build_responder() -> Responder:
    options = ResponderOptions(
        scripted_delay=settings.AGENT_SCRIPTED_DELAY,
        model=settings.AGENT_MODEL,
        turn_timeout=settings.AGENT_TURN_TIMEOUT,
    )
    responder: Responder = import_string(settings.AGENT_RESPONDER or OFFLINE)(options)
    return responder


def build_agent() -> CustomerSupportAgent:
    agent = CustomerSupportAgent(build_responder(), load_tools(), judge)
    logger.info("Agent initialized with %d tools (%s mode)", len(agent.tools), settings.AGENT_TOOL_REGISTRY_MODE)
    return agent
