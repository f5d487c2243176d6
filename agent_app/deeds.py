"""Carrying out what a customer agreed to: the same intent, whoever holds the turn, and no model is asked.

The database says whether it may be tried (`DecideWrite`, with the turn's lease), the confirmation's id makes the back
end do it once, and what came of it is stored by the commit of the answer that says it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent_app.agent import catalogue
from agent_app.agent.consent import Consent
from agent_app.agent.events import Deed, NeedsConfirmation, ToolError, ToolOutcome, ToolResult, TurnContext
from agent_app.agent.responder import Tool
from agent_app.models.turns import Intent

MOST_SAID = 1000  # characters of what a tool says to the customer
UNKNOWN_OUTCOME = ("unavailable", "failed")  # codes after which a write may have happened


@dataclass(frozen=True, slots=True)
class Done:
    """What there is to say, and what to store of the confirmation with it: (id, state), or None to leave it."""

    deed: Deed
    settles: tuple[str, str] | None = None


def said_of(intent: Intent | None, consent: Consent) -> Deed | None:
    """What there is to say of a confirmation that is not to be tried; None for one that is."""
    if intent is None:
        return Deed(catalogue.NOT_OPEN)
    if intent.state == "begun":
        repeat = consent.decision.agreed and not intent.too_old
        return None if repeat else Deed(catalogue.TOO_LATE.format(summary=intent.summary))
    if intent.state == "declined" and not consent.decision.agreed:
        return Deed(catalogue.LEFT.format(summary=intent.summary))
    done = intent.tool if intent.state == "done" else None
    return Deed(catalogue.SETTLED[intent.state].format(summary=intent.summary), done=done)


async def carry_out(intent: Intent, context: TurnContext, tools: Mapping[str, Tool]) -> Done:
    """Tries the write with the arguments that were confirmed, under their id."""
    tool = tools.get(intent.tool)
    if tool is None:
        return come_of(intent, ToolError(intent.tool, "unknown_tool", ""), ())
    outcome = await tool.call(replace(context, writing_as=intent.id), intent.arguments)
    return come_of(intent, outcome, (intent.tool,))


def come_of(intent: Intent, outcome: ToolOutcome, used: tuple[str, ...]) -> Done:
    if isinstance(outcome, ToolResult):
        return Done(Deed(sentence(intent, outcome.value), used, done=intent.tool), (intent.id, "done"))
    if isinstance(outcome, ToolError) and is_certain(intent, outcome):
        text = catalogue.NOT_DONE.format(summary=intent.summary, why=outcome.said)
        return Done(Deed(text.strip(), used), (intent.id, "refused"))
    return Done(in_doubt(intent, catalogue.IN_DOUBT, used))


def is_certain(intent: Intent, error: ToolError) -> bool:
    """The error says that the write was not done. Of one that was tried before, only the back end's own no says so."""
    return error.code == "refused" if intent.tried_before else error.code not in UNKNOWN_OUTCOME


def in_doubt(intent: Intent, text: str, used: tuple[str, ...] = ()) -> Deed:
    """Nobody knows whether it was done: said as it is, and offered again, under the same id."""
    again = NeedsConfirmation(intent.id, intent.tool, intent.arguments, intent.summary, begun=True)
    return Deed(text.format(summary=intent.summary), used, again)


def sentence(intent: Intent, value: Any) -> str:
    """The tool's own words, where it has some."""
    if isinstance(value, Mapping) and isinstance(value.get("said"), str):
        return str(value["said"])[:MOST_SAID]
    return catalogue.DONE.format(summary=intent.summary)
