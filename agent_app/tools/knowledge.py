"""Search the company's knowledge."""

from agent_app.agent.events import TurnContext
from agent_app.knowledge.indexing import search
from agent_app.knowledge.retrieval import Findings
from agent_app.tools.registry import tool


@tool()
async def search_knowledge(context: TurnContext, query: str, article: str = "") -> Findings:
    """Passages of the help articles that answer the question, and how sure that is.

    With `article`, the slug of one, only what that article says.
    """
    return await search(query, article=article or None)
