"""The audit of what tools did: one entry a call, with the arguments that were needed and how it ended."""

import asyncio
import contextvars
import logging
from dataclasses import dataclass, replace
from typing import Any

from agent_app.journal import journal
from agent_app.models import AuditEntry
from agent_app.models.refusal import Unavailable

logger = logging.getLogger(__name__)

GATHER_FOR = 0.2  # seconds: reads of many turns share one transaction
AGAIN_AFTER = 5.0  # seconds, while the database is away
MOST_HELD = 10_000  # entries; more would be an outage of hours


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call. `outcome` is "began" until it has ended, then ok, offered, cancelled, timeout or ToolError's code."""

    session_id: str
    tool: str
    arguments: dict[str, Any]
    writes: bool
    confirmation: str | None
    outcome: str = "began"
    ms: int = 0

    def ended(self, outcome: str, seconds: float) -> "ToolCall":
        return replace(self, outcome=outcome, ms=round(seconds * 1000))

    def entry(self) -> AuditEntry:
        details: dict[str, Any] = {"tool": self.tool, "arguments": self.arguments, "outcome": self.outcome}
        if self.outcome != "began":
            details["ms"] = self.ms
        if self.confirmation is not None:
            details["confirmation"] = self.confirmation
        action = "tool.write" if self.writes else "tool.read"
        return AuditEntry.made(action, self.session_id, "agent", **details)


class ToolTrail:
    """Keeps entries in batches, beside the turns; what is noted is stored within a moment, or once the database is
    back. `keep` waits until its entry is stored.
    """

    def __init__(self) -> None:
        self._noted: list[AuditEntry] = []
        self._storing: asyncio.Task[None] | None = None
        self._under_way: asyncio.Task[Any] | None = None  # a batch on its way to the database

    def note(self, call: ToolCall) -> None:
        if len(self._noted) >= MOST_HELD:
            logger.error("audit.lost tool=%s outcome=%s", call.tool, call.outcome)
            return
        self._noted.append(call.entry())
        if self._storing is None or self._storing.done():
            self._storing = asyncio.get_running_loop().create_task(self._store(), context=contextvars.Context())

    async def keep(self, call: ToolCall) -> None:
        """Raises Unavailable when the database is away."""
        await journal.read(AuditEntry.keep_of_chats, [call.entry()])

    async def flush(self) -> None:
        """Stores what was noted so far, what somebody else is about to store included. Raises Unavailable."""
        here = asyncio.get_running_loop()
        while (batch := self._under_way) is not None and not batch.done() and batch.get_loop() is here:
            await asyncio.wait([batch])  # where it fails, what was in it is noted again
        entries, self._noted = self._noted, []
        try:
            if entries:
                self._under_way = asyncio.ensure_future(journal.read(AuditEntry.keep_of_chats, entries))
                await self._under_way
        except BaseException:
            self._noted = entries + self._noted
            raise

    async def _store(self) -> None:
        wait = GATHER_FOR
        while self._noted:
            await asyncio.sleep(wait)
            try:
                await self.flush()
            except Unavailable:
                wait = AGAIN_AFTER
            else:
                wait = GATHER_FOR


trail = ToolTrail()
