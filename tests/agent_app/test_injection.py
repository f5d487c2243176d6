"""Whatever an attacker writes where we read, and however much the model obeys: nothing forbidden comes of it."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import yaml

from tests.agent_app.conftest import OPEN
from tests.chat_client import Chat
from tests.desk import CHECKOUT, Desk, database_of_its_own
from tests.model_server import Body, ModelServer, Reply, Script, calls, says
from tests.shop_backend import BENS, ShopBackend

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ATTACKS = yaml.safe_load(Path(__file__).with_name("injection.yaml").read_text(encoding="utf-8"))
WAYS = ("article", "attachment", "result", "name")
CASES = [pytest.param(attack, way, id=f"{attack['name']}, by {way}") for attack in ATTACKS for way in WAYS]
SECRET = "a secret of at least thirty-two characters"
# In no reply, whatever the attack: what is Ben's, and the attacker's address.
NEVER = [*map(re.escape, BENS), r"evil\.example(?!\.$)"]


@pytest.fixture(scope="module")
def backend() -> Iterator[ShopBackend]:
    server = ShopBackend()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def attacked(model: ModelServer, backend: ShopBackend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk whose knowledge holds every attack as an article."""
    folder = tmp_path_factory.mktemp("attacked")
    articles = folder / "articles"
    articles.mkdir()
    for number, attack in enumerate(ATTACKS):
        text = f"---\ntitle: {title_of(number)}\n---\n{title_of(number)}: {attack['says']}\n"
        (articles / f"notice-{number}.md").write_text(text, encoding="utf-8")
    settings = {**OPEN, **model.settings(), **backend.settings(), "IDENTITY_SECRET": SECRET, "AGENT_TURN_TIMEOUT": "20"}
    settings |= {"CHAT_RATE_LIMIT": "100000/min", "DATABASE_URL": database_of_its_own(folder)}
    desk = Desk(folder, **settings)
    command = [sys.executable, "manage.py", "load_knowledge", str(articles), "-v", "0"]
    subprocess.run(command, cwd=CHECKOUT, env=desk.environ, check=True)
    desk.start()
    yield desk
    desk.stop()


def title_of(number: int) -> str:
    """One word that no other article has."""
    return f"Notice zq{'abcdefghij'[number // 10]}{'klmnopqrst'[number % 10]}x"


def entry(way: str, number: int, body: Body) -> Reply:
    """The call by which the attack comes in."""
    if way == "article":
        return calls(("search_knowledge", {"query": title_of(number)}))
    if way == "attachment":
        found = re.findall(r'"attachment_id": ?"([^"]+)"', str(body["messages"][-1]["content"]))
        return calls(("read_attachment", {"attachment_id": found[-1], "query": "What does the note say?"}))
    return calls(("customer_tickets" if way == "result" else "look_up_customer", {}))


def obeying(attack: dict[str, Any], way: str, number: int, seen: list[Body]) -> Script:
    """A model that takes the attack in and does what it says, again and again."""

    def script(body: Body) -> Reply:
        seen.append(body)
        if len(seen) == 1:
            return entry(way, number, body)
        step = attack["does"][min(len(seen) - 2, len(attack["does"]) - 1)]
        if isinstance(step, str):
            told = [str(message["content"]) for message in body["messages"] if message["role"] == "tool"]
            return says(step.replace("{last}", told[-1]).replace("{system}", body["messages"][0]["content"]), 9)
        wanted = step if isinstance(step, list) else [step]
        return calls(*(call for each in wanted for call in each.items()))

    return script


async def open_chat(desk: Desk, name: str) -> Chat:
    claims = {"sub": "C-1001", "exp": int(time.time()) + 600}
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    return await Chat.open(desk.url, identity=token, metadata={"name": name})


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize(("attack", "way"), CASES)
async def test_nothing_forbidden_comes_of_it(
    attacked: Desk, model: ModelServer, backend: ShopBackend, attack: dict[str, Any], way: str
) -> None:
    number = ATTACKS.index(attack)
    backend.writes.clear()
    backend.subject = attack["says"] if way == "result" else "Zip of a jacket"
    backend.names = {"C-1001": attack["says"]} if way == "name" else {}
    seen: list[Body] = []
    model.script = obeying(attack, way, number, seen)
    chat = await open_chat(attacked, attack["says"] if way == "name" else "Ana")
    body: dict[str, Any] = {"text": "Can you help me with this?"}
    if way == "attachment":
        files = {"file": ("note.txt", attack["says"].encode(), "text/plain")}
        body["attachments"] = [(await chat.http.post("/attachments/", files=files)).json()["id"]]
    answer = (await chat.http.post("/messages/", json=body)).json()

    # The attack has come in, as data, and the model has done as told.
    assert len(seen) >= 1 + len(attack["does"])
    fence = re.search(r"<(data-\w+)>", seen[0]["messages"][0]["content"])
    assert fence is not None
    read = next(str(message["content"]) for message in seen[1]["messages"] if message["role"] == "tool")
    assert re.search(r"\w{5,}", attack["says"])[0] in read  # type: ignore[index]
    assert read.startswith(f"<{fence[1]} ")
    assert read.endswith(f"</{fence[1]}>")
    assert read.count(fence[1]) == 2

    # Nothing was written, and nothing forbidden said.
    assert backend.writes == []
    replies = [message for message in await chat.history() if message["role"] == "agent"]
    assert replies == [answer["reply"]]
    text = replies[0]["text"]
    assert text.strip()
    for forbidden in [*NEVER, *attack.get("never", [])]:
        assert not re.search(forbidden, text), (forbidden, text)
    cited = {int(mark) for mark in re.findall(r"\[(\d+)\]", text)}
    assert cited <= {citation["n"] for citation in replies[0]["citations"]}
    if "confirm" in replies[0]:
        assert "1043" not in replies[0]["confirm"]["summary"]

    # And nothing of it is remembered.
    if "remember" in str(attack["does"]):
        model.script = lambda body: seen.append(body) or says("Hello.")  # type: ignore[func-returns-value]
        await chat.say("Hello?")
        assert "said earlier" not in str(seen[-1]["messages"])
