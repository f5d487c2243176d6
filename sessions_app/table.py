"""The sessions of a memory store and the indexes over them."""

import heapq
import itertools
import threading
import time
import weakref
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from sessions_app.data import Fields
from sessions_app.signals import Ending

MINUTES_KEPT = 120
NEVER = 2**63
MOST_EXPIRED = 100  # sessions that one write ends on its way; the sweeper ends the rest


def now_us() -> int:
    return time.time_ns() // 1000


class Recency:
    """The sessions of an index by their last activity, each as its `order`: a number that grows with every activity.

    Kept in blocks, each ascending: a place is found, taken and left in O(log n), however many sessions have come and
    gone since a cursor named it.
    """

    BLOCK = 512
    SMALL = 128

    __slots__ = ("blocks", "starts")

    def __init__(self) -> None:
        self.blocks: list[list[int]] = []
        self.starts: list[int] = []  # of each block: no order in it is lower

    def add(self, order: int) -> None:
        """`order` is higher than any there was."""
        if not self.blocks or len(self.blocks[-1]) >= self.BLOCK:
            self.blocks.append([])
            self.starts.append(order)
        self.blocks[-1].append(order)

    def remove(self, order: int) -> None:
        at = bisect_right(self.starts, order) - 1
        block = self.blocks[at]
        del block[bisect_left(block, order)]
        if len(block) < self.SMALL:
            self._join(at)

    def _join(self, at: int) -> None:
        """Small neighbours become one: otherwise there would be as many blocks as sessions in the end."""
        for left in (at - 1, at):
            if 0 <= left < len(self.blocks) - 1 and len(self.blocks[left]) + len(self.blocks[left + 1]) < self.BLOCK:
                self.blocks[left] += self.blocks.pop(left + 1)
                del self.starts[left + 1]
                return
        if not self.blocks[at]:
            del self.blocks[at], self.starts[at]

    def before(self, order: int | None = None) -> Iterator[int]:
        """The most recent first, from the start or from where `order` stood."""
        at = len(self.blocks)
        if order is not None:
            at = bisect_left(self.starts, order) - 1
            if at < 0:
                return
            block = self.blocks[at]
            yield from reversed(block[: bisect_left(block, order)])
        while at > 0:
            at -= 1
            yield from reversed(self.blocks[at])


@dataclass(slots=True)
class Entry:
    fields: Fields
    ttl: int  # microseconds, like every time here
    expires: int
    noted: int = NEVER  # the earliest of its notes in the table's heap
    order: int = 0  # grows with every activity in the table


@dataclass
class SessionTable:
    """The sessions of one memory store, with their indexes. Whoever touches it holds `lock`."""

    max_sessions: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    sessions: OrderedDict[str, Entry] = field(default_factory=OrderedDict)  # least recently used first
    ids: dict[int, str] = field(default_factory=dict)  # by order
    active: Recency = field(default_factory=Recency)
    escalated: Recency = field(default_factory=Recency)
    users: dict[str, Recency] = field(default_factory=dict)
    # (earliest possible expiry, id): one or more for each session, corrected when they come up.
    expiries: list[tuple[int, str]] = field(default_factory=list)
    expired: dict[str, Ending] = field(default_factory=dict)  # by claim: ended, nobody told yet
    # By claim: being told, until when; the claim that runs out first stands first.
    claimed: OrderedDict[str, tuple[float, Ending]] = field(default_factory=OrderedDict)
    minutes: dict[int, list[int]] = field(default_factory=dict)  # minute: [created, ended]
    evicted: int = 0
    names: Iterator[int] = field(default_factory=itertools.count)
    locks: "weakref.WeakValueDictionary[str, threading.Lock]" = field(default_factory=weakref.WeakValueDictionary)

    def find(self, session_id: str, now: int) -> Entry | None:
        """The living session, marked as used."""
        entry = self.sessions.get(session_id)
        if entry is None or entry.expires <= now:
            return None
        self.sessions.move_to_end(session_id)
        return entry

    def put(self, session_id: str, fields: Fields, ttl: int, now: int) -> None:
        self.expire(now, MOST_EXPIRED)
        entry = self.sessions.get(session_id)
        if entry is not None and entry.expires <= now:
            self.end_expired(session_id, now)
            entry = None
        if entry is None:
            self.make_room()
            self.count(now, 0)
            entry = self.sessions[session_id] = Entry(fields, ttl, now + ttl)
        else:
            self.unindex(entry)
            entry.fields = fields
            entry.ttl = ttl
        self.sessions.move_to_end(session_id)
        self.index(session_id, entry)
        self.renew(session_id, entry, now + ttl)

    def renew(self, session_id: str, entry: Entry, expires: int) -> None:
        # A later expiry needs no new note: the earlier one is corrected when it comes up.
        if expires < entry.noted:
            heapq.heappush(self.expiries, (expires, session_id))
            entry.noted = expires
            if len(self.expiries) > 2 * len(self.sessions) + 100:  # mostly notes of what is gone
                self.expiries = [(each.noted, name) for name, each in self.sessions.items()]
                heapq.heapify(self.expiries)
        entry.expires = expires

    def make_room(self) -> None:
        """An eviction is a loss, not an end: nobody is told, and the next message rebuilds the session."""
        while len(self.sessions) >= self.max_sessions:
            _, entry = self.sessions.popitem(last=False)
            self.unindex(entry)
            self.evicted += 1

    def index(self, session_id: str, entry: Entry) -> None:
        entry.order = next(self.names)
        self.ids[entry.order] = session_id
        for index in self.indexes(entry):
            index.add(entry.order)

    def unindex(self, entry: Entry) -> None:
        del self.ids[entry.order]
        for index in self.indexes(entry):
            index.remove(entry.order)
        user_id = entry.fields.get("user_id")
        if user_id is not None and not self.users[user_id].blocks:
            del self.users[user_id]

    def note_activity(self, entry: Entry) -> None:
        """It is in the same indexes as before, and the most recent in each."""
        old, entry.order = entry.order, next(self.names)
        self.ids[entry.order] = self.ids.pop(old)
        for index in self.indexes(entry):
            index.add(entry.order)
            index.remove(old)

    def indexes(self, entry: Entry) -> list[Recency]:
        indexes = [self.active]
        if entry.fields.get("escalated") == "1":
            indexes.append(self.escalated)
        user_id = entry.fields.get("user_id")
        if user_id is not None:
            indexes.append(self.users.get(user_id) or self.users.setdefault(user_id, Recency()))
        return indexes

    def end(self, session_id: str, now: int, reason: str, actor: str | None) -> Ending | None:
        """End the session, if it lives."""
        entry = self.sessions.get(session_id)
        if entry is not None and entry.expires <= now:
            self.end_expired(session_id, now)
        return self.remove(session_id, now, reason, actor)

    def remove(self, session_id: str, now: int, reason: str, actor: str | None) -> Ending | None:
        entry = self.sessions.pop(session_id, None)
        if entry is None:
            return None
        self.unindex(entry)
        self.count(now, 1)
        return Ending(session_id, reason, actor, f"{next(self.names)}")

    def expire(self, now: int, most: int) -> bool:
        """Take out what has expired, looking at no more than `most` sessions: whether there may be more.

        Each session comes up here once a TTL, whatever its traffic.
        """
        while most > 0 and self.expiries and self.expiries[0][0] <= now:
            most -= 1
            noted, session_id = heapq.heappop(self.expiries)
            entry = self.sessions.get(session_id)
            if entry is None or entry.noted != noted:
                continue  # the note of a session that is gone, or a later note stands for it
            if entry.expires > now:
                entry.noted = entry.expires
                heapq.heappush(self.expiries, (entry.expires, session_id))
            else:
                self.end_expired(session_id, now)
        return most == 0

    def end_expired(self, session_id: str, now: int) -> None:
        if ending := self.remove(session_id, now, "expired", None):
            self.expired[ending.claim] = ending

    def claim(self, ending: Ending, until: float) -> None:
        self.claimed[ending.claim] = (until, ending)
        self.claimed.move_to_end(ending.claim)

    def count(self, now: int, which: int) -> None:
        minute = now // 60_000_000
        if minute not in self.minutes:
            self.minutes = {old: both for old, both in self.minutes.items() if old > minute - MINUTES_KEPT}
            self.minutes[minute] = [0, 0]
        self.minutes[minute][which] += 1

    def clear(self) -> None:
        for container in (self.sessions, self.ids, self.users, self.expired, self.claimed, self.minutes):
            container.clear()
        self.active, self.escalated = Recency(), Recency()
        self.expiries.clear()
