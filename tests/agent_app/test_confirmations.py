"""A change is made once, with the arguments that were confirmed, whoever dies in the middle."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agent_app import chat
from agent_app.agent import catalogue
from agent_app.agent.consent import consent_of
from agent_app.agent.events import ChatMessage, Decision, TurnContext
from agent_app.journal import journal
from agent_app.models import AuditEntry, Confirmation, Message
from agent_app.models.refusal import Refused
from agent_app.models.turns import CustomerMessage, TakeOver
from agent_app.tools.registry import without_links
from agent_app.tools.trail import trail
from tests.order_system import ORDER, OrderSystem, as_json
from tests.talk import Talk

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def shop(order_system: OrderSystem) -> OrderSystem:
    return order_system


async def test_the_exact_arguments_are_there_before_the_first_attempt(ana: Talk, shop: OrderSystem) -> None:
    confirmation = await ana.offer()
    kept = await journal.read(Confirmation.objects.get, public_id=confirmation)
    assert (kept.tool, kept.arguments, kept.state) == ("cancel_order", {"order_number": "1050"}, "offered")
    assert kept.expires_at - kept.created_at == timedelta(minutes=15)
    assert shop.effects == []
    assert all(method == "GET" for method, _, _ in shop.requests)


@pytest.mark.parametrize("word", ["yes", "Yes, please.", "ok", "go ahead", "I confirm"])
async def test_a_plain_yes_confirms(ana: Talk, shop: OrderSystem, word: str) -> None:
    confirmation = await ana.offer()
    assert (await ana.say(word))["text"].startswith("Order 1050 is cancelled.")
    assert shop.effects == [confirmation]


@pytest.mark.parametrize("word", ["no", "No, thanks", "cancel", "wait", "never mind", "no, don't do it"])
async def test_a_plain_no_leaves_it(ana: Talk, shop: OrderSystem, word: str) -> None:
    confirmation = await ana.offer()
    assert (await ana.say(word))["text"].startswith("All right, I leave it as it is.")
    assert await ana.states() == ["declined"]
    await ana.turn(await ana.click(confirmation))
    assert "You had said no" in (await ana.log())[-1]["text"]
    assert shop.effects == []


async def test_a_click_that_was_sent_before_is_known_again_however_long_ago(ana: Talk, shop: OrderSystem) -> None:
    confirmation = await ana.offer()
    await ana.turn(await ana.click(confirmation, client_id="pick"))
    for _ in range(chat.RECENT):
        await ana.say("thanks")
    with pytest.raises(Refused):
        await chat.choose(ana.conversation, confirmation)
    chosen = await chat.choose(ana.conversation, confirmation, "pick")
    sent = await chat.send_message(ana.conversation, chosen.text, "pick", decision=chosen.decision)
    assert (sent.repeated, sent.entry and sent.entry.seq) == (True, 3)


async def test_a_click_under_the_client_id_of_another_message_is_a_conflict(ana: Talk, shop: OrderSystem) -> None:
    await ana.turn(await ana.ask("hello", client_id="pick"))
    chosen = await chat.choose(ana.conversation, await ana.offer(), "pick")
    with pytest.raises(Refused) as refused:
        await chat.send_message(ana.conversation, chosen.text, "pick", decision=chosen.decision)
    assert refused.value.code == "conflict"


async def test_a_confirmation_counts_once(ana: Talk, shop: OrderSystem) -> None:
    confirmation = await ana.offer()
    await ana.turn(await ana.click(confirmation))
    await ana.turn(await ana.click(confirmation))
    assert (await ana.log())[-1]["text"].startswith("This is done already")
    await ana.turn(await ana.click(f"{confirmation}:no"))
    assert shop.effects == [confirmation]


async def test_two_clicks_that_wait_together_are_one(ana: Talk, shop: OrderSystem) -> None:
    confirmation = await ana.offer()
    lease = await ana.click(confirmation)
    await journal.do(CustomerMessage(ana.pk, catalogue.YES, decision={"confirmation": confirmation, "agreed": True}))
    await ana.turn(lease)
    assert shop.effects == [confirmation]


async def test_a_no_that_comes_before_the_turn_goes_before_the_yes(ana: Talk, shop: OrderSystem) -> None:
    confirmation = await ana.offer()
    await ana.click(confirmation)
    await journal.do(CustomerMessage(ana.pk, "no wait, do not do that"))
    await ana.taken_over()
    assert shop.effects == []


async def test_another_conversations_confirmation_is_none(ana: Talk, shop: OrderSystem) -> None:
    confirmation = await ana.offer()
    other = Talk((await chat.open_chat("C-1001", True, {}))[0])
    await other.offer()
    with pytest.raises(Refused, match="not open any more"):
        await chat.choose(other.conversation, confirmation)
    reply = await other.say(catalogue.YES, Decision(confirmation, True))  # as if the door had let it through
    assert reply["text"] == catalogue.NOT_OPEN
    assert shop.effects == []


async def test_a_later_offer_takes_the_place_of_an_earlier_one(ana: Talk, shop: OrderSystem) -> None:
    first, second = await ana.offer(), await ana.offer()
    await ana.turn(await ana.click(first))
    assert (await ana.log())[-1]["text"] == catalogue.NOT_OPEN
    assert shop.effects == []
    await ana.turn(await ana.click(second))
    assert shop.effects == [second]


async def test_an_expired_confirmation_does_nothing(ana: Talk, shop: OrderSystem) -> None:
    confirmation = await ana.offer()
    past = timezone.now() - timedelta(seconds=1)
    await journal.read(Confirmation.objects.update, expires_at=past)
    await ana.turn(await ana.click(confirmation))
    assert "too long ago" in (await ana.log())[-1]["text"]
    assert await ana.states() == ["expired"]
    assert shop.effects == []


async def test_a_turn_that_a_person_took_over_writes_nothing(ana: Talk, shop: OrderSystem) -> None:
    lease = await ana.click(await ana.offer())
    await journal.do(TakeOver(ana.pk, await journal.read(staff_member), "Mara has joined.", "Mara"))
    await ana.turn(lease)
    assert shop.effects == []
    assert await ana.states() == ["offered"]


def staff_member() -> int:
    from django.contrib.auth.models import User

    return int(User.objects.create_user("mara").pk)


async def test_nobody_knows_whether_it_was_done_so_it_is_offered_again(ana: Talk, shop: OrderSystem) -> None:
    """The order system does it, and every answer is lost; the next yes repeats the same intent."""
    confirmation = await ana.offer()

    def lost() -> Any:
        return shop.own_answer("POST", "/orders/1050/cancel", confirmation) and as_json({}, 500)

    lease = await ana.click(confirmation)
    shop.script = [as_json(shop.orders["1050"]), lost, as_json({}, 500), as_json({}, 500)]
    await ana.turn(lease)
    reply = (await ana.log())[-1]
    assert "cannot tell whether this was done" in reply["text"]
    assert reply["confirm"]["id"] == confirmation
    assert await ana.states() == ["begun"]
    assert (await ana.say("yes"))["text"].startswith("Order 1050 is cancelled.")
    assert shop.effects == [confirmation]
    assert await journal.read(Confirmation.objects.count) == 1


async def test_what_the_order_system_refuses_is_said_and_not_claimed(ana: Talk, shop: OrderSystem) -> None:
    lease = await ana.click(await ana.offer())
    shop.orders["1050"]["status"] = "packed"
    await ana.turn(lease)
    text = (await ana.log())[-1]["text"]
    assert text.startswith("This could not be done, and nothing was changed")
    assert "is packed already" in text
    assert await ana.states() == ["refused"]


async def test_more_than_a_yes_is_answered_too(ana: Talk, shop: OrderSystem) -> None:
    confirmation = await ana.offer()
    lease = await ana.click(confirmation)
    await journal.do(CustomerMessage(ana.pk, "thanks"))
    await ana.taken_over()
    reply = (await ana.log())[-1]
    assert reply["text"].startswith("Order 1050 is cancelled.")
    assert reply["text"].endswith(catalogue.WELCOME)
    assert reply["reply_to"] == lease.asked_upto + 1


async def test_a_yes_that_goes_on_is_no_yes_and_is_told_so(ana: Talk, shop: OrderSystem) -> None:
    confirmation = await ana.offer()
    reply = await ana.say("yes, and where is order 1050?")
    assert "has been received" in reply["text"]
    assert "I have not done this yet: Cancel order 1050" in reply["text"]
    assert shop.effects == []
    await ana.turn(await ana.click(confirmation))
    assert shop.effects == [confirmation]


@pytest.mark.parametrize("said", ["cancel orders 1050 and 1051", "cancel 1050 / 1051", "cancel 1050, cancel 1051"])
async def test_of_two_orders_in_a_breath_it_is_said_which_is_left(ana: Talk, shop: OrderSystem, said: str) -> None:
    shop.orders["1051"] = {**ORDER, "number": "1051"}
    reply = await ana.say(said)
    assert reply["confirm"]["summary"].startswith("Cancel order 1050")
    assert "I do one change at a time, so this one is left for now: Cancel order 1051 (" in reply["text"]
    assert (await ana.say("yes"))["text"].startswith("Order 1050 is cancelled.")
    assert shop.orders["1051"]["status"] == "received"


async def test_of_two_orders_that_is_none_of_hers_is_said(ana: Talk, shop: OrderSystem) -> None:
    reply = await ana.say("cancel orders 1043 and 1050")
    assert "I find no order 1043 of yours." in reply["text"]
    assert reply["confirm"]["summary"].startswith("Cancel order 1050")


async def test_whether_it_was_done_is_asked_in_many_words(ana: Talk, shop: OrderSystem) -> None:
    """After a change that nobody knows of, and a no to trying it again."""
    confirmation = await ana.offer()
    lease = await ana.click(confirmation)

    def lost() -> Any:
        return shop.own_answer("POST", "/orders/1050/cancel", confirmation) and as_json({}, 500)

    shop.script = [as_json(shop.orders["1050"]), lost, as_json({}, 500), as_json({}, 500)]
    await ana.turn(lease)
    assert "ask me how it stands" in (await ana.say("no"))["text"]
    for words in ("how does it stand?", "Did it work?"):
        assert (await ana.say(words))["text"].startswith("Order **1050** is cancelled")
    assert shop.effects == [confirmation]


async def test_every_call_is_in_the_audit_without_the_customers_words(ana: Talk, shop: OrderSystem) -> None:
    await ana.turn(await ana.click(await ana.offer()))
    await trail.flush()
    entries = await journal.read(lambda: list(AuditEntry.objects.filter(action__startswith="tool.").order_by("id")))
    told = [(entry.action, entry.details["outcome"]) for entry in entries if entry.details]
    assert sorted(told) == [("tool.write", "began"), ("tool.write", "offered"), ("tool.write", "ok")]
    assert {entry.session_id for entry in entries} == {ana.conversation.session_id}
    assert all(entry.details["arguments"] == {"order_number": "1050"} for entry in entries if entry.details)


async def test_a_customers_message_shows_nothing_of_the_decision_on_the_wire(ana: Talk) -> None:
    await ana.ask(catalogue.YES, Decision("abc", True))
    assert "details" not in (await ana.log())[-1]
    assert await journal.read(Message.objects.filter(details__agreed=True).count) == 1


@pytest.mark.parametrize("odd", [None, {**ORDER, "status": {}}, {**ORDER, "number": "1051"}, {**ORDER, "items": "one"}])
async def test_nonsense_is_said_and_its_reason_is_kept(ana: Talk, shop: OrderSystem, odd: Any) -> None:
    shop.script = [as_json(odd)]
    reply = await ana.say("where is order 1050?")
    assert reply["text"] == catalogue.AWAY
    details = await journal.read(lambda: Message.objects.filter(role="agent").latest("seq").details)
    assert details["tools_used"] == ["order_status"]
    assert details["tools_failed"] == {"order_status": "unavailable"}


# ---- what counts as a word on it ----


def offered(summary: str) -> ChatMessage:
    text = catalogue.ASK.format(summary=summary)
    return ChatMessage(2, "agent", text, confirm={"id": "abc", "summary": summary})


@pytest.mark.parametrize(
    ("texts", "agreed"),
    [
        (["yes"], True),
        (["no"], False),
        (["yes and please also cancel the other one"], None),
        (["is that free of charge?"], None),
        (["yesterday"], None),
        (["yes", "no"], False),
        (["yes", "how long does it take?"], None),  # not the last word: it is asked again
    ],
)
def test_only_a_clear_word_counts(texts: list[str], agreed: bool | None) -> None:
    offer = offered("Cancel it.")
    asked = tuple(ChatMessage(3 + place, "customer", text) for place, text in enumerate(texts))
    messages = (ChatMessage(1, "customer", "cancel it"), offer, *asked)
    context = TurnContext("t", "s", "ai", "C-1", True, {}, messages, 1, "ESC-1", 0.0, 8000)
    consent = consent_of(context)
    assert (consent.decision.agreed if consent else None) is agreed


def test_a_yes_to_something_else_confirms_nothing() -> None:
    messages = (
        offered("Cancel it."),
        ChatMessage(3, "customer", "hm"),
        ChatMessage(4, "agent", "Anything else?"),
        ChatMessage(5, "customer", "yes"),
    )
    context = TurnContext("t", "s", "ai", "C-1", True, {}, messages, 4, "ESC-1", 0.0, 8000)
    assert consent_of(context) is None


def agreed_to(offer: ChatMessage, said: str) -> bool | None:
    messages = (ChatMessage(1, "customer", "cancel it"), offer, ChatMessage(3, "customer", said))
    consent = consent_of(TurnContext("t", "s", "ai", "C-1", True, {}, messages, 2, "ESC-1", 0.0, 8000))
    return consent.decision.agreed if consent else None


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("Shall I tell you more?", None),
        ("{ask}", True),
        ("You may keep the beanie.\n\n{ask}", True),
        ("{ask}\n\nShall I tell you more?", None),
        ("Cancel order 1050. And do you want a voucher?", None),
    ],
)
def test_a_yes_is_one_to_what_was_asked_last_in_words(text: str, counts: bool | None) -> None:
    """A model may have asked for something else beside the card."""
    summary = "Cancel order 1050."
    said = text.format(ask=catalogue.ASK.format(summary=summary))
    offer = ChatMessage(2, "agent", said, confirm={"id": "abc", "summary": summary})
    assert agreed_to(offer, "yes") is counts


CANCEL = "Cancel order 1051 (1 × Claddagh stove set; €114.00). You get the money back the way you paid."
SEND = "Send order 1053 (1 × Galtee 38 backpack; €159.00) to this address: 12 Shop Street, Galway"


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        (CANCEL, "Yes, cancel order 1051"),
        (CANCEL, "yes please cancel order #1051."),
        (CANCEL, "Yes, please cancel it!"),
        (CANCEL, "ok, cancel order 1051 please"),
        (CANCEL, "Sure, call off 1051"),
        (CANCEL, "yes, go ahead and cancel the order, thanks"),
        (CANCEL.replace("Cancel", "Return"), "yes, send back order 1051"),
        (SEND, "yes, change the address of order 1053"),
        (SEND, "yes please send it"),
    ],
)
def test_a_yes_may_say_what_the_card_says(summary: str, said: str) -> None:
    assert agreed_to(offered(summary), said) is True


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        (CANCEL, "Yes, cancel order 1053"),  # another order
        (CANCEL, "Yes, return order 1051"),  # another act
        (CANCEL, "cancel order 1051"),  # no yes: asked once more
        (CANCEL, "ok, cancel it"),  # the order, or the question?
        (CANCEL, "Yes, cancel order 1051 and 1053"),
        (CANCEL, "Yes, cancel order 1051 but keep the beanie"),
        (CANCEL, "Yes, cancel order 1051 if it is free"),
        (CANCEL, "Did you cancel order 1051?"),
        (CANCEL.replace("Cancel", "Return"), "yes, cancel it"),
        (SEND, "yes, send it to 14 Shop Street"),
        ("Change your e-mail address to a@example.com.", "yes, change order 1051"),
    ],
)
def test_a_yes_that_says_something_else_is_none(summary: str, said: str) -> None:
    assert agreed_to(offered(summary), said) is not True


def test_nothing_in_a_summary_can_be_clicked() -> None:
    summary = "Send order 1050\n\n# to [the shop](https://evil.example) <b>www.evil.example</b>"
    assert without_links(summary) == "Send order 1050 # to (the shop)(https: //evil.example) (b)www .evil.example(/b)"
