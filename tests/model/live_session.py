"""The live session beside the conversation: what the store loses comes back, and what has ended does not.

The order of `agent_app.session`'s steps around the store, abstractly: an instance that misses a session reads the row,
creates the session only where there is none, reads the row again, and deletes what it made when the chat was closed
meanwhile; closing commits first, then deletes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.model.checker import Step

NAMES = ("A", "B")
IDLE, SAW_IT_OPEN, MADE_IT = range(3)  # where an instance stands in its rebuilding
OPEN, COMMITTED = range(2)  # where the closing stands


class World(NamedTuple):
    closing: int = OPEN
    deleted: bool = False  # from the store, by whoever closes
    in_store: bool = True
    rebuilding: tuple[int, int] = (IDLE, IDLE)

    def at(self, place: int, stage: int) -> "World":
        first, second = self.rebuilding
        return self._replace(rebuilding=(stage, second) if place == 0 else (first, stage))


@dataclass(frozen=True)
class Model:
    looks_again: bool = True
    commits_first: bool = True

    def steps(self, world: World) -> Iterator[Step[World]]:
        for place in (0, 1):
            yield from self._rebuild(world, place)
        yield from self._close(world)
        if world.in_store:
            yield self._step("the store loses everything", world._replace(in_store=False))

    def _rebuild(self, world: World, place: int) -> Iterator[Step[World]]:
        name, stage = NAMES[place], world.rebuilding[place]
        closed = world.closing == COMMITTED
        if stage == IDLE and not world.in_store and not closed:
            yield self._step(f"{name} misses the session", world.at(place, SAW_IT_OPEN))
        if stage == SAW_IT_OPEN:
            made = world.at(place, MADE_IT if self.looks_again else IDLE)._replace(in_store=True)
            yield self._step(f"{name} makes it", made, fair=True)
        if stage == MADE_IT:
            ended = world.at(place, IDLE)
            yield self._step(f"{name} looks again", ended._replace(in_store=False) if closed else ended, fair=True)

    def _close(self, world: World) -> Iterator[Step[World]]:
        if world.closing == OPEN and (self.commits_first or world.deleted):
            yield self._step("the closing commits", world._replace(closing=COMMITTED), fair=world.deleted)
        if not world.deleted and (world.closing == COMMITTED or not self.commits_first):
            deleted = world._replace(deleted=True, in_store=False)
            yield self._step("the closing deletes the session", deleted, fair=world.closing == COMMITTED)

    def _step(self, label: str, state: World, fair: bool = False) -> Step[World]:
        left_over = state.closing == COMMITTED and state.deleted and state.in_store and at_rest(state)
        return Step(label, state, "a closed chat has a live session" if left_over else None, fair)


def at_rest(world: World) -> bool:
    return world.rebuilding == (IDLE, IDLE)


def settled(world: World) -> bool:
    return at_rest(world) and (world.closing == OPEN or not world.in_store)
