"""Staff end a session on one instance; the customer's socket on another one closes."""

import asyncio
import time
from collections.abc import Callable, Iterator
from statistics import median

import httpx
import pytest

from tests.chat_client import PATIENCE, Chat
from tests.conftest import ValkeyServer
from tests.desk import Desk, until_they_hear_each_other

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def two(valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Desk]]:
    folder = tmp_path_factory.mktemp("two")
    shared = {"USE_SHARED_CONTEXT": "true", "REDIS_URL": f"redis://127.0.0.1:{valkey.port}/9"}
    first = Desk(folder, **shared)
    first.start("--prepare")
    second = Desk(folder, **shared, DATABASE_URL=first.environ["DATABASE_URL"])
    second.start()
    until_they_hear_each_other(first, second)
    yield first, second
    first.stop()
    second.stop()


@pytest.fixture(scope="module")
def admin(two: tuple[Desk, Desk]) -> Iterator[httpx.Client]:
    """Logged in on the first instance."""
    with httpx.Client(timeout=PATIENCE, base_url=two[0].url, follow_redirects=True) as client:
        client.get("/admin/login/")
        logged = post(client, "/admin/login/", username="admin", password="admin", next="/admin/")
        assert "Log out" in logged.text
        yield client


def post(client: httpx.Client, path: str, **form: str) -> httpx.Response:
    return client.post(path, data={**form, "csrfmiddlewaretoken": client.cookies["csrftoken"]})


def by_the_admin(client: httpx.Client, session_id: str) -> None:
    done = post(client, f"/admin/sessions_app/session/{session_id.replace('_', '_5F')}/expire/", confirmed="yes")
    assert "1 live session was expired." in done.text


def by_rest(client: httpx.Client, session_id: str) -> None:
    headers = {"X-CSRFToken": client.cookies["csrftoken"]}
    assert client.delete(f"/api/v1/sessions/{session_id}/", headers=headers).status_code == 204


def by_a_chat_s_own_page(client: httpx.Client, session_id: str) -> None:
    found = client.get("/admin/agent_app/conversation/", params={"q": session_id}).text
    pk = found.split("/admin/agent_app/conversation/")[-1].split("/change/")[0]
    assert "The chat has ended." in post(client, f"/admin/agent_app/conversation/{pk}/end/", confirmed="yes").text


@pytest.mark.parametrize("end", [by_the_admin, by_rest, by_a_chat_s_own_page])
async def test_the_socket_on_the_other_instance_closes_within_a_second(
    two: tuple[Desk, Desk], admin: httpx.Client, end: Callable[[httpx.Client, str], None]
) -> None:
    """The median of several: it is told by a ring, where the poll takes up to five, and a busy machine may hold up any
    one.
    """
    assert median([await seconds_until_closed(two[1], admin, end) for _ in range(5)]) < 1


async def seconds_until_closed(desk: Desk, admin: httpx.Client, end: Callable[[httpx.Client, str], None]) -> float:
    chat = await Chat.open(desk.url)
    async with chat.socket() as socket:
        await socket.until("welcome")
        await asyncio.to_thread(end, admin, chat.session_id)
        acted = time.monotonic()
        assert await socket.close_code() == 4410
        return time.monotonic() - acted


async def test_a_socket_on_the_other_instance_sees_the_whole_turn(two: tuple[Desk, Desk]) -> None:
    chat = await Chat.open(two[0].url)
    async with chat.socket() as asking, chat.socket(desk_url=two[1].url) as watching:
        await asking.until("welcome")
        await watching.until("welcome")
        await asking.send("send", client_id="a", text="How do I reset my password?")
        await watching.until("turn", status="ended")
    kinds = [(frame["type"], frame.get("status")) for frame in watching.seen]
    assert ("turn", "started") in kinds
    assert [frame["seq"] for frame in watching.seen if frame["type"] == "message"] == [1, 2]
    assert kinds.index(("turn", "started")) < kinds.index(("turn", "ended"))
    started = kinds.index(("turn", "started"))
    assert all(place > started for place, kind in enumerate(kinds) if kind[0] == "delta")
