"""What stands beside a thread at the desk: the customer, their live session, earlier chats, who did what."""

import asyncio
from typing import Any

from django.db.models import OuterRef, Subquery
from django.db.models.functions import Substr

from agent_app.desk.cards import PREVIEW, READ_OF_A_TEXT
from agent_app.markdown import to_text
from agent_app.models import AuditEntry, Conversation, Fact, Feedback, Message
from agent_app.models.conversations import wire_time
from sessions_app.stores import StoreUnavailable, get_store

PREVIOUS = 10  # conversations of the same customer
AUDITED = 50  # newest entries


def details(
    conversation: Conversation, live: dict[str, Any] | None, may_see_audit: bool, may_see_facts: bool
) -> dict[str, Any]:
    rating = Feedback.objects.filter(conversation=conversation, seq=None).values_list("rating", flat=True).first()
    return {
        "customer": {
            "user_id": conversation.user_id,
            "verified": conversation.verified,
            "email": conversation.email_of_customer(),
        },
        "session": live,
        "created_at": wire_time(conversation.created_at),
        "closed_at": wire_time(conversation.closed_at),
        "closed_reason": conversation.closed_reason,
        "rating": rating,
        "facts": remembered(conversation) if may_see_facts else None,
        "previous": previous(conversation),
        "audit": audited(conversation) if may_see_audit else None,
    }


def remembered(conversation: Conversation) -> list[dict[str, Any]]:
    """What the agent may know of this customer in this chat's next turn, oldest first."""
    return [
        {
            "id": fact.pk,
            "name": fact.name,
            "value": fact.value,
            "said_in": fact.message_seq if fact.conversation_id == conversation.pk else None,
            "expires_at": wire_time(fact.expires_at),
        }
        for fact in Fact.objects.known_to(conversation)
    ]


def previous(conversation: Conversation) -> list[dict[str, Any]]:
    """Other chats of the same user, newest first; a user_id that nobody has proven shows none of a proven one's."""
    if not conversation.user_id:
        return []
    others = Conversation.objects.filter(user_id=conversation.user_id, verified=conversation.verified)
    first = Message.objects.filter(conversation=OuterRef("pk"), role=Message.Role.CUSTOMER).order_by("seq")
    newest = others.exclude(pk=conversation.pk).newest_first(PREVIOUS)
    shown = newest.annotate(asked=Subquery(first.values(start=Substr("text", 1, READ_OF_A_TEXT))[:1]))
    return [
        {
            "id": other.thread_id,
            "state": other.state,
            "created_at": wire_time(other.created_at),
            "last_seq": other.last_seq,
            "preview": to_text(other.asked or "")[:PREVIEW],
        }
        for other in shown
    ]


def audited(conversation: Conversation) -> list[dict[str, Any]]:
    entries = AuditEntry.objects.filter(session_id=conversation.session_id).order_by("-at", "-id")[:AUDITED]
    return [
        {"at": wire_time(entry.at), "actor": entry.actor, "action": entry.action, "details": entry.details}
        for entry in entries
    ]


async def live_session(session_id: str) -> dict[str, Any] | None:
    """None when it has gone, or the store is away: the conversation can be read all the same."""
    store = get_store()
    try:
        session, left = await asyncio.gather(store.get(session_id), store.ttl(session_id))
    except StoreUnavailable:
        return None
    if session is None:
        return None
    return {
        "session_id": session_id,
        "message_count": session.message_count,
        "expires_in": left,
        "metadata": session.metadata,
    }
