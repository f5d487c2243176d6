"""Tools: their schema, the check of what a model writes, and the policy that holds however they are called."""

import asyncio
import time
from dataclasses import replace
from typing import Annotated, Any, Literal

import pytest
from django.core.exceptions import ImproperlyConfigured

from agent_app.agent.events import NeedsConfirmation, ToolError, ToolResult, TurnContext
from agent_app.agent.responder import call_tool
from agent_app.tools.failures import NotFound
from agent_app.tools.registry import RegisteredTool, build_agent, load_tools, tool

pytestmark = pytest.mark.unit


def turn(seconds: float = 30, **more: Any) -> TurnContext:
    values: dict[str, Any] = {
        "thread_id": "thread",
        "session_id": "session",
        "state": "ai",
        "user_id": None,
        "verified": False,
        "metadata": {},
        "messages": (),
        "answered_upto": 0,
        "ticket": "ESC-1",
        "deadline": time.monotonic() + seconds,
        "max_reply": 8000,
    }
    return TurnContext(**(values | more))


def registered(function: Any) -> RegisteredTool:
    return RegisteredTool(function.__name__, function, function.policy)


@tool()
async def weigh(
    context: TurnContext,
    item: Annotated[str, "what to weigh"],
    unit: Literal["g", "kg"] = "g",
    times: int = 1,
    fine: bool = False,
    near: float | None = None,
    tags: list[str] = [],  # noqa: B006 - never changed
) -> dict[str, Any]:
    """Weighs an item."""
    return {"item": item, "unit": unit, "times": times, "fine": fine, "near": near, "tags": tags}


@tool(writes=True, needs_identity=True, confirm="Throw {item} away, {times} times")
async def throw_away(context: TurnContext, item: str, times: int = 1) -> dict[str, Any]:
    """Throws it away."""
    return {"thrown": item, "key": context.writing_as}


def test_the_schema_comes_from_the_signature() -> None:
    made = registered(weigh)
    assert made.description == "Weighs an item."
    assert made.schema == {
        "type": "object",
        "properties": {
            "item": {"type": "string", "description": "what to weigh"},
            "unit": {"type": "string", "enum": ["g", "kg"], "default": "g"},
            "times": {"type": "integer", "default": 1},
            "fine": {"type": "boolean", "default": False},
            "near": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 50, "default": []},
        },
        "required": ["item"],
        "additionalProperties": False,
    }


def test_every_shipped_tool_has_a_schema_and_says_what_it_does(settings: Any) -> None:
    settings.DEMO_BACKEND = "on"
    tools = load_tools()
    assert {"search_knowledge", "recall", "read_attachment", "ask_for_person"} <= set(tools)
    for made in tools.values():
        assert made.description, made.name
        assert made.schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("AGENT_TOOLS", ["os.path.join"], "of a function under @tool"),
        ("AGENT_TOOLS", ["agent_app.tools.registry.RegisteredTool"], "of a function under @tool"),
        ("AGENT_RESPONDER", "os.path.join", "of a class with respond"),
        ("AGENT_RESPONDER", "agent_app.agent.events.TurnContext", "of a class with respond"),
    ],
)
def test_what_is_no_tool_or_responder_is_said(settings: Any, name: str, value: Any, advice: str) -> None:
    setattr(settings, name, value)
    with pytest.raises(ImproperlyConfigured, match=f"^{name}='[^\n]*{advice}[^\n]*$"):
        build_agent()


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ('{"item": "tent"}', {"item": "tent"}),
        ({"item": 1042}, {"item": "1042"}),  # models write numbers for texts
        ({"item": "tent", "near": 2}, {"near": 2.0}),
        ({"item": "tent", "near": None, "tags": ["a"], "fine": True}, {"near": None, "tags": ["a"], "fine": True}),
    ],
)
async def test_what_a_model_writes_is_taken(raw: Any, value: dict[str, Any]) -> None:
    outcome = await registered(weigh).call(turn(), raw)
    assert isinstance(outcome, ToolResult)
    assert outcome.value.items() >= value.items()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "no JSON object"),
        (None, "item is missing"),
        ({"item": ["tent"]}, "item: write a text"),
        ({"item": "tent", "weight": 2}, "no argument 'weight': write item, unit"),
        ({"item": "tent", "unit": "lb"}, "none of g, kg"),
        ({"item": "tent", "times": True}, "times: write a whole number"),
        ({"item": "tent", "times": "2"}, "times: write a whole number"),
        ({"item": "tent", "tags": "a"}, "list"),
        ({"item": "x" * 5000}, "4000 characters"),
        ({"item": "\x00"}, "plain text"),
        ({"item": "\ud800"}, "plain text"),
    ],
)
async def test_bad_arguments_are_an_error_that_says_what_to_write(raw: Any, says: str) -> None:
    outcome = await registered(weigh).call(turn(), raw)
    assert isinstance(outcome, ToolError)
    assert outcome.code == "bad_arguments"
    assert says in outcome.message


async def test_an_unknown_tool_is_an_error_that_names_those_there_are() -> None:
    outcome = await call_tool({"weigh": registered(weigh)}, turn(), "wiegh", "{}")
    assert isinstance(outcome, ToolError)
    assert (outcome.code, outcome.message) == ("unknown_tool", "There is no tool of this name. There are: weigh.")


async def test_a_write_does_not_run_but_wants_to_be_confirmed() -> None:
    verified = turn(user_id="C-1", verified=True)
    made = registered(throw_away)
    for outcome in (await made.call(verified, {"item": "tent"}), await made(verified, item="tent")):
        assert isinstance(outcome, NeedsConfirmation)
        assert (outcome.tool, outcome.arguments) == ("throw_away", {"item": "tent"})
        assert outcome.summary == "Throw tent away, 1 times"
        assert len(outcome.id) == 32
    done = await made(replace(verified, writing_as="abc"), item="tent")
    assert done == {"thrown": "tent", "key": "abc"}


@pytest.mark.parametrize("who", [{}, {"user_id": "C-1"}, {"verified": True}])
async def test_nobody_unverified_gets_what_needs_an_identity(who: dict[str, Any]) -> None:
    outcome = await registered(throw_away).call(turn(**who, writing_as="abc"), {"item": "tent"})
    assert isinstance(outcome, ToolError)
    assert outcome.code == "needs_identity"


def test_a_write_without_a_confirmation_cannot_be_declared() -> None:
    with pytest.raises(TypeError, match="confirm"):
        tool(writes=True)


def test_a_tool_whose_arguments_have_no_schema_stops_the_start() -> None:
    @tool()
    async def odd(context: TurnContext, when: dict) -> None:  # type: ignore[type-arg]
        """Odd."""

    with pytest.raises(TypeError, match="odd: when"):
        _ = registered(odd).schema


async def test_errors_of_a_tool_end_no_turn(caplog: pytest.LogCaptureFixture) -> None:
    @tool()
    async def missing(context: TurnContext) -> None:
        """Finds nothing."""
        raise NotFound("there is no such tent")

    @tool()
    async def broken(context: TurnContext) -> None:
        """Breaks."""
        raise ZeroDivisionError

    @tool(timeout=0.01)
    async def slow(context: TurnContext) -> None:
        """Hangs."""
        await asyncio.Event().wait()

    codes = [(await registered(function).call(turn(), {})).code for function in (missing, broken, slow)]
    assert codes == ["not_found", "failed", "unavailable"]
    assert "ZeroDivisionError" in caplog.text


async def test_a_call_ends_before_its_turn_does() -> None:
    @tool(timeout=60)
    async def slow(context: TurnContext) -> None:
        """Hangs."""
        await asyncio.Event().wait()

    began = time.monotonic()
    outcome = await registered(slow).call(turn(seconds=1.6), {})
    assert isinstance(outcome, ToolError)
    assert time.monotonic() - began < 1.5
    assert (await registered(slow).call(turn(seconds=1), {})).code == "unavailable"


async def test_a_long_result_is_cut_and_says_so() -> None:
    @tool(most=100)
    async def long(context: TurnContext) -> list[int]:
        """Counts."""
        return list(range(1000))

    outcome = await registered(long).call(turn(), {})
    assert isinstance(outcome, ToolResult)
    assert outcome.text.startswith("[0,1,2,")
    assert "cut: the result has 3891 characters" in outcome.text
    assert len(outcome.text) < 200
