"""How conversations are found: in which order, and by which index."""

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F, QuerySet
from django.utils import timezone

from agent_app import chat
from agent_app.engine import FORGET_AFTER, forget_leases, try_a_write
from agent_app.journal import journal
from agent_app.management.commands.cleanup import put_in_step
from agent_app.models import Conversation
from agent_app.models.conversations import STEP
from agent_app.models.refusal import Unavailable
from agent_app.models.turns import CustomerMessage

NOW = timezone.now()


@pytest.fixture
def chats() -> list[Conversation]:
    """A hundred, of which many moved within one step, and some at the same moment; each index column a bit behind."""
    dice = random.Random(4)
    made = [
        Conversation(
            session_id=f"s{number}",
            token_hash=f"t{number}",
            live_until=NOW,
            state=dice.choice(["ai", "closed"]),
            updated_at=NOW - timedelta(seconds=dice.randrange(90)),
        )
        for number in range(100)
    ]
    Conversation.objects.bulk_create(made)
    for each in made:
        behind = STEP * dice.random()
        Conversation.objects.filter(pk=each.pk).update(active_at=F("updated_at") - behind)
    return made


@pytest.mark.integration
@pytest.mark.django_db
@pytest.mark.parametrize("size", [1, 7, 99, 100, 101])
@pytest.mark.parametrize("state", [None, "ai"])
def test_pages_are_in_the_exact_order_though_the_index_is_in_steps(
    chats: list[Conversation], size: int, state: str | None
) -> None:
    wanted = [each for each in chats if state is None or each.state == state]
    wanted.sort(key=lambda each: (each.updated_at, each.pk), reverse=True)
    found: list[int] = []
    place = None
    some = Conversation.objects.all() if state is None else Conversation.objects.filter(state=state)
    while page := list(some.newest_first(size, place)):
        assert len(page) <= size
        found += [each.pk for each in page]
        place = page[-1].updated_at, page[-1].pk
    assert found == [each.pk for each in wanted]


@pytest.mark.integration
@pytest.mark.django_db
def test_those_that_moved_since_a_moment(chats: list[Conversation]) -> None:
    since = NOW - timedelta(seconds=30)
    found = set(Conversation.objects.moved_since(since).values_list("pk", flat=True))
    assert found == {each.pk for each in chats if each.updated_at >= since}


@pytest.mark.integration
@pytest.mark.django_db
def test_a_new_conversation_is_as_active_as_it_is_new() -> None:
    moment = NOW - timedelta(days=3)
    made = Conversation.objects.create(session_id="s", token_hash="t", live_until=NOW, updated_at=moment)
    assert made.active_at == moment
    assert Conversation.objects.get().active_at == moment


LOOKS: dict[str, Callable[[], QuerySet[Conversation]]] = {
    "conversation_had_a_turn": lambda: Conversation.objects.orphaned(NOW),
    "conversation_lives": lambda: Conversation.objects.expired(NOW),
    "conversation_active": lambda: Conversation.objects.moved_since(NOW).newest_first(5),
    "conversation_state_active": lambda: Conversation.objects.filter(state="human").newest_first(5),
    "conversation_user_active": lambda: Conversation.objects.filter(user_id="u").newest_first(5),
}


@pytest.mark.integration
@pytest.mark.django_db
@pytest.mark.parametrize("index", LOOKS)
def test_a_look_goes_by_its_index(chats: list[Conversation], index: str) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:  # a hundred rows are read as fast without one
            cursor.execute("SET LOCAL enable_seqscan = off")
    assert index in LOOKS[index]().explain()


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
async def test_leases_that_ran_out_long_ago_are_forgotten() -> None:
    def row(name: str, **values: object) -> int:
        fixed = {"session_id": name, "token_hash": name, "live_until": NOW}
        return int(Conversation.objects.create(**fixed, **values).pk)

    long_ago = timezone.now() - FORGET_AFTER - timedelta(seconds=1)
    over = await journal.read(row, "over", turn_until=long_ago)
    kept = [
        await journal.read(row, "lately", turn_until=timezone.now()),
        await journal.read(row, "waits", turn_until=long_ago, last_seq=1, asked_upto=1),
        await journal.read(row, "held", turn_until=long_ago, turn_holder="A"),
    ]
    await forget_leases()
    left = await journal.read(lambda: set(Conversation.objects.filter(turn_until=None).values_list("pk", flat=True)))
    assert left == {over}
    assert set(kept).isdisjoint(left)
    journal.close()


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
async def test_a_message_counts_against_the_rate_though_its_caller_hung_up() -> None:
    fixed = {"session_id": "hung-up", "token_hash": "t", "live_until": NOW, "state": "human"}
    conversation = await journal.read(Conversation.objects.create, **fixed)
    sending = asyncio.ensure_future(chat.send_message(conversation, "hello"))
    await asyncio.sleep(0)  # it waits for its commit
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await asyncio.to_thread(journal.close)  # commits what was asked
    assert await journal.read(conversation.messages.count) == 1
    rate = chat.message_rate()
    assert rate.left("hung-up") < rate.left("somebody else")
    journal.close()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="not for PostgreSQL: it has no file to lock")
@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
async def test_an_instance_that_could_not_store_finds_out_by_itself_that_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is not ready meanwhile, so no customer comes by whom it could find out."""
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.1)
    journal.close()
    fixed = {"session_id": "s", "token_hash": "t", "live_until": NOW}
    conversation = await journal.read(Conversation.objects.create, **fixed)
    with closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            await journal.do(CustomerMessage(conversation.pk, "hello"))
        with pytest.raises(Unavailable):
            await try_a_write()
    assert not journal.available
    await try_a_write()
    assert journal.available
    journal.close()


@pytest.mark.integration
@pytest.mark.django_db
def test_what_an_earlier_version_gave_back_is_found_by_the_thorough_look() -> None:
    def row(name: str, **values: object) -> int:
        fixed = {"session_id": name, "token_hash": name, "live_until": NOW, "last_seq": 1, "asked_upto": 1}
        return int(Conversation.objects.create(**{**fixed, **values}).pk)

    given_up = row("given up")
    row("answered", answered_upto=1)
    row("a person's", state="human")
    due = row("due", turn_until=NOW - timedelta(seconds=1))
    assert set(Conversation.objects.given_up().values_list("pk", flat=True)) == {given_up}
    assert set(Conversation.objects.orphaned(NOW).values_list("pk", flat=True)) == {due}


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_cleanup_finds_again_what_an_earlier_version_moved(chats: list[Conversation]) -> None:
    moved = chats[0]
    later = NOW + timedelta(minutes=5)
    Conversation.objects.filter(pk=moved.pk).update(updated_at=later)
    Conversation.objects.filter(pk=chats[1].pk).update(active_at=F("updated_at") + STEP)
    assert set(Conversation.objects.out_of_step().values_list("pk", flat=True)) == {moved.pk, chats[1].pk}
    put_in_step()
    assert not Conversation.objects.out_of_step().exists()
    assert Conversation.objects.newest_first(1).get().pk == moved.pk
