"""Read what the customer attached. It belongs to this conversation, and never enters the shared knowledge."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from django.core.files.storage import default_storage

from agent_app.agent.events import TurnContext
from agent_app.knowledge.documents import SECONDS, read_document_async
from agent_app.knowledge.indexing import knowledge
from agent_app.knowledge.passages import Source
from agent_app.knowledge.retrieval import Hit
from agent_app.tools.registry import NotAllowed, tool

_disk = ThreadPoolExecutor(2, "attachments")


def stored_name(session_id: str, attachment_id: str) -> str:
    """Where an upload keeps its bytes. One folder a conversation, so that erasing one is one folder."""
    return f"attachments/{session_id}/{attachment_id}"


@tool(timeout=SECONDS + 10)
async def read_attachment(context: TurnContext, attachment_id: str, query: str = "") -> Hit:
    """The passage of one attachment of this conversation that is nearest to the question.

    Raises Unreadable with a sentence that says why.
    """
    named = {str(attachment["id"]): attachment for message in context.messages for attachment in message.attachments}
    attachment = named.get(attachment_id)
    if attachment is None:
        raise NotAllowed("there is no such attachment in this conversation")
    data = await asyncio.get_running_loop().run_in_executor(_disk, _bytes, context.session_id, attachment_id)
    name = str(attachment["name"])
    document = await read_document_async(name, data)
    source = Source(attachment_id, name, document.text, address=str(attachment.get("url", "")))
    return await knowledge.search_within(source, query)


def _bytes(session_id: str, attachment_id: str) -> bytes:
    with default_storage.open(stored_name(session_id, attachment_id)) as file:
        return bytes(file.read())
