"""What this process knows of how a back end does, so that no turn waits for one that is away."""

import logging
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Open(Exception):
    """Nobody tries this back end now."""


class CircuitBreaker:
    """Closed until `limit` tries in a row have failed; then open for `seconds`, after which one try goes through: it
    closes the circuit or opens it for as long again. Of one process: another finds out for itself.
    """

    def __init__(
        self, name: str, limit: int = 5, seconds: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name, self.limit, self.seconds, self.clock = name, limit, seconds, clock
        self.failures = 0
        self.opened = 0  # times since the start
        self._open_until: float | None = None
        self._probing = False

    @property
    def state(self) -> str:
        """closed, open, or half_open once a try may go through again."""
        if self._open_until is None:
            return "closed"
        return "half_open" if self._probing or self.clock() >= self._open_until else "open"

    def enter(self) -> None:
        """Before a try; `succeeded`, `failed` or `abandoned` has to follow. Raises Open."""
        if self._open_until is None:
            return
        if self._probing or self.clock() < self._open_until:
            raise Open(f"{self.name} has failed {self.failures} times in a row")
        self._probing = True

    def succeeded(self) -> None:
        if self._open_until is not None:
            logger.info("backend.back name=%s", self.name)
        self.failures, self._open_until, self._probing = 0, None, False

    def failed(self, why: str) -> None:
        self.failures += 1
        self._probing = False
        if self.failures >= self.limit:
            if self._open_until is None:
                logger.warning("backend.away name=%s why=%s", self.name, why)
                self.opened += 1
            self._open_until = self.clock() + self.seconds

    def abandoned(self) -> None:
        """Whoever tried has gone away: it says nothing about the back end, and another may probe."""
        self._probing = False

    def status(self) -> dict[str, str | int]:
        return {"state": self.state, "failures": self.failures, "opened": self.opened}
