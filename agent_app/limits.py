"""How much is too much, per process: token buckets, alone and by key."""

import math
import time
from collections import OrderedDict


class Bucket:
    """`per_minute` events, with a burst of max(10, per_minute / 2). Moments are time.monotonic()'s."""

    __slots__ = ("_at", "_tokens", "burst", "per_second")

    def __init__(self, per_minute: int) -> None:
        self.per_second = per_minute / 60
        self.burst = self._tokens = max(10.0, per_minute / 2)
        self._at = -math.inf

    def left(self, now: float | None = None) -> float:
        """Events that there may still be right now; takes none."""
        moment = time.monotonic() if now is None else now
        return min(self.burst, self._tokens + (moment - self._at) * self.per_second)

    def take(self, now: float | None = None) -> bool:
        """Counts one event; False when there have been too many."""
        moment = time.monotonic() if now is None else now
        tokens = self._tokens + (moment - self._at) * self.per_second
        if tokens > self.burst:
            tokens = self.burst
        if tokens < 1:
            return False
        self._tokens, self._at = tokens - 1, moment
        return True

    def give_back(self) -> None:
        """An event that was counted did not happen."""
        self._tokens += 1

    def retry_after(self, now: float | None = None) -> int:
        """Whole seconds until the next event is allowed, at least 1."""
        return max(1, math.ceil((1 - self.left(now)) / self.per_second))

    @property
    def full_at(self) -> float:
        """From when on it is as good as new, whatever was taken."""
        return self._at + self.burst / self.per_second


class Rate:
    """A bucket for each key.

    A key that has been quiet until its bucket is full again is forgotten; so the table holds only the busy ones, and
    at most `keys` of them.
    """

    def __init__(self, per_minute: int, keys: int = 100_000) -> None:
        self._per_minute = per_minute
        self._keys = keys
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def left(self, key: str, now: float | None = None) -> float:
        """Events that the key may still have right now; takes none."""
        return self._of(key).left(now)

    def take(self, key: str, now: float | None = None) -> bool:
        """Counts one event; False when the key has had too many."""
        moment = time.monotonic() if now is None else now
        bucket = self._of(key)
        if not bucket.take(moment):
            return False
        self._buckets[key] = bucket
        self._buckets.move_to_end(key)
        self._forget(moment)
        return True

    def give_back(self, key: str) -> None:
        """An event of this key that was counted did not happen."""
        if key in self._buckets:
            self._buckets[key].give_back()

    def retry_after(self, key: str, now: float | None = None) -> int:
        """Whole seconds until the next event is allowed, at least 1."""
        return self._of(key).retry_after(now)

    def _of(self, key: str) -> Bucket:
        return self._buckets.get(key) or Bucket(self._per_minute)

    def _forget(self, now: float) -> None:
        """The oldest keys: those that are full again, and any over the limit."""
        while self._buckets:
            key, oldest = next(iter(self._buckets.items()))
            if len(self._buckets) <= self._keys and now < oldest.full_at:
                return
            del self._buckets[key]
