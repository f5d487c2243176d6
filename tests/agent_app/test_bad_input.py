"""Bad input, door by door: each gets its documented code and a sentence, and nothing is stored."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.handlers.asgi import ASGIRequest
from django.db import OperationalError
from django.test import Client
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from agent_app.models import Conversation
from agent_app.serializers import error_response
from sessions_app.data import MAX_DEPTH
from tests.chat_client import PATIENCE, Chat, Socket, connect
from tests.desk import Desk
from tests.staff import use_memory

pytestmark = pytest.mark.integration

LONG = "x" * 100_000


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (b'{"text": ', 400, "bad_json", None),
        (b"\xff\xfe", 400, "bad_json", None),
        (b"[1, 2]", 400, "invalid", None),
        (b"{}", 400, "invalid", "text"),
        (b'{"text": 5}', 400, "invalid", "text"),
        (b'{"text": null}', 400, "invalid", "text"),
        (b'{"text": "  "}', 400, "invalid", "text"),
        (b'{"text": "a\\u0000b"}', 400, "invalid", "text"),
        (b'{"text": "\\ud800"}', 400, "invalid", "text"),
        (json.dumps({"text": LONG}).encode(), 413, "too_large", "text"),
        (b'{"text": "hi", "client_id": 7}', 400, "invalid", "client_id"),
        (b'{"text": "hi", "client_id": ""}', 400, "invalid", "client_id"),
        (b'{"text": "hi", "attachments": ["nothing"]}', 400, "invalid", "attachments"),
    ],
)
async def test_messages_refuse_bad_bodies(desk: Desk, body: bytes, status: int, code: str, field: str | None) -> None:
    chat = await Chat.open(desk.url)
    response = await chat.http.post("/messages/", content=body, headers={"Content-Type": "application/json"})
    error = response.json()
    assert (response.status_code, error["code"], error.get("field")) == (status, code, field)
    assert error["message"].endswith((".", "…", "!")) or len(error["message"]) > 10
    assert await chat.history() == []


async def test_a_body_in_pieces_counts_as_much_as_a_whole_one(desk: Desk) -> None:
    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 5):
            yield body[start : start + 5]

    chat = await Chat.open(desk.url)
    as_json = {"Content-Type": "application/json"}
    answer = await chat.http.post("/messages/", content=pieces(b'{"text": "Hello", "client_id": "a"}'), headers=as_json)
    assert (answer.status_code, answer.json()["message"]["client_id"]) == (200, "a")
    asked = await chat.http.post("/erase/", content=pieces(b'{"scope": "everything"}'), headers=as_json)
    assert asked.status_code == 403  # not: the chat alone, which needs no proof of who asks
    large = await chat.http.post("/messages/", content=pieces(b'{"text": "' + b"x" * 3_000_000), headers=as_json)
    assert (large.status_code, large.json()["code"]) == (413, "too_large")


async def test_a_standing_stream_takes_no_head(desk: Desk) -> None:
    """A proxy would take the answer for finished, and give its connection to the next customer."""
    chat = await Chat.open(desk.url)
    answer = await chat.http.head("/events/")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, OPTIONS")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"null", "Send one JSON object."),
        (b"7", "Send one JSON object."),
        (b"{}", "Send text: it is needed."),
        (b'{"text": null}', "Send text with a value, not null."),
    ],
)
async def test_a_refusal_says_what_to_send(desk: Desk, body: bytes, message: str) -> None:
    chat = await Chat.open(desk.url)
    response = await chat.http.post("/messages/", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["message"]) == (400, message)


async def test_what_may_be_left_out_may_be_null(desk: Desk) -> None:
    chat = await Chat.open(desk.url, user_id=None, identity=None, metadata=None)
    body = {"text": "Hello", "client_id": None, "attachments": None}
    response = await chat.http.post("/messages/", json=body)
    assert response.status_code == 200, response.text
    assert response.json()["message"]["attachments"] == []


async def test_another_text_under_a_used_client_id_is_a_conflict(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    await chat.say("Hello", client_id="a")
    response = await chat.http.post("/messages/", json={"text": "Something else", "client_id": "a"})
    assert (response.status_code, response.json()["code"]) == (409, "conflict")
    async with chat.socket() as socket:
        await socket.send("send", client_id="a", text="Something else")
        assert (await socket.until("error")).items() >= {"code": "conflict", "client_id": "a"}.items()
    assert len(await chat.history()) == 2


@pytest.mark.parametrize("path", ["/", "/messages/", "/events/"])
async def test_no_token_is_401_and_a_foreign_one_looks_like_an_unknown_chat(desk: Desk, path: str) -> None:
    mine, theirs = await Chat.open(desk.url), await Chat.open(desk.url)
    async with httpx.AsyncClient(timeout=PATIENCE, base_url=f"{desk.url}/api/v1/chat/sessions") as http:
        nobody = await http.get(f"/{mine.session_id}{path}")
        foreign = await http.get(f"/{mine.session_id}{path}", headers={"Authorization": f"Bearer {theirs.token}"})
        unknown = await http.get(f"/nothing-here{path}", headers={"Authorization": f"Bearer {theirs.token}"})
    assert (nobody.status_code, nobody.json()["code"]) == (401, "unauthorized")
    assert nobody.headers["WWW-Authenticate"].startswith("Bearer")
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json() == unknown.json()


async def test_methods_types_and_queries(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    refused = await chat.http.put("/messages/", json={})
    assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")
    refused = await chat.http.post("/messages/", content="text=hi", headers={"Content-Type": "text/plain"})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")
    refused = await chat.http.get("/messages/", params={"after": "soon"})
    assert (refused.status_code, refused.json()["field"]) == (400, "after")
    refused = await chat.http.get("/messages/", params={"limit": 100000})
    assert (refused.status_code, refused.json()["field"]) == (400, "limit")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"user_id": "x" * 300}, "invalid", "user_id"),
        ({"metadata": []}, "invalid", "metadata"),
        ({"metadata": {"a": "x" * 20_000}}, "too_large", "metadata"),
        ({"identity": "not-a-jwt"}, "invalid", "identity"),
    ],
)
async def test_a_new_chat_refuses_bad_fields(desk: Desk, body: Any, code: str, field: str) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        response = await http.post(f"{desk.url}/api/v1/chat/sessions/", json=body)
    assert (response.json()["code"], response.json()["field"]) == (code, field)


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.django_db(transaction=True)
def test_metadata_that_no_store_takes_leaves_no_chat_behind(settings: Any) -> None:
    use_memory(settings)
    deepest = MAX_DEPTH - 1  # inside of metadata itself, which is a level, too
    for levels, status in ((deepest, 201), (deepest + 1, 400), (500, 400)):  # more, and 3.11 cannot write it either
        answer = Client().post("/api/v1/chat/sessions/", {"metadata": nested(levels)}, "application/json")
        assert answer.status_code == status, (levels, answer.content)
    assert (answer.json()["code"], answer.json()["field"]) == ("invalid", "metadata")
    assert Conversation.objects.count() == 1


def test_an_outage_of_the_database_is_unavailable_and_its_cause_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A schema that does not fit says the same to a caller, and must not look like a moment's trouble to staff."""
    response = error_response(OperationalError("no such table: agent_app_fact"), {})
    assert (response.status_code, json.loads(response.content)["code"]) == (503, "unavailable")
    assert "Retry-After" in response.headers
    assert "request.unavailable error=no such table: agent_app_fact" in caplog.text


# ---- the socket ----


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ("not json", 4400),
        ("[]", 4400),
        ('{"type": "send", "text": "hi"}', 4400),
        ('{"type": "hello", "token": "x", "last_seq": "1"}', 4400),
        ('{"type": "hello", "token": "x", "last_seq": -1}', 4400),
        ('{"type": "hello"}', 4401),
        ('{"type": "hello", "token": "unknown", "last_seq": 0}', 4401),
        (json.dumps({"type": "hello", "token": LONG}), 4413),
    ],
)
async def test_a_bad_hello_ends_the_socket_with_its_code(desk: Desk, hello: str, code: int) -> None:
    async with connect(f"{desk.sockets}/ws/chat/") as connection:
        await connection.send(hello)
        assert await Socket(connection).close_code() == code


async def test_a_foreign_origin_is_told_with_4403(desk: Desk) -> None:
    async with connect(f"{desk.sockets}/ws/chat/", origin=Origin("https://evil.example")) as connection:
        assert await Socket(connection).close_code() == 4403


async def test_localhost_is_welcome_under_debug(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    async with connect(f"{desk.sockets}/ws/chat/", origin=Origin("http://localhost:5173")) as connection:
        socket = Socket(connection)
        await socket.send("hello", token=chat.token, last_seq=0)
        assert (await socket.next())["type"] == "welcome"


@pytest.mark.parametrize(
    ("frame", "code", "field"),
    [
        ("{", "bad_json", None),
        ("5", "bad_frame", None),
        ('{"text": "hi"}', "bad_frame", None),
        ('{"type": "dance"}', "unknown_type", "type"),
        ('{"type": "send", "client_id": "a"}', "invalid", "text"),
        ('{"type": "send", "client_id": "a", "text": ["hi"]}', "invalid", "text"),
        ('{"type": "send", "text": "hi"}', "invalid", "client_id"),
        (json.dumps({"type": "send", "client_id": "a", "text": "x" * 9000}), "too_large", "text"),
        ('{"type": "stop"}', "invalid", "turn"),
        ('{"type": "typing", "on": "yes"}', "invalid", "on"),
        ('{"type": "send", "client_id": "a", "text": "hi", "attachments": [1]}', "invalid", "attachments"),
    ],
)
async def test_a_bad_frame_is_an_error_and_the_socket_stays(
    desk: Desk, frame: str, code: str, field: str | None
) -> None:
    chat = await Chat.open(desk.url)
    async with chat.socket() as socket:
        await socket.next()
        await socket.connection.send(frame)
        error = await socket.next()
        assert (error["type"], error["code"], error.get("field")) == ("error", code, field)
        await socket.send("ping")
        assert (await socket.next())["type"] == "pong"
    assert await chat.history() == []


async def test_a_frame_over_64_kib_ends_the_socket(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    async with chat.socket() as socket:
        await socket.next()
        await socket.send("send", client_id="a", text=LONG)
        assert await socket.close_code() == 4413
    assert await chat.history() == []


async def test_a_frame_over_a_mebibyte_is_ended_by_the_server_itself(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    async with chat.socket() as socket:
        await socket.next()
        # The head of the frame is enough: a whole mebibyte under way could cost the client the code that it waits for.
        socket.connection.transport.write(b"\x81\xff" + (2**20 + 1).to_bytes(8, "big") + bytes(4))
        assert await socket.close_code() == 1009


async def test_a_binary_frame_ends_the_socket(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    async with chat.socket() as socket:
        await socket.next()
        await socket.connection.send(b"\x00")
        assert await socket.close_code() == 4400


async def test_messages_sent_at_once_are_counted_like_those_one_by_one(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    began = time.monotonic()
    answers = await asyncio.gather(*(chat.http.post("/messages/", json={"text": "Hello"}) for _ in range(40)))
    stored = [answer for answer in answers if answer.status_code == 200]
    assert 10 <= len(stored) <= 11 + (time.monotonic() - began) / 3  # 20 a minute, 10 at once


async def test_too_many_messages_are_refused_with_the_time_to_wait(desk: Desk) -> None:
    """20 a minute, 10 at once; a resend is acknowledged all the same; who goes on is cut off with 4429."""
    chat = await Chat.open(desk.url)
    began = time.monotonic()
    async with chat.socket() as socket:
        await socket.next()
        allowed, error = 0, None
        while error is None:
            await socket.send("send", client_id=str(allowed), text="Hello")
            error = await refusal_of(socket, str(allowed))
            allowed += error is None
        assert allowed >= 10
        assert error["code"] == "rate_limited"
        assert error["retry_after"] >= 1
        await socket.send("send", client_id="3", text="Hello")
        assert (await socket.until("ack"))["client_id"] == "3"
        response = await chat.http.post("/messages/", json={"text": "Hello"})
        while response.status_code == 200:  # so slow that it had the next one
            response = await chat.http.post("/messages/", json={"text": "Hello"})
        assert (response.status_code, response.json()["code"]) == (429, "rate_limited")
        assert int(response.headers["Retry-After"]) >= 1
        text = json.dumps({"type": "send", "client_id": "more", "text": "Hello"})
        assert await cut_off(socket, text, 25) == 4429
    customers = [message for message in await chat.history() if message["role"] == "customer"]
    assert 10 <= len(customers) <= 10 + (time.monotonic() - began) * 20 / 60


async def refusal_of(socket: Socket, client_id: str) -> dict[str, Any] | None:
    """None for a message that is acknowledged."""
    while True:
        frame = await socket.next()
        if frame.get("client_id") == client_id and frame["type"] in {"ack", "error"}:
            return frame if frame["type"] == "error" else None


async def cut_off(socket: Socket, text: str, at_once: int) -> int:
    """The code with which a client is cut off that sends this again and again, so many at a time."""
    for _ in range(100):
        try:
            for _ in range(at_once):
                await socket.connection.send(text)
            for _ in range(at_once):
                await socket.next()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006
    raise AssertionError("It was never cut off")


async def test_the_eleventh_socket_of_a_chat_is_refused(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    sockets = []
    try:
        for _ in range(10):
            connection = await connect(f"{desk.sockets}/ws/chat/")
            sockets.append(connection)
            socket = Socket(connection)
            await socket.send("hello", token=chat.token, last_seq=0)
            assert (await socket.next())["type"] == "welcome"
        async with chat.socket() as eleventh:
            assert await eleventh.close_code() == 4429
    finally:
        for connection in sockets:
            await connection.close()


async def test_allowed_origins_name_the_sites_and_our_own_page_is_always_welcome(tmp_path: Path) -> None:
    """The widget's iframe has the desk's own origin, whatever site it stands on."""
    desk = Desk(tmp_path, ALLOWED_ORIGINS="https://shop.example", DEBUG="true")
    desk.start("--prepare")
    try:
        for origin, welcome in [
            ("https://shop.example", True),
            (desk.url, True),
            ("http://localhost", False),
            ("https://shop.example.evil.example", False),
        ]:
            async with connect(f"{desk.sockets}/ws/chat/", origin=Origin(origin)) as connection:
                if welcome:
                    await connection.send('{"type": "hello", "token": "unknown"}')
                assert await Socket(connection).close_code() == (4401 if welcome else 4403), origin
    finally:
        desk.stop()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"text": "' + b"x" * 3_000_000 + b'"}', 413, "too_large"),
        (b"[" * 100_000, 400, "bad_json"),
    ],
)
async def test_huge_and_deep_bodies_are_refused_and_not_a_crash(
    desk: Desk, body: bytes, status: int, code: str
) -> None:
    chat = await Chat.open(desk.url)
    response = await chat.http.post("/messages/", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (status, code)


async def test_a_post_without_the_last_slash_is_not_found(desk: Desk) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        response = await http.post(f"{desk.url}/api/v1/chat/sessions", json={})
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_metadata_may_be_any_json(desk: Desk) -> None:
    await Chat.open(desk.url, metadata={"big": 2**70, "list": [], "text": "größe"})


async def test_frames_that_cannot_be_read_count_as_frames(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    async with chat.socket() as socket:
        await socket.next()
        assert await cut_off(socket, "{", 100) == 4429


async def test_a_rebound_page_is_no_page_of_ours(desk: Desk) -> None:
    headers = {"Host": "evil.example"}
    async with connect(
        f"{desk.sockets}/ws/chat/", origin=Origin("http://evil.example"), additional_headers=headers
    ) as connection:
        assert await Socket(connection).close_code() == 4403


def test_a_caller_who_hung_up_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """Django closes the request's body when its caller goes away, also while a view is about to read it."""
    body = io.BytesIO(b'{"text": "hello"}')
    headers = [(b"content-type", b"application/json"), (b"content-length", b"17")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    request = Request(ASGIRequest(scope, body), parsers=[JSONParser()])
    body.close()
    with pytest.raises(ValueError, match="closed") as gone, caplog.at_level("INFO"):
        _ = request.data
    error_response(gone.value, {"request": request})
    ours = [record for record in caplog.records if record.name == error_response.__module__]  # other threads log, too
    assert [(record.levelname, record.message) for record in ours] == [("INFO", "request.caller_gone")]
