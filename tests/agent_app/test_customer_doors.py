"""Choices, ratings and the transcript: the customer's smaller doors, over REST and the socket."""

from typing import Any

import pytest

from tests.chat_client import Chat
from tests.desk import Desk

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# The sample knowledge answers this with "did you mean", since several of its articles fit alike.
UNCLEAR = "my tent arrived broken"


async def offered(chat: Chat) -> list[dict[str, Any]]:
    for question in (UNCLEAR, "do you give discounts to clubs and schools", "my order is late"):
        reply = (await chat.say(question))["reply"]
        if reply.get("choices"):
            choices: list[dict[str, Any]] = reply["choices"]
            return choices
    raise AssertionError("the sample knowledge asked back on none of the unclear questions")


async def test_a_choice_is_stored_as_the_customers_message_and_answered(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    choice = (await offered(chat))[0]
    first = await chat.http.post("/choice/", json={"id": choice["id"], "client_id": "pick"})
    assert first.status_code == 200, first.text
    assert first.json()["message"]["text"] == choice["label"]
    assert first.json()["reply"]["citations"]
    again = await chat.http.post("/choice/", json={"id": choice["id"], "client_id": "pick"})
    assert again.json()["message"] == first.json()["message"]


async def test_a_choice_over_the_socket(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    choice = (await offered(chat))[0]
    async with chat.socket(last_seq=99) as socket:
        await socket.send("choice", client_id="pick", id=choice["id"])
        ack = await socket.until("ack", client_id="pick")
        assert (await socket.until("message", role="agent"))["reply_to"] == ack["seq"]


async def test_a_choice_that_was_not_offered_is_refused(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    refused = await chat.http.post("/choice/", json={"id": "nothing"})
    assert (refused.status_code, refused.json()["field"]) == (400, "id")
    async with chat.socket() as socket:
        await socket.send("choice", client_id="a", id="nothing")
        assert (await socket.until("error"))["code"] == "invalid"
    assert await chat.history() == []


async def test_a_chat_is_rated_also_after_its_end(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    await chat.http.delete("/")
    assert (await chat.http.post("/feedback/", json={"rating": 5, "comment": "Quick"})).status_code == 204
    assert (await chat.http.post("/feedback/", json={"rating": 4})).status_code == 204
    for wrong in ({"rating": 6}, {"rating": 0}, {"rating": "good"}, {}):
        refused = await chat.http.post("/feedback/", json=wrong)
        assert (refused.status_code, refused.json()["field"]) == (400, "rating")


async def test_an_answer_is_judged(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    await chat.say("Hello")
    assert (await chat.http.post("/messages/2/feedback/", json={"helpful": False, "comment": "Old"})).status_code == 204
    own = await chat.http.post("/messages/1/feedback/", json={"helpful": True})
    assert (own.status_code, own.json()["code"]) == (404, "not_found")
    async with chat.socket() as socket:
        await socket.send("feedback", seq=2, helpful=True)
        await socket.until("ack", seq=2)
        await socket.send("feedback", rating=3)
        await socket.until("ack")
        await socket.send("feedback", rating=9)
        assert (await socket.until("error"))["field"] == "rating"


async def test_the_transcript_as_text_and_as_json(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    await chat.say("How do I reset my password?")
    text = await chat.http.get("/transcript/", params={"format": "text"})
    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "You: How do I reset my password?" in text.text
    assert "[1] " in text.text
    whole = (await chat.http.get("/transcript/", params={"format": "json"})).json()
    assert whole["messages"] == await chat.history()
    refused = await chat.http.get("/transcript/", params={"format": "pdf"})
    assert (refused.status_code, refused.json()["field"]) == (400, "format")
