"""The tools that the settings name, each with its policy, and the agent made of them."""

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, Protocol, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from agent_app import demo
from agent_app.agent.events import NeedsConfirmation, ToolError, ToolOutcome, ToolResult, TurnContext
from agent_app.agent.loop import CustomerSupportAgent
from agent_app.agent.responder import Responder, ResponderOptions, WrongModel
from agent_app.agent.scripted import ScriptedResponder
from agent_app.agent.spending import Prices
from agent_app.escalation import judge, judge_by_meaning
from agent_app.models.conversations import new_id
from agent_app.notes import DeskNotes
from agent_app.tools.arguments import Argument, BadArguments, arguments_of, checked, object_schema
from agent_app.tools.failures import Away, NeedsIdentity, NotAllowed, ToolFailure
from agent_app.tools.trail import ToolCall, trail

__all__ = ["NotAllowed", "Policy", "RegisteredTool", "build_agent", "load_tools", "tool"]

logger = logging.getLogger(__name__)

BACKENDS = ("crm", "billing", "inventory")  # each with a module of its tools here
OFFLINE = "agent_app.agent.offline.OfflineResponder"
# The memory's two ends: whoever has one has the other.
RECALL, REMEMBER = "agent_app.tools.memory.recall", "agent_app.tools.memory.remember"
WITH_MODEL = "agent_app.agent.llm.LanguageModelResponder"  # imports pydantic-ai: named by path, loaded when configured
# Seconds that every call leaves of its turn, so that what came of it can still be said.
LEFT_TO_SAY = 1.5

LONGEST_SUMMARY = 600  # characters
BRACKETS = str.maketrans("[]<>`", "()()'")

Function = TypeVar("Function", bound=Callable[..., Awaitable[Any]])
Summary = str | Callable[..., Awaitable[str]]


class Trail(Protocol):
    def note(self, call: ToolCall) -> None: ...

    async def keep(self, call: ToolCall) -> None: ...


@dataclass(frozen=True, slots=True)
class Policy:
    writes: bool = False
    needs_identity: bool = False
    timeout: float = 10.0  # seconds for one call, retries included
    confirm: Summary | None = None  # what the customer agrees to before a write runs
    backend: str | None = None  # whose circuit breaker it is behind
    most: int = 8000  # characters of a result that a model reads
    private: frozenset[str] = frozenset()  # arguments of which the audit keeps the names alone


def tool(
    *,
    writes: bool = False,
    needs_identity: bool = False,
    timeout: float = 10.0,
    confirm: Summary | None = None,
    backend: str | None = None,
    most: int = 8000,
    private: tuple[str, ...] = (),
) -> Callable[[Function], Function]:
    """Gives a tool function its policy: `async def name(context, argument: type) -> plain data`.

    `confirm`, which every write has, makes the sentence that the customer agrees to: a template over the arguments
    ("Cancel order {order_number}") or an async function of the same signature, which may look first, and raise.
    """
    if writes != (confirm is not None):
        raise TypeError("a tool that writes needs confirm=…, and only such a tool has one")

    def mark(function: Function) -> Function:
        function.policy = Policy(  # type: ignore[attr-defined]
            writes, needs_identity, timeout, confirm, backend, most, frozenset(private)
        )
        return function

    return mark


@dataclass(frozen=True)
class RegisteredTool:
    """A tool function with its policy, which holds however it is called. See `agent_app.agent.responder.Tool`."""

    name: str
    function: Callable[..., Awaitable[Any]]
    policy: Policy
    trail: Trail | None = None

    @property
    def description(self) -> str:
        return inspect.getdoc(self.function) or ""

    @property
    def writes(self) -> bool:
        return self.policy.writes

    @cached_property
    def arguments(self) -> tuple[Argument, ...]:
        return arguments_of(self.function)

    @cached_property
    def schema(self) -> dict[str, Any]:
        return object_schema(self.arguments)

    async def __call__(self, context: TurnContext, **arguments: Any) -> Any:
        """Raises NotAllowed, TimeoutError, or what the function raises. A write gives NeedsConfirmation instead of
        running, unless it was confirmed (`context.writing_as`).
        """
        began = time.monotonic()
        call = ToolCall(context.session_id, self.name, self._audited(arguments), self.policy.writes, context.writing_as)
        outcome = "cancelled"
        try:
            value = await self._run(context, call, arguments)
            outcome = "offered" if isinstance(value, NeedsConfirmation) else "ok"
            return value
        except ToolFailure as failure:
            outcome = failure.code
            raise
        except TimeoutError:
            outcome = "timeout"
            raise
        except Exception:
            outcome = "failed"
            raise
        finally:
            if self.trail is not None:
                self.trail.note(call.ended(outcome, time.monotonic() - began))

    async def call(self, context: TurnContext, arguments: Mapping[str, Any] | str | None) -> ToolOutcome:
        """A call with arguments as a model writes them. Never raises: an error is one that a model can act on."""
        try:
            value = await self(context, **checked(self.arguments, arguments))
        except BadArguments as error:
            return ToolError(self.name, "bad_arguments", f"{error}.")
        except ToolFailure as failure:
            return ToolError(self.name, failure.code, str(failure), failure.said)
        except TimeoutError:
            return ToolError(self.name, "unavailable", "It did not answer in time. Nothing is known about it.")
        except Exception:
            # The edge of what others write: their error must not end the turn, and the log has the traceback.
            logger.exception("tool.failed tool=%s", self.name)
            return ToolError(self.name, "failed", "The tool broke. Go on without it, and say that it did not work.")
        return value if isinstance(value, NeedsConfirmation) else ToolResult(self.name, value, self.policy.most)

    async def _run(self, context: TurnContext, call: ToolCall, arguments: dict[str, Any]) -> Any:
        if self.policy.needs_identity and not (context.verified and context.user_id):
            raise NeedsIdentity("nobody is verified in this chat: the customer has to log in on the website first")
        seconds = min(self.policy.timeout, context.deadline - LEFT_TO_SAY - time.monotonic())
        if seconds <= 0:
            raise Away("there is no time left in this turn")
        async with asyncio.timeout(seconds):
            if self.policy.writes and context.writing_as is None:
                summary = await self._summary(context, arguments)
                return NeedsConfirmation(new_id(), self.name, arguments, without_links(summary)[:LONGEST_SUMMARY])
            if self.policy.writes and self.trail is not None:
                await self.trail.keep(call)  # a write is on record before it is tried
            return await self.function(context, **arguments)

    async def _summary(self, context: TurnContext, arguments: dict[str, Any]) -> str:
        confirm = self.policy.confirm
        if callable(confirm):
            return await confirm(context, **arguments)
        every = {argument.name: argument.default for argument in self.arguments} | arguments
        return (confirm or self.name).format(**every)

    def _audited(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {name: "…" if name in self.policy.private else value for name, value in arguments.items()}


def without_links(summary: str) -> str:
    """On one line, and nothing in it to click: a model wrote the arguments, and our own sentences quote the summary."""
    plain = " ".join(summary.split()).translate(BRACKETS)
    return plain.replace("://", ": //").replace("www.", "www .")


def load_tools() -> dict[str, RegisteredTool]:
    """The tools that AGENT_TOOLS names and, with them, those of the back ends that are configured.

    Raises ImproperlyConfigured for what is no tool, TypeError for a tool whose arguments have no schema.
    """
    functions = []
    for path in settings.AGENT_TOOLS:
        function = import_string(path)
        if not isinstance(getattr(function, "policy", None), Policy):
            raise ImproperlyConfigured(
                f"AGENT_TOOLS={path!r} is no tool: write the dotted path of a function under @tool."
            )
        functions.append(function)
    if RECALL in settings.AGENT_TOOLS:
        functions.append(import_string(REMEMBER))
    for backend in backends_with_tools():
        functions += import_module(f"agent_app.tools.{backend}").TOOLS
    tools = {}
    for function in functions:
        made = RegisteredTool(function.__name__, function, function.policy, trail)
        _ = made.schema
        tools[made.name] = made
    return tools


def backends_with_tools() -> list[str]:
    """In registry mode those that have an address; the demo shop's, while it is open, in either mode."""
    if demo.is_open():
        return list(BACKENDS)
    return [name for name in BACKENDS if name in settings.BACKENDS and settings.AGENT_TOOL_REGISTRY_MODE == "registry"]


def build_responder() -> Responder:
    options = ResponderOptions(
        scripted_delay=settings.AGENT_SCRIPTED_DELAY,
        model=settings.AGENT_MODEL,
        turn_timeout=settings.AGENT_TURN_TIMEOUT,
        max_steps=settings.AGENT_MAX_STEPS,
        max_tool_calls=settings.AGENT_MAX_TOOL_CALLS,
        max_tokens=settings.AGENT_MAX_TOKENS,
        prices=Prices(settings.AGENT_INPUT_PRICE, settings.AGENT_OUTPUT_PRICE)
        if settings.AGENT_PRICES_GIVEN
        else Prices(),
        notes=DeskNotes(),
    )
    path = settings.AGENT_RESPONDER or (WITH_MODEL if settings.AGENT_MODEL else OFFLINE)
    try:
        found = import_string(path)
        if not hasattr(found, "respond"):
            raise ImproperlyConfigured(
                f"AGENT_RESPONDER={path!r} is no responder: write the dotted path of a class with respond()."
            )
        responder: Responder = found(options)
    except WrongModel as error:
        raise ImproperlyConfigured(str(error)) from None
    except ImportError as error:
        if path != WITH_MODEL:
            raise
        install = "python3 requirements/install.py llm"
        raise ImproperlyConfigured(f"AGENT_MODEL needs packages that are not installed ({error}): {install}") from None
    return responder


def build_agent() -> CustomerSupportAgent:
    tools = load_tools()
    mode = settings.AGENT_TOOL_REGISTRY_MODE
    # The demo shop's tools are no part of legacy mode: it has those that AGENT_TOOLS names.
    lent = len(tools) - len(settings.AGENT_TOOLS) if mode == "legacy" else 0
    responder = build_responder()
    # One fixed sentence needs no model, and what is measured with it shall be the path and not the model.
    by_words = isinstance(responder, ScriptedResponder)
    agent = CustomerSupportAgent(responder, tools, judge if by_words else judge_by_meaning)
    logger.info("Agent initialized with %d tools (%s mode)", len(tools) - lent, mode)
    if demo.is_open():
        logger.info("The demo shop is open: its made-up customers, orders and stock are served by this desk")
    return agent
