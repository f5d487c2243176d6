"""Read what the customer attached."""

from agent_app.agent.events import TurnContext
from agent_app.tools.registry import tool


@tool()
async def read_attachment(context: TurnContext, attachment_id: str) -> None:
    """The text of one attachment of this conversation."""
