"""Ask for a person."""

from agent_app.agent.events import Escalation, TurnContext
from agent_app.tools.registry import tool


@tool()
async def ask_for_person(context: TurnContext, reason: str) -> Escalation:
    """Asks for a person to take over this conversation. The chat stores it with the answer that carries it."""
    return Escalation(reason=reason, category="general", priority="normal", score=1.0)
