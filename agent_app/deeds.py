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
        return None if consent.decision.agreed else Deed(catalogue.TOO_LATE.format(summary=intent.summary))
    if intent.state == "declined" and not consent.decision.agreed:
        return Deed(catalogue.LEFT.format(summary=intent.summary))
    done = intent.tool if intent.state == "done" else None
    return Deed(catalogue.SETTLED[intent.state].format(summary=intent.summary), done=done)


async def carry_out(intent: Intent, context: TurnContext, tools: Mapping[str, Tool]) -> Done:
    """Tries the write with the arguments that were confirmed, under their id."""
    tool = tools.get(intent.tool)
    if tool is None:
        return Done(Deed(catalogue.NOT_DONE.format(summary=intent.summary, why="")), (intent.id, "refused"))
    outcome = await tool.call(replace(context, writing_as=intent.id), intent.arguments)
    return come_of(intent, outcome)


def come_of(intent: Intent, outcome: ToolOutcome) -> Done:
    used = (intent.tool,)
    if isinstance(outcome, ToolResult):
        return Done(Deed(sentence(intent, outcome.value), used, done=intent.tool), (intent.id, "done"))
    if isinstance(outcome, ToolError) and outcome.code not in UNKNOWN_OUTCOME:
        text = catalogue.NOT_DONE.format(summary=intent.summary, why=outcome.said)
        return Done(Deed(text.strip(), used), (intent.id, "refused"))
    again = NeedsConfirmation(intent.id, intent.tool, intent.arguments, intent.summary)
    return Done(Deed(catalogue.IN_DOUBT.format(summary=intent.summary), used, again))


def sentence(intent: Intent, value: Any) -> str:
    """The tool's own words, where it has some."""
    if isinstance(value, Mapping) and isinstance(value.get("said"), str):
        return str(value["said"])[:MOST_SAID]
    return catalogue.DONE.format(summary=intent.summary)
