"""An erasure and a writer at the same moment, on connections of their own: the second finds what the first did."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import DatabaseError, connection, transaction

from agent_app import chat
from agent_app.models import AuditEntry, Conversation, Erasure
from agent_app.tools.trail import ToolCall
from tests.staff import live  # noqa: F401 - a fixture
from tests.traces import left_of, whole_database

pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor == 'sqlite'", reason="not for SQLite, which has one writer at a time"),
]

SECRET = "Wronskij"
WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
def closed_chat(live: str) -> Conversation:  # noqa: F811
    conversation, _ = async_to_sync(chat.open_chat)("anna", True, {})
    async_to_sync(chat.end_chat)(conversation.pk, "ended_by_customer")
    return conversation


def note(row: Conversation) -> None:
    AuditEntry.keep_of_chats(
        [ToolCall(row.session_id, "look", {"query": SECRET}, False, None).ended("ok", 0.1).entry()]
    )


def forget(row: Conversation) -> None:
    Erasure.objects.of_customer("anna", "ana").forget_chats([row.pk])


def one_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(WAITS)
        return bool(cursor.fetchone()[0])


@pytest.mark.parametrize(("first", "second"), [(note, forget), (forget, note)], ids=["writer first", "erasure first"])
def test_a_tools_entry_and_the_erasure_of_its_chat(
    closed_chat: Conversation, first: Callable[[Any], None], second: Callable[[Any], None]
) -> None:
    def run_second() -> None:
        try:
            second(closed_chat)
        finally:
            connection.close()

    other = threading.Thread(target=run_second)
    with transaction.atomic():
        first(closed_chat)
        other.start()
        deadline = time.monotonic() + 120
        while other.is_alive() and not one_waits():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    other.join(120)
    assert left_of((SECRET, closed_chat.session_id), whole_database()) == []
    assert not Conversation.objects.exists()


def test_who_writes_in_a_chat_does_not_wait_for_a_tools_entry(closed_chat: Conversation) -> None:
    def write() -> None:
        try:
            Conversation.objects.select_for_update(no_key=True, nowait=True).get(pk=closed_chat.pk)
        except DatabaseError as error:
            failed.append(error)
        finally:
            connection.close()

    failed: list[DatabaseError] = []
    with transaction.atomic():
        note(closed_chat)
        other = threading.Thread(target=transaction.atomic(write))
        other.start()
        other.join(120)
    assert failed == []
