"""The durable log on the real database: one writer or several, and what happens when the database fails them."""

import asyncio
import os
import sys
import threading
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from agent_app.journal import READERS, Journal
from agent_app.models import AuditEntry, Conversation, Mail, Message
from agent_app.models.conversations import new_id
from agent_app.models.refusal import Unavailable
from agent_app.models.turns import (
    Act,
    AgentReply,
    Assign,
    Close,
    CustomerMessage,
    KeepAlive,
    Lease,
    NewTicket,
    Outcome,
    Release,
    Renew,
    Row,
    StaffReply,
    TakeOver,
    TakeTurn,
    Terms,
)
from agent_app.transaction import BEGIN_BY_INDEX, Group, select_records
from tests.faults.proxy import Proxy

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

postgres_only = pytest.mark.skipif(
    not os.environ.get("DATABASE_URL", "").startswith("postgres"),
    reason="not for SQLite: it has no connection to lose",
)
sqlite_only = pytest.mark.skipif(
    os.environ.get("DATABASE_URL", "").startswith("postgres"), reason="not for PostgreSQL: it has no file to lock"
)


@pytest.fixture
def make_journal() -> Iterator[Callable[[], Journal]]:
    """Each has a writer and connections of its own, as in a process of its own."""
    made: list[Journal] = []

    def make() -> Journal:
        made.append(Journal())
        return made[-1]

    yield make
    for journal in made:
        journal.close()


@pytest.fixture
def journal(make_journal: Callable[[], Journal]) -> Journal:
    return make_journal()


async def new_chat(journal: Journal) -> int:
    chat = Conversation(
        session_id=Conversation.new_session_id(),
        token_hash=new_id(),
        live_until=timezone.now() + timedelta(minutes=30),
    )
    await journal.read(chat.save, force_insert=True)
    return chat.pk


async def log_of(journal: Journal, chat: int) -> list[tuple[int, str, str]]:
    return [(entry.seq, entry.role, entry.text) for entry in await journal.entries(chat, 0, 1000)]


async def row_of(journal: Journal, chat: int) -> dict[str, Any]:
    return await journal.read(Conversation.objects.values().get, pk=chat)


def said(text: str, chat: int, client_id: str | None = None, holder: str = "A") -> CustomerMessage:
    return CustomerMessage(chat, text, client_id, holder=holder)


def leased(done: Outcome) -> Lease:
    assert done.lease is not None
    return done.lease


# ---- one writer ----


async def test_a_message_its_answer_and_the_row_that_is_left(journal: Journal) -> None:
    chat = await new_chat(journal)
    sent = await journal.do(said("hello", chat, "c"))
    answered = await journal.do(AgentReply(chat, leased(sent), "hi", citations=[{"n": 1}], details={"confidence": 0.5}))
    assert answered.lease is None
    assert await log_of(journal, chat) == [(1, "customer", "hello"), (2, "agent", "hi")]
    stored = await journal.read(Message.objects.get, conversation=chat, seq=2)
    assert (stored.reply_to, stored.citations, stored.details) == (1, [{"n": 1}], {"confidence": 0.5})
    row = await row_of(journal, chat)
    assert (row["last_seq"], row["asked_upto"], row["answered_upto"], row["turn_holder"]) == (2, 1, 1, None)


async def test_acts_of_one_moment_share_commits_and_are_numbered_without_gap(journal: Journal) -> None:
    chats = [await new_chat(journal) for _ in range(5)]
    before = journal.commits
    sent = await asyncio.gather(*(journal.do(said(f"{n}", chats[n % 5])) for n in range(200)))
    assert journal.commits - before <= 20
    for place, chat in enumerate(chats):
        seqs = [done.entry.seq for done in sent[place::5] if done.entry]
        assert seqs == list(range(1, 41))
        assert [seq for seq, _, _ in await log_of(journal, chat)] == seqs


async def test_an_answer_and_its_second_try_within_one_group_are_one(journal: Journal) -> None:
    """Its first try was told `unavailable` while it waited; both reach the database together."""
    chat = await new_chat(journal)
    answer = AgentReply(chat, leased(await journal.do(said("hello", chat))), "hi", tried=True)
    first, again = await journal.read(Group([answer, answer]).run)
    assert first is not None
    assert again is not None
    assert (first.refused, again.refused, again.repeated) == (None, None, True)
    assert await log_of(journal, chat) == [(1, "customer", "hello"), (2, "agent", "hi")]


async def test_the_same_client_id_within_one_group_is_stored_once(journal: Journal) -> None:
    chat = await new_chat(journal)
    first, again, other = await asyncio.gather(
        journal.do(said("hello", chat, "c")),
        journal.do(said("hello", chat, "c")),
        journal.do(said("another", chat, "c")),
    )
    assert first.entry is not None
    assert again.entry is not None
    assert (first.entry.id, again.repeated) == (again.entry.id, True)
    assert other.refused == "conflict"
    assert len(await log_of(journal, chat)) == 1


async def test_a_resend_gets_the_same_ack_whatever_the_state_now_is(journal: Journal) -> None:
    chat = await new_chat(journal)
    first = await journal.do(said("hello", chat, "c"))
    await journal.do(Close(chat, "ended"))
    again = await journal.do(said("hello", chat, "c"))
    assert first.entry is not None
    assert again.entry is not None
    assert (again.refused, again.entry.seq, again.entry.id) == (None, first.entry.seq, first.entry.id)
    assert (await journal.do(said("other", chat, "c"))).refused == "conflict"
    assert (await journal.do(said("new", chat, "d"))).refused == "closed"


async def test_customer_and_staff_may_use_the_same_client_id(journal: Journal) -> None:
    chat = await new_chat(journal)
    staff = await journal.read(new_staff)
    await journal.do(said("hello", chat, "c"))
    await journal.do(TakeOver(chat, staff, "Mara is here", "Mara"))
    first = await journal.do(StaffReply(chat, staff, "hi", "Mara", "c"))
    again = await journal.do(StaffReply(chat, staff, "hi", "Mara", "c"))
    assert first.entry is not None
    assert again.entry is not None
    assert (first.entry.seq, again.entry.seq, again.repeated) == (3, 3, True)


async def test_refused_acts_write_nothing_and_disturb_nobody(journal: Journal) -> None:
    chat, other = await new_chat(journal), await new_chat(journal)
    lease = leased(await journal.do(said("hello", chat)))
    await journal.do(Close(chat, "ended"))
    before = await row_of(journal, chat)
    refused: list[Act] = [
        said("more", chat),
        AgentReply(chat, lease, "late"),
        Renew(chat, lease),
        TakeOver(chat, 1, "here", "Mara"),
        Release(chat, 1, "gone"),
        StaffReply(chat, 1, "hi", "Mara"),
        said("nobody", 10**9),
    ]
    *done, kept = await asyncio.gather(*(journal.do(act) for act in [*refused, said("hello", other)]))
    assert [result.refused for result in done] == ["closed", "lost", "lost", "closed", "closed", "closed", "not_found"]
    assert kept.refused is None
    assert await row_of(journal, chat) == before
    assert len(await log_of(journal, chat)) == 1


async def test_an_act_of_staff_is_on_record_and_owes_its_letter_in_its_own_transaction(journal: Journal) -> None:
    """Nothing comes after the commit that a crash could lose; what is refused or repeated leaves nothing."""
    chat = await new_chat(journal)
    staff = await journal.read(new_staff)
    hour = timedelta(hours=1)
    acts: list[Act] = [
        TakeOver(chat, staff, "Mara is here", "Mara", actor="mara"),
        TakeOver(chat, staff + 1, "Jon is here", "Jon", actor="jon"),
        StaffReply(chat, staff, "hi", "Mara", "c", actor="mara", letter_after=hour),
        StaffReply(chat, staff, "hi", "Mara", "c", actor="mara", letter_after=hour),
        StaffReply(chat, staff, "and", "Mara", "d", actor="mara", letter_after=hour),
        Assign(chat, staff, "Mara has it", "Mara", actor="mara"),
        Release(chat, staff, "gone", actor="mara"),
        Close(chat, "resolved", "mara"),
        Close(chat, "resolved", "jon"),
    ]
    done = await asyncio.gather(*(journal.do(act) for act in acts))
    assert [result.refused for result in done] == [None, "conflict", *[None] * 7]
    entries = await journal.read(lambda: list(AuditEntry.objects.order_by("pk")))
    assert [(entry.action, entry.actor, entry.details) for entry in entries] == [
        ("desk.taken_over", "mara", {}),
        ("desk.replied", "mara", {"seq": 2}),
        ("desk.replied", "mara", {"seq": 3}),
        ("desk.released", "mara", {}),
        ("chat.ended", "mara", {"reason": "resolved"}),
    ]
    assert {entry.session_id for entry in entries} == {(await conversation_of(journal, chat)).session_id}
    letters = await journal.read(lambda: list(Mail.objects.values_list("event", "state", "attempts")))
    assert letters == [(f"reply:{chat}:2", "due", 0)], "one letter will hold both"


async def conversation_of(journal: Journal, chat: int) -> Conversation:
    return await journal.read(Conversation.objects.get, pk=chat)


async def test_a_row_that_somebody_else_has_changed_is_read_again(journal: Journal) -> None:
    """A writer may keep what it wrote last only while nobody else has committed."""
    chat = await new_chat(journal)
    await journal.do(said("one", chat))
    await journal.read(Conversation.objects.filter(pk=chat).update, state="human")
    done = await journal.do(said("two", chat))
    assert (done.state, done.lease, done.last_seq) == ("human", None, 2)
    await journal.read(Conversation.objects.filter(pk=chat).delete)
    assert (await journal.do(said("three", chat))).refused == "not_found"


async def test_bad_data_is_its_own_callers(journal: Journal) -> None:
    chat, other = await new_chat(journal), await new_chat(journal)
    results = await asyncio.gather(
        journal.do(said("before", chat)),
        journal.do(said("\ud800 is no text", other)),
        journal.do(said("after", chat)),
        return_exceptions=True,
    )
    assert isinstance(results[1], ValueError)
    assert await log_of(journal, chat) == [(1, "customer", "before"), (2, "customer", "after")]
    assert await log_of(journal, other) == []
    assert (await journal.do(said("good", other))).refused is None


async def test_a_caller_that_goes_away_does_not_undo_its_act(journal: Journal) -> None:
    chat = await new_chat(journal)
    caller = asyncio.ensure_future(journal.do(said("hello", chat)))
    await asyncio.sleep(0)
    caller.cancel()
    await journal.do(said("next", chat))
    assert [text for _, _, text in await log_of(journal, chat)] == ["hello", "next"]


async def test_a_turn_whose_asker_went_away_is_handed_on(journal: Journal) -> None:
    chat = await new_chat(journal)
    handed_on: list[Lease] = []
    journal.unclaimed = lambda lease, asked_at: handed_on.append(lease)
    asker = asyncio.ensure_future(journal.do(said("hello", chat)))
    await asyncio.sleep(0)
    asker.cancel()
    await journal.do(said("next", chat))
    assert [(lease.holder, lease.asked_upto) for lease in handed_on] == [("A", 1)]


async def test_closing_commits_what_was_asked(journal: Journal, make_journal: Callable[[], Journal]) -> None:
    chat = await new_chat(journal)
    asked = [asyncio.ensure_future(journal.do(said(f"{n}", chat))) for n in range(50)]
    await asyncio.sleep(0)
    await asyncio.to_thread(journal.close)
    await asyncio.gather(*asked)
    assert len(await log_of(make_journal(), chat)) == 50


async def test_a_ticket_is_stored_with_the_answer_that_gives_it(journal: Journal) -> None:
    chat = await new_chat(journal)
    lease = leased(await journal.do(said("help", chat)))
    done = await journal.do(AgentReply(chat, lease, "I ask a person", escalation=NewTicket("ESC-TEST-1", "help")))
    assert (done.state, done.ticket) == ("waiting", "ESC-TEST-1")
    chats = Conversation.objects.filter(tickets__number="ESC-TEST-1", state="waiting")
    assert await journal.read(chats.count) == 1


async def test_an_answer_in_doubt_is_looked_for_before_it_is_judged(journal: Journal) -> None:
    chat = await new_chat(journal)
    answer = AgentReply(chat, leased(await journal.do(said("one", chat))), "hi")
    await journal.do(said("two", chat))
    first = await journal.do(answer)
    answer.tried = True  # as after `unavailable`: it may have been stored
    again = await journal.do(answer)
    assert (again.repeated, again.refused, again.lease) == (True, None, first.lease)
    assert [role for _, role, _ in await log_of(journal, chat)] == ["customer", "customer", "agent"]


@postgres_only
async def test_postgresql_plans_the_statements_of_a_message_once(journal: Journal) -> None:
    chat = await new_chat(journal)
    acts = [said("hello", chat, f"c{number}") for number in range(20)]
    for act in acts:  # one group each
        await journal.do(act)
    counted: list[int] = []

    class Count(KeepAlive):
        """Looks on the writer's own connection: what is prepared is a session's own."""

        def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
            found = connection.connection.execute(
                "SELECT sum(generic_plans + custom_plans) FROM pg_prepared_statements"
            )
            counted.append(int(found.fetchone()[0] or 0))
            return super().on(row, now, terms)

    await journal.do(Count(chat, timezone.now()))
    assert counted[0] >= 3 * len(acts)


@postgres_only
async def test_postgresql_looks_for_a_repeat_by_its_own_index(journal: Journal) -> None:
    """While nobody had counted a new table's rows, it read all of the chat's messages, by the index of the numbers."""
    chats = [await new_chat(journal) for _ in range(20)]
    plans = [await journal.read(plan_of_the_look_for_a_repeat)]
    for number in range(40):
        await asyncio.gather(*(journal.do(said("hello", chat, f"c{number}")) for chat in chats))
        plans.append(await journal.read(plan_of_the_look_for_a_repeat))
    assert [plan for plan in plans if "message_numbered_once" in plan or "message_sent_once" not in plan] == []


def plan_of_the_look_for_a_repeat() -> str:
    key = '[{"conversation_id": 1, "role": "customer", "client_id": "c1"}]'
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(BEGIN_BY_INDEX.removeprefix("BEGIN; "))
        cursor.execute(f"EXPLAIN {select_records()}", [key])
        return "\n".join(line for (line,) in cursor.fetchall())


# ---- several writers on one database ----


async def test_writers_number_one_chat_together(make_journal: Callable[[], Journal]) -> None:
    writers = [make_journal() for _ in range(3)]
    chat = await new_chat(writers[0])
    sent = await asyncio.gather(*(writers[n % 3].do(said(f"{n}", chat, f"c{n % 60}")) for n in range(120)))
    stored = {done.entry.seq for done in sent if done.entry and not done.repeated}
    assert stored == set(range(1, 61)) == {seq for seq, _, _ in await log_of(writers[0], chat)}


async def test_of_several_writers_one_takes_the_turn_and_one_answers(make_journal: Callable[[], Journal]) -> None:
    writers = [make_journal() for _ in range(3)]
    chat = await new_chat(writers[0])
    lease = leased(await writers[0].do(said("hello", chat, holder="gone")))
    await writers[0].read(Conversation.objects.filter(pk=chat).update, turn_until=timezone.now())
    taken = await asyncio.gather(*(writer.do(TakeTurn(chat, f"{n}")) for n, writer in enumerate(writers)))
    holders = [done.lease for done in taken if done.lease]
    assert len(holders) == 1
    answers = [AgentReply(chat, held, "hi") for held in (lease, holders[0])]
    done = await asyncio.gather(*(writer.do(answer) for writer, answer in zip(writers, answers, strict=False)))
    assert [result.refused for result in done] == ["lost", None]
    assert [role for _, role, _ in await log_of(writers[0], chat)] == ["customer", "agent"]


# ---- a database that fails ----

HOLD_THE_LOCK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
database.execute("ROLLBACK")
"""


@sqlite_only
async def test_a_file_locked_by_another_process_is_unavailable_until_it_lets_go(
    make_journal: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.2)
    journal = make_journal()
    chat = await new_chat(journal)
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD_THE_LOCK, str(connection.settings_dict["NAME"]), stdin=PIPE, stdout=PIPE
    )
    assert other.stdout is not None
    await other.stdout.readline()
    with pytest.raises(Unavailable):
        await journal.do(said("hello", chat, "c"))
    assert not journal.available
    assert await log_of(journal, chat) == []  # readers go on
    await other.communicate(b"\n")
    assert (await journal.do(said("hello", chat, "c"))).refused is None
    assert journal.available
    assert await log_of(journal, chat) == [(1, "customer", "hello")]


@sqlite_only
async def test_a_full_disk_is_unavailable_and_loses_nothing_acknowledged(
    make_journal: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    roomy = make_journal()
    chat = await new_chat(roomy)
    pages = await roomy.read(lambda: connection.cursor().execute("PRAGMA page_count").fetchone()[0])
    options = connection.settings_dict["OPTIONS"]
    with monkeypatch.context() as small:  # SQLite says the same of a file that may not grow as of a full disk
        small.setitem(options, "init_command", f"{options['init_command']} PRAGMA max_page_count={pages + 4};")
        full = make_journal()
        acked = []
        with pytest.raises(Unavailable):
            for number in range(10_000):  # other tests may have left free pages in the file
                acked.append(await full.do(said("x" * 4000, chat, f"c{number}")))
        assert not full.available
        assert (await full.do(said("x" * 4000, chat, "c0"))).repeated
        assert not full.available  # what writes nothing says nothing of the disk
        assert (await row_of(full, chat))["last_seq"] == len(acked) > 0
    assert (await roomy.do(said("x" * 4000, chat, f"c{len(acked)}"))).refused is None
    logged = [entry.seq for entry in await roomy.entries(chat, 0, 20_000)]
    assert logged == list(range(1, len(acked) + 2))


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    """Between the journals of this test and the database server."""
    proxy = Proxy(int(connection.settings_dict["PORT"]))
    await proxy.start()
    monkeypatch.setitem(connection.settings_dict, "PORT", proxy.port)
    yield proxy
    await proxy.stop()


@postgres_only
@pytest.mark.parametrize("and_request", [False, True], ids=["committed", "not committed"])
@pytest.mark.parametrize("client_id", ["c", None], ids=["with client_id", "without"])
async def test_a_commit_in_doubt_is_resolved_by_looking(
    proxy: Proxy, make_journal: Callable[[], Journal], client_id: str | None, and_request: bool
) -> None:
    journal = make_journal()
    chat = await new_chat(journal)
    for round_number in range(1, 6):
        proxy.lose_answer_to(b"COMMIT", and_request=and_request)
        text = f"hello {round_number}"
        done = await journal.do(said(text, chat, client_id and f"{client_id}{round_number}"))
        assert proxy.lost_answers == round_number
        assert done.entry is not None
        assert (done.refused, done.entry.seq, done.lease is not None) == (None, round_number * 2 - 1, True)
        await journal.do(AgentReply(chat, leased(done), f"answer {round_number}"))
    assert len(await log_of(journal, chat)) == 10


@postgres_only
@pytest.mark.parametrize("and_request", [False, True], ids=["committed", "not committed"])
async def test_an_answer_whose_commit_is_in_doubt_is_stored_once(
    proxy: Proxy, make_journal: Callable[[], Journal], and_request: bool
) -> None:
    journal = make_journal()
    chat = await new_chat(journal)
    lease = leased(await journal.do(said("one", chat)))
    await journal.do(said("two", chat))
    proxy.lose_answer_to(b"COMMIT", and_request=and_request)
    done = await journal.do(AgentReply(chat, lease, "hi"))
    assert (proxy.lost_answers, done.refused) == (1, None)
    await journal.do(AgentReply(chat, leased(done), "hi again"))
    replies = Message.objects.filter(conversation=chat, role="agent").order_by("seq")
    assert await journal.read(lambda: list(replies.values_list("reply_to", flat=True))) == [1, 2]


@pytest.fixture
def other_instance() -> Iterator[Any]:
    """A connection on which a row can be locked, as by an instance in the middle of a transaction."""
    import psycopg

    settings = connection.settings_dict
    with psycopg.connect(
        host=settings["HOST"], port=settings["PORT"], user=settings["USER"], dbname=settings["NAME"]
    ) as other:
        yield other


def lock(other_instance: Any, chat: int) -> None:
    other_instance.execute("SELECT 1 FROM agent_app_conversation WHERE id = %s FOR UPDATE", [chat])


@postgres_only
async def test_a_chat_locked_elsewhere_delays_nobody_else(journal: Journal, other_instance: Any) -> None:
    chat, other = await new_chat(journal), await new_chat(journal)
    lock(other_instance, chat)
    waiting = asyncio.ensure_future(journal.do(said("hello", chat)))
    assert (await journal.do(said("hello", other))).refused is None
    assert not waiting.done()
    other_instance.rollback()
    assert (await waiting).refused is None


@postgres_only
async def test_closing_commits_what_waits_for_a_foreign_lock(
    journal: Journal, make_journal: Callable[[], Journal], other_instance: Any
) -> None:
    chat = await new_chat(journal)
    lock(other_instance, chat)
    waiting = asyncio.ensure_future(journal.do(said("hello", chat)))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(asyncio.to_thread(journal.close))
    await asyncio.wait([closing], timeout=0.3)  # time for the writer to meet the lock
    other_instance.rollback()
    await closing
    assert (await waiting).refused is None
    assert await log_of(make_journal(), chat) == [(1, "customer", "hello")]


@postgres_only
async def test_a_server_that_is_away_is_unavailable_until_it_is_back(
    proxy: Proxy, make_journal: Callable[[], Journal]
) -> None:
    journal = make_journal()
    chat = await new_chat(journal)
    port, proxy.target = proxy.target, 1  # nobody listens there
    proxy.cut()
    with pytest.raises(Unavailable):
        await journal.do(said("hello", chat, "c"))
    with pytest.raises(Unavailable):
        await journal.entries(chat, 0, 10)
    proxy.target = port
    assert (await journal.do(said("hello", chat, "c"))).refused is None
    assert len(await log_of(journal, chat)) == 1


@postgres_only
async def test_an_idle_connection_that_was_cut_costs_no_message(
    proxy: Proxy, make_journal: Callable[[], Journal]
) -> None:
    journal = make_journal()
    chat = await new_chat(journal)
    await journal.do(said("one", chat))
    proxy.cut()
    assert (await journal.do(said("two", chat))).refused is None
    assert len(await log_of(journal, chat)) == 2


def new_staff() -> int:
    from django.contrib.auth import get_user_model

    return int(get_user_model().objects.create_user("mara").pk)


async def test_closing_closes_every_readers_connection(make_journal: Callable[[], Journal]) -> None:
    journal = make_journal()
    met = threading.Barrier(READERS)

    def held() -> Any:
        met.wait(120)
        connection.ensure_connection()
        return connection.connection

    raw = await asyncio.gather(*(journal.read(held) for _ in range(READERS)))
    assert len(set(map(id, raw))) == READERS
    await asyncio.to_thread(journal.close)
    for one in raw:
        with pytest.raises(Exception, match="closed"):
            one.execute("SELECT 1")
