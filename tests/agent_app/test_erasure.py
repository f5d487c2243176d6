"""Being forgotten: nothing of the customer is left in a table, a key, a file or a log; and the receipt says so."""

# ruff: noqa: F811 - fixtures of tests.staff

import io
import json
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection, models
from django.test import Client
from django.test.utils import isolate_apps
from django.utils import timezone

from agent_app import chat
from agent_app.erasing import erase
from agent_app.journal import journal
from agent_app.knowledge import indexing
from agent_app.knowledge.passages import Source
from agent_app.models import (
    Article,
    AuditEntry,
    Conversation,
    Erasure,
    ExampleQuestion,
    Fact,
    Feedback,
    Message,
    Note,
    Ticket,
    UnansweredQuestion,
)
from agent_app.models.audit_check import AuditCheck
from agent_app.models.erasure import declaring, hanging_on
from agent_app.models.missed import draft, missed_named
from agent_app.tools import attachments
from agent_app.tools.attachments import stored_name
from agent_app.tools.trail import ToolCall, trail
from tests.staff import is_live, live, live_redis, logged_in, put, store_away  # noqa: F401 - fixtures
from tests.traces import left_of, whole_database, whole_folder, whole_store

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.slow]

MESSAGE = "I am looking for Wronskij"
OURS = {"agent_app", "sessions_app", "supportdesk"}
USER = "anna.karenina@example.com"
WORDS = ("karenina", "Wronskij", "KV-77421", "Obiralowka", "peterhof-receipt")


@pytest.fixture(autouse=True)
def media(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return settings.MEDIA_ROOT


def opened(user_id: str | None = USER, text: str = MESSAGE, state: str = "ai") -> Conversation:
    """A chat with something of the customer in every place that there is."""
    conversation, token = async_to_sync(chat.open_chat)(user_id, True, {"order": "KV-77421"})
    conversation.token = token  # type: ignore[attr-defined]
    now = timezone.now()
    Message.objects.create(
        conversation=conversation, seq=1, public_id="1" * 32, role="customer", text=text, created_at=now,
        attachments=[{"id": "a1", "name": "peterhof-receipt.pdf", "content_type": "text/plain", "size": 1, "url": "/"}],
    )  # fmt: skip
    Message.objects.create(
        conversation=conversation, seq=2, public_id="2" * 32, role="agent", text=f"You said: {text}", created_at=now,
        reply_to=1, details={"arguments": text},
    )  # fmt: skip
    Conversation.objects.filter(pk=conversation.pk).update(
        last_seq=2, customer_count=1, asked_upto=1, answered_upto=1, state=state
    )
    Ticket.objects.create(number=Ticket.new_number(), conversation=conversation, reason=f"wants {text}")
    Feedback.objects.rate(conversation, 1, f"It never found {text}")
    UnansweredQuestion.objects.remember(f"Does the train to Obiralowka carry {text}?", conversation.pk)
    Note.objects.create(conversation=conversation, author_name="ana", text=f"About {text}", after=2)
    Conversation.objects.filter(pk=conversation.pk).update(email="karenina@example.com")
    AuditEntry.record("session.changed", conversation.session_id, "ana", metadata={"order": "KV-77421"})
    AuditEntry.record("customer.looked_up", "", "ana", user_id=user_id, note=text)
    Fact.objects.create(
        conversation=conversation, user_id=user_id, name="likes", value=text, message_seq=1, expires_at=now
    )
    default_storage.save(stored_name(conversation.session_id, "a1"), ContentFile(text.encode()))
    LogEntry.objects.log_actions(ana().pk, [conversation], 2, f"About {text}")  # type: ignore[arg-type]
    conversation.refresh_from_db()
    return conversation


def ana() -> User:
    return User.objects.get_or_create(username="ana", is_staff=True)[0]


def run(*words: str) -> dict[str, Any]:
    out = io.StringIO()
    call_command("erase_customer", *words, "--json", stdout=out)
    said: dict[str, Any] = json.loads(out.getvalue())
    return said


def test_nothing_is_left_in_any_table_key_file_or_log(
    live_redis: redis.Redis,
    media: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    live_redis.flushdb()  # of what earlier tests left there
    caplog.set_level(logging.DEBUG)
    chats = [opened(), opened(state="waiting"), opened(state="human")]
    async_to_sync(chat.end_chat)(chats[2].pk, "ended_by_customer")
    put("without a chat", user_id=USER)
    article = Article.objects.create(slug="trains", title="Trains", body="They leave on time.")
    UnansweredQuestion.objects.first().answered_by(article)  # type: ignore[union-attr]
    answer = Feedback.objects.create(conversation=chats[1], seq=2, helpful=False, comment="no Wronskij")
    draft(missed_named([f"f{answer.pk}"]))
    other = opened("somebody else", "a samovar")
    words = (*WORDS, *(each.session_id for each in chats), *(each.thread_id for each in chats))
    assert left_of(words, whole_database())
    assert left_of(words, whole_store(live_redis))
    assert left_of(words, whole_folder(media))

    receipt = run(USER)

    of_other = ("samovar", other.session_id, other.thread_id, "somebody else", "KV-77421")
    database = "\n".join(line for line in whole_database().splitlines() if not left_of(of_other, line))
    assert left_of(words, database) == []
    assert left_of(words, whole_store(live_redis).replace("KV-77421", "")) == []
    assert left_of(words, whole_folder(media)) == []
    assert left_of(WORDS, caplog.text) == []
    assert left_of(words, json.dumps(receipt)) == []
    assert receipt["state"] == "erased"
    removed = receipt["removed"]
    assert (removed["conversations"], removed["messages"], removed["files"], removed["tickets"]) == (3, 6, 3, 3)
    assert (removed["unanswered questions"], removed["feedback"], removed["example questions"]) == (3, 4, 2)
    assert "backups" in receipt
    assert not ExampleQuestion.objects.exists()
    assert AuditCheck.run().findings == []
    # Nothing of anybody else's.
    assert Conversation.objects.get() == other
    assert (Message.objects.count(), Ticket.objects.count(), Feedback.objects.count()) == (2, 1, 1)
    assert is_live(other.session_id)
    assert default_storage.exists(stored_name(other.session_id, "a1"))
    assert LogEntry.objects.filter(object_repr=str(other)).exists()


def test_what_a_tool_was_told_does_not_come_back_behind_the_erasure(live: str) -> None:
    """The trail gathers its entries for a moment, in which their chat may be erased."""
    erased, other = opened(), opened("somebody else", "a samovar")
    run(USER)
    calls = [ToolCall(each.session_id, "look", {"query": f"of {each.pk}"}, False, None) for each in (erased, other)]
    for call in calls:
        async_to_sync(trail.keep)(call.ended("ok", 0.1))
    database = whole_database()
    assert f'"of {other.pk}"' in database
    assert left_of((f'"of {erased.pk}"', erased.session_id), database) == []


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="not for PostgreSQL, whose vacuum does it")
def test_sqlite_keeps_no_deleted_page(live: str) -> None:
    for number in range(30):
        opened(text=f"Wronskij {number} " * 200)
    run(USER)
    path = Path(str(connection.settings_dict["NAME"]))
    for file in (path, path.with_name(f"{path.name}-wal")):
        raw = file.read_bytes() if file.exists() else b""
        assert b"Wronskij 7 Wronskij 7" not in raw, file


def lacks(model: type[models.Model]) -> list[str]:
    """What a model would have to say of itself so that no erasure passes it by."""
    elsewhere = {"sessions_app.Session", "agent_app.Erasure", "agent_app.AuditDetails"}
    # The store's; its own subject, gone at its end; AuditEntry's to erase.
    goes_along = {Conversation, *(each for each, _ in hanging_on(Conversation))}
    if model in goes_along or model._meta.label in elsewhere:
        return []
    columns = {field.name for field in model._meta.fields if not field.is_relation}
    led = any(field.related_model in goes_along for field in model._meta.get_fields() if field.concrete)
    needed = []
    if (led or columns & {"session_id", "thread_id"}) and not hasattr(model._default_manager, "of_chats"):
        needed.append("of_chats")
    if columns & {"user_id", "customer", "customer_id"} and not hasattr(model._default_manager, "of_user"):
        needed.append("of_user")
    return needed


def test_every_model_that_can_hold_a_customer_says_what_of_it_is_theirs() -> None:
    """One with a way to a conversation goes with it, or says `of_chats`; one with a user's id says `of_user`."""
    ours = [model for model in apps.get_models(include_auto_created=True) if model._meta.app_label in OURS]
    assert len(ours) > 15
    assert {model.__name__: lacks(model) for model in ours if lacks(model)} == {}
    assert AuditEntry in set(declaring("of_chats")) & set(declaring("of_user"))


@isolate_apps("agent_app")
def test_a_model_that_says_nothing_is_noticed() -> None:
    class Diary(models.Model):
        user_id = models.CharField(max_length=10)
        chat = models.ForeignKey(Conversation, models.SET_NULL, null=True)

        class Meta:
            app_label = "agent_app"

        def __str__(self) -> str:
            return ""

    assert lacks(Diary) == ["of_chats", "of_user"]


# What the desk itself chose, or staff: their own names, names of tools and acts.
NOT_A_CUSTOMERS = {"action", "actor", "author_name", "event", "key", "number", "tool"}


def test_no_model_that_can_hold_a_customer_is_named_in_their_words() -> None:
    """Django's log keeps the name of a row that is gone."""
    theirs = {Conversation, Article.questions.rel.related_model, *(each for each, _ in hanging_on(Conversation))}
    theirs |= {*declaring("of_chats"), *declaring("of_user")}
    assert len(theirs) > 12
    for model in theirs:
        texts = [
            field.name
            for field in model._meta.fields
            if isinstance(field, models.CharField | models.TextField | models.JSONField)
            and not (field.choices or field.name in NOT_A_CUSTOMERS)
        ]
        assert "ronskij" not in str(model(pk=7, **dict.fromkeys(texts, "Wronskij"))), model


def test_again_finds_nothing_and_gives_a_receipt_all_the_same(live: str) -> None:
    opened()
    first, second = run(USER), run(USER)
    assert first["receipt"] != second["receipt"]
    assert second["removed"] == {}


def test_a_dry_run_counts_and_changes_nothing(live: str) -> None:
    opened()
    before = whole_database()
    said = run(USER, "--dry-run")["would_remove"]
    assert (said["conversations"], said["messages"], said["files"], said["facts"]) == (1, 2, 1, 1)
    assert whole_database() == before
    assert run(USER)["removed"] == {**said, "audit log": said["audit log"] + 1}  # and that the open chat was ended


def test_a_visitors_one_chat(live: str) -> None:
    gone, other = opened(None), opened(None)
    assert run("--chat", gone.session_id)["removed"]["conversations"] == 1
    assert Conversation.objects.get() == other
    assert not is_live(gone.session_id)


def test_a_receipt_can_be_checked(live: str) -> None:
    opened()
    receipt = run(USER)["receipt"]
    assert run("--verify", receipt)["sound"]
    assert run(USER, "--verify", receipt)["sound"]
    for wrong in (("nobody", "--verify", receipt), ("--verify", "ERA-NONE")):
        with pytest.raises(CommandError) as failure:
            run(*wrong)
        assert failure.value.returncode == 1


def test_a_receipt_says_when_something_of_them_is_here_again(live: str) -> None:
    opened()
    receipt = run(USER)["receipt"]
    opened()
    with pytest.raises(CommandError):
        run(USER, "--verify", receipt)
    assert "1 conversations of this customer are here." in Erasure.objects.get().doubts(USER)


@pytest.mark.parametrize("change", [{"removed": {"conversations": 9}}, {"asked_by": "bob"}, {"conversations": []}])
def test_a_receipt_that_was_changed_does_not_hold(live: str, change: dict[str, Any]) -> None:
    opened()
    run(USER)
    Erasure.objects.update(**change)
    erasure = Erasure.objects.get()
    assert erasure.doubts() == ["The receipt was changed after it was written."]
    Erasure.objects.update(fingerprint=erasure.fingerprint_now())
    assert Erasure.objects.get().doubts() == ["The audit log does not know it as it is."]


def test_a_restored_backup_is_noticed(live: str) -> None:
    row = opened()
    copy = Conversation.objects.get(pk=row.pk)
    run(USER)
    copy.save(force_insert=True)
    assert "here again" in Erasure.objects.get().doubts()[0]


def test_the_store_away_leaves_it_pending_and_it_goes_on_later(
    settings: Any,
    live: str,
    request: pytest.FixtureRequest,
) -> None:
    row = opened()
    there = settings.CACHES
    request.getfixturevalue("store_away")
    with pytest.raises(CommandError, match="unfinished") as failure:
        run(USER)
    assert failure.value.returncode == 3
    row.refresh_from_db()
    assert (row.state, Erasure.objects.get().receipt()["state"]) == ("closed", "pending")
    settings.CACHES = there
    call_command("cleanup", stdout=io.StringIO())
    assert not Conversation.objects.exists()
    assert Erasure.objects.get().receipt()["state"] == "erased"
    assert Erasure.objects.get().subject == ""


@pytest.mark.parametrize("step", range(6))
def test_broken_off_anywhere_it_is_gone_on_with(
    live: str,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    """An error out of the database at the n-th change of it is as if the process had ended there."""
    for _ in range(2):
        opened()
    asked = Erasure.objects.of_customer(USER, "ana")

    class Ended(Exception):
        pass

    left = [step]

    def counting(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("DELETE", "UPDATE")):
            if not left[0]:
                raise Ended
            left[0] -= 1
        return execute(sql, params, many, context)

    with connection.execute_wrapper(counting), pytest.raises(Ended):
        erase(asked)
    assert erase(Erasure.objects.unfinished().get()).removed["conversations"] == 2
    assert left_of(WORDS, whole_database()) == []


# ---- the doors ----


def customer(row: Conversation, body: dict[str, Any] | None = None, session_id: str = "", token: str = "") -> Any:
    return Client().post(
        f"/api/v1/chat/sessions/{session_id or row.session_id}/erase/",
        body or {},
        content_type="application/json",
        headers={"Authorization": f"Bearer {token or row.token}"},  # type: ignore[attr-defined]
    )


def test_a_customer_erases_the_chat_and_may_ask_for_the_receipt_again(live: str) -> None:
    row, other = opened(), opened()
    answer = customer(row)
    assert (answer.status_code, answer.json()["state"], answer.json()["asked_by"]) == (202, "erased", "customer")
    assert Conversation.objects.get() == other
    assert customer(row).json() == answer.json()
    assert customer(row, session_id=other.session_id).status_code == 404


def test_a_customer_erases_an_ended_chat(live: str) -> None:
    row = opened()
    async_to_sync(chat.end_chat)(row.pk, "ended_by_customer")
    assert customer(row).status_code == 202
    assert not Conversation.objects.exists()


def test_everything_needs_a_proven_identity(live: str) -> None:
    row, _ = opened(), opened()
    Conversation.objects.update(verified=False)
    answer = customer(row, {"scope": "everything"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert Conversation.objects.count() == 2
    Conversation.objects.update(verified=True)
    answer = customer(row, {"scope": "everything"})
    assert (answer.status_code, answer.json()["removed"]["conversations"]) == (202, 2)
    assert customer(row).json() == answer.json()


def test_no_other_token_erases(live: str) -> None:
    row, other = opened(), opened()
    for answer in (customer(row, token=other.token), customer(row, token="x"), customer(row, session_id="x")):  # type: ignore[attr-defined]
        assert answer.status_code == 404
    assert Client().post(f"/api/v1/chat/sessions/{row.session_id}/erase/").status_code == 401
    assert customer(row, {"scope": "world"}).status_code == 400
    assert Conversation.objects.count() == 2


@pytest.mark.parametrize("who", ["stranger", "without", "with", "superuser"])
@pytest.mark.parametrize(
    ("method", "path", "needed", "success"),
    [
        ("post", "erase/", "agent_app.erase_customer", 202),
        ("post", "export/", "agent_app.export_customer", 200),
        ("get", "erasures/{}/", "agent_app.view_erasure", 200),
    ],
)
def test_each_staff_door_needs_its_own_permission(
    live: str,
    who: str,
    method: str,
    path: str,
    needed: str,
    success: int,
) -> None:
    asked = Erasure.objects.of_customer("nobody", "ana")
    every = {"agent_app.erase_customer", "agent_app.export_customer", "agent_app.view_erasure"}
    client = {
        "stranger": Client,
        "without": lambda: logged_in(*(every - {needed}), username="without"),
        "with": lambda: logged_in(needed, username="with"),
        "superuser": lambda: logged_in(is_superuser=True, username="root"),
    }[who]()
    answer = getattr(client, method)(
        f"/api/v1/customers/{path.format(asked.number)}", {"user_id": "x"}, content_type="application/json"
    )
    assert answer.status_code == {"stranger": 401, "without": 403}.get(who, success)


def test_staff_erase_over_rest(live: str) -> None:
    opened()
    client = logged_in("agent_app.erase_customer", "agent_app.view_erasure", username="lea")
    answer = client.post("/api/v1/customers/erase/", {"user_id": USER}, content_type="application/json")
    receipt = answer.json()
    assert (answer.status_code, receipt["asked_by"], receipt["removed"]["messages"]) == (202, "lea", 2)
    checked = client.get(f"/api/v1/customers/erasures/{receipt['receipt']}/").json()
    assert checked == receipt | {"sound": True, "doubts": []}
    assert client.get("/api/v1/customers/erasures/ERA-NONE/").status_code == 404


def test_old_unfinished_receipts_are_not_sound(live: str) -> None:
    asked = Erasure.objects.of_customer(USER, "ana")
    assert asked.doubts() == ["The erasure is not finished: run it again, or cleanup."]
    assert timezone.now() - asked.asked_at < timedelta(minutes=1)


# ---- in memory ----


def test_no_instance_remembers_what_an_erased_customer_asked_or_attached() -> None:
    """Of two that read the database by themselves, as they do twice a second, whichever of them erased."""
    conversation = opened()
    asked = f"Does the train to Obiralowka carry {MESSAGE}?"
    instances = [indexing.knowledge, indexing.Knowledge()]
    attached = Source("a1", "peterhof-receipt.pdf", f"{asked} It does.")
    for instance in instances:
        instance.find(asked)
        async_to_sync(instance.search_within)(attached, asked)
        assert "Obiralowka" in repr(vars(instance))
    attachments._texts["a1"] = attached, False
    erase(Erasure.objects.of_customer(USER, "ana"))
    for instance in instances:
        instance.renew()
        assert not any(word in repr(vars(instance)) for word in WORDS)
    assert not attachments._texts
    assert conversation.pk not in journal.recent._tails
