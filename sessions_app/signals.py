"""How the live sessions tell the world that one of them is over."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from asgiref.sync import sync_to_async
from django.db import connections
from django.dispatch import Signal

logger = logging.getLogger(__name__)

# Sent with session_id, reason ("expired", "deleted", "ended", …) and actor (who did it, or None). A session's end is
# sent once, or again after a crash in the middle of its handling: receivers are idempotent. A receiver may be sync
# (it may use the database) or async. One that raises gets that end again at a later sweep.
session_ended = Signal()

# Sent with session_id, until (a datetime) and actor when staff let a session live longer than it would have.
session_extended = Signal()

# sync_to_async's own thread is shared by the whole process: a slow receiver would stop every sync view.
_receivers_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="session-ended")


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
    return await sync_to_async(_tell, thread_sensitive=False, executor=_receivers_thread)(sender, endings)


def _tell(sender: type, endings: Sequence[Ending]) -> list[Ending]:
    try:
        return [ending for ending in endings if _heard(sender, ending)]
    finally:
        connections.close_all()


def _heard(sender: type, ending: Ending) -> bool:
    answers = session_ended.send_robust(
        sender, session_id=ending.session_id, reason=ending.reason, actor=ending.actor
    )  # logs what a receiver raises
    return not any(isinstance(answer, Exception) for _, answer in answers)
