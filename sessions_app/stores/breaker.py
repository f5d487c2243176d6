"""What this process knows of how a server does, so that nobody waits for one that is away."""

import logging
from time import monotonic

from sessions_app.servers import Server
from sessions_app.stores.base import StoreUnavailable

logger = logging.getLogger(__name__)


class Breaker:
    """After three failures in a row nobody tries but one probe a second. One log line per change of state.

    A server at the edge of its memory refuses and accepts by turns: that is one state, and ends when it has refused
    nothing for a while.
    """

    LIMIT = 3
    PROBE_SECONDS = 1.0
    SETTLED_SECONDS = 10.0
    ERROR_SECONDS = 60.0

    def __init__(self, server: str, whole: Server) -> None:
        self.server = server
        self.whole = whole  # the cluster of which it is a node, or itself
        self.failures = 0
        self.why = ""  # of the last failure
        self.refusing: str | None = None  # the code with which the server refuses writes
        self.unsettled: str | None = None  # the code of which the log has said that it refuses
        self._refused_at = 0.0
        self._probe_at = 0.0
        self._errors: dict[str, float] = {}  # code: when the log had it last

    @property
    def available(self) -> bool:
        """A refusal counts for a second: then whoever finds a session absent may try to write it, and so finds out."""
        if self.refusing is not None and monotonic() - self._refused_at <= self.PROBE_SECONDS:
            return False
        return not self.failures

    def check(self) -> None:
        """StoreUnavailable while the circuit is open, but for one caller a second."""
        if self.failures < self.LIMIT:
            return
        now = monotonic()
        if now < self._probe_at:
            raise StoreUnavailable(f"{self.server} is away: {self.why}")
        self._probe_at = now + self.PROBE_SECONDS

    def failed(self, why: str) -> None:
        self.failures += 1
        self.why = why
        self._probe_at = monotonic() + self.PROBE_SECONDS
        if self.failures == 1:
            logger.warning("session_store.away server=%s why=%s", self.server, why)

    def succeeded(self) -> None:
        self.failures = 0
        logger.info("session_store.back server=%s", self.server)

    def refused(self, code: str) -> None:
        self.refusing = code
        self._refused_at = monotonic()
        if self.unsettled != code:
            self.unsettled = code
            logger.warning("session_store.refuses server=%s code=%s", self.server, code)

    def accepted(self) -> None:
        """Of a command that it would have refused."""
        self.refusing = None
        if monotonic() - self._refused_at > self.SETTLED_SECONDS:
            self.unsettled = None
            logger.info("session_store.accepts server=%s", self.server)

    def surprised(self, code: str, error: str) -> None:
        """An error that no command of ours should get. It is its caller's alone, but the log need not have each."""
        now = monotonic()
        if now - self._errors.get(code, -self.ERROR_SECONDS) >= self.ERROR_SECONDS:
            self._errors[code] = now
            logger.error("session_store.error server=%s error=%s", self.server, error)


_breakers: dict[Server, Breaker] = {}  # of each node


def breaker_for(node: Server, whole: Server) -> Breaker:
    """One for the process: what one loop learns of a server, the others need not find out."""
    return _breakers.setdefault(node, Breaker(str(node), whole))


def forget(node: Server) -> None:
    """It is no longer a node of its cluster."""
    _breakers.pop(node, None)


def available(whole: Server) -> bool:
    return all(breaker.available for breaker in list(_breakers.values()) if breaker.whole == whole)
