"""How much is too much, per process: token buckets by key."""

import math
import time
from collections import OrderedDict


class Rate:
    """`per_minute` events for each key, with a burst of max(10, per_minute / 2).

    A key that has been quiet until its bucket is full again is forgotten; so the table holds only the busy ones, and
    at most `keys` of them.
    """

    def __init__(self, per_minute: int, keys: int = 100_000) -> None:
        self.per_second = per_minute / 60
        self.burst = max(10.0, per_minute / 2)
        self._keys = keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def left(self, key: str, now: float | None = None) -> float:
        """Events that the key may still have right now; takes none."""
        moment = time.monotonic() if now is None else now
        tokens, at = self._buckets.get(key, (self.burst, moment))
        return min(self.burst, tokens + (moment - at) * self.per_second)

    def take(self, key: str, now: float | None = None) -> bool:
        """Counts one event; False when the key has had too many."""
        moment = time.monotonic() if now is None else now
        tokens = self.left(key, moment)
        if tokens < 1:
            return False
        self._buckets[key] = (tokens - 1, moment)
        self._buckets.move_to_end(key)
        self._forget(moment)
        return True

    def retry_after(self, key: str, now: float | None = None) -> int:
        """Whole seconds until the next event is allowed, at least 1."""
        return max(1, math.ceil((1 - self.left(key, now)) / self.per_second))

    def _forget(self, now: float) -> None:
        """The oldest keys: those that are full again, and any over the limit."""
        full_after = self.burst / self.per_second
        while self._buckets:
            key, (_, at) = next(iter(self._buckets.items()))
            if len(self._buckets) <= self._keys and now - at < full_after:
                return
            del self._buckets[key]
