"""How the live sessions tell the world that one of them is over."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections
from django.dispatch import Signal

# Sent with session_id, reason ("expired", "deleted", "ended", …) and actor (who did it, or None). A session's end is
# sent once, or again after a crash in the middle of its handling: receivers are idempotent. A receiver may be sync
# (it may use the database) or async. One that raises gets that end again at a later sweep.
session_ended = Signal()

# Sent with session_id, until (a datetime) and actor when staff let a session live longer than it would have.
session_extended = Signal()

# Sent with action ("changed", "extended", "swept"), session_id ("" for "swept"), actor and details (a dict of JSON
# values without the customer's) after staff did something to live sessions that did not end one.
staff_acted = Signal()

AT_ONCE = 64  # ends told side by side: receivers can share a query, and those that write a transaction


@dataclass(frozen=True, slots=True)
class Ending:
    """One end of one session, claimed by this process until `claim` is confirmed or runs out."""

    session_id: str
    reason: str
    actor: str | None
    claim: str


async def tell(sender: type, endings: Sequence[Ending]) -> list[Ending]:
    """Those endings that every receiver has heard without raising."""
    if not endings or not session_ended.has_listeners(sender):
        return list(endings)
    # The thread of sync receivers is otherwise the process's one, where a slow receiver stops every sync view.
    async with ThreadSensitiveContext():
        try:
            told: list[Ending] = []
            for first in range(0, len(endings), AT_ONCE):
                some = endings[first : first + AT_ONCE]
                heard = await asyncio.gather(*(_heard(sender, ending) for ending in some))
                told += [ending for ending, well in zip(some, heard, strict=True) if well]
            return told
        finally:
            await sync_to_async(close_connections)()  # that thread ends here


def close_connections() -> None:
    """Under async_to_sync the receivers' thread is the caller's, which may be in the middle of a transaction."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


async def _heard(sender: type, ending: Ending) -> bool:
    """Django logs what a receiver raises."""
    answers = await session_ended.asend_robust(
        sender, session_id=ending.session_id, reason=ending.reason, actor=ending.actor
    )
    return not any(isinstance(answer, Exception) for _, answer in answers)
