"""The live session of a chat: made of its conversation, counted with each message, rebuilt when the store lost it.

The conversation's row decides whether a chat exists; here it is told to the session store.
"""

import asyncio
import contextvars
import logging
from typing import Any

from agent_app.journal import journal
from agent_app.models import Conversation
from agent_app.models.refusal import Refused
from sessions_app.stores import SessionData, StoreUnavailable, get_store

logger = logging.getLogger(__name__)

COUNT_EVERY = 1.0  # seconds between two rounds of counting messages that start no turn


def live_session(conversation: Conversation) -> SessionData:
    """The live session as the conversation tells it: what a new one holds, and what a lost one is rebuilt from."""
    return SessionData(
        session_id=conversation.session_id,
        user_id=conversation.user_id,
        thread_id=conversation.thread_id,
        message_count=conversation.customer_count,
        escalated=conversation.ticket is not None,
        metadata=conversation.metadata,
    )


async def count_message(session_id: str, total: int) -> SessionData | None:
    """The one round trip to the session store: the count set, the TTL renewed, the session back.

    A session that the store lost is rebuilt from the conversation; None when the store is away.
    """
    store = get_store()
    session = await store.count_message(session_id, total)
    if session is None and store.available:
        session = await rebuild_session(session_id)
    return session


async def session_statistics() -> dict[str, Any]:
    """For the debugging metadata; says so when the store is away."""
    try:
        return await get_store().get_stats()
    except StoreUnavailable:
        return {"unavailable": True}


async def rebuild_session(session_id: str) -> SessionData | None:
    """Creates the session only where there is none, then looks again: a chat closed meanwhile must not live on."""
    conversation = await journal.read(Conversation.objects.filter(session_id=session_id).first)
    if conversation is None or conversation.is_closed:
        return None
    store = get_store()
    session = await store.get_or_create(session_id, lambda: live_session(conversation))
    now = await journal.read(Conversation.objects.filter(pk=conversation.pk).first)
    if now is None or now.is_closed:  # erased, or ended
        await store.delete(session_id)
        return None
    logger.info("session.rebuilt session=%s", session_id)
    return session


class Counter:
    """Counts messages that start no turn, after their acknowledgement. The totals are absolute, so that of several
    for one session only the newest is sent, and one that is lost is made good by the next.
    """

    def __init__(self) -> None:
        self._totals: dict[str, int] = {}
        self._counting: asyncio.Task[None] | None = None

    def count(self, session_id: str, total: int) -> None:
        self._totals[session_id] = total
        if self._counting is None or self._counting.done():
            self._counting = asyncio.get_running_loop().create_task(self._count(), context=contextvars.Context())

    async def _count(self) -> None:
        while self._totals:
            await asyncio.sleep(COUNT_EVERY)  # gathers what many sockets sent into one round trip
            totals, self._totals = self._totals, {}
            try:
                await asyncio.gather(*(count_message(session_id, total) for session_id, total in totals.items()))
            except Refused:
                logger.warning("session.not_counted")  # erased, or the database is away: nothing is owed


counter = Counter()
