"""What the offline responder takes for an errand, and what it does not: by the rule, with neighbours on both sides."""

import time

import pytest

from agent_app.agent import catalogue, questions
from agent_app.agent.errands import Errand, is_change, is_wish, understood
from agent_app.agent.events import ChatMessage, TurnContext
from agent_app.agent.numbers import numbers_in
from agent_app.agent.replies import errands_of, is_reply
from agent_app.escalation import policy

pytestmark = pytest.mark.unit

CHANGES = ["cancel_order", "return_order", "change_delivery_address", "update_contact"]
LOOKS = ["order_status", "list_orders", "look_up_customer", "invoices", "check_stock"]
TOOLS = dict.fromkeys([*CHANGES, *LOOKS])


def wanted(text: str) -> list[tuple[str, str]]:
    """(tool, order or what else it is about) of each errand in a message, part by part as the responder does it."""
    parts = [understood(part) for part in questions.split(text, is_change)]
    return [
        (errand.tool, errand.arguments.get("order_number", errand.missing or "")) for part in parts for errand in part
    ]


def said_after(agent: ChatMessage, *texts: str) -> TurnContext:
    asked = tuple(ChatMessage(2 + place, "customer", text) for place, text in enumerate(texts))
    return TurnContext("t", "s", "ai", "C-1", True, {}, (agent, *asked), 1, "ESC-1", 0.0, 8000)


def replied(agent: ChatMessage, text: str) -> list[Errand]:
    context = said_after(agent, text)
    parts = questions.split(text, is_change, lambda part: is_reply(context, part))
    return [errand for part in parts for errand in errands_of(context, part, TOOLS)]


# ---- wishes and questions after a state ----


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("Was order 1050 cancelled?", "cancel_order"),
        ("Has my return of order 1050 arrived?", "return_order"),
        ("Is order 1050 cancelled?", "cancel_order"),
        ("Is order 1050 already cancelled", "cancel_order"),
        ("did you cancel order 1050?", "cancel_order"),
        ("Didn't you cancel order 1050 yesterday?", "cancel_order"),
        ("have you cancelled order 1050", "cancel_order"),
        ("why was my order 1050 cancelled?", "cancel_order"),
        ("when will you refund order 1050?", "return_order"),
        ("Where is my refund for order 1050?", "return_order"),
        ("when do I get my money back for order 1050", "return_order"),
        ("I cancelled order 1050 yesterday", "cancel_order"),
        ("I have already returned order 1050", "return_order"),
        ("I sent order 1050 back last week", "return_order"),
        ("order 1050 was cancelled, right?", "cancel_order"),
        ("can you tell me if order 1050 was cancelled?", "cancel_order"),
        ("what's the status of my return of order 1050?", "return_order"),
        ("I am still waiting for my refund for order 1050", "return_order"),
        ("please check the refund for order 1050", "return_order"),
        ("I'd like to know whether order 1050 got cancelled", "cancel_order"),
        ("Hello, has order 1050 been refunded?", "return_order"),
        ("is the cancellation of order 1050 through?", "cancel_order"),
        ("the refund for order 1050 has not been paid", "return_order"),
        ("did you change the address of order 1050?", "change_delivery_address"),
        ("Was the address of order 1050 updated?", "change_delivery_address"),
        ("What address will you send order 1050 to?", "change_delivery_address"),
    ],
)
def test_a_question_about_a_state_looks_at_the_order(text: str, about: str) -> None:
    assert understood(text) == [Errand("order_status", {"order_number": "1050"}, about=about)]


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("Cancel order 1050", "cancel_order"),
        ("please cancel 1050", "cancel_order"),
        ("Can order 1050 still be cancelled?", "cancel_order"),
        ("can I still cancel order 1050?", "cancel_order"),
        ("I want order 1050 cancelled", "cancel_order"),
        ("I'd like to have order 1050 cancelled, please", "cancel_order"),
        ("please have order 1050 cancelled", "cancel_order"),
        ("Order 1050 must be cancelled", "cancel_order"),
        ("is it possible to cancel order 1050?", "cancel_order"),
        ("is it still possible to get order 1050 cancelled?", "cancel_order"),
        ("how do I cancel order 1050?", "cancel_order"),
        ("call off order 1050", "cancel_order"),
        ("Cancellation of order 1050, please", "cancel_order"),
        ("Order 1050 has not arrived, cancel it", "cancel_order"),
        ("I was told to cancel order 1050", "cancel_order"),
        ("return order 1050", "return_order"),
        ("I want to send order 1050 back", "return_order"),
        ("I want my money back for order 1050", "return_order"),
        ("I would like a refund for order 1050", "return_order"),
        ("refund order 1050 please", "return_order"),
        ("Order 1050 has arrived broken, and I want a refund", "return_order"),
        ("I have received order 1050, please refund it", "return_order"),
        ("can I get a refund for order 1050?", "return_order"),
        ("when can I return order 1050?", "return_order"),
        ("please start a return for order 1050", "return_order"),
        ("I'd like order 1050 refunded", "return_order"),
    ],
)
def test_a_wish_is_done(text: str, tool: str) -> None:
    assert understood(text) == [Errand(tool, {"order_number": "1050"})]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("was my order cancelled?", [("list_orders", "")]),
        ("cancel my order", [("cancel_order", "order_number")]),
        ("I want to return my order", [("return_order", "order_number")]),
        ("cancel all my orders", [("cancel_order", "order_number")]),
        ("I ordered the wrong beanie, please cancel it", [("cancel_order", "order_number")]),
        ("I bought boots, how do I clean them?", []),
        ("what orders do I have?", [("list_orders", "")]),
        ("who cancelled my order?", [("list_orders", "")]),
        ("how do I cancel an order?", []),
        ("what happens if I return order 1050?", []),
        ("how long do I have to return order 1050?", []),
        ("was it cancelled?", []),
        ("has my return arrived?", [("list_orders", "")]),
        ("where is my refund?", [("list_orders", "")]),
        ("I have not received my refund", [("list_orders", "")]),
        ("how long does my refund take?", []),
        ("should I return order 1050?", [("order_status", "1050")]),
        ("Is it better to cancel order 1050?", [("order_status", "1050")]),
        ("should I cancel my order?", []),
        ("don't cancel order 1050", [("order_status", "1050")]),
        ("I do not want order 1050 cancelled", [("order_status", "1050")]),
        ("where is the return label for order 1050?", [("order_status", "1050")]),
        ("what is your return policy?", []),
        ("Was my phone number changed to +353 1 555 0199?", [("look_up_customer", "")]),
        ("did you change my email to ana@example.org?", [("look_up_customer", "")]),
        ("change my email to ana@example.org", [("update_contact", "")]),
    ],
)
def test_without_a_number_or_a_wish(text: str, found: list[tuple[str, str]]) -> None:
    assert wanted(text) == found


# ---- whose number it is ----


@pytest.mark.parametrize(
    "text",
    [
        "+353 1 555 0199",
        "my phone is 087 123 4567",
        "call me on 01 555 0199 please",
        "my phone number is 0871234567",
        "I paid 1200 euros for it",
        "it cost €1299.00",
        "4242 4242 4242 4242",
        "since 2019 I buy here",
        "on 12.03.2024",
        "in March 2024",
        "my mail is ana1050@example.com",
        "the 1500 ml bottle",
    ],
)
def test_what_is_no_orders_number(text: str) -> None:
    assert numbers_in(text.lower()) == []
    assert all(errand.tool != "order_status" for errand in understood(text))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1042", ["1042"]),
        ("order #988", ["988"]),
        ("invoice INV-1042", ["1042"]),
        ("1051 / 1052", ["1051", "1052"]),
        ("orders 105, 106 and also 107", ["105", "106", "107"]),
        ("order 1050, not 1053", ["1050"]),
        ("cancel 1050, keep order 1053", ["1050"]),
        ("order 1042, my phone is +353 1 555 0199", ["1042"]),
        ("order no. 1042 from 12.03.2024", ["1042"]),
        ("order 12345678", ["12345678"]),
    ],
)
def test_an_orders_number(text: str, numbers: list[str]) -> None:
    assert [number.text for number in numbers_in(text.lower())] == numbers


def test_a_new_phone_number_is_no_order() -> None:
    assert understood("change my phone number to +353 1 555 0199") == [
        Errand("update_contact", {"phone": "+353 1 555 0199"})
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Where is order 1053? And cancel order 1031.", [("order_status", "1053"), ("cancel_order", "1031")]),
        ("where is order 1053 and cancel order 1031", [("order_status", "1053"), ("cancel_order", "1031")]),
        ("cancel order 1050 and where is order 1042?", [("cancel_order", "1050"), ("order_status", "1042")]),
        ("Return order 1031. Cancel order 1050.", [("return_order", "1031"), ("cancel_order", "1050")]),
        ("I have order 1042. Cancel order 1050.", [("cancel_order", "1050")]),
        ("I have order 1042, and want to cancel 1050", [("cancel_order", "1050")]),
        ("Cancel order 1050. Can you do that?", [("cancel_order", "1050")]),
        ("My order is 1042. Where is it?", [("order_status", "1042")]),
        ("order 1050: cancel it please", [("cancel_order", "1050")]),
        ("Can you cancel 1050 and tell me where 1042 is?", [("cancel_order", "1050"), ("order_status", "1042")]),
        ("Tell me where 1042 is and cancel 1050", [("order_status", "1042"), ("cancel_order", "1050")]),
        (
            "cancel 1050 and please let me know when 1042 will arrive",
            [("cancel_order", "1050"), ("order_status", "1042")],
        ),
        ("return order 1030 and refund order 1043", [("return_order", "1030"), ("return_order", "1043")]),
        ("cancel 1051 / 1052", [("cancel_order", "1051"), ("cancel_order", "1052")]),
        ("1051 / 1052", [("order_status", "1051"), ("order_status", "1052")]),
        ("where are orders 1054 and 1029?", [("order_status", "1054"), ("order_status", "1029")]),
        ("orders 1050 and 1053: cancel both", [("cancel_order", "1050"), ("cancel_order", "1053")]),
        ("cancel order 1050 and refund me", [("cancel_order", "1050")]),
        ("return order 1031, I want my money back", [("return_order", "1031")]),
        ("cancel order 1050, not 1053", [("cancel_order", "1050")]),
        ("cancel 1050 and keep order 1053", [("cancel_order", "1050")]),
        ("don't cancel 1050, cancel 1053", [("cancel_order", "1053")]),
        (
            "cancel 1050 and send 1053 to 12 Oak Lane, Galway",
            [("cancel_order", "1050"), ("change_delivery_address", "1053")],
        ),
        ("invoices for orders 1031 and 1042", [("invoices", "1031"), ("invoices", "1042")]),
        (
            "change address of orders 1050 and 1053 to 12 Oak Lane, Galway",
            [("change_delivery_address", "1050"), ("change_delivery_address", "1053")],
        ),
        (
            "return 1031 and 0988, and where is 1042?",
            [("return_order", "1031"), ("return_order", "0988"), ("order_status", "1042")],
        ),
        ("Cancel order 1050. When will it arrive?", [("cancel_order", "1050")]),
    ],
)
def test_each_thing_that_is_wanted_with_its_own_order(text: str, found: list[tuple[str, str]]) -> None:
    assert wanted(text) == found


# ---- an address ----

WHICH_ADDRESS = ChatMessage(1, "agent", catalogue.WHICH_ADDRESS.format(number="1053"))
OFFERED = "Send order 1053 (1 × Scarf; €40.00) to this address: 12 Shop Street, Galway"
CARD = ChatMessage(1, "agent", catalogue.ASK.format(summary=OFFERED), confirm={"id": "abc", "summary": OFFERED})


def sent_to(address: str) -> Errand:
    return Errand("change_delivery_address", {"order_number": "1053", "address": address})


@pytest.mark.parametrize(
    "text",
    [
        "12 Oak Lane, Galway",
        "It is 12 Oak Lane, Galway.",
        "12 Oak Lane, Galway instead please",
        "12 Oak Lane, Galway. Thanks",
        "12 Oak Lane, Galway, thank you very much!",
        "Please send it to 12 Oak Lane, Galway. I am at home from 5.",
        "my new address is 12 Oak Lane, Galway, please",
        "12 Oak Lane\nGalway",
    ],
)
def test_an_address_that_was_asked_for(text: str) -> None:
    found = replied(WHICH_ADDRESS, text)
    assert [(each.tool, str(each.arguments["address"]).replace("\n", " ")) for each in found] in (
        [("change_delivery_address", "12 Oak Lane, Galway")],
        [("change_delivery_address", "12 Oak Lane Galway")],
    )


@pytest.mark.parametrize(
    "text",
    [
        "12 Oak Lane, Galway. And when will it arrive?",
        "12 Oak Lane, Galway, and when will it arrive?",
        "12 Oak Lane\nGalway\nWhen will it arrive?",
        "When will it arrive? It is 12 Oak Lane, Galway",
    ],
)
def test_a_question_beside_an_address_loses_neither(text: str) -> None:
    found = replied(WHICH_ADDRESS, text)
    assert sorted(each.tool for each in found) == ["change_delivery_address", "order_status"]
    assert {each.arguments["order_number"] for each in found} == {"1053"}
    address = next(str(each.arguments["address"]) for each in found if "address" in each.arguments)
    assert address.replace(",", "") == "12 Oak Lane Galway"


@pytest.mark.parametrize(
    "text",
    ["where is order 1042?", "actually, cancel order 1053", "never mind", "why do you need it?", "is 12 enough?"],
)
def test_what_is_no_address_answers_nothing(text: str) -> None:
    assert all("address" not in errand.arguments for errand in replied(WHICH_ADDRESS, text))


@pytest.mark.parametrize(
    "text",
    [
        "no, 14 Shop Street, Galway, H91 X2Y3",
        "No. 14 Shop Street, Galway, H91 X2Y3.",
        "sorry, I meant 14 Shop Street, Galway, H91 X2Y3",
        "no wait, please send it to 14 Shop Street, Galway, H91 X2Y3",
        "14 Shop Street, Galway, H91 X2Y3",
        "14 Shop Street, Galway, H91 X2Y3 instead please",
        "14 Shop Street, Galway, H91 X2Y3, not 12 Shop Street",
    ],
)
def test_an_address_that_was_offered_is_replaced(text: str) -> None:
    assert replied(CARD, text) == [sent_to("14 Shop Street, Galway, H91 X2Y3")]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("number 16 not 12", "16 Shop Street, Galway"),
        ("no, number 16, not number 12", "16 Shop Street, Galway"),
        ("no, not 12 but 16", "16 Shop Street, Galway"),
        ("12 should be 16, thanks", "16 Shop Street, Galway"),
        ("it's 16 instead of 12", "16 Shop Street, Galway"),
        ("sorry, number 16", "16 Shop Street, Galway"),
        ("Shop Road, not Shop Street", "12 Shop Road, Galway"),
        ("Cork instead of Galway please", "12 Shop Street, Cork"),
    ],
)
def test_a_part_of_an_offered_address_is_put_right(text: str, address: str) -> None:
    assert replied(CARD, text) == [sent_to(address)]


def test_a_correction_of_what_is_not_there_is_asked_about() -> None:
    wanted = Errand("change_delivery_address", {"order_number": "1053"}, "address")
    assert replied(CARD, "number 16, not 13") == [wanted]


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "no, wait for me",
        "I bought 14 of them",
        "no, is 14 Shop Street in Galway?",
        "3 days is too long",
        "I am not sure",
        "not yet",
        "I do not know",
    ],
)
def test_what_is_no_address_corrects_none(text: str) -> None:
    assert replied(CARD, text) == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Please send order 1053 to 12 Oak Lane, Galway", "12 Oak Lane, Galway"),
        ("change the address of order 1053 to 12 Oak Lane, Galway please", "12 Oak Lane, Galway"),
        ("I want to change the address of 1053 to 12 Oak Lane, Galway. Thanks!", "12 Oak Lane, Galway"),
        ("I need order 1053 delivered to 12 Oak Lane, Galway instead", "12 Oak Lane, Galway"),
        ("send order 1053 to 1042 Oak Lane, Galway", "1042 Oak Lane, Galway"),
        ("send 1053 to 12 Oak Lane, Galway instead of 7 Quay Street", "12 Oak Lane, Galway"),
        ("don't send order 1053 to my old address, send it to 12 Oak Lane, Galway", "12 Oak Lane, Galway"),
    ],
)
def test_an_address_in_the_wish(text: str, address: str) -> None:
    assert understood(text) == [sent_to(address)]


# ---- replies ----

CHOICES = tuple({"id": f"cancel_order-{number}", "label": f"Cancel order {number}"} for number in ("1050", "1053"))
WHICH_ORDER = ChatMessage(1, "agent", f"{catalogue.WHICH_ORDER}\n\n1. …", choices=CHOICES)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1053", ["1053"]),
        ("the second one", ["1053"]),
        ("1050 / 1053", ["1050", "1053"]),
        ("orders 1050 and 1053, please", ["1050", "1053"]),
        ("both", ["1050", "1053"]),
        ("1054", ["1054"]),
    ],
)
def test_orders_are_picked(text: str, numbers: list[str]) -> None:
    found = [("cancel_order", number) for number in numbers]
    assert [(each.tool, each.arguments["order_number"]) for each in replied(WHICH_ORDER, text)] == found


LISTED = ChatMessage(
    1,
    "agent",
    "These orders of yours are under way:\n\n- Order **1042** has been shipped: 1 × Tent, €240.00 in all.\n"
    "- Order **1050** has been received and is not packed yet: 2 × Aran wool beanie, €70.00 in all.",
)


@pytest.mark.parametrize(
    ("text", "tool", "number"),
    [
        ("the first one", "order_status", "1042"),
        ("2", "order_status", "1050"),
        ("and the last one?", "order_status", "1050"),
        ("Cancel the second one", "cancel_order", "1050"),
        ("please send the first one back", "return_order", "1042"),
        ("when will the first one arrive?", "order_status", "1042"),
        ("has the second order been shipped?", "order_status", "1050"),
    ],
)
def test_one_of_the_listed_orders_is_meant(text: str, tool: str, number: str) -> None:
    assert [(each.tool, each.arguments["order_number"]) for each in replied(LISTED, text)] == [(tool, number)]


@pytest.mark.parametrize(
    "text",
    ["the fourth one", "this is my first time here", "I moved in the last month", "how do I wash the first one?"],
)
def test_what_means_none_of_the_listed_orders(text: str) -> None:
    assert replied(LISTED, text) == []


def test_a_wrong_number_is_put_right() -> None:
    log = (
        ChatMessage(1, "customer", "Where is my order 1024?"),
        ChatMessage(2, "agent", catalogue.NO_ORDER.format(number="1024")),
        ChatMessage(3, "customer", "Sorry, I meant 1042."),
    )
    context = TurnContext("t", "s", "ai", "C-1", True, {}, log, 2, "ESC-1", 0.0, 8000)
    assert errands_of(context, log[-1].text, TOOLS) == [Errand("order_status", {"order_number": "1042"})]


DOUBTS = [catalogue.TOO_LATE, catalogue.IN_DOUBT, catalogue.CUT_SHORT]
STANDS = [
    "how does it stand?",
    "did it work?",
    "Did that go through?",
    "and, was it done?",
    "is it done now?",
    "was it cancelled?",
    "what happened?",
    "what's the status?",
]


@pytest.mark.parametrize("words", STANDS)
@pytest.mark.parametrize("doubt", DOUBTS)
def test_how_a_change_stands_is_looked_up(words: str, doubt: str) -> None:
    agent = ChatMessage(1, "agent", doubt.format(summary="Cancel order 1050 (2 × Beanie; €70.00). You get the money."))
    wanted = Errand("order_status", {"order_number": "1050"}, about="cancel_order")
    assert replied(agent, words) == [wanted]


@pytest.mark.parametrize(
    "said",
    [
        catalogue.TOO_LATE.format(summary="Change your e-mail address to a@example.org."),
        "Your phone number is now +353 1 555 0199.",
    ],
)
def test_how_a_change_of_contact_stands_is_looked_up(said: str) -> None:
    agent = ChatMessage(1, "agent", said)
    assert replied(agent, "did it work?") == [Errand("look_up_customer")]


@pytest.mark.parametrize("words", ["did it rain?", "how does it work?", "what happened in 2019?", "was it expensive?"])
def test_what_asks_of_something_else_looks_up_nothing(words: str) -> None:
    agent = ChatMessage(1, "agent", catalogue.TOO_LATE.format(summary="Cancel order 1050 (2 × Beanie; €70.00)."))
    assert replied(agent, words) == []


@pytest.mark.parametrize("words", STANDS)
def test_how_it_stands_after_nothing_looks_up_nothing(words: str) -> None:
    assert replied(ChatMessage(1, "agent", catalogue.GREETING), words) == []


@pytest.mark.parametrize("text", ["do you have tents?", "Tents: do you have any?", "do you have «tents»"])
def test_a_product_is_asked_for_by_its_bare_words(text: str) -> None:
    (errand,) = understood(text)
    assert errand.tool == "check_stock"
    assert "tents" in str(errand.arguments["product"]).split()


# ---- what somebody sends to keep the desk busy ----


@pytest.mark.parametrize(
    "text",
    [
        "1050,",
        "0199.",
        " ",
        "a",
        "a@",
        "cancel ",
        "refund and ",
        "was\n",
        "0199\n",
        "not please and ",
        "12 Oak Lane, ",
        "please, send it to 1050 (+353 1 555 0199) / ",
    ],
)
def test_the_longest_message_takes_little_cpu(text: str) -> None:
    """All of it runs on the event loop, where everybody waits for it. The slowest takes a tenth of what is allowed."""
    text = (text * 8000)[:8000]
    context = said_after(CARD, text)
    taken = []
    for _ in range(3):
        began = time.thread_time()
        assert policy().judge(text) is None
        for part in questions.split(text, is_change, lambda part: is_reply(context, part)):
            errands_of(context, part, TOOLS)
        taken.append(time.thread_time() - began)
    assert min(taken) < 0.5


def test_what_is_lost_in_a_sentence_without_end_is_no_errand() -> None:
    assert understood("cancel order 1050") == [Errand("cancel_order", {"order_number": "1050"})]
    assert understood("and then " * 200 + "cancel order 1050") == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "I want to cancel my order and also how do I wash wool?",
            ["I want to cancel my order", "how do I wash wool?"],
        ),
        (
            "I want to return my order, and can I pay by card?",
            ["I want to return my order", "can I pay by card?"],
        ),
        # What leans on the wish is about it.
        ("I want to return my order and how long do I have?", None),
        ("I want to return my order and where do I send it?", None),
        # Where each is a sentence, the first may only say what the second is about.
        ("I want to return my order. Do I need the receipt?", None),
        ("I have new boots and how do I care for leather?", None),
    ],
)
def test_a_wish_and_a_question_of_another_subject(text: str, parts: list[str] | None) -> None:
    assert questions.split(text, is_change, is_wish=is_wish) == (parts or [text.replace(" and ", " ")])


def test_of_many_questions_only_so_many_are_read() -> None:
    assert len(questions.split("Where is it? " * 600)) == questions.MOST + 1
