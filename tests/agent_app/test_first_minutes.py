"""A customer's first minutes, to the letter of the protocol: real HTTP, real frames, both stores."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.chat_client import PATIENCE, Chat, Socket, connect
from tests.desk import Desk
from tests.held import BEGINNING, REST, held

pytestmark = pytest.mark.integration

MESSAGE_FIELDS = {"seq", "id", "role", "text", "created_at", "citations", "attachments"}


async def test_opening_a_chat_gives_a_token_once_and_an_empty_log(desk: Desk) -> None:
    chat = await Chat.open(desk.url, user_id="ana", metadata={"page": "/boots"})
    assert set(chat.opened) == {
        "session_id",
        "token",
        "thread_id",
        "state",
        "created_at",
        "expires_at",
        "websocket",
    }
    assert chat.opened["state"] == "ai"
    assert chat.opened["websocket"] == f"{desk.sockets}/ws/chat/"
    assert await chat.history() == []


async def test_the_state_of_a_chat(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    await chat.say("Hello")
    state = (await chat.http.get("/")).json()
    assert set(state) == {
        "session_id",
        "state",
        "message_count",
        "escalated",
        "last_seq",
        "created_at",
        "last_activity",
        "expires_at",
    }
    assert (state["message_count"], state["last_seq"], state["escalated"]) == (1, 2, False)


async def test_a_question_is_answered_with_its_source(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    answer = await chat.say("How do I reset my password?", client_id="one")
    assert answer["message"].items() >= {"seq": 1, "role": "customer", "client_id": "one"}.items()
    assert answer["reply"].items() >= {"seq": 2, "role": "agent", "reply_to": 1}.items()
    assert answer["reply"]["citations"][0]["n"] == 1
    assert answer["state"] == "ai"
    assert set(answer["reply"]) >= MESSAGE_FIELDS
    metadata = answer["metadata"]
    assert metadata["message_count"] == 1
    assert metadata["tools_used"] == ["search_knowledge"]
    assert metadata["citations"] == answer["reply"]["citations"]
    assert metadata["session_store"] in {"in_memory", "redis"}
    assert {"confidence", "processing_time_ms", "request_id"} <= set(metadata)
    assert {"session_stats", "circuit_breakers", "initialization_mode"} <= set(metadata)  # DEBUG is on here


async def test_the_same_client_id_stores_nothing_twice_over_any_door(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    first = await chat.say("Hello there", client_id="once")
    again = await chat.say("Hello there", client_id="once")
    assert again["message"] == first["message"]
    assert again["reply"] == first["reply"]
    async with chat.socket(last_seq=2) as socket:
        await socket.send("send", client_id="once", text="Hello there")
        ack = await socket.until("ack")
    assert ack == {"type": "ack", "client_id": "once", "seq": 1, "id": first["message"]["id"]}
    assert len(await chat.history()) == 2


async def test_history_pages_from_a_seq(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    for number in range(3):
        await chat.say(f"Hello {number}")
    page = (await chat.http.get("/messages/", params={"after": 1, "limit": 2})).json()
    assert [message["seq"] for message in page["results"]] == [2, 3]
    assert (page["last_seq"], page["has_more"]) == (6, True)


async def test_a_turn_as_server_sent_events(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    events = [event async for event in stream(chat.http, "POST", "/messages/", {"text": "Where is my order?"})]
    kinds = [kind for kind, _, _ in events]
    assert kinds[0] == "message"
    assert kinds[-1] == "done"
    assert events[-1][2] == {"type": "done"}
    reply = next(data for kind, _, data in events if kind == "message" and data["role"] == "agent")
    text = "".join(data["text"] for kind, _, data in events if kind == "delta")
    assert text == reply["text"]
    assert [number for kind, number, _ in events if kind == "message"] == ["1", "2"]


async def test_a_standing_stream_shows_what_was_missed_and_what_comes(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    await chat.say("Hello")
    messages: list[dict[str, Any]] = []
    async for kind, _, data in stream(chat.http, "GET", "/events/?after=1"):
        if kind == "message":
            messages.append(data)
            if data["seq"] == 2:
                asking = asyncio.ensure_future(chat.say("Hello again"))
            if data["seq"] == 4:
                break
    await asking
    assert [message["seq"] for message in messages] == [2, 3, 4]


async def test_escalating_gives_a_ticket_once(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    first = (await chat.http.post("/escalate/", json={"reason": "I would rather talk"})).json()
    assert first["state"] == "waiting"
    assert first["ticket"].startswith("ESC-")
    assert (await chat.http.post("/escalate/", json={})).json() == first
    history = await chat.history()
    assert [message["role"] for message in history] == ["system"]
    assert first["ticket"] in history[0]["text"]
    assert (await chat.http.get("/")).json()["expires_at"] is None


async def test_the_agent_goes_on_answering_while_a_person_is_awaited(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    ticket = (await chat.http.post("/escalate/", json={})).json()["ticket"]
    answer = await chat.say("I want to talk to a person")
    assert answer["state"] == "waiting"
    assert ticket in answer["reply"]["text"]


async def test_a_wish_for_a_person_in_words_escalates(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    answer = await chat.say("Please let me talk to a real person")
    assert answer["state"] == "waiting"
    assert "ESC-" in answer["reply"]["text"]
    assert (await chat.http.get("/")).json()["escalated"] is True


async def test_ending_a_chat_keeps_it_readable(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    await chat.say("Hello", client_id="kept")
    async with chat.socket() as socket:
        await socket.until("message", seq=2)
        assert (await chat.http.delete("/")).status_code == 204
        assert await socket.until("state") == {"type": "state", "state": "closed"}
        assert await socket.close_code() == 4410
    assert (await chat.http.get("/")).json()["state"] == "closed"
    assert len(await chat.history()) == 2
    refused = await chat.http.post("/messages/", json={"text": "One more"})
    assert (refused.status_code, refused.json()["code"]) == (409, "closed")
    resent = await chat.http.post("/messages/", json={"text": "Hello", "client_id": "kept"})
    assert (resent.status_code, resent.json()["message"]["seq"]) == (200, 1)
    async with chat.socket(last_seq=1) as socket:
        assert (await socket.until("welcome"))["state"] == "closed"
        assert (await socket.until("message"))["seq"] == 2
        await socket.send("ping")
        await socket.until("pong")


# ---- the socket ----


async def test_hello_welcome_send_ack_message_turn_delta(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    async with chat.socket() as socket:
        welcome = await socket.next()
        assert (
            welcome.items()
            >= {
                "type": "welcome",
                "session_id": chat.session_id,
                "state": "ai",
                "last_seq": 0,
                "recovered": True,
                "ping_interval": 25,
            }.items()
        )
        assert welcome["limits"]["max_text"] == 8000
        await socket.send("send", client_id="c1", text="What are your opening hours?")
        ack = await socket.next()
        assert ack.items() >= {"type": "ack", "client_id": "c1", "seq": 1}.items()
        own = await socket.next()
        assert own.items() >= {"type": "message", "seq": 1, "id": ack["id"], "role": "customer"}.items()
        started = await socket.next()
        assert (started["type"], started["status"]) == ("turn", "started")
        reply = await socket.until("message", role="agent")
        assert reply.items() >= {"seq": 2, "reply_to": 1, "turn": started["turn"]}.items()
        deltas = [frame for frame in socket.seen if frame["type"] == "delta"]
        assert "".join(frame["text"] for frame in deltas) == reply["text"]
        at = 0
        for frame in deltas:
            assert (frame["turn"], frame["at"]) == (started["turn"], at)
            at += len(frame["text"])
        assert (await socket.until("turn"))["status"] == "ended"


async def test_resume_gives_every_later_message_in_order(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    for number in range(3):
        await chat.say(f"Hello {number}")
    async with chat.socket(last_seq=2) as socket:
        welcome = await socket.next()
        assert (welcome["last_seq"], welcome["recovered"]) == (6, True)
        assert [(await socket.next())["seq"] for _ in range(4)] == [3, 4, 5, 6]


async def test_a_last_seq_past_the_log_is_not_recovered(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    await chat.say("Hello")
    async with chat.socket(last_seq=99) as socket:
        welcome = await socket.next()
        assert (welcome["recovered"], welcome["last_seq"]) == (False, 2)
        async with httpx.AsyncClient(timeout=PATIENCE, headers={"Authorization": f"Bearer {chat.token}"}) as http:
            history = await http.get(desk.url + welcome["history"])
        assert len(history.json()["results"]) == 2
        await socket.send("send", client_id="next", text="And now?")
        assert (await socket.until("message"))["seq"] == 3


async def test_every_socket_of_a_chat_gets_every_message(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    async with chat.socket() as first, chat.socket() as second:
        await first.next(), await second.next()
        await first.send("send", client_id="a", text="Hello")
        for socket in (first, second):
            assert (await socket.until("message", role="agent"))["seq"] == 2
        assert [frame["seq"] for frame in second.seen if frame["type"] == "message"] == [1, 2]


async def test_typing_reaches_the_other_socket_alone(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    async with chat.socket() as first, chat.socket() as second:
        await first.next(), await second.next()
        await first.send("typing", on=True)
        assert await second.next() == {"type": "typing", "role": "customer", "on": True}
        await first.send("ping")
        assert await first.next() == {"type": "pong"}
    assert await chat.history() == []


async def test_escalate_over_the_socket(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    async with chat.socket() as socket:
        await socket.send("escalate", reason="please")
        ack = await socket.until("ack")
        assert ack["ticket"].startswith("ESC-")
    assert (await chat.http.get("/")).json()["state"] == "waiting"


async def test_a_stop_stores_what_was_written(scripted_desk: Desk) -> None:
    chat = await Chat.open(scripted_desk.url)
    async with chat.socket() as socket:
        with held(scripted_desk.environ, chat.session_id):
            await stop_in_the_middle(socket)
            reply = await socket.until("message", role="agent")
    assert reply["stopped"] is True
    assert reply["text"].startswith(BEGINNING)
    assert REST not in reply["text"]


async def stop_in_the_middle(socket: Socket) -> None:
    await socket.send("send", client_id="a", text="Tell me everything")
    turn = (await socket.until("turn", status="started"))["turn"]
    await socket.until("delta", turn=turn)
    await socket.send("stop", turn="another")
    await socket.until("ack", turn="another")
    await socket.send("stop", turn=turn)
    await socket.until("ack", turn=turn)


async def test_messages_that_come_while_one_is_written_share_the_next_answer(scripted_desk: Desk) -> None:
    chat = await Chat.open(scripted_desk.url)
    async with chat.socket() as socket:
        with held(scripted_desk.environ, chat.session_id):
            await socket.send("send", client_id="a", text="First")
            await socket.until("turn", status="started")
            await socket.send("send", client_id="b", text="Second")
            await socket.send("send", client_id="c", text="Third")
            await socket.until("ack", client_id="c")
        first = await socket.until("message", role="agent")
        second = await socket.until("message", role="agent")
    assert (first["reply_to"], second["reply_to"]) == (1, 3)
    assert first["turn"] != second["turn"]
    assert [message["seq"] for message in await chat.history()] == [1, 2, 3, 4, 5]


async def test_a_caller_that_goes_away_loses_nothing(scripted_desk: Desk) -> None:
    chat = await Chat.open(scripted_desk.url)
    with held(scripted_desk.environ, chat.session_id), pytest.raises(httpx.ReadTimeout):
        impatient = httpx.Timeout(PATIENCE, read=0.2)
        await chat.http.post("/messages/", json={"text": "Hello", "client_id": "gone"}, timeout=impatient)
    answer = await chat.say("Hello", client_id="gone")
    assert answer["reply"]["reply_to"] == 1
    assert len(await chat.history()) == 2


async def stream(http: httpx.AsyncClient, method: str, path: str, body: Any = None) -> Any:
    """(event, id, data) of a server-sent stream."""
    async with http.stream(method, path, json=body, headers={"Accept": "text/event-stream"}) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        event: dict[str, str] = {}
        async for line in response.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
            elif "event" in event:
                yield event["event"], event.get("id"), json.loads(event["data"])
                event = {}


async def test_requests_carry_their_id(desk: Desk) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        response = await http.post(
            f"{desk.url}/api/v1/chat/sessions/", json={}, headers={"X-Request-ID": "from-the-proxy"}
        )
    assert response.headers["X-Request-ID"] == "from-the-proxy"


async def test_a_socket_may_have_no_origin(desk: Desk) -> None:
    async with connect(f"{desk.sockets}/ws/chat/", origin=None) as connection:
        await connection.send("{}")
        assert json.loads(await connection.recv())["code"] == "bad_frame"
