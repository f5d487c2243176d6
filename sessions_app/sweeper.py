"""Every instance sweeps; the store sees to it that each expired session is taken by one of them."""

import asyncio
import logging
import random

from sessions_app.stores import SessionStore, StoreUnavailable

logger = logging.getLogger(__name__)


class Sweeper:
    """Ends expired sessions every `interval` seconds, and tells them by `session_ended`."""

    AUDIT_EVERY = 12  # sweeps: an hour, by default

    def __init__(self, store: SessionStore, interval: float) -> None:
        self.store = store
        self.interval = interval
        self._sweeps = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self.run(), name="session-sweeper")

    async def stop(self) -> None:
        """What was being told goes on: the next sweep, here or elsewhere, tells what was not confirmed."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def run(self) -> None:
        while True:
            # Instances that started together do not sweep together.
            await asyncio.sleep(self.interval * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            try:
                await self.sweep_once()
            except Exception:  # whatever it is: the next sweep may do better, and without sweeps no end is told
                logger.exception("sessions.sweep_failed")

    async def sweep_once(self) -> int:
        """How many sessions had expired; 0 when the store is away."""
        self._sweeps += 1
        try:
            expired = await self.store.cleanup_expired()
            if self._sweeps % self.AUDIT_EVERY == 0:
                await self.store.audit()
        except StoreUnavailable:
            return 0  # the store has logged its change of state
        if expired:
            logger.info("sessions.swept expired=%d", expired)
        return expired
