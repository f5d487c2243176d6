"""The driver's own eyes: each broken promise is noticed, and a whole log is not complained of."""

from typing import Any

import pytest

from tests.faults.promises import RELEASED, TAKEN_OVER, Chat, Ledger

pytestmark = pytest.mark.unit

Log = list[dict[str, Any]]


def asked(seq: int, client_id: str | None = None) -> dict[str, Any]:
    return {"seq": seq, "id": f"id{seq}", "role": "customer", "text": "hello", "client_id": client_id or f"c{seq}"}


def answered(seq: int, reply_to: int) -> dict[str, Any]:
    return {"seq": seq, "id": f"id{seq}", "role": "agent", "text": "hi", "reply_to": reply_to}


def said(seq: int, text: str) -> dict[str, Any]:
    return {"seq": seq, "id": f"id{seq}", "role": "system", "text": text}


def broken(log: Log, state: str = "ai", **known: Any) -> list[int]:
    """The promises that an audit finds broken; the customer was told of every message of its own in the log."""
    ledger = Ledger()
    chat = Chat("session", "token", **known)
    for message in log:
        if message["role"] == "customer":
            chat.texts.setdefault(message["client_id"], message["text"])
    ledger.audit(chat, state, log)
    return [number for number, found in ledger.violations.items() if found]


@pytest.mark.parametrize(
    "log",
    [
        pytest.param([asked(1), answered(2, 1)], id="one"),
        pytest.param([asked(1), asked(2), answered(3, 1), answered(4, 2)], id="one by one"),
        pytest.param([asked(1), asked(2), answered(3, 2)], id="one answer shared"),
        pytest.param([asked(1), said(2, TAKEN_OVER), asked(3), said(4, RELEASED)], id="a person's"),
        pytest.param(
            [asked(1), said(2, TAKEN_OVER), said(3, RELEASED), asked(4), answered(5, 4)], id="after a release"
        ),
    ],
)
def test_a_whole_log_breaks_nothing(log: Log) -> None:
    assert broken(log) == []


@pytest.mark.parametrize(
    ("log", "promise"),
    [
        pytest.param([asked(1), answered(3, 1)], 2, id="a gap"),
        pytest.param([asked(1, "c"), asked(2, "c"), answered(3, 2)], 3, id="stored twice"),
        pytest.param([asked(1), answered(2, 1), answered(3, 1)], 5, id="answered twice"),
        pytest.param([asked(1)], 5, id="not answered"),
        pytest.param([asked(1), answered(2, 1), asked(3)], 5, id="the newest is not answered"),
        pytest.param([asked(1), answered(2, 7)], 5, id="an answer to nothing"),
        pytest.param([asked(1), said(2, TAKEN_OVER), answered(3, 1)], 6, id="talking over"),
        pytest.param([asked(1), said(2, TAKEN_OVER), said(3, RELEASED), answered(4, 1)], 6, id="after all"),
    ],
)
def test_a_broken_log_breaks_its_promise(log: Log, promise: int) -> None:
    assert broken(log) == [promise]


def test_an_acknowledged_message_that_is_gone() -> None:
    assert broken([], acked={"c": (1, "id1")}, texts={"c": "hello"}) == [1]


def test_a_message_that_was_shown_otherwise() -> None:
    assert broken([asked(1), answered(2, 1)], seen={2: ("other", "agent", "hi")}) == [2]


def test_a_message_of_somebody_else() -> None:
    ledger = Ledger()
    ledger.audit(Chat("session", "token"), "closed", [asked(1)])
    assert [number for number, found in ledger.violations.items() if found] == [7]


def test_two_acknowledgements_of_one_message() -> None:
    ledger, chat = Ledger(), Chat("session", "token")
    ledger.ack(chat, "c", 1, "one")
    ledger.ack(chat, "c", 1, "one")
    assert ledger.kept
    ledger.ack(chat, "c", 2, "two")
    assert len(ledger.violations[3]) == 1
