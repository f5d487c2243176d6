"""The audit log: append only, sealed, and what `manage.py verify_audit` finds when somebody was at it."""

import io
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from agent_app.models import AuditDetails, AuditEntry, AuditSeal
from agent_app.models.audit import RETENTION, AppendOnly
from agent_app.models.audit_check import AuditCheck

pytestmark = [pytest.mark.integration, pytest.mark.django_db]

ROWS = AuditEntry._meta.db_table


def write(count: int, first: int = 0) -> list[AuditEntry]:
    numbers = range(first, first + count)
    return [AuditEntry.record("chat.ended", f"s{number}", "ana", reason=f"r{number}") for number in numbers]


def seal_all(size: int = 4) -> None:
    while AuditSeal.seal_next(size):
        pass


@pytest.fixture
def sealed() -> list[AuditEntry]:
    """Ten rows under three seals, and two that wait."""
    rows = write(10)
    seal_all()
    return rows + write(2, first=10)


def sql(statement: str, *values: Any) -> None:
    """Past the ORM, as somebody with the database's password would."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def found(head: str = "") -> list[tuple[str, str]]:
    return [(finding.kind, finding.where) for finding in AuditCheck.run(head).findings]


def test_what_was_recorded_can_be_read(sealed: list[AuditEntry]) -> None:
    entry = AuditEntry.objects.get(pk=sealed[3].pk)
    assert (entry.action, entry.session_id, entry.actor, entry.details) == ("chat.ended", "s3", "ana", {"reason": "r3"})
    assert entry.number == 4


def test_many_are_read_in_one_query(sealed: list[AuditEntry], django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert len([entry.details for entry in AuditEntry.objects.all()]) == 12


def test_nothing_is_changed_or_deleted_through_the_orm(sealed: list[AuditEntry]) -> None:
    entry = AuditEntry.objects.get(pk=sealed[0].pk)
    entry.actor = "bob"
    attempts: list[Callable[[], Any]] = [
        entry.save,
        entry.delete,
        lambda: AuditEntry.objects.update(actor="bob"),
        lambda: AuditEntry.objects.filter(actor="ana").delete(),
        lambda: AuditEntry.objects.bulk_update([entry], ["actor"]),
        lambda: AuditEntry.objects.bulk_create([AuditEntry(action="forged")]),
    ]
    for attempt in attempts:
        with pytest.raises(AppendOnly):
            attempt()
    assert AuditEntry.objects.filter(actor="ana").count() == 12
    assert found() == []


def test_a_sound_log_is_sound(sealed: list[AuditEntry]) -> None:
    check = AuditCheck.run()
    assert (check.entries, check.seals, check.findings) == (12, 3, [])
    assert check.head == AuditSeal.newest().hash  # type: ignore[union-attr]


@pytest.mark.parametrize("column", ["actor", "action", "session_id", "digest"])
def test_a_changed_row_is_named(sealed: list[AuditEntry], column: str) -> None:
    sql(f"UPDATE {ROWS} SET {column} = 'x' WHERE number = 6")
    assert ("changed", "6") in found()
    assert {where for _, where in found()} == {"6"}


def test_a_changed_moment_is_named(sealed: list[AuditEntry]) -> None:
    sql(f"UPDATE {ROWS} SET at = '2020-01-01 00:00:00+00:00' WHERE number = 6")
    assert ("changed", "6") in found()


def test_changed_details_are_named(sealed: list[AuditEntry]) -> None:
    sql("UPDATE agent_app_auditdetails SET text = '{}' WHERE entry_id = %s", sealed[5].pk)
    assert found() == [("changed", "6")]


def test_a_change_that_also_makes_the_mark_anew_breaks_the_seal(sealed: list[AuditEntry]) -> None:
    sql(f"UPDATE {ROWS} SET actor = 'bob' WHERE number = 6")
    row = AuditEntry.objects.get(number=6)
    digest = row.digest_with(row.kept)
    sql(f"UPDATE {ROWS} SET digest = %s WHERE number = 6", digest)
    sql(f"UPDATE {ROWS} SET mark = %s WHERE number = 6", AuditEntry.objects.get(number=6).mark_as(6))
    assert found() == [("seal", "2")]


def test_a_seal_made_anew_breaks_the_next(sealed: list[AuditEntry]) -> None:
    sql("UPDATE agent_app_auditseal SET hash = 'x' WHERE number = 2")
    assert found() == [("seal", "2"), ("seal", "3")]


def test_a_missing_row_is_named(sealed: list[AuditEntry]) -> None:
    AuditDetails.objects.filter(entry=sealed[5]).delete()
    sql(f"DELETE FROM {ROWS} WHERE number = 6")
    assert found() == [("missing", "6")]


def test_reordered_rows_are_named(sealed: list[AuditEntry]) -> None:
    for before, after in ((6, 100), (7, 6), (100, 7)):
        sql(f"UPDATE {ROWS} SET number = %s WHERE number = %s", after, before)
    assert found() == [("moved", "6"), ("moved", "7")]
    assert "was sealed as row 7" in AuditCheck.run().findings[0].says


def test_a_missing_seal_is_named(sealed: list[AuditEntry]) -> None:
    sql("DELETE FROM agent_app_auditseal WHERE number = 2")
    assert ("seal", "2") in found()


def test_a_row_put_in_is_named(sealed: list[AuditEntry]) -> None:
    sql(f"UPDATE {ROWS} SET number = 11, mark = 'x' WHERE id = %s", sealed[10].pk)
    assert found() == [("unsealed", "11")]


def test_a_changed_row_that_waits_for_its_seal_is_named(sealed: list[AuditEntry]) -> None:
    sql(f"UPDATE {ROWS} SET actor = 'bob' WHERE id = %s", sealed[11].pk)
    assert found() == [("changed", str(sealed[11].pk))]


def test_a_log_cut_off_is_found_by_the_head_noted_before(sealed: list[AuditEntry]) -> None:
    head = AuditSeal.newest().hash  # type: ignore[union-attr]
    assert found(head) == []
    AuditDetails.objects.filter(entry__number__gt=8).delete()
    sql(f"DELETE FROM {ROWS} WHERE number > 8")
    sql("DELETE FROM agent_app_auditseal WHERE number = 3")
    assert found() == []
    assert found(head) == [("head", head)]


def test_erased_details_leave_a_digest_that_still_cannot_be_changed(sealed: list[AuditEntry]) -> None:
    AuditEntry.record("customer.seen", "other", "ana", user_id="C-1", note="Anna Karenina")
    AuditEntry.record("customer.seen", "other", "ana", user_id="C-2")
    assert AuditEntry.objects.of_user("C-1").erase(RETENTION) == 1
    assert AuditEntry.objects.of_chats(["s5", "s11"]).erase(RETENTION) == 2
    row = AuditEntry.objects.get(number=6)
    assert (row.session_id, row.details, row.actor, row.action) == ("", None, "ana", "chat.ended")
    assert AuditCheck.run().erased == 3
    assert found() == []
    seal_all()
    assert found() == []
    sql(f"UPDATE {ROWS} SET actor = 'bob' WHERE number = 6")
    assert found() == [("changed", "6")]


def test_details_that_went_without_an_erasure_are_named(sealed: list[AuditEntry]) -> None:
    AuditDetails.objects.filter(entry=sealed[5]).delete()
    assert found() == [("details", "6")]
    sql(f"UPDATE {ROWS} SET erased_for = 'ERA-INVENTED' WHERE number = 6")
    assert found() == [("details", "6")]


def test_no_chat_is_pinned_on_a_row_whose_details_were_erased(sealed: list[AuditEntry]) -> None:
    assert AuditEntry.objects.of_chats(["s5"]).erase(RETENTION) == 1
    assert found() == []
    sql(f"UPDATE {ROWS} SET session_id = 's-other' WHERE number = 6")
    assert found() == [("changed", "6")]


def test_the_digest_of_a_guess_is_not_the_digest(sealed: list[AuditEntry]) -> None:
    """Two like acts have nothing in common that a reader of the rows could compare."""
    one, other = (AuditEntry.record("chat.ended", "s", "ana", reason="x") for _ in range(2))
    assert one.digest != other.digest


def test_the_command_says_what_and_ends_with_one(sealed: list[AuditEntry]) -> None:
    out = io.StringIO()
    call_command("verify_audit", stdout=out)
    assert "12 entries (0 with details erased) under 3 seals" in out.getvalue()
    sql(f"UPDATE {ROWS} SET actor = 'bob' WHERE number = 6")
    out = io.StringIO()
    with pytest.raises(CommandError) as failure:
        call_command("verify_audit", stdout=out)
    assert failure.value.returncode == 1
    assert "changed: Row 6 " in out.getvalue()
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("verify_audit", "--json", stdout=out)
    said = json.loads(out.getvalue())
    assert (said["sound"], said["findings"][0]["where"]) == (False, "6")


@pytest.mark.django_db(transaction=True)
def test_several_seal_at_once_and_each_row_once() -> None:
    write(60)
    start = threading.Barrier(3)

    def one() -> None:
        start.wait()
        seal_all(7)
        connection.close()

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert list(AuditEntry.objects.order_by("number").values_list("number", flat=True)) == list(range(1, 61))
    assert found() == []
