"""The demo run, `serve --prepare`: a verified customer's orders, end to end over real HTTP; and everybody else's."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from agent_app.agent import catalogue
from tests.chat_client import PATIENCE, Chat
from tests.desk import Desk

pytestmark = [pytest.mark.integration, pytest.mark.slow]

KEY = "the key that this site signs its customers' identities with"
AUDIENCE = "supportdesk"


@pytest.fixture(scope="module")
def shop_desk(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("shop")
    limits = {"CHAT_RATE_LIMIT": "1000/min", "CHAT_SESSION_RATE_LIMIT": "100000/min"}
    desk = Desk(folder, IDENTITY_SECRET=KEY, SECRET_KEY="s" * 50, CHAT_DEBUG_METADATA="true", **limits)
    desk.start("--prepare")
    yield desk
    desk.stop()


def identity(sub: str = "C-1001", key: str = KEY, seconds: float = 300, **claims: Any) -> str:
    return jwt.encode({"sub": sub, "exp": time.time() + seconds, **claims}, key, "HS256")


@pytest.fixture
async def ana(shop_desk: Desk) -> AsyncIterator[Chat]:
    chat = await Chat.open(shop_desk.url, identity=identity())
    yield chat
    await chat.http.aclose()


async def say(chat: Chat, text: str) -> dict[str, Any]:
    reply: dict[str, Any] = (await chat.say(text))["reply"]
    return reply


async def test_where_is_my_order_1042(ana: Chat) -> None:
    answer = await ana.say("Where is my order 1042?")
    text = answer["reply"]["text"]
    assert "has been shipped" in text
    assert "NW-TRACK-1042" in text
    assert answer["metadata"]["tools_used"] == ["order_status"]
    assert answer["metadata"]["circuit_breakers"]["inventory"]["state"] == "closed"


async def test_what_a_customer_tells_is_known_in_their_next_chat(ana: Chat, shop_desk: Desk) -> None:
    noted = await ana.say("Hi, my name is Ana and my shoe size is 42.5")
    assert "- name: Ana\n- shoe size: 42.5" in noted["reply"]["text"]
    assert noted["metadata"]["tools_used"] == ["remember"]
    assert "- shoe size: 42.5" in (await say(ana, "What is my shoe size?"))["text"]
    again = await Chat.open(shop_desk.url, identity=identity())
    assert "- name: Ana" in (await say(again, "who am I?"))["text"]
    somebody = await Chat.open(shop_desk.url, user_id="C-1001")  # who only claims to be her
    assert "You have not told me that yet." in (await say(somebody, "What is my name?"))["text"]
    assert "42.5" not in (await say(somebody, "What is my shoe size?"))["text"]


@pytest.mark.parametrize(
    "question", ["1042", "order #1042", "has order 1042 shipped?", "hello, when will order no. 1042 arrive?"]
)
async def test_an_order_is_found_however_it_is_named(ana: Chat, question: str) -> None:
    assert "NW-TRACK-1042" in (await say(ana, question))["text"]


async def test_the_shops_website_may_know_her_by_her_address(shop_desk: Desk) -> None:
    chat = await Chat.open(shop_desk.url, identity=identity("ana@example.com"))
    assert "NW-TRACK-1042" in (await say(chat, "Where is my order 1042?"))["text"]


async def test_a_strangers_order_looks_like_none(ana: Chat) -> None:
    theirs = (await say(ana, "Where is my order 1043?"))["text"]
    none = (await say(ana, "Where is my order 9943?"))["text"]
    assert theirs == "I find no order 1043 of yours. Is the number right?"
    assert theirs.replace("1043", "9943") == none


@pytest.mark.parametrize("question", ["Where is my order 1042?", "cancel order 1050", "What do I owe you?"])
async def test_who_is_not_verified_is_told_how_to_be_and_nothing_else(shop_desk: Desk, question: str) -> None:
    for who in ({}, {"user_id": "C-1001"}):
        reply = await say(await Chat.open(shop_desk.url, **who), question)
        assert reply["text"] == catalogue.VERIFY
        assert "confirm" not in reply


async def test_without_a_number_the_help_pages_answer_and_say_how_to_be_known(shop_desk: Desk) -> None:
    reply = await say(await Chat.open(shop_desk.url), "Where is my order?")
    assert reply["citations"][0]["url"] == "/help/track-order/"
    assert reply["text"].endswith(catalogue.VERIFY_HINT)


WRONG = {
    "past the 30 s that clocks may differ": lambda: identity(seconds=-31),
    "another key": lambda: identity(key="another key of at least 32 characters, too"),
    "another audience": lambda: identity(aud="another desk"),
    "for ever": lambda: jwt.encode({"sub": "C-1001"}, KEY, "HS256"),
    "unsigned": lambda: jwt.encode({"sub": "C-1001", "exp": time.time() + 60}, "", "none"),
    "another algorithm": lambda: jwt.encode({"sub": "C-1001", "exp": time.time() + 60}, KEY, "HS384"),
    "not what was signed": lambda: identity() + "x",
    "blanks around its subject": lambda: identity(" C-1001 "),
    "a longer subject than any": lambda: identity("C" * 201),
}


@pytest.mark.parametrize("why", list(WRONG))
async def test_a_wrong_identity_opens_no_chat(shop_desk: Desk, why: str) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        response = await http.post(f"{shop_desk.url}/api/v1/chat/sessions/", json={"identity": WRONG[why]()})
    assert response.status_code == 400
    assert response.json()["field"] == "identity"


@pytest.mark.parametrize("claims", [{"aud": AUDIENCE}, {"aud": ["shop", AUDIENCE]}, {"seconds": -5}])
async def test_an_identity_for_us_and_clocks_that_differ_a_little_are_taken(
    shop_desk: Desk, claims: dict[str, Any]
) -> None:
    chat = await Chat.open(shop_desk.url, identity=identity(**claims))
    assert "NW-TRACK-1042" in (await say(chat, "Where is my order 1042?"))["text"]


LOOKUPS = [
    ("show me my invoices", "INV-1042", "invoices"),
    ("the invoice for order 1031 please", "INV-1031", "invoices"),
    ("what is my balance?", "€284.00", "balance"),
    ("what are my tickets", "T-501", "customer_tickets"),
    ("which e-mail do you have of me?", "ana@example.com", "look_up_customer"),
    ("when will my order arrive?", "NW-TRACK-1042", "list_orders"),
    ("is the wool beanie in stock?", "Galway 12", "check_stock"),
    ("do you have the sleeping bag?", "sold out", "check_stock"),
    ("do you have tents?", "Lough tent for two", "check_stock"),
    ("was order 1050 cancelled?", "It is not cancelled.", "order_status"),
    ("has my return of order 1031 arrived?", "No return of it is under way.", "order_status"),
    ("was my order cancelled?", "None of your orders is cancelled.", "list_orders"),
    ("where is order 1053 sent to?", "7 Quay Street", "order_status"),
    ("1042 / 1050", "has been received and is not packed yet", "order_status"),
    ("how much is the Burren boot?", "€219.00", "check_stock"),
]


@pytest.mark.parametrize(("question", "says", "tool"), LOOKUPS)
async def test_what_the_shipped_tools_look_up(ana: Chat, question: str, says: str, tool: str) -> None:
    answer = await ana.say(question)
    assert says in answer["reply"]["text"]
    assert answer["metadata"]["tools_used"] == [tool]


@pytest.mark.parametrize(
    ("question", "article"),
    [
        ("How can I cancel an order?", "cancel-order"),
        ("How do I return something?", "returns"),
        ("How much is delivery?", "delivery-times-and-costs"),
        ("Do you have gift wrapping?", "gift-wrapping"),
        ("how do I change my email address", "change-account-details"),
        ("what happens if my parcel is late?", "parcel-late-or-lost"),
    ],
)
async def test_what_is_asked_in_general_the_help_pages_answer(ana: Chat, question: str, article: str) -> None:
    reply = await say(ana, question)
    assert [citation["url"] for citation in reply["citations"]] == [f"/help/{article}/"]


async def test_the_back_end_says_that_it_is_made_up_and_wants_its_key(shop_desk: Desk) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE, base_url=f"{shop_desk.url}/demo/backend") as http:
        response = await http.get("/inventory/orders/1042")
        assert response.status_code == 401
        assert response.headers["X-Demo-Backend"] == "made-up data"
        assert "NW-TRACK" not in response.text


async def test_without_the_demo_there_is_no_such_back_end(tmp_path: Path) -> None:
    closed = Desk(tmp_path, DEMO_BACKEND="off")
    closed.start("--prepare")
    try:
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            assert (await http.get(f"{closed.url}/demo/backend/inventory/orders/1042")).status_code == 404
        answer = await (await Chat.open(closed.url)).say("Where is my order 1042?")
        assert answer["metadata"]["tools_used"] == ["search_knowledge"]
        assert answer["metadata"]["circuit_breakers"] == {}
    finally:
        closed.stop()


async def test_nobody_takes_anothers_address(shop_desk: Desk) -> None:
    """A website may prove its customers by their address: who took Ben's would stand in his way."""
    ana = await Chat.open(shop_desk.url, identity=identity())
    offer = await say(ana, "change my email to ben@example.com")
    assert "confirm" in offer
    reply = await say(ana, "yes")
    assert "in use already" in reply["text"]
    ben = await Chat.open(shop_desk.url, identity=identity("ben@example.com"))
    assert "Ben Doyle" in (await say(ben, "what data do you have of me?"))["text"]
