"""An erasure beside others: an instance that builds the index, a reader of the file, the demo shop's records."""

import sqlite3
import threading
from contextlib import closing
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.db.models.signals import post_save

from agent_app import chat
from agent_app.demo import books
from agent_app.erasing import empty_log, erase
from agent_app.knowledge.indexing import knowledge
from agent_app.models import (
    Article,
    AuditEntry,
    Conversation,
    DemoRecord,
    Erasure,
    ExampleQuestion,
    IndexGeneration,
    KnowledgeState,
)
from agent_app.models.audit import AuditDetails
from tests.staff import use_memory
from tests.traces import left_of, whole_database

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

USER = "anna.karenina@example.com"
ASKED = "Does the train to Obiralowka carry Wronskij?"
WORDS = ("karenina", "wronskij", "obiralowka")


@pytest.fixture(autouse=True)
def in_memory(settings: Any) -> None:
    use_memory(settings)


def opened(user_id: str = USER) -> Conversation:
    return async_to_sync(chat.open_chat)(user_id, True, {})[0]


def test_an_index_that_another_instance_builds_is_waited_for() -> None:
    article = Article.objects.create(slug="trains", title="Trains", body="They leave on time.")
    asked_by = ExampleQuestion.digest_of(USER)
    article.questions.create(text=ASKED, conversation=opened(), customer=asked_by)
    knowledge.renew()
    assert left_of(WORDS, whole_database())
    assert KnowledgeState.take_build(), "another instance has begun to build"

    finished = threading.Event()

    def look(instance: Erasure, **kwargs: Any) -> None:
        if instance.finished_at is not None:
            finished.set()

    post_save.connect(look, sender=Erasure)

    def end_build() -> None:
        try:
            assert finished.wait(120)
            KnowledgeState.end_build()
        finally:
            connection.close()

    elsewhere = threading.Thread(target=end_build)
    elsewhere.start()
    erase(Erasure.objects.of_customer(USER, "ana"))
    elsewhere.join(120)
    post_save.disconnect(look, sender=Erasure)
    assert left_of(WORDS, whole_database()) == []
    assert IndexGeneration.objects.exists(), "the knowledge has an index all the same"


def test_a_builder_forgets_what_is_older_of_every_embedder() -> None:
    Article.objects.create(slug="trains", title="Trains", body="They leave on time.")
    IndexGeneration.objects.create(embedder="one before", revision=0, articles=1, payload=ASKED.encode())
    knowledge.renew()
    assert set(IndexGeneration.objects.values_list("revision", flat=True)) == {KnowledgeState.current_revision()}


@pytest.mark.parametrize("scope", Erasure.Scope.values)
@pytest.mark.parametrize("known_as", ["C-1001", "ana@example.com"])
def test_what_a_made_up_customer_changed_is_as_on_the_first_day(scope: str, known_as: str) -> None:
    books.reset()
    conversation = opened(known_as)
    for record in DemoRecord.objects.filter(owner="C-1001", kind__in=["order", "customer"]):
        record.data |= {"address": "7 Obiralowka Street", "email": "wronskij@example.com"}
        record.save()
    whole = scope == Erasure.Scope.CUSTOMER
    erase(Erasure.objects.of_customer(known_as, "ana") if whole else Erasure.objects.of_chat(conversation, "ana"))
    assert left_of(("wronskij", "obiralowka"), whole_database()) == []
    assert DemoRecord.objects.get(number="C-1001").data["email"] == "ana@example.com"


def test_a_desk_without_the_made_up_shop_gets_no_records_of_it() -> None:
    erase(Erasure.objects.of_customer("ana@example.com", "ana"))
    assert not DemoRecord.objects.exists()


def test_a_receipt_whose_record_was_written_anew_does_not_hold() -> None:
    opened()
    erase(Erasure.objects.of_customer(USER, "ana"))
    Erasure.objects.update(removed={"messages": 9999})
    forged, recorded = Erasure.objects.get(), AuditEntry.objects.get(action="customer.erased")
    details = AuditDetails.objects.get(pk=recorded.pk)
    details.text = details.text.replace(forged.fingerprint, forged.fingerprint_now())
    details.save()
    Erasure.objects.update(fingerprint=forged.fingerprint_now())
    assert Erasure.objects.get().doubts() == ["The audit log does not know it as it is."]


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="not for PostgreSQL, whose log is no file of ours")
def test_a_log_that_somebody_reads_is_said_to_be_left(caplog: pytest.LogCaptureFixture) -> None:
    opened()
    with closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as reader:
        reader.execute("BEGIN").execute("SELECT count(*) FROM agent_app_conversation").fetchone()
        Conversation.objects.update(metadata={"said": ASKED})
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 50")
        empty_log()
    assert "erasure.log_not_emptied" in caplog.text
    caplog.clear()
    empty_log()
    assert "erasure.log_not_emptied" not in caplog.text
