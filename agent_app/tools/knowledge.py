"""Search the company's knowledge."""

from agent_app.agent.events import TurnContext
from agent_app.tools.registry import tool


@tool()
async def search_knowledge(context: TurnContext, query: str) -> None:
    """Passages of the help articles that answer the question."""
