"""A turn with a language model by itself: what the desk's notes do for it, what it may spend, and how it ends."""

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace

import pytest

from agent_app.agent import catalogue
from agent_app.agent.consent import consent_of
from agent_app.agent.events import Answer, ChatMessage, Decision, Deed, Text, TurnContext
from agent_app.agent.llm import LanguageModelResponder
from agent_app.agent.loop import CustomerSupportAgent
from agent_app.agent.responder import Known, ResponderOptions
from agent_app.agent.spending import Prices, Spent
from agent_app.tools.failures import Away
from agent_app.tools.registry import RegisteredTool, tool
from tests.model_server import Body, ModelServer, Reply, calls, falls_silent, in_turn, says

pytestmark = pytest.mark.integration


class Notebook:
    """Notes in memory; see `agent_app.agent.responder.Notes`."""

    def __init__(self, known: Known | None = None) -> None:
        self.it = known or Known()
        self.spent: list[Spent] = []
        self.summaries: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

    async def known(self, context: TurnContext) -> Known:
        return self.it

    async def count(self, context: TurnContext, spent: Spent) -> None:
        self.spent.append(spent)

    async def keep_summary(self, context: TurnContext, upto: int, text: str) -> None:
        await self.summaries.put((upto, text))


@pytest.fixture(autouse=True)
def address(model: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{model.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    model.requests.clear()


def agent(notes: Notebook, prices: Prices | None = None, max_tokens: int = 60_000) -> CustomerSupportAgent:
    options = ResponderOptions(
        model="openai-chat:scripted", notes=notes, prices=prices or Prices(), max_tokens=max_tokens
    )
    return CustomerSupportAgent(LanguageModelResponder(options), {})


def turn(messages: int = 1) -> TurnContext:
    """The newest twenty of a conversation of so many messages; the customer wrote the last."""
    first = max(1, messages - 19)
    roles = ["customer" if (messages - seq) % 2 == 0 else "agent" for seq in range(first, messages + 1)]
    log = tuple(ChatMessage(first + place, role, f"words {first + place}") for place, role in enumerate(roles))
    return TurnContext(
        "thread", "session", "ai", None, False, {}, log, messages - 1, "ESC-1", time.monotonic() + 40, 8000
    )


async def answer_of(made: CustomerSupportAgent, context: TurnContext) -> Answer:
    events = [event async for event in made.answer(context)]
    assert isinstance(events[-1], Answer)
    assert "".join(event.text for event in events if isinstance(event, Text)) == events[-1].text
    return events[-1]


async def test_over_the_budget_the_offline_responder_answers_and_says_so(model: ModelServer) -> None:
    notes = Notebook(Known(tokens_left=0))
    answer = await answer_of(agent(notes), turn())
    assert answer.text.startswith(catalogue.OVER_BUDGET)
    assert catalogue.DONT_KNOW in answer.text
    assert model.requests == []


async def test_what_was_spent_is_counted_and_priced(model: ModelServer) -> None:
    model.script = lambda body: says("Four words are here.")
    notes = Notebook()
    answer = await answer_of(agent(notes, Prices(input=10.0, output=100.0)), turn())
    await asyncio.sleep(0)  # counting goes on behind the answer
    assert answer.model is not None
    assert (answer.model["input_tokens"], answer.model["output_tokens"]) == (100, 5)
    assert answer.model["price_usd"] == pytest.approx(100 * 10e-6 + 5 * 100e-6)
    assert [spent.tokens for spent in notes.spent] == [105]


async def test_facts_and_notes_are_told_as_data(model: ModelServer) -> None:
    model.script = lambda body: says("Yes.")
    known = Known((("shoe size", "43"),), "They talked about tents.", 5)
    await answer_of(agent(Notebook(known)), turn())
    told = model.requests[-1]["messages"][1]["content"]
    assert (
        told.index("<data-") < told.index("shoe size") < told.index("They talked about tents.") < told.index("</data-")
    )
    assert told.endswith("words 1")


async def test_notes_are_taken_of_what_is_about_to_leave_the_window_and_of_nothing_else(model: ModelServer) -> None:
    def script(body: Body) -> Reply:
        noting = body["messages"][0]["content"].startswith("You keep notes")
        return says("The customer asked for a tent." if noting else "Yes.")

    model.script = script
    notes = Notebook()
    await answer_of(agent(notes), turn(messages=15))
    assert len(model.requests) == 1, "all of it is still seen"
    await answer_of(agent(notes), turn(messages=25))
    upto, text = await asyncio.wait_for(notes.summaries.get(), 30)
    assert (upto, text) == (18, "The customer asked for a tent.")
    asked = model.requests[-1]["messages"][1]["content"]
    assert "words 18" in asked
    assert "words 19" not in asked
    model.requests.clear()
    notes.it = Known((), text, upto)
    await answer_of(agent(notes), turn(messages=27))
    assert len(model.requests) == 1, "nothing leaves that is not noted"
    assert text in model.requests[0]["messages"][1]["content"]


async def test_a_turn_that_is_cancelled_ends_at_once_and_is_counted(model: ModelServer) -> None:
    model.script = lambda body: falls_silent("It is free. And")
    notes = Notebook()
    events = agent(notes).answer(turn())
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Text):
                break
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        began = time.monotonic()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert time.monotonic() - began < 15, "the model would be silent until the turn's end, after 40 s"
    await asyncio.sleep(0)
    assert notes.spent[0].tokens > 0


async def test_a_turn_has_its_own_limit_of_tokens(model: ModelServer) -> None:
    model.script = in_turn(says(""), says("Too late."))
    answer = await answer_of(agent(Notebook(), max_tokens=100), turn())
    assert answer.text.startswith(catalogue.MODEL_AWAY)
    assert len(model.requests) == 1


async def test_what_was_just_done_backs_what_the_model_says_of_it_and_no_more(model: ModelServer) -> None:
    done = Deed("Order 1050 is cancelled.", ("cancel_order",), done="cancel_order")
    for deed, said, passes in (
        (done, "I have cancelled order 1050.", True),
        (done, "I have refunded you.", False),
        (Deed("This could not be done.", ("cancel_order",)), "I have cancelled order 1050.", False),
    ):
        model.script = lambda body, said=said: says(said)
        events = agent(Notebook()).answer(replace(turn(3), deed=deed))
        answer = [event async for event in events if isinstance(event, Answer)][-1]
        assert answer.text.startswith(deed.text)
        assert (said in answer.text) is passes, answer.text


@tool(writes=True, confirm="Cancel order {order_number}.")
async def cancel_order(context: TurnContext, order_number: str) -> str:
    """Cancels an order."""
    return "cancelled"


@pytest.mark.parametrize("said", ["Shall I tell you more?", catalogue.ASK.format(summary="Cancel order 1050.")])
async def test_beside_a_models_words_a_typed_yes_confirms_nothing(model: ModelServer, said: str) -> None:
    """Nobody knows what it is a yes to: the model may ask what an attacker wants. The card is clicked."""
    model.script = in_turn(calls(("cancel_order", {"order_number": "1050"})), says(said))
    made = agent(Notebook())
    made.tools = {"cancel_order": RegisteredTool("cancel_order", cancel_order, cancel_order.policy)}
    answer = await answer_of(made, turn())
    assert answer.confirm is not None
    assert answer.text == f"{said}\n\n{catalogue.ON_THE_CARD}"
    card = {"id": answer.confirm.id, "summary": answer.confirm.summary}
    for word in ("yes", "yes, cancel order 1050"):
        log = (ChatMessage(2, "agent", answer.text, confirm=card), ChatMessage(3, "customer", word))
        assert consent_of(replace(turn(), messages=log, answered_upto=2)) is None
    clicked = ChatMessage(3, "customer", catalogue.YES, decision=Decision(answer.confirm.id, True))
    assert consent_of(replace(turn(), messages=(log[0], clicked), answered_upto=2)) is not None


@tool()
async def stock_of(context: TurnContext, product: str) -> str:
    """How many there are."""
    raise Away("inventory does not answer")


async def test_what_a_tool_did_not_give_is_kept_with_its_reason(model: ModelServer) -> None:
    model.script = in_turn(calls(("stock_of", {"product": "tent"})), says("I could not look that up."))
    made = agent(Notebook())
    made.tools = {"stock_of": RegisteredTool("stock_of", stock_of, stock_of.policy)}
    answer = await answer_of(made, turn())
    assert answer.tools_used == ()
    assert answer.tools_failed == {"stock_of": "unavailable"}
