"""Whether the audit log is still what was written: which row was changed, taken out or moved, which seal is broken.

Reads the log once, a seal's rows at a time, whatever its length. A row whose details were erased for a customer is
checked by what remains of it: its digest, under the seal.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agent_app.models.audit import RETENTION, AuditEntry, AuditSeal
from agent_app.models.erasure import Erasure

READ_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """`kind`: changed, missing, moved, details, unsealed, seal or head. `where`: the number of a row or a seal."""

    kind: str
    where: str
    says: str


@dataclass
class AuditCheck:
    """What `run` found. `head` is the newest seal's hash: noted elsewhere, it vouches for everything before it."""

    entries: int = 0
    erased: int = 0
    seals: int = 0
    head: str = ""
    findings: list[Finding] = field(default_factory=list)

    @classmethod
    def run(cls, head: str = "", advance: Callable[[int], None] = lambda read: None) -> "AuditCheck":
        """`advance` is told how many rows were read. With `head`, the hash of an earlier seal, also a log that was
        cut off or written anew as a whole is found.
        """
        check = cls()
        last = check._seals(advance)
        check._after(last, advance)
        if head and not AuditSeal.objects.filter(hash=head).exists():
            check._found("head", head, "No seal has this hash: the log was cut off before it, or written anew.")
        return check

    def _found(self, kind: str, where: object, says: str) -> None:
        self.findings.append(Finding(kind, str(where), says))

    def _seals(self, advance: Callable[[int], None]) -> int:
        """The number of the last sealed row."""
        previous, number, last = "", 0, 0
        for seal in AuditSeal.objects.order_by("number").iterator(chunk_size=READ_AT_ONCE):
            self.seals += 1
            self.head = seal.hash
            if seal.number != number + 1:
                self._found("seal", number + 1, f"Before seal {seal.number}, seals from {number + 1} on are missing.")
            elif seal.previous != previous or seal.first != last + 1:
                self._found("seal", seal.number, f"Seal {seal.number} does not follow the seal before it.")
            rows = list(AuditEntry.objects.filter(number__range=(seal.first, seal.last)).order_by("number"))
            self._sealed(seal, rows)
            advance(len(rows))
            previous, number, last = seal.hash, seal.number, seal.last
        return last

    def _sealed(self, seal: AuditSeal, rows: Sequence[AuditEntry]) -> None:
        sound = self._complete(seal, rows)
        for row in rows:
            assert row.number is not None  # noqa: S101 - they were found by it
            if row.mark_as(row.number) != row.mark:
                sound = False
                self._altered(seal, row)
            self._details(row, f"Row {row.number}")
        if sound and seal.hash_over([str(row.mark) for row in rows]) != seal.hash:
            self._found("seal", seal.number, f"Seal {seal.number} is not over rows {seal.first} to {seal.last}.")

    def _complete(self, seal: AuditSeal, rows: Sequence[AuditEntry]) -> bool:
        there = {row.number for row in rows}
        missing = [number for number in range(seal.first, seal.last + 1) if number not in there]
        for number in missing:
            self._found("missing", number, f"Row {number} is missing from seal {seal.number}.")
        return not missing

    def _altered(self, seal: AuditSeal, row: AuditEntry) -> None:
        places = range(seal.first, seal.last + 1)
        came_from = next((number for number in places if row.mark_as(number) == row.mark), None)
        if came_from is not None:
            self._found("moved", row.number, f"Row {row.number} was sealed as row {came_from}.")
        else:
            self._found("changed", row.number, f"Row {row.number} is not the row that was sealed.")

    def _details(self, row: AuditEntry, name: str) -> None:
        self.entries += 1
        kept = row.kept_details
        if kept is not None:
            if row.digest_with(kept) != row.digest:
                self._found("changed", row.number or row.pk, f"{name} or its details were changed.")
        elif row.erased_for != RETENTION and row.erased_for not in self.receipts:
            self._found("details", row.number or row.pk, f"{name} has lost its details, and no erasure took them.")
        elif row.session_id:  # an erasure empties it, and what the digest was made of is gone
            self._found("changed", row.number or row.pk, f"{name} was given a session after its details were erased.")
        else:
            self.erased += 1

    @functools.cached_property
    def receipts(self) -> set[str]:
        return set(Erasure.objects.values_list("number", flat=True))

    def _after(self, last: int, advance: Callable[[int], None]) -> None:
        """Rows that no seal is over: those that wait for the next one, and those that were put in."""
        beyond = AuditEntry.objects.filter(number__gt=last).order_by("number")
        for row in beyond.iterator(chunk_size=READ_AT_ONCE):
            self._found("unsealed", row.number, f"Row {row.number} has a number, and no seal is over it.")
            self._details(row, f"Row {row.number}")
        waiting = AuditEntry.objects.filter(number=None).order_by("id")
        for row in waiting.iterator(chunk_size=READ_AT_ONCE):
            self._details(row, f"The unsealed row with id {row.pk}")
            advance(1)
