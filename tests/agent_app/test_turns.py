"""The rules of a conversation's row, one act at a time. What orders of them can do is checked in tests/model."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent_app.models.conversations import STEP, Conversation, Entry
from agent_app.models.turns import (
    BUSY_COLUMNS,
    ROW_COLUMNS,
    AgentReply,
    AskForPerson,
    Close,
    CustomerMessage,
    Expire,
    ForgetLease,
    GiveBack,
    KeepAlive,
    Lease,
    NewTicket,
    Release,
    Renew,
    Row,
    StaffReply,
    StopTurn,
    TakeOver,
    TakeTurn,
    Terms,
    WriteAgain,
)

pytestmark = pytest.mark.unit

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TERMS = Terms(lease=timedelta(seconds=10), session=timedelta(minutes=30))
MARA, JON = 1, 2


def new_row(**values: Any) -> Row:
    fields = {
        "id": 1,
        "thread_id": "thread",
        "session_id": "session",
        "state": "ai",
        "last_seq": 0,
        "customer_count": 0,
        "asked_upto": 0,
        "answered_upto": 0,
        "live_until": NOW + timedelta(minutes=5),
        "turn_holder": None,
        "turn_until": None,
        "turn_fence": 0,
        "turn_attempts": 0,
        "turn_stop": None,
        "ticket": None,
        "assignee_id": None,
        "closed_at": None,
        "closed_reason": None,
        "updated_at": NOW,
        "active_at": NOW,
        "user_id": None,
        "verified": False,
    }
    return Row(**(fields | values))


def asked(row: Row, holder: str = "A", at: datetime = NOW) -> Lease | None:
    return CustomerMessage(1, "hello", holder=holder).on(row, at, TERMS).lease


def leased(row: Row) -> Lease:
    lease = asked(row)
    assert lease is not None
    return lease


def told(row: Row) -> list[tuple[int, str]]:
    return [(entry.seq, entry.role) for entry in row.entries]


# ---- messages ----


def test_messages_are_numbered_from_one_and_the_first_takes_the_turn() -> None:
    row = new_row()
    lease = leased(row)
    assert (lease.holder, lease.fence, lease.asked_upto, lease.answered_upto, lease.attempt) == ("A", 1, 1, 0, 1)
    assert asked(row, "B") is None
    assert told(row) == [(1, "customer"), (2, "customer")]
    assert (row.customer_count, row.asked_upto) == (2, 2)


def test_a_draining_instance_takes_no_turn() -> None:
    row = new_row()
    assert CustomerMessage(1, "hello", holder=None).on(row, NOW, TERMS).lease is None
    assert row.customer_waits


def test_a_message_keeps_the_chat_alive_and_never_moves_its_end_back() -> None:
    row = new_row()
    asked(row)
    assert row.live_until == NOW + TERMS.session + STEP
    KeepAlive(1, NOW + timedelta(days=1)).on(row, NOW, TERMS)
    KeepAlive(1, NOW).on(row, NOW, TERMS)
    asked(row)
    assert row.live_until == NOW + timedelta(days=1)


def test_what_indexes_know_moves_in_steps() -> None:
    row = new_row()
    asked(row)
    until = row.live_until
    asked(row, at=NOW + STEP - timedelta(seconds=1))
    assert (row.live_until, row.active_at) == (until, NOW)
    assert row.live_until >= row.updated_at + TERMS.session
    asked(row, at=NOW + STEP + timedelta(seconds=1))
    assert (row.live_until, row.active_at) == (row.updated_at + TERMS.session + STEP, row.updated_at)


def test_a_clock_that_is_behind_leaves_no_chat_ahead_of_its_last_move() -> None:
    row = new_row(active_at=NOW + timedelta(hours=1))
    asked(row)
    assert row.active_at == row.updated_at == NOW


def test_no_index_knows_a_column_that_every_message_changes() -> None:
    known = {name.removeprefix("-") for index in Conversation._meta.indexes for name in index.fields}
    for index in Conversation._meta.indexes:
        known |= {name for name in ROW_COLUMNS if index.condition is not None and name in str(index.condition)}
    assert known >= {"turn_until", "live_until", "active_at", "waiting_since"}
    assert known.isdisjoint(BUSY_COLUMNS)


def test_whoever_looks_finds_a_question_that_nobody_has_taken() -> None:
    row = new_row()
    CustomerMessage(1, "hello", holder=None).on(row, NOW, TERMS)
    assert row.turn_until == NOW - TERMS.lease
    lease = TakeTurn(1, "A").on(row, NOW, TERMS).lease
    assert lease is not None
    GiveBack(1, lease).on(row, NOW + timedelta(seconds=1), TERMS)
    assert row.turn_until == NOW + timedelta(seconds=1) - TERMS.lease


def test_a_lease_is_forgotten_once_nobody_waits() -> None:
    row = new_row()
    lease = leased(row)
    ForgetLease(1).on(row, NOW, TERMS)
    assert row.turn_until == NOW + TERMS.lease
    AgentReply(1, lease, "hi").on(row, NOW, TERMS)
    assert (row.turn_holder, row.turn_until) == (None, NOW + TERMS.lease)
    ForgetLease(1).on(row, NOW, TERMS)
    assert row.turn_until is None
    CustomerMessage(1, "again", holder=None).on(row, NOW, TERMS)
    ForgetLease(1).on(row, NOW, TERMS)
    assert row.turn_until == NOW - TERMS.lease


def test_a_message_past_the_rate_writes_nothing() -> None:
    row = new_row()
    assert CustomerMessage(1, "hello", within_rate=False).on(row, NOW, TERMS).refused == "rate_limited"
    assert not row.changed


def test_a_message_to_a_chat_that_has_run_out_closes_it() -> None:
    row = new_row(live_until=NOW - timedelta(seconds=1))
    done = CustomerMessage(1, "hello", holder="A").on(row, NOW, TERMS)
    assert (done.refused, done.changed_state, row.state, row.closed_reason) == ("closed", True, "closed", "expired")
    assert told(row) == []


def test_another_text_under_the_same_client_id_conflicts() -> None:
    row = new_row()
    found = Entry(1, "id", "customer", "hello", NOW, "c")
    assert CustomerMessage(1, "hello", "c").repeated(row, found, NOW).refused is None
    assert CustomerMessage(1, "other", "c").repeated(row, found, NOW).refused == "conflict"


def test_a_resend_does_not_take_the_turn_that_the_first_request_took() -> None:
    row = new_row()
    first = CustomerMessage(1, "hello", "c", holder="A")
    found = first.on(row, NOW, TERMS).entry
    assert found is not None
    assert first.repeated(row, found, NOW).lease is not None
    assert CustomerMessage(1, "hello", "c", holder="A").repeated(row, found, NOW).lease is None


# ---- answers ----


def test_an_answer_says_what_it_covers_and_frees_the_turn() -> None:
    row = new_row()
    done = AgentReply(1, leased(row), "hi").on(row, NOW, TERMS)
    assert done.entry is not None
    assert (done.entry.seq, done.entry.reply_to, done.lease) == (2, 1, None)
    assert (row.turn_holder, row.answered_upto, row.turn_attempts, row.customer_waits) == (None, 1, 0, False)


def test_an_answer_keeps_the_lease_for_what_came_meanwhile() -> None:
    row = new_row()
    lease = leased(row)
    asked(row, "B"), asked(row, "B")
    done = AgentReply(1, lease, "hi").on(row, NOW, TERMS)
    assert done.lease is not None
    assert (done.lease.holder, done.lease.asked_upto, done.lease.answered_upto) == ("A", 3, 1)
    assert done.lease.turn != lease.turn
    assert AgentReply(1, done.lease, "all").on(row, NOW, TERMS).entries[0].reply_to == 3


def test_an_answer_of_a_turn_that_another_took_stores_nothing() -> None:
    row = new_row()
    slow = leased(row)
    later = NOW + timedelta(seconds=11)
    taken = TakeTurn(1, "B").on(row, later, TERMS).lease
    assert taken is not None
    assert AgentReply(1, slow, "late").on(row, later, TERMS).refused == "lost"
    assert Renew(1, slow).on(row, later, TERMS).refused == "lost"
    assert GiveBack(1, slow).on(row, later, TERMS).refused == "lost"
    assert AgentReply(1, taken, "hi").on(row, later, TERMS).refused is None
    assert told(row) == [(1, "customer"), (2, "agent")]


def test_an_answer_stored_before_is_refused_and_frees_its_own_turn() -> None:
    row = new_row()
    lease = leased(row)
    row.answered_upto = 1
    done = AgentReply(1, lease, "again").on(row, NOW, TERMS)
    assert (done.refused, done.lease, row.turn_holder) == ("lost", None, None)


def test_a_turn_is_not_taken_while_it_is_held_or_nobody_waits() -> None:
    row = new_row()
    assert TakeTurn(1, "B").on(row, NOW, TERMS).lease is None
    asked(row)
    assert TakeTurn(1, "B").on(row, NOW + timedelta(seconds=9), TERMS).lease is None


def test_renewing_gives_another_length_of_the_lease() -> None:
    row = new_row()
    lease = leased(row)
    later = NOW + timedelta(seconds=9)
    assert Renew(1, lease).on(row, later, TERMS).refused is None
    assert row.turn_until == later + TERMS.lease


def test_attempts_count_leases_since_the_last_answer() -> None:
    row = new_row()
    asked(row)
    at = NOW
    for attempt in (2, 3, 4):
        at += timedelta(seconds=11)
        lease = TakeTurn(1, "B").on(row, at, TERMS).lease
        assert lease is not None
        assert lease.attempt == attempt
    GiveBack(1, lease).on(row, at, TERMS)
    again = TakeTurn(1, "C").on(row, at, TERMS).lease
    assert again is not None
    assert again.attempt == 4


def test_a_stop_is_obeyed_by_the_answer_it_meant_and_by_no_other() -> None:
    row = new_row()
    lease = leased(row)
    assert not StopTurn(1, "another").on(row, NOW, TERMS).stopped
    assert StopTurn(1, lease.turn).on(row, NOW, TERMS).stopped
    assert Renew(1, lease).on(row, NOW, TERMS).stopped
    asked(row)
    done = AgentReply(1, lease, "half").on(row, NOW, TERMS)
    assert done.entries[0].stopped
    assert done.lease is not None
    assert not AgentReply(1, done.lease, "whole").on(row, NOW, TERMS).entries[0].stopped


def test_a_stop_outlives_the_holder_that_did_not_obey() -> None:
    row = new_row()
    StopTurn(1, leased(row).turn).on(row, NOW, TERMS)
    done = TakeTurn(1, "B").on(row, NOW + timedelta(seconds=11), TERMS)
    assert done.stopped
    assert done.lease is not None
    assert row.turn_stop == done.lease.turn


# ---- people ----


def test_a_takeover_refuses_the_answer_that_is_being_written() -> None:
    row = new_row()
    lease = leased(row)
    TakeOver(1, MARA, "Mara is here", "Mara").on(row, NOW, TERMS)
    asked(row)
    done = AgentReply(1, lease, "half").on(row, NOW, TERMS)
    assert (done.refused, done.lease) == ("lost", None)
    assert told(row) == [(1, "customer"), (2, "system"), (3, "customer")]


def test_of_two_takeovers_one_wins() -> None:
    row = new_row()
    assert TakeOver(1, MARA, "here", "Mara").on(row, NOW, TERMS).refused is None
    assert TakeOver(1, JON, "here", "Jon").on(row, NOW, TERMS).refused == "conflict"
    assert TakeOver(1, MARA, "here", "Mara").on(row, NOW, TERMS).refused is None
    assert told(row) == [(1, "system")]


def test_a_write_again_changes_a_byte_and_nothing_that_is_seen() -> None:
    """Of a row that stays as it is SQLite writes nothing, and a full disk would take that."""
    row = new_row()
    before = replace(row)
    WriteAgain(1).on(row, NOW, TERMS)
    assert row.updated_at - before.updated_at == timedelta(microseconds=1)
    assert replace(row, updated_at=before.updated_at, changed=False) == before


def test_a_chat_whose_person_was_deleted_can_be_taken() -> None:
    row = new_row()
    TakeOver(1, MARA, "here", "Mara").on(row, NOW, TERMS)
    row.assignee_id = None
    assert TakeOver(1, JON, "here", "Jon").on(row, NOW, TERMS).refused is None
    assert (row.state, row.assignee_id) == ("human", JON)


def test_what_came_before_a_release_is_the_persons() -> None:
    row = new_row()
    TakeOver(1, MARA, "here", "Mara").on(row, NOW, TERMS)
    asked(row)
    assert StaffReply(1, JON, "hi", "Jon").on(row, NOW, TERMS).refused == "conflict"
    assert Release(1, JON, "gone").on(row, NOW, TERMS).refused == "conflict"
    assert StaffReply(1, MARA, "hi", "Mara").on(row, NOW, TERMS).refused is None
    assert Release(1, MARA, "gone").on(row, NOW, TERMS).refused is None
    assert (row.state, row.customer_waits) == ("ai", False)
    assert leased(row).asked_upto == row.last_seq


def test_a_person_is_asked_for_once() -> None:
    row = new_row()
    assert AskForPerson(1, NewTicket("ESC-1"), "asked").on(row, NOW, TERMS).changed_state
    again = AskForPerson(1, NewTicket("ESC-2"), "asked").on(row, NOW, TERMS)
    assert (again.ticket, again.changed_state, row.state) == ("ESC-1", False, "waiting")
    assert told(row) == [(1, "system")]


def test_an_answer_that_escalates_gives_one_ticket() -> None:
    row = new_row()
    lease = leased(row)
    AskForPerson(1, NewTicket("ESC-1"), "asked").on(row, NOW, TERMS)
    done = AgentReply(1, lease, "hi", escalation=NewTicket("ESC-2")).on(row, NOW, TERMS)
    assert (done.refused, done.ticket, done.changed_state) == (None, "ESC-1", False)
    assert [ticket.number for ticket in row.tickets] == ["ESC-1"]


# ---- ends ----


@pytest.mark.parametrize(
    "act",
    [
        CustomerMessage(1, "more"),
        AskForPerson(1, NewTicket("ESC-1"), "asked"),
        TakeOver(1, MARA, "here", "Mara"),
        StaffReply(1, MARA, "hi", "Mara"),
        Release(1, MARA, "gone"),
        KeepAlive(1, NOW + timedelta(days=1)),
    ],
    ids=lambda act: type(act).__name__,
)
def test_a_closed_chat_takes_nothing(act: Any) -> None:
    row = new_row()
    lease = leased(row)
    Close(1, "ended").on(row, NOW, TERMS)
    row.entries.clear()
    row.changed = False
    assert act.on(row, NOW, TERMS).refused == "closed"
    assert AgentReply(1, lease, "late").on(row, NOW, TERMS).refused == "lost"
    assert Close(1, "again").on(row, NOW, TERMS).repeated
    assert not row.changed
    assert row.closed_reason == "ended"


@pytest.mark.parametrize(
    "values",
    [
        {"live_until": NOW + timedelta(seconds=1)},
        {"state": "waiting"},
        {"state": "human"},
        {"asked_upto": 1, "last_seq": 1},
    ],
    ids=["not yet", "a person was asked for", "a person answers", "a customer waits"],
)
def test_a_chat_does_not_expire(values: dict[str, Any]) -> None:
    row = new_row(**({"live_until": NOW - timedelta(seconds=1)} | values))
    assert not Expire(1).on(row, NOW, TERMS).changed_state
    assert not row.changed


def test_an_answered_chat_expires_once() -> None:
    row = new_row(live_until=NOW - timedelta(seconds=1))
    assert Expire(1).on(row, NOW, TERMS).changed_state
    again = Expire(1).on(row, NOW, TERMS)
    assert (again.changed_state, again.repeated) == (False, True)
