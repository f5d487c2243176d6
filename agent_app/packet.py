"""The hand-over packet: what a person who takes a chat over must know, before they have read it."""

import time
from collections.abc import Sequence
from typing import Any

from agent_app.agent.events import Answer, ChatMessage, TurnContext
from agent_app.agent.offline import OfflineResponder
from agent_app.agent.responder import ResponderOptions
from agent_app.agent.smalltalk import reply_to
from agent_app.escalation import policy
from agent_app.models import Conversation, Ticket
from agent_app.models.conversations import Entry, wire_time
from agent_app.tools.registry import load_tools

LONGEST = 2000  # characters of a text in the packet
SECONDS = 5.0  # that looking for a suggestion may take
LOOKED_UP_IN = "search_knowledge"


def packet(conversation: Conversation, ticket: Ticket | None, entries: Sequence[Entry]) -> dict[str, Any] | None:
    """All but the suggestion, which takes a search; None for a chat that was never handed over."""
    if ticket is None:
        return None
    asked = questions(entries)
    return {
        "ticket": ticket.number,
        "reason": ticket.reason,
        "category": ticket.category,
        "priority": ticket.priority,
        "asked_at": wire_time(ticket.created_at),
        "wants": asked[0][:LONGEST] if asked else "",
        "facts": facts(conversation),
        "tools": tools_used(entries),
        "question": open_question(entries)[:LONGEST],
        "suggestion": None,
    }


def questions(entries: Sequence[Entry]) -> list[str]:
    """What the customer asked, without greetings and without the wish for a person itself."""
    said = [entry.text for entry in entries if entry.role == "customer"]
    return [text for text in said if reply_to(text) is None and policy().judge(text) is None]


def open_question(entries: Sequence[Entry]) -> str:
    """The newest thing that was asked; where there is no question, the newest that was said."""
    asked = questions(entries)
    said = [entry.text for entry in entries if entry.role == "customer"]
    return asked[-1] if asked else (said[-1] if said else "")


def facts(conversation: Conversation) -> list[dict[str, Any]]:
    """What is known of the customer, and whether it is proven or only what their browser said."""
    known: list[dict[str, Any]] = []
    if conversation.user_id:
        known.append({"label": "User", "value": conversation.user_id, "verified": conversation.verified})
    if conversation.email:
        known.append({"label": "E-mail", "value": conversation.email, "verified": True})
    for name, value in conversation.metadata.items():
        if isinstance(value, str | int | float | bool):
            known.append({"label": str(name)[:100], "value": str(value)[:LONGEST], "verified": False})
    return known


def tools_used(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Which tools the agent used for which answer, and what they found, as far as the answer shows it."""
    used = []
    for entry in entries:
        for tool in (entry.details or {}).get("tools_used", ()):
            found = ", ".join(str(citation["title"]) for citation in entry.citations) if tool == LOOKED_UP_IN else ""
            used.append({"tool": tool, "seq": entry.seq, "result": found})
    return used


async def suggestion(conversation: Conversation, question: str) -> dict[str, Any] | None:
    """What the knowledge says to the open question, quoted with its sources; None where it does not know."""
    if not question or reply_to(question) is not None:
        return None
    context = TurnContext(
        thread_id=conversation.thread_id,
        session_id=conversation.session_id,
        state=conversation.state,
        user_id=conversation.user_id,
        verified=conversation.verified,
        metadata={},
        messages=(ChatMessage(1, "customer", question),),
        answered_upto=0,
        ticket="",
        deadline=time.monotonic() + SECONDS,
        max_reply=LONGEST,
    )
    tools = {name: tool for name, tool in load_tools().items() if name == LOOKED_UP_IN}
    async for event in OfflineResponder(ResponderOptions()).respond(context, tools):
        if isinstance(event, Answer) and event.citations and not event.unanswered and not event.choices:
            return {"text": event.text, "citations": list(event.citations)}
    return None
