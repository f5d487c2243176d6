"""The engine: the chat's parts that run beside the doors, and the looks that make good what died.

The log is the queue. Each instance looks, every TURN_RECOVERY_INTERVAL, for customers who wait and whose turn nobody
holds, for chats whose time is over, and for leases that ended a while ago.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from agent_app.answering import turns
from agent_app.chat import expire_due
from agent_app.doorbell import Ring, doorbell
from agent_app.escalation import policy
from agent_app.journal import journal
from agent_app.models import Conversation
from agent_app.models.refusal import Unavailable
from agent_app.models.turns import ForgetLease, TakeTurn, WriteAgain
from agent_app.tools.backend import close_all, statuses
from agent_app.tools.trail import trail

logger = logging.getLogger(__name__)

RECOVERED_AT_ONCE = 50
THOROUGH_LOOK = 12  # every so many looks for orphans, that for those which no index knows
FORGOTTEN_AT_ONCE = 1000
FORGOTTEN_TOGETHER = 20
FORGET_AFTER = timedelta(minutes=1)  # since a lease ran out


class Engine:
    """Starts and stops the chat's parts in this process."""

    def __init__(self) -> None:
        self._recovery: asyncio.Task[None] | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        turns.live_on(loop)
        turns.draining = False
        _ = turns.agent, policy()  # what is set wrongly stops the start, not the first customer
        await doorbell.start()
        self._recovery = loop.create_task(self._recover())

    async def drain(self, seconds: float) -> None:
        """Before the sockets close: they are told to come back elsewhere, running turns finish or are given back."""
        doorbell.send_away()
        await turns.drain(seconds)

    async def stop(self) -> None:
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.gather(self._recovery, return_exceptions=True)
        await doorbell.stop()
        with contextlib.suppress(Unavailable):
            await trail.flush()
        await close_all()
        turns.live_on(None)
        await asyncio.to_thread(journal.close)

    def status(self) -> dict[str, dict[str, Any]]:
        return {
            "journal": {
                "state": "ok" if journal.available else "down",
                "commits": journal.commits,
                "log_reads": journal.log_reads,
            },
            "doorbell": {
                "state": "ok" if doorbell.available else "degraded",
                "listeners": doorbell.listeners,
                "neighbours": doorbell.neighbours,
            },
            "turns": {"state": "ok", "running": turns.running, "finished": turns.finished},
            **{f"backend_{name}": as_part(breaker) for name, breaker in statuses().items()},
        }

    async def _recover(self) -> None:
        """Takes over turns that nobody holds, closes chats whose time is over, and forgets leases that are."""
        looks, more = itertools.count(), False
        while True:
            try:
                if not journal.available:
                    await try_a_write()
                more = await self._take_orphans(thoroughly=next(looks) % THOROUGH_LOOK == 0 or more)
                await expire_due()
                await forget_leases()
            except Unavailable:
                pass  # said in the log by the journal; the next look tries again
            except Exception:
                logger.exception("recovery.failed")
            await asyncio.sleep(settings.TURN_RECOVERY_INTERVAL)

    async def _take_orphans(self, thoroughly: bool) -> bool:
        """Whether the next look should be a thorough one, too."""
        if turns.draining:
            return False
        orphans = await journal.read(orphaned_chats, RECOVERED_AT_ONCE)
        given_up = await journal.read(given_up_chats, RECOVERED_AT_ONCE) if thoroughly else []
        for conversation_id in orphans + given_up:
            asked_at = time.monotonic()
            done = await journal.do(TakeTurn(conversation_id, doorbell.instance))
            if done.lease is not None:
                logger.info("turn.taken_over thread=%s attempt=%d", done.lease.thread_id, done.lease.attempt)
                turns.begin(done.lease, asked_at)
                if done.stopped:
                    doorbell.ring(Ring(conversation_id, stop=done.lease.turn))
        return len(given_up) == RECOVERED_AT_ONCE


def as_part(breaker: dict[str, Any]) -> dict[str, Any]:
    """A back end that is away makes answers poorer, and the desk no less ready."""
    return {**breaker, "state": "ok" if breaker["state"] == "closed" else "degraded", "circuit": breaker["state"]}


def orphaned_chats(limit: int) -> list[int]:
    return list(Conversation.objects.orphaned(timezone.now()).values_list("pk", flat=True)[:limit])


def given_up_chats(limit: int) -> list[int]:
    return list(Conversation.objects.given_up().values_list("pk", flat=True)[:limit])


async def try_a_write() -> None:
    """An instance that could not store is not ready, gets no customers for that reason, and must find out by itself."""
    newest = await journal.read(newest_chat)
    if newest is not None:
        await journal.do(WriteAgain(newest))
    else:  # an empty desk has refused nothing
        journal.available = True


def newest_chat() -> int | None:
    return Conversation.objects.order_by("-pk").values_list("pk", flat=True).first()


async def forget_leases() -> None:
    """Of turns that ended a while ago: a chat that goes on would only get another one."""
    over = await journal.read(old_leases, FORGOTTEN_AT_ONCE)
    for start in range(0, len(over), FORGOTTEN_TOGETHER):  # customers' messages go between
        some = over[start : start + FORGOTTEN_TOGETHER]
        await asyncio.gather(*(journal.do(ForgetLease(conversation_id)) for conversation_id in some))


def old_leases(limit: int) -> list[int]:
    return list(Conversation.objects.had_a_turn(timezone.now() - FORGET_AFTER).values_list("pk", flat=True)[:limit])


engine = Engine()
