"""What this customer said: earlier in the conversation, and, where the identity is proven, in earlier ones."""

import re
from typing import Annotated, Any

from agent_app.agent.events import ChatMessage, TurnContext
from agent_app.journal import journal
from agent_app.models import Conversation, Fact
from agent_app.tools.failures import NotAllowed
from agent_app.tools.registry import tool

NAME = re.compile(r"[a-z][a-z0-9 _-]{0,39}")
LONGEST = 300  # characters of a value


@tool()
async def recall(context: TurnContext) -> dict[str, Any]:
    """What this customer told about themselves, and their earlier messages of this conversation, oldest first."""
    facts = await journal.read(facts_of, context.thread_id)
    said = [m.text for m in context.messages if m.role == "customer" and m.seq <= context.answered_upto]
    return {"facts": facts, "messages": said}


@tool(private=("value",))
async def remember(
    context: TurnContext,
    name: Annotated[str, 'what it is, in a word or two, such as "shoe size"'],
    value: Annotated[str, "the customer's own words for it, as they stand in one of their messages"],
) -> str:
    """Keeps one fact that the customer gave about themselves, such as their name or shoe size."""
    name, value = name.strip().lower(), " ".join(value.split())
    if not NAME.fullmatch(name) or not value or len(value) > LONGEST:
        raise NotAllowed("a fact has a name of a word or two and a short value")
    source = said_in(context, value)
    if source is None:
        # Else an article, an attachment or a tool's result could write the customer's memory.
        raise NotAllowed("only what the customer has written in this chat can be remembered, in their own words")
    if not await journal.read(keep, context.thread_id, name, value, source.seq):
        raise NotAllowed("nothing is remembered on this desk; it was not kept")
    return "It is remembered."


def said_in(context: TurnContext, value: str) -> ChatMessage | None:
    """The newest message of the customer that holds these words."""
    wanted = f" {words(value)} "
    for message in reversed(context.messages):
        if message.role == "customer" and wanted in f" {words(message.text)} ":
            return message
    return None


def words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def facts_of(thread_id: str) -> list[dict[str, str]]:
    conversation = Conversation.objects.filter(thread_id=thread_id).first()
    if conversation is None:
        return []
    return [{"fact": fact.name, "value": fact.value} for fact in Fact.objects.known_to(conversation)]


def keep(thread_id: str, name: str, value: str, message_seq: int) -> bool:
    conversation = Conversation.objects.filter(thread_id=thread_id).first()
    return conversation is not None and Fact.objects.remember(conversation, name, value, message_seq) is not None
