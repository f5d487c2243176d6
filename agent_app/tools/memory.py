"""What this customer said earlier in the conversation."""

from agent_app.agent.events import TurnContext
from agent_app.tools.registry import tool


@tool()
async def recall(context: TurnContext) -> list[str]:
    """The customer's earlier messages of this conversation, oldest first."""
    return [m.text for m in context.messages if m.role == "customer" and m.seq <= context.answered_upto]
