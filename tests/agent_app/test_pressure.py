"""What a turn costs, and what happens under pressure: slow readers, waiting callers, a store that is away or empty."""

import asyncio
import json
import socket as sockets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed

from tests.agent_app.conftest import OPEN
from tests.chat_client import PATIENCE, Chat, Socket, connect
from tests.conftest import ValkeyServer
from tests.desk import Desk
from tests.held import held, held_settings

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TURNS = 20


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_desk(own_valkey: ValkeyServer, tmp_path: Path) -> Iterator[Desk]:
    """A desk that a test may starve, and whose answers it may hold; with room for few waiting callers."""
    settings = {
        **OPEN,
        "USE_SHARED_CONTEXT": "true",
        "REDIS_URL": own_valkey.url,
        **held_settings(tmp_path),
        "SESSION_CLEANUP_INTERVAL": "86400",  # no sweep among the scripts that are counted
        "CHAT_MAX_WAITING_REST": "3",
        "CHAT_RATE_LIMIT": "100000/min",
    }
    desk = Desk(tmp_path, **settings)
    desk.start("--prepare")
    yield desk
    desk.stop()


async def numbers(desk: Desk) -> dict[str, float]:
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        text = (await http.get(f"{desk.url}/metrics")).text
    return {
        f"{sample.labels['part']}.{sample.labels['name']}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "supportdesk_part_value"
    }


def scripts_run(valkey: ValkeyServer) -> int:
    with redis.Redis(port=valkey.port) as client:
        statistics = client.info("commandstats")
    return sum(
        line["calls"]
        for name, line in statistics.items()
        if name in {"cmdstat_evalsha", "cmdstat_eval", "cmdstat_fcall"}
    )


async def test_a_turn_is_two_commits_one_round_trip_to_the_store_and_no_reading_of_what_was_just_written(
    own_desk: Desk, own_valkey: ValkeyServer
) -> None:
    chat = await Chat.open(own_desk.url)
    async with chat.socket() as socket:
        await socket.until("welcome")
        before, scripts = await numbers(own_desk), scripts_run(own_valkey)
        for number in range(TURNS):
            await socket.send("send", client_id=str(number), text="Hello")
            await socket.until("turn", status="ended")
        after = await numbers(own_desk)
    assert after["journal.commits"] - before["journal.commits"] <= 2 * TURNS
    assert scripts_run(own_valkey) - scripts <= TURNS
    assert after["journal.log_reads"] == before["journal.log_reads"]
    assert after["turns.finished"] - before["turns.finished"] == TURNS


@pytest.mark.slow
async def test_a_slow_reader_is_cut_off_or_waits_for_the_log_and_loses_nothing(own_desk: Desk) -> None:
    """It takes no frame while ten megabytes come. What is queued for it is bounded: past a megabyte it is cut off with
    4001 (or, when not even that can be sent, without a code); a reader that reads from the log costs no memory.
    """
    chat = await Chat.open(own_desk.url)
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", own_desk.port))
    raw.setblocking(False)
    async with connect(f"{own_desk.sockets}/ws/chat/", sock=raw, max_queue=1) as connection:
        slow = Socket(connection)
        await slow.send("hello", token=chat.token, last_seq=0)
        assert (await slow.next())["type"] == "welcome"
        connection.transport.pause_reading()
        async with chat.socket() as writer:
            for number in range(400):
                await writer.send("send", client_id=str(number), text="€" * 8000)
                await writer.until("ack")
            await writer.until("turn", status="ended")
        connection.transport.resume_reading()
        last_seq = (await chat.http.get("/")).json()["last_seq"]
        try:
            while slow.seen[-1].get("seq") != last_seq:
                await slow.next()
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
        else:
            code = None
    assert code in {4001, 1006, None}
    seen = [frame["seq"] for frame in slow.seen if frame["type"] == "message"]
    assert seen == list(range(1, len(seen) + 1))
    async with chat.socket(last_seq=len(seen)) as back:
        welcome = await back.until("welcome")
        if welcome["recovered"] and welcome["last_seq"] > len(seen):
            assert (await back.until("message"))["seq"] == len(seen) + 1


async def test_waiting_callers_have_a_limit_and_the_rest_hear_when_to_come_back(own_desk: Desk) -> None:
    chats = [await Chat.open(own_desk.url) for _ in range(12)]
    with ExitStack() as until_refused:
        for chat in chats:
            until_refused.enter_context(held(own_desk.environ, chat.session_id))
        asked = [asyncio.create_task(chat.http.post("/messages/", json={"text": "Hello"})) for chat in chats]
        first = asyncio.as_completed(asked)
        refused = [await next(first) for _ in range(9)]
    assert {(response.status_code, response.json()["code"]) for response in refused} == {(503, "unavailable")}
    assert all(response.headers["Retry-After"] for response in refused)
    statuses = [response.status_code for response in await asyncio.gather(*asked)]
    assert sorted(statuses) == [200] * 3 + [503] * 9


async def test_chat_goes_on_without_the_store_and_counts_right_when_it_is_back(
    own_desk: Desk, own_valkey: ValkeyServer
) -> None:
    chat = await Chat.open(own_desk.url, metadata={"page": "boots"})
    await chat.say("One")
    own_valkey.stop()
    assert (await chat.say("Two"))["reply"]["reply_to"] == 3
    own_valkey.start()  # empty: it has forgotten the session
    async with asyncio.timeout(2 * PATIENCE):
        while await stored_session(own_valkey, chat) is None:
            await chat.say("And again")
    session = await stored_session(own_valkey, chat)
    assert session is not None
    assert json.loads(session[b"message_count"]) == (await chat.http.get("/")).json()["message_count"]


async def stored_session(valkey: ValkeyServer, chat: Chat) -> dict[bytes, bytes] | None:
    async with redis.asyncio.Redis(port=valkey.port) as client:
        async for key in client.scan_iter(match=f"*{chat.session_id}*"):
            if await client.type(key) == b"hash":
                found: dict[bytes, bytes] = await client.hgetall(key)
                return found
    return None


async def test_a_desk_that_stops_gives_its_turns_to_the_next_one(own_desk: Desk, own_valkey: ValkeyServer) -> None:
    chat = await Chat.open(own_desk.url)
    async with chat.socket() as socket:
        await socket.until("welcome")
        await socket.send("send", client_id="a", text="Hello")
        await socket.until("ack")
        stopping = asyncio.get_running_loop().run_in_executor(None, own_desk.stop)
        await socket.until("reconnect")
        assert await socket.close_code() == 1012
    assert await stopping == 0
    own_desk.start()
    async with chat.socket() as socket:
        assert (await socket.until("message", role="agent"))["reply_to"] == 1
