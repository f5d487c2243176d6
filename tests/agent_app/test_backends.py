"""Back ends over real HTTP: what is tried again, what is not, and when nobody tries at all."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from agent_app.agent.events import NeedsConfirmation, ToolError, ToolResult, TurnContext
from agent_app.tools import crm
from agent_app.tools import inventory as tools
from agent_app.tools.backend import Backend
from agent_app.tools.breaker import CircuitBreaker, Open
from agent_app.tools.failures import Away, NotAllowed, NotFound, TooLarge
from agent_app.tools.registry import RegisteredTool
from tests.order_system import ORDER, OrderSystem, as_json, hang

pytestmark = [pytest.mark.integration, pytest.mark.slow]

BROKEN = as_json({"error": "oops"}, 500)


@pytest.fixture
def shop(settings: Any) -> Iterator[OrderSystem]:
    made = OrderSystem()
    settings.BACKENDS = {"inventory": {"url": made.url, "key": "k"}}
    yield made
    made.close()


@pytest.fixture
def backend(shop: OrderSystem) -> Backend:
    return Backend("inventory", seconds=5)


def turn(seconds: float = 20, **more: Any) -> TurnContext:
    values: dict[str, Any] = {"user_id": "C-1001", "verified": True, **more}
    who = {name: values.pop(name) for name in ("user_id", "verified")}
    made = TurnContext(
        thread_id="thread",
        session_id="session",
        state="ai",
        metadata={},
        messages=(),
        answered_upto=0,
        ticket="ESC-1",
        deadline=time.monotonic() + seconds,
        max_reply=8000,
        **who,
    )
    return replace(made, **values)


async def test_a_read_is_tried_three_times(shop: OrderSystem, backend: Backend) -> None:
    shop.script = [BROKEN, BROKEN]
    assert (await backend.get(turn(), "orders/1050"))["number"] == "1050"
    assert len(shop.requests) == 3
    assert backend.breaker.status() == {"state": "closed", "failures": 0, "opened": 0}


async def test_a_write_is_tried_again_under_the_same_key_and_done_once(shop: OrderSystem, backend: Backend) -> None:
    """The first answer is lost after the order system has done it."""

    def lost() -> Any:
        shop.own_answer("POST", "/orders/1050/cancel", "the-key")
        return BROKEN

    shop.script = [lost, hang(30)]
    done = await backend.write(turn(writing_as="the-key"), "POST", "orders/1050/cancel", {})
    assert done["status"] == "cancelled"
    assert [key for _, _, key in shop.requests] == ["the-key"] * 3
    assert shop.effects == ["the-key"]


async def test_nothing_is_written_that_was_not_confirmed(shop: OrderSystem, backend: Backend) -> None:
    with pytest.raises(NotAllowed):
        await backend.write(turn(), "POST", "orders/1050/cancel", {})
    assert shop.requests == []


@pytest.mark.parametrize(
    ("answers", "requests"),
    [
        ([BROKEN] * 3, 3),
        ([as_json({}, 503)] * 3, 3),
        ([hang(30)] * 3, 3),
        ([(200, {}, b"<html>welcome</html>")], 1),  # nonsense stays nonsense
        ([(200, {}, b"")], 1),
        ([as_json({}, 401)], 1),
        ([(302, {"Location": "http://127.0.0.1:1/"}, b"{}")], 1),
    ],
)
async def test_a_back_end_that_fails_is_away(
    shop: OrderSystem, backend: Backend, answers: list[Any], requests: int
) -> None:
    shop.script = list(answers)
    backend.seconds = 2 if callable(answers[0]) else 5
    with pytest.raises(Away):
        await backend.get(turn(), "orders/1050")
    assert len(shop.requests) == requests
    assert backend.breaker.failures == requests


async def test_a_back_end_that_is_not_there_is_away(settings: Any) -> None:
    settings.BACKENDS = {"inventory": {"url": "http://127.0.0.1:1", "key": ""}}
    with pytest.raises(Away):
        await Backend("inventory").get(turn(), "orders/1050")


async def test_429_is_waited_for_where_that_fits_into_the_turn(shop: OrderSystem, backend: Backend) -> None:
    shop.script = [as_json({}, 429, **{"Retry-After": "0.6"})]
    began = time.monotonic()
    await backend.get(turn(), "orders/1050")
    assert 0.6 <= time.monotonic() - began < 5
    shop.script = [as_json({}, 429, **{"Retry-After": "30"})]
    with pytest.raises(Away):
        await backend.get(turn(), "orders/1050")
    assert len(shop.requests) == 3
    assert backend.breaker.failures == 0  # it is there, and says so


async def test_a_huge_answer_is_not_read_to_its_end(shop: OrderSystem, backend: Backend) -> None:
    shop.script = [(200, {}, b'{"x": "' + b"x" * 3_000_000 + b'"}')]
    with pytest.raises(TooLarge):
        await backend.get(turn(), "orders/1050")


async def test_missing_and_refused_are_no_failures(shop: OrderSystem, backend: Backend) -> None:
    with pytest.raises(NotFound):
        await backend.get(turn(), "orders/1")
    shop.script = [as_json({"error": "shipped", "message": "too late"}, 409)]
    with pytest.raises(NotAllowed, match="too late"):
        await backend.get(turn(), "orders/1050")
    assert backend.breaker.failures == 0


@pytest.mark.parametrize("body", [{"error": "in_progress"}, {"title": "A request is outstanding"}, {}])
async def test_a_conflict_with_our_own_earlier_try_is_no_refusal(
    shop: OrderSystem, backend: Backend, body: dict[str, str]
) -> None:
    """It is asked for more often than what failed, and says nothing against the back end."""
    shop.script = [as_json(body, 409, **{"Retry-After": "0.05"})] * 5
    done = await backend.write(turn(writing_as="the-key"), "POST", "orders/1050/cancel", {})
    assert done["status"] == "cancelled"
    assert [key for _, _, key in shop.requests] == ["the-key"] * 6
    assert backend.breaker.failures == 0
    shop.script = [as_json(body, 409)] * 20
    with pytest.raises(Away):
        await backend.write(turn(seconds=1, writing_as="another-key"), "POST", "orders/1050/cancel", {})


async def test_no_try_goes_past_the_turns_deadline(shop: OrderSystem) -> None:
    patient = Backend("inventory", seconds=30)
    shop.script = [hang(30)] * 5
    made = RegisteredTool("order_status", tools.order_status, tools.order_status.policy)
    tools.inventory.seconds, before = patient.seconds, tools.inventory.seconds
    began = time.monotonic()
    try:
        outcome = await made.call(turn(seconds=2.5), {"order_number": "1050"})
        took = time.monotonic() - began
    finally:
        tools.inventory.seconds = before
    assert isinstance(outcome, ToolError)
    assert outcome.code == "unavailable"
    assert took < 2.5


async def test_after_five_failures_nobody_tries_until_one_probe(shop: OrderSystem, backend: Backend) -> None:
    now = [0.0]
    backend.breaker = CircuitBreaker("inventory", clock=lambda: now[0])
    shop.script = [BROKEN] * 5
    for _ in range(2):
        with pytest.raises(Away):
            await backend.get(turn(), "orders/1050")
    assert len(shop.requests) == 5  # the sixth try was not made
    with pytest.raises(Away):
        await backend.get(turn(), "orders/1050")
    assert len(shop.requests) == 5
    assert backend.breaker.status() == {"state": "open", "failures": 5, "opened": 1}
    now[0] = 30.0
    assert backend.breaker.state == "half_open"
    shop.script = [BROKEN]
    with pytest.raises(Away):
        await backend.get(turn(), "orders/1050")
    assert len(shop.requests) == 6  # one probe, and it failed
    now[0] = 60.0
    assert (await backend.get(turn(), "orders/1050"))["number"] == "1050"
    assert backend.breaker.state == "closed"


def test_of_several_at_once_one_probes() -> None:
    now = [0.0]
    breaker = CircuitBreaker("crm", limit=1, clock=lambda: now[0])
    breaker.enter()
    breaker.failed("why")
    now[0] = 30.0
    breaker.enter()
    with pytest.raises(Open):
        breaker.enter()
    breaker.abandoned()  # who probed has gone away: another may
    breaker.enter()
    breaker.succeeded()
    breaker.enter()


# ---- the tools over it ----


async def outcome_of(function: Any, context: TurnContext, **arguments: str) -> Any:
    return await RegisteredTool(function.__name__, function, function.policy).call(context, arguments)


async def test_a_customer_reads_their_own_order_and_no_inner_notes(shop: OrderSystem) -> None:
    outcome = await outcome_of(tools.order_status, turn(), order_number="order #1050")
    assert isinstance(outcome, ToolResult)
    assert outcome.value["status"] == "received"
    assert "internal_note" not in outcome.value


async def test_a_strangers_order_is_none(shop: OrderSystem) -> None:
    theirs = await outcome_of(tools.order_status, turn(), order_number="1043")
    none = await outcome_of(tools.order_status, turn(), order_number="9943")
    assert isinstance(theirs, ToolError)
    assert theirs.code == none.code == "not_found"
    assert (theirs.message.replace("1043", "9943"), theirs.said.replace("1043", "9943")) == (none.message, none.said)
    write = await outcome_of(tools.cancel_order, turn(writing_as="x"), order_number="1043")
    assert write.code == "not_found"
    assert shop.effects == []


@pytest.mark.parametrize("number", ["../customers/C-1002", "1043?x=1", "1050/cancel", "", "%2e%2e", "1050\n1043"])
async def test_a_number_is_no_way_to_another_path(shop: OrderSystem, number: str) -> None:
    outcome = await outcome_of(tools.order_status, turn(user_id="C-1001"), order_number=number)
    assert isinstance(outcome, ToolError) or outcome.value["number"] == "1050"
    assert all("customers" not in path and "?" not in path for _, path, _ in shop.requests)


async def test_what_cannot_be_done_is_not_offered(shop: OrderSystem) -> None:
    offered = await outcome_of(tools.cancel_order, turn(), order_number="1050")
    assert isinstance(offered, NeedsConfirmation)
    assert "2 × Aran wool beanie" in offered.summary
    shop.orders["1050"]["status"] = "shipped"
    refused = await outcome_of(tools.cancel_order, turn(), order_number="1050")
    assert isinstance(refused, ToolError)
    assert "has been shipped already" in refused.said


ITEM = {"name": "Scarf", "quantity": 1}
ODD_ORDERS: dict[str, Any] = {
    "null": None,
    "a list": [],
    "a text": "1050",
    "a number": 5,
    "nothing but its owner": {"customer_id": "C-1001"},
    "nobody's": {name: value for name, value in ORDER.items() if not name.startswith("customer_")},
    "an owner that is a list": {**ORDER, "customer_id": ["C-1001"]},
    "another number": {**ORDER, "number": "1051"},
    "somebody else's under another number": {**ORDER, "number": "1043", "customer_id": "C-1002"},
    "no status": {**ORDER, "status": None},
    "a status that is an object": {**ORDER, "status": {"code": "received"}},
    "a status that is true": {**ORDER, "status": True},
    "items that are null": {**ORDER, "items": None},
    "items that are a text": {**ORDER, "items": "2 beanies"},
    "items that are a number": {**ORDER, "items": 2},
    "an item that is a text": {**ORDER, "items": ["beanie"]},
    "an item without a name": {**ORDER, "items": [{"quantity": 1}]},
    "an item of many names": {**ORDER, "items": [{**ITEM, "name": ["a", "b"]}]},
    "a quantity in words": {**ORDER, "items": [{**ITEM, "quantity": "two"}]},
    "a total that is an object": {**ORDER, "total": {"eur": 70}},
    "a total in words": {**ORDER, "total": "seventy"},
    "a tracking number that is a list": {**ORDER, "tracking": ["NW-1"]},
    "a return that is a text": {**ORDER, "return": "R-1"},
}


@pytest.mark.parametrize("odd", ODD_ORDERS)
async def test_an_order_in_an_odd_shape_is_away_and_not_missing(
    shop: OrderSystem, odd: str, caplog: pytest.LogCaptureFixture
) -> None:
    for function in (tools.order_status, tools.cancel_order):
        shop.script = [as_json(ODD_ORDERS[odd])]
        outcome = await outcome_of(function, turn(), order_number="1050")
        assert isinstance(outcome, ToolError), outcome
        assert outcome.code == "unavailable"
    assert "backend.nonsense" in caplog.text
    assert "Traceback" not in caplog.text
    assert "C-1002" not in caplog.text + outcome.text


@pytest.mark.parametrize(
    "plain",
    [
        {**ORDER, "number": 1050},
        {**ORDER, "total": 70, "items": [{**ITEM, "quantity": "2"}, {**ITEM, "quantity": 1.0}]},
        {**ORDER, "tracking": None, "expected_on": None, "return": None},
        {**ORDER, "items": []},
        {**ORDER, "status": "in the clouds", "customer_email": None},
    ],
)
async def test_an_order_that_is_only_written_otherwise_is_one(shop: OrderSystem, plain: Any) -> None:
    shop.script = [as_json(plain)]
    outcome = await outcome_of(tools.order_status, turn(), order_number="1050")
    assert isinstance(outcome, ToolResult), outcome
    assert outcome.value["number"] == "1050"


async def test_an_order_is_asked_for_in_any_case(shop: OrderSystem) -> None:
    shop.script = [as_json({**ORDER, "number": "AB-1"})]
    assert isinstance(await outcome_of(tools.order_status, turn(), order_number="ab-1"), ToolResult)


@pytest.mark.parametrize(
    "answer", [None, {}, [], {**ORDER, "status": "received"}, {**ORDER, "number": "1051", "status": "cancelled"}]
)
async def test_a_write_whose_answer_does_not_show_it_is_in_doubt(shop: OrderSystem, answer: Any) -> None:
    """Never claimed, and never said to have failed."""
    shop.script = [as_json(ORDER), as_json(answer)]
    outcome = await outcome_of(tools.cancel_order, turn(writing_as="the-key"), order_number="1050")
    assert isinstance(outcome, ToolError), outcome
    assert outcome.code == "unavailable"


async def test_lists_in_an_odd_shape_are_away(shop: OrderSystem) -> None:
    for odd in (None, {}, {"results": {}}, {"results": [None]}, {"results": [{**ORDER, "status": 1.5}]}):
        shop.script = [as_json(odd)]
        outcome = await outcome_of(tools.list_orders, turn())
        assert isinstance(outcome, ToolError), (odd, outcome)
        assert outcome.code == "unavailable"


PRODUCT = {"sku": "NW-1", "name": "Tent", "price": "9.00", "currency": "EUR"}


@pytest.mark.parametrize(
    "stock", ["none", [["Galway", 1]], [{"place": "Galway", "count": "many"}], [{"place": "Galway"}]]
)
async def test_a_stock_in_an_odd_shape_is_away(shop: OrderSystem, stock: Any) -> None:
    shop.script = [as_json({"results": [{**PRODUCT, "stock": stock}]})]
    outcome = await outcome_of(tools.check_stock, turn(), product="tent")
    assert isinstance(outcome, ToolError)
    assert outcome.code == "unavailable"


async def test_a_stock_written_in_texts_is_counted(shop: OrderSystem) -> None:
    shop.script = [as_json({"results": [{**PRODUCT, "stock": [{"place": "Galway", "count": "0"}]}]})]
    outcome = await outcome_of(tools.check_stock, turn(), product="tent")
    assert outcome.value["stock"] == [{"place": "Galway", "count": 0}]


ANA = {"id": "C-1001", "name": "Ana", "email": "ana@example.com", "phone": "+353 91 555 0101"}


@pytest.mark.parametrize(
    "odd", [None, {**ANA, "id": None}, {**ANA, "id": "C-1002", "email": "ben@example.com"}, {**ANA, "name": ["Ana"]}]
)
async def test_a_customer_in_an_odd_shape_is_away(settings: Any, shop: OrderSystem, odd: Any) -> None:
    settings.BACKENDS = {**settings.BACKENDS, "crm": {"url": shop.url, "key": "k"}}
    shop.script = [as_json(odd)]
    outcome = await outcome_of(crm.look_up_customer, turn())
    assert isinstance(outcome, ToolError)
    assert outcome.code == "unavailable"


async def test_who_is_known_by_an_address_is_the_same_customer(settings: Any, shop: OrderSystem) -> None:
    settings.BACKENDS = {**settings.BACKENDS, "crm": {"url": shop.url, "key": "k"}}
    shop.script = [as_json({**ANA, "id": 77})]
    assert isinstance(await outcome_of(crm.look_up_customer, turn(user_id="Ana@example.com")), ToolResult)


async def test_a_contact_that_is_not_changed_afterwards_is_in_doubt(settings: Any, shop: OrderSystem) -> None:
    settings.BACKENDS = {**settings.BACKENDS, "crm": {"url": shop.url, "key": "k"}}
    shop.script = [as_json(ANA), as_json({**ANA, "phone": "+353915550199"})]
    context = turn(writing_as="the-key")
    outcome = await outcome_of(crm.update_contact, context, phone="+353 91 555 0199")
    assert isinstance(outcome, ToolError)
    assert outcome.code == "unavailable"
    outcome = await outcome_of(crm.update_contact, context, phone="+353 91 555 0199")
    assert isinstance(outcome, ToolResult)
