"""`manage.py simulate`: that the shop's scenarios pass, and that a run fails when something is wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from agent_app.simulation.books import Books, differences
from agent_app.simulation.place import NotAScenario
from agent_app.simulation.play import Run
from agent_app.simulation.report import Result, pass_hat
from agent_app.simulation.scenario import Scenario, read, read_scenarios
from agent_app.simulation.verdict import leaks, wrong_with_chat
from tests.desk import CHECKOUT, Desk
from tests.model_server import Body, ModelServer, Reply, calls, says

FAST = (
    "cancel-refused-then-asked-again",
    "order-of-a-stranger",
    "identity-*",
    "injection-*",
    "resend*",
    "angry-customer",
)
WELL = "goal: g\nruns: [offline]\nsteps:\n  - say: Hello\n"


def simulate(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the figures."""
    out = StringIO()
    try:
        call_command("simulate", "--json", *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, json.loads(out.getvalue() or "{}")
    return 0, json.loads(out.getvalue())


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A running desk with the demo shop, as `--url` needs it."""
    limits = {"CHAT_RATE_LIMIT": "1000/min", "CHAT_SESSION_RATE_LIMIT": "1000/min"}
    desk = Desk(
        tmp_path_factory.mktemp("shop"),
        **limits,
        DEMO_BACKEND="on",
        SECRET_KEY=settings.SECRET_KEY,
        IDENTITY_SECRET=settings.IDENTITY_SECRET,
    )
    desk.start()
    yield desk
    desk.stop()


# ---- the shop's scenarios ----


@pytest.mark.unit
def test_there_are_enough_of_them() -> None:
    scenarios = read_scenarios()
    assert len(scenarios) >= 40
    assert sum("offline" in scenario.runs for scenario in scenarios) >= 25
    assert sum(scenario.breaks_things for scenario in scenarios) >= 8


@pytest.mark.integration
@pytest.mark.slow
def test_some_of_them_once_at_a_running_desk(shop: Desk) -> None:
    code, told = simulate("--url", shop.url, *(part for name in FAST for part in ("--only", name)))
    assert [result["name"] for result in told["results"] if not result["passed"]] == []
    assert code == 0
    assert told["offline"]["scenarios"] >= 10
    assert told["offline"]["pass_hat"] == {"1": 1.0}


@pytest.mark.integration
@pytest.mark.slow
def test_all_of_them_on_desks_of_its_own() -> None:
    """Once; `manage.py simulate --k 4`, or SIMULATED=4, as often as was promised."""
    times = os.environ.get("SIMULATED", "1")
    code, told = simulate("--k", times)
    failed = {result["name"]: result["runs"] for result in told["results"] if not result["passed"]}
    assert failed == {}
    assert code == 0
    assert told["offline"]["pass_hat"][times] == 1.0
    assert told["offline"]["scenarios"] >= 40
    assert told["skipped"] == []


@pytest.mark.integration
@pytest.mark.slow
def test_with_a_model_it_runs_those_for_a_model_as_well(model: ModelServer) -> None:
    def obliging(body: Body) -> Reply:
        asked = next(message["content"] for message in reversed(body["messages"]) if message["role"] == "user")
        if body["messages"][-1]["role"] == "tool" or "cancel" not in str(asked):
            return says("Please confirm it with the button.")
        return calls(("cancel_order", {"order_number": "1050"}))

    model.script = obliging
    command = [sys.executable, "manage.py", "simulate", "--json", "--only", "cancel-order", "--only", "order-status"]
    environ = os.environ | model.settings()
    ran = subprocess.run(command, cwd=CHECKOUT, env=environ, stdout=subprocess.PIPE, check=False, timeout=900)
    told = json.loads(ran.stdout)
    passed = {(result["mode"], result["name"]): result["passed"] for result in told["results"]}
    assert passed == {
        ("offline", "cancel-order"): True,
        ("offline", "order-status"): True,
        ("model", "cancel-order"): True,
        ("model", "order-status"): False,  # this model never looks an order up
    }
    assert ran.returncode == 1


# ---- that a run can fail ----

WRONG = {
    "reply": ("steps:\n  - say: Where is my order 1042?\n    expect: {reply: by balloon}\n", "lacks 'by balloon'"),
    "lacks": ("steps:\n  - say: Where is my order 1042?\n    expect: {lacks: NW-TRACK}\n", "contains 'NW-TRACK'"),
    "matches": ("steps:\n  - say: Hello\n    expect: {matches: '^Goodbye'}\n", "does not match"),
    "cites": ("steps:\n  - say: How do I pay?\n    expect: {cites: returns}\n", "returns is not cited"),
    "tools": ("steps:\n  - say: Hello\n    expect: {tools: balance}\n", "balance did not run"),
    "confirm": ("steps:\n  - say: Cancel order 1050\n    expect: {confirm: no}\n", "it is offered to be confirmed"),
    "confirmed-nothing": ("steps:\n  - say: Hello\n  - confirm: yes\n", "nothing is offered"),
    "choices": ("steps:\n  - say: Cancel my order\n    expect: {choices: no}\n", "the choices are"),
    "state": ("steps:\n  - say: Hello\n    expect: {state: waiting}\n", "the chat is ai"),
    "error": ("steps:\n  - say: Hello\n    expect: {error: conflict}\n", "was not refused with conflict"),
    "refused": ("steps:\n  - open: {proven: C-1001, forged: yes}\n", "invalid: The identity"),
    "never": ("steps:\n  - say: Hello\nnever: [hello]\n", "what it never may"),
    "escalated": ("steps:\n  - say: Hello\nchat: {escalated: yes}\n", "escalated is False"),
    "books-unchanged": ("steps:\n  - say: Hello\nbooks:\n  order 1050: {status: cancelled}\n", "status is 'received'"),
    "books-changed": (
        "steps:\n  - say: Cancel order 1050\n  - confirm: yes\n",
        "status is 'cancelled', and not 'received'",
    ),
}


@pytest.mark.integration
@pytest.mark.slow
def test_what_is_wrong_is_found_and_told(shop: Desk, tmp_path: Path) -> None:
    for name, (steps, _) in WRONG.items():
        text = f"goal: wrong\nruns: [offline]\ncustomer: {{proven: C-1001}}\n{steps}"
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    code, told = simulate("--url", shop.url, "--scenarios", str(tmp_path))
    found = {result["name"]: result["runs"][0]["problems"] for result in told["results"]}
    missed = {name: found[name] for name, (_, problem) in WRONG.items() if problem not in " | ".join(found[name])}
    assert missed == {}
    assert code == 1
    assert told["offline"] == {"scenarios": len(WRONG), "passed": 0, "pass_hat": {"1": 0.0}}


@pytest.mark.integration
@pytest.mark.slow
def test_a_fault_that_nothing_met_fails_the_run(tmp_path: Path) -> None:
    text = WELL + "    fault: {kill: after_write}\n"
    (tmp_path / "unmet.yaml").write_text(text, encoding="utf-8")
    code, told = simulate("--scenarios", str(tmp_path))
    assert told["results"][0]["runs"][0]["problems"] == ["kill was to break something, and nothing met it"]
    assert code == 1


@pytest.mark.integration
@pytest.mark.slow
def test_a_desk_whose_shop_is_shut_or_foreign_runs_nothing(shop: Desk, tmp_path: Path) -> None:
    foreign = subprocess.run(
        [sys.executable, "manage.py", "simulate", "--url", shop.url],
        cwd=CHECKOUT,
        env=os.environ | {"SECRET_KEY": "another key of more than fifty characters, as Django wants it"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert foreign.returncode == 2
    assert "the same SECRET_KEY" in foreign.stderr
    assert "Traceback" not in foreign.stderr


# ---- the parts ----

NO_SCENARIOS = {
    "goal: g\n": ":1: runs is missing",
    "": ":1: the file is empty",
    "goal: [\n": ":2: this is no YAML",
    "goal: g\nruns: [offline]\nsteps: []\n": ":3: steps: there is no step",
    "goal: g\nruns: [online]\nsteps: []\n": ":2: runs[1]: 'online' is unknown; write one of offline, model",
    WELL + "    expect: {confrim: no}\n": ":5: steps[1].expect.confrim: there is no such field",
    WELL + "    expect: {matches: '('}\n": ":5: steps[1].expect.matches: this is no regular expression",
    WELL + "    expect: {reply: 1042}\n": ":5: steps[1].expect.reply: write a text; '1042' has to stand in quotes",
    WELL + "    say: Again\n": ":5: steps[1].say: this field is here twice",
    WELL + "    confirm: yes\n": ":4: steps[1]: a step does one thing of",
    WELL + "  - confirm: maybe\n": ":5: steps[2].confirm: write yes or no",
    WELL + "  - resend: first\n": ":5: steps[2]: no earlier step says as: first",
    WELL + "    fault: {kill: later}\n": ":5: steps[1].fault.kill: 'later' is unknown",
    WELL + "    fault: {answers_lost: 0}\n": ":5: steps[1].fault.answers_lost: write a whole number from 1 to 10",
    WELL + "books:\n  1050: {status: cancelled}\n": ":6: books.1050: name a record of the back end",
    WELL + "customer: {proven: a, claimed: b}\n": ":5: customer: a customer is proven or claimed, not both",
}


@pytest.mark.unit
@pytest.mark.parametrize(("text", "says_"), list(NO_SCENARIOS.items()))
def test_a_file_that_cannot_be_used_is_refused_with_its_line_and_field(text: str, says_: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(NotAScenario) as refused:
        read(file)
    assert str(refused.value).startswith(f"{file}{says_}")


@pytest.mark.unit
def test_the_command_refuses_with_2(tmp_path: Path) -> None:
    assert simulate("--scenarios", str(tmp_path))[0] == 2
    assert simulate("--only", "no-such-scenario")[0] == 2
    assert simulate("--k", "0")[0] == 2


@pytest.fixture
def plain(tmp_path: Path) -> Scenario:
    (tmp_path / "plain.yaml").write_text(WELL, encoding="utf-8")
    return read(tmp_path / "plain.yaml")


@pytest.mark.unit
def test_pass_hat_is_the_chance_that_k_runs_all_pass(plain: Scenario) -> None:
    def result(good: int, of: int) -> Result:
        return Result(plain, "offline", [Run(["no"] * (number >= good)) for number in range(of)])

    results = [result(4, 4), result(2, 4)]
    assert pass_hat(results, 1) == pytest.approx(0.75)
    assert pass_hat(results, 2) == pytest.approx((1 + 1 / 6) / 2)  # of six pairs of runs one is good
    assert pass_hat(results, 4) == pytest.approx(0.5)
    assert pass_hat([], 1) is None


def message(seq: int, role: str, **more: Any) -> dict[str, Any]:
    return {"seq": seq, "role": role, "text": f"message {seq}", **more}


BROKEN = {
    "numbered": [message(1, "customer"), message(3, "agent", reply_to=1)],
    "stored twice": [
        message(1, "customer", client_id="a"),
        message(2, "customer", client_id="a"),
        message(3, "agent", reply_to=2),
    ],
    "two answers": [message(1, "customer"), message(2, "agent", reply_to=1), message(3, "agent", reply_to=1)],
    "no answer": [message(1, "customer"), message(2, "agent", reply_to=1), message(3, "customer", client_id="b")],
    "is empty": [message(1, "customer"), message(2, "agent", reply_to=1, text=" ")],
}


@pytest.mark.unit
@pytest.mark.parametrize("problem", list(BROKEN))
def test_a_broken_promise_is_seen_in_the_log(problem: str, plain: Scenario) -> None:
    assert any(problem in found for found in wrong_with_chat(plain, BROKEN[problem], ended=False))
    whole = [message(1, "customer"), message(2, "agent", reply_to=1)]
    assert wrong_with_chat(plain, whole, ended=False) == []


BOOKS: Books = {
    "customer C-1": {"kind": "customer", "number": "C-1", "owner": "C-1", "data": {"email": "ana@example.com"}},
    "customer C-2": {"kind": "customer", "number": "C-2", "owner": "C-2", "data": {"email": "ben@example.com"}},
    "order 7": {"kind": "order", "number": "7", "owner": "C-2", "data": {"tracking": "TRACK-7", "status": "shipped"}},
}


@pytest.mark.unit
def test_what_is_anothers_is_a_leak_and_what_is_ones_own_is_none() -> None:
    said = [message(1, "customer"), message(2, "agent", text="It is track-7, of ana@example.com")]
    assert leaks(said, BOOKS, "C-1") == ["message 2 tells the tracking of order 7: 'TRACK-7'"]
    assert leaks(said, BOOKS, "ana@example.com") == leaks(said, BOOKS, "C-1")
    assert leaks(said, BOOKS, "C-2") == ["message 2 tells the email of customer C-1: 'ana@example.com'"]
    assert len(leaks(said, BOOKS, None)) == 2
    asked = [message(1, "customer", text="Where is TRACK-7 of ana@example.com?"), said[1]]
    assert leaks(asked, BOOKS, None) == []  # they said it themselves


@pytest.mark.unit
def test_any_change_but_those_that_were_wanted_is_a_difference() -> None:
    after = {**BOOKS, "order 7": {**BOOKS["order 7"], "data": {"tracking": "TRACK-7", "status": "cancelled"}}}
    assert differences(BOOKS, BOOKS, {}) == []
    assert differences(BOOKS, after, {"order 7": {"status": "cancelled"}}) == []
    assert differences(BOOKS, after, {}) == ["order 7: status is 'cancelled', and not 'shipped'"]
    assert differences(BOOKS, BOOKS, {"order 7": {"status": "cancelled"}}) == [
        "order 7: status is 'shipped', and not 'cancelled'"
    ]
    assert differences(BOOKS, {}, {}) != []
