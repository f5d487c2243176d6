"""A small exhaustive checker: every state that any order of steps can reach, breadth first.

So the first violation found comes with a shortest path to it, which is the bug's report.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S", bound=Hashable)

MOST_STATES = 2_000_000  # a model that grows past this is not finite, or not small


class Step(NamedTuple, Generic[S]):
    """One thing that can happen. `fair`: it happens by itself sooner or later, no customer or fault is needed."""

    label: str
    state: S
    violation: str | None = None
    fair: bool = False


@dataclass
class Verdict:
    states: int = 0
    steps: int = 0
    violation: str | None = None
    path: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        found = f"{self.violation}: {' → '.join(self.path)}" if self.violation else "no violation"
        return f"{self.states} states, {self.steps} steps: {found}"


def explore(start: S, steps: Callable[[S], Iterator[Step[S]]], settled: Callable[[S], bool]) -> Verdict:
    """Looks for a step that violates something, then for a state that never settles.

    Never settles: no order of fair steps leads from it to a settled state, so whoever waits there waits for ever.
    """
    numbers = {start: 0}
    states = [start]
    came_from: list[tuple[int, str]] = [(0, "")]
    before: list[list[int]] = [[]]  # by fair steps alone, backwards
    verdict = Verdict()
    here = 0
    while here < len(states):
        for label, state, violation, fair in steps(states[here]):
            verdict.steps += 1
            number = numbers.get(state)
            if number is None:
                number = numbers[state] = len(states)
                states.append(state)
                came_from.append((here, label))
                before.append([])
            if violation is not None:
                verdict.states, verdict.violation = len(states), violation
                verdict.path = [*path_to(here, came_from), label]
                return verdict
            if fair:
                before[number].append(here)
        here += 1
        if len(states) > MOST_STATES:
            raise AssertionError(f"The model has more than {MOST_STATES} states.")
    verdict.states = len(states)
    stuck = never_settling(states, before, settled)
    if stuck is not None:
        verdict.violation, verdict.path = "waits for ever", path_to(stuck, came_from)
    return verdict


def path_to(number: int, came_from: list[tuple[int, str]]) -> list[str]:
    labels: list[str] = []
    while number:
        number, label = came_from[number]
        labels.append(label)
    return labels[::-1]


def never_settling(states: list[S], before: list[list[int]], settled: Callable[[S], bool]) -> int | None:
    """The first state found from which fair steps do not lead to a settled one."""
    settles = [settled(state) for state in states]
    todo = [number for number, yes in enumerate(settles) if yes]
    while todo:
        for number in before[todo.pop()]:
            if not settles[number]:
                settles[number] = True
                todo.append(number)
    return next((number for number, yes in enumerate(settles) if not yes), None)
