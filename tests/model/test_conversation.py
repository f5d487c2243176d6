"""The protocol's promises over every order of steps that two instances, a customer and a person can come to.

Each mutation takes one of the rules' guards out and must be caught: that shows what the guard is for, and that the
checker would see a rule that was lost.
"""

import dataclasses
from datetime import datetime

import pytest

from agent_app.models.turns import ANSWERED_BY_AGENT, Lease, Row, Terms
from tests.model.checker import Verdict, explore
from tests.model.conversation import NAMES, Model, World, settled

pytestmark = pytest.mark.unit

ALONE = Model(messages=3, staff=False, closing=False, escalation=False)
WITH_A_PERSON = Model(messages=2, closing=False, escalation=False)
ENDING = Model(messages=1)
GIVEN_UP = Model(messages=1, late=True, closing=False, escalation=False)
TRIED_AGAIN = Model(messages=1, attempts=True, closing=False, escalation=False)
NO_FAULTS = dataclasses.replace(ALONE, recovery=False, crashes=False, doubts=False, skew=False)


def check(model: Model) -> Verdict:
    verdict = explore(World(), model.steps, settled)
    print(verdict)  # noqa: T201 - pytest -s shows how much was explored
    return verdict


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(ALONE, id="three messages"),
        pytest.param(WITH_A_PERSON, id="takeover and release"),
        pytest.param(ENDING, id="escalation, close, expiry"),
        pytest.param(GIVEN_UP, id="a write that lands after it was given up"),
        pytest.param(TRIED_AGAIN, id="attempts"),
        pytest.param(NO_FAULTS, id="no fault and no recovery"),
    ],
)
def test_no_order_of_steps_breaks_a_promise(model: Model) -> None:
    verdict = check(model)
    assert verdict.violation is None, str(verdict)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(Model(messages=2, escalation=False), id="close, expiry and two messages"),
        pytest.param(dataclasses.replace(GIVEN_UP, messages=2), id="late writes and two messages"),
    ],
)
def test_no_longer_order_of_steps_does(model: Model) -> None:
    verdict = check(model)
    assert verdict.violation is None, str(verdict)


class NeedsNoHolder(Row):
    """For rules under which somebody answers who holds no turn."""

    def lease(self) -> Lease:
        self.turn_holder = self.turn_holder or NAMES[0]
        return super().lease()


class ComparesNothing(NeedsNoHolder):
    """The whole comparison is out: holder, fence, answered_upto."""

    def belongs_to(self, lease: Lease) -> bool:
        return True

    def may_answer(self, lease: Lease) -> bool:
        return self.state in ANSWERED_BY_AGENT


class ForgetsTheQuestion(Row):
    """answered_upto is not compared."""

    def may_answer(self, lease: Lease) -> bool:
        return self.belongs_to(lease) and self.state in ANSWERED_BY_AGENT


class FreesTheTurn(Row):
    """After an answer the lease is not kept for what came in meanwhile."""

    def settle_turn(self, now: datetime, terms: Terms) -> Lease | None:
        self.free_turn()
        return None


class ComparesTheFence(NeedsNoHolder):
    """The fence alone is compared: the shipped rules would refuse by holder, state and answered_upto as well."""

    def belongs_to(self, lease: Lease) -> bool:
        return self.turn_fence == lease.fence

    def may_answer(self, lease: Lease) -> bool:
        return self.belongs_to(lease)


class KeepsTheFence(ComparesTheFence):
    """And a takeover does not change it."""

    def withdraw_from_agent(self) -> None:
        fence = self.turn_fence
        super().withdraw_from_agent()
        self.turn_fence = fence


class LeavesTheTurn(Row):
    """A takeover and a release leave the turn as it was; the whole comparison is made."""

    def withdraw_from_agent(self) -> None:
        self.changed = True


def test_without_the_comparison_a_message_is_answered_twice() -> None:
    assert check(dataclasses.replace(ALONE, row=ComparesNothing)).violation == "a double answer"


def test_without_answered_upto_and_the_look_a_message_is_answered_twice() -> None:
    verdict = check(dataclasses.replace(ALONE, row=ForgetsTheQuestion, looks=False))
    assert verdict.violation == "a double answer"


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(dataclasses.replace(ALONE, messages=2, row=ForgetsTheQuestion), id="the look"),
        pytest.param(dataclasses.replace(ALONE, messages=2, looks=False), id="answered_upto"),
    ],
)
def test_either_of_the_two_is_enough(model: Model) -> None:
    assert check(model).violation is None


def test_without_keeping_the_lease_a_message_waits_for_ever() -> None:
    assert check(dataclasses.replace(NO_FAULTS, row=FreesTheTurn)).violation == "waits for ever"


def test_recovery_would_find_that_message() -> None:
    assert check(dataclasses.replace(ALONE, messages=2, row=FreesTheTurn)).violation is None


def test_the_fence_alone_keeps_the_agent_from_talking_over() -> None:
    assert check(dataclasses.replace(WITH_A_PERSON, messages=1, row=ComparesTheFence)).violation is None


def test_without_the_takeovers_change_of_fence_the_agent_talks_over() -> None:
    assert check(dataclasses.replace(WITH_A_PERSON, row=KeepsTheFence)).violation == "the AI talks over"


def test_a_release_does_not_give_the_agent_back_what_was_taken_over() -> None:
    assert check(dataclasses.replace(WITH_A_PERSON, row=LeavesTheTurn)).violation == "the AI talks over"
