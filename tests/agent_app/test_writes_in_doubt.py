"""A write of which nobody knows whether it was done: however its turn ends, that is said, and it can be found out."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agent_app.agent import catalogue
from agent_app.agent.events import Escalation, Event, Text, TurnContext
from agent_app.agent.responder import Tool
from agent_app.answering import STOPPED
from agent_app.journal import journal
from agent_app.models import Confirmation, Conversation
from agent_app.models.turns import AI, WAITING, CustomerMessage, DecideWrite, Lease, StopTurn
from tests.order_system import ORDER, OrderSystem, as_json, hang
from tests.talk import Talk

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

NOT_KNOWN = "cannot tell whether"


class Reached(asyncio.Event):
    """A responder and a judge that come to a point and stay there."""

    async def respond(self, context: TurnContext, tools: Mapping[str, Tool]) -> AsyncGenerator[Event, None]:
        yield Text("Let me see. ")
        self.set()
        await asyncio.Event().wait()

    async def judge(self, context: TurnContext) -> Escalation | None:
        self.set()
        await asyncio.Event().wait()
        return None


def does_it_and_says_nothing(shop: OrderSystem, confirmation: str) -> None:
    """The look-up works; then the write is done, and every answer to it is lost."""

    def lost() -> Any:
        shop.own_answer("POST", "/orders/1050/cancel", confirmation)
        return as_json({}, 500)

    shop.script = [as_json(shop.orders["1050"]), lost, as_json({}, 500), as_json({}, 500)]


async def in_doubt(ana: Talk, shop: OrderSystem) -> tuple[str, Lease]:
    """A click whose write will be in doubt, and a question after it, both still to be answered."""
    confirmation = await ana.offer()
    lease = await ana.click(confirmation)
    await journal.do(CustomerMessage(ana.pk, "how long does it take?"))
    lease.asked_upto += 1
    does_it_and_says_nothing(shop, confirmation)
    return confirmation, lease


async def is_found_out(ana: Talk, shop: OrderSystem, confirmation: str) -> None:
    """The card is still there; the next yes repeats the same intent, and it was done once."""
    reply = await ana.last()
    assert NOT_KNOWN in reply["text"]
    assert reply["confirm"]["id"] == confirmation
    await ana.turn(await ana.click(confirmation))
    assert (await ana.last())["text"].startswith("Order 1050 is cancelled.")
    assert shop.effects == [confirmation]
    assert {key for method, _, key in shop.requests if method == "POST"} == {confirmation}
    assert await journal.read(Confirmation.objects.count) == 1


async def test_the_answer_to_the_rest_is_stopped(ana: Talk, order_system: OrderSystem) -> None:
    confirmation, lease = await in_doubt(ana, order_system)
    reached = Reached()
    answering = asyncio.create_task(ana.turn(lease, responder=reached))
    await reached.wait()
    assert ana.turn_now is not None
    ana.turn_now.interrupt("stop")
    await answering
    reply = await ana.last()
    assert reply["stopped"]
    assert "Let me see." in reply["text"]
    await is_found_out(ana, order_system, confirmation)


@pytest.mark.slow
@pytest.mark.parametrize("late", ["responder", "judge"])
async def test_the_time_runs_out_on_the_answer_to_the_rest(
    ana: Talk, order_system: OrderSystem, settings: Any, late: str
) -> None:
    confirmation, lease = await in_doubt(ana, order_system)
    settings.AGENT_TURN_TIMEOUT = 10.0  # time enough for the write
    reached = Reached()
    await ana.turn(lease, **({"responder": reached} if late == "responder" else {"judge": reached.judge}))
    assert reached.is_set()
    await is_found_out(ana, order_system, confirmation)


@pytest.mark.slow
async def test_the_time_runs_out_on_the_write_itself(ana: Talk, order_system: OrderSystem, settings: Any) -> None:
    confirmation = await ana.offer()
    lease = await ana.click(confirmation)
    settings.AGENT_TURN_TIMEOUT = 8.0  # time enough for the look-up before it

    def late() -> Any:
        order_system.own_answer("POST", "/orders/1050/cancel", confirmation)
        return hang(30)()

    order_system.script = [as_json(order_system.orders["1050"]), late, *[hang(30)] * 5]
    await ana.turn(lease)
    order_system.script.clear()
    await is_found_out(ana, order_system, confirmation)


async def test_a_stop_waits_for_what_comes_of_a_write(ana: Talk, order_system: OrderSystem) -> None:
    """Also where it comes while the write is only being decided."""
    confirmation = await ana.offer()
    answering = asyncio.create_task(ana.turn(await ana.click(confirmation)))
    assert ana.turn_now is not None
    while not ana.turn_now.acting:  # noqa: ASYNC110 - a step of the loop at a time, so as to come right behind it
        await asyncio.sleep(0)
    ana.turn_now.interrupt("stop")
    await answering
    assert (await ana.last())["text"].startswith("Order 1050 is cancelled.")
    assert order_system.effects == [confirmation]
    assert await ana.states() == ["done"]


async def holder_died_in_the_write(ana: Talk, shop: OrderSystem) -> tuple[str, Lease]:
    """It was begun and done, and whoever did it is dead."""
    confirmation = await ana.offer()
    lease = await ana.click(confirmation)
    await journal.do(DecideWrite(ana.pk, lease, confirmation, True))
    shop.own_answer("POST", "/orders/1050/cancel", confirmation)
    return confirmation, lease


async def test_who_takes_over_is_to_stop(ana: Talk, order_system: OrderSystem) -> None:
    confirmation, lease = await holder_died_in_the_write(ana, order_system)
    await journal.do(StopTurn(ana.pk, lease.turn))
    await ana.taken_over()
    reply = await ana.last()
    assert reply["stopped"]
    assert reply["text"].endswith(STOPPED)
    await is_found_out(ana, order_system, confirmation)


async def test_the_last_attempt_is_used_up(ana: Talk, order_system: OrderSystem) -> None:
    confirmation, _ = await holder_died_in_the_write(ana, order_system)
    await journal.read(Conversation.objects.filter(pk=ana.pk).update, turn_attempts=3)
    await ana.taken_over()
    assert "I tried to answer this several times" in (await ana.last())["text"]
    assert await state_of(ana) == WAITING
    await is_found_out(ana, order_system, confirmation)


async def test_a_last_attempt_without_a_write_says_nothing_of_one(ana: Talk, order_system: OrderSystem) -> None:
    await ana.turn(await ana.click(await ana.offer()))
    await ana.ask("how long does it take?")
    await journal.read(Conversation.objects.filter(pk=ana.pk).update, turn_attempts=3)
    await ana.taken_over()
    reply = await ana.last()
    assert NOT_KNOWN not in reply["text"]
    assert "confirm" not in reply


async def state_of(ana: Talk) -> str:
    state: str = await journal.read(Conversation.objects.values_list("state", flat=True).get, pk=ana.pk)
    assert state in (AI, WAITING)
    return state


async def test_another_change_waits_until_it_is_known(ana: Talk, order_system: OrderSystem) -> None:
    order_system.orders["1051"] = {**ORDER, "number": "1051"}
    confirmation = await ana.offer()
    lease = await ana.click(confirmation)
    await journal.do(CustomerMessage(ana.pk, "please cancel order 1051"))
    lease.asked_upto += 1
    does_it_and_says_nothing(order_system, confirmation)
    await ana.turn(lease)
    reply = await ana.last()
    assert "Cancel order 1051" in reply["text"]
    assert reply["text"].endswith(catalogue.FIRST_THE_OTHER)
    await is_found_out(ana, order_system, confirmation)
    assert order_system.orders["1051"]["status"] == "received"


async def test_a_later_offer_does_not_take_its_place(ana: Talk, order_system: OrderSystem) -> None:
    order_system.orders["1051"] = {**ORDER, "number": "1051"}
    confirmation = await ana.offer()
    lease = await ana.click(confirmation)
    does_it_and_says_nothing(order_system, confirmation)
    await ana.turn(lease)
    later = await ana.offer("1051")
    await ana.turn(await ana.click(confirmation))
    assert (await ana.last())["text"].startswith("Order 1050 is cancelled.")
    await ana.turn(await ana.click(later))
    assert order_system.effects == [confirmation, later]


async def test_one_whose_key_may_be_forgotten_is_not_repeated(ana: Talk, order_system: OrderSystem) -> None:
    await holder_died_in_the_write(ana, order_system)
    order_system.kept.clear()
    order_system.orders["1050"]["status"] = "received"  # wanted after all: to cancel it would be another deed
    await journal.read(Confirmation.objects.update, expires_at=timezone.now() - timedelta(hours=21))
    before = len(order_system.requests)
    await ana.taken_over()
    assert (await ana.last())["text"].startswith("I had begun with this already, and cannot tell")
    assert len(order_system.requests) == before


async def test_what_stands_in_a_repeats_way_does_not_prove_that_it_was_not_done(
    ana: Talk, order_system: OrderSystem
) -> None:
    """Done, and then filed away: the look-up finds no such order any more."""
    confirmation, _ = await holder_died_in_the_write(ana, order_system)
    order_system.script = [as_json({"error": "not_found"}, 404)]
    await ana.taken_over()
    await is_found_out(ana, order_system, confirmation)


async def test_a_back_end_that_is_still_at_it_is_asked_again(ana: Talk, order_system: OrderSystem) -> None:
    confirmation, _ = await holder_died_in_the_write(ana, order_system)
    still = as_json(
        {"error": "in_progress", "message": "The first request has not ended."}, 409, **{"Retry-After": "0.1"}
    )
    order_system.script = [as_json(order_system.orders["1050"]), still, still, still, still]
    await ana.taken_over()
    assert (await ana.last())["text"].startswith("Order 1050 is cancelled.")
    assert order_system.effects == [confirmation]


async def test_a_back_end_that_never_comes_to_its_end_leaves_it_in_doubt(
    ana: Talk, order_system: OrderSystem, settings: Any
) -> None:
    confirmation, _ = await holder_died_in_the_write(ana, order_system)
    settings.AGENT_TURN_TIMEOUT = 4.0
    still = as_json({"error": "in_progress"}, 409)
    order_system.script = [as_json(order_system.orders["1050"]), *[still] * 20]
    await ana.taken_over()
    order_system.script = []
    await is_found_out(ana, order_system, confirmation)
