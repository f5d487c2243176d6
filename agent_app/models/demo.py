"""The demo shop's books: what its back end keeps, shared by all instances. Nothing of the desk itself is in here."""

from typing import Any

from django.db import models


class DemoRecord(models.Model):
    """One customer, order, invoice, product or ticket of the made-up shop; `owner` is a customer's number, or ""."""

    kind = models.CharField(max_length=16)
    number = models.CharField(max_length=40)
    owner = models.CharField(max_length=40, blank=True, db_index=True)
    data = models.JSONField(default=dict)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "number"], name="demo_record_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"

    def note(self, did: str) -> None:
        """What was done to it, in order: so that a thing done twice can be seen."""
        self.data.setdefault("history", []).append(did)

    def to_wire(self) -> dict[str, Any]:
        return dict(self.data)


class DemoWrite(models.Model):
    """A write that was done, under its Idempotency-Key, with its answer: the same again is answered, not done."""

    key = models.CharField(max_length=100, unique=True)
    request = models.TextField(help_text="method, path and body")
    status = models.PositiveSmallIntegerField()
    answer = models.JSONField()

    def __str__(self) -> str:
        return self.key
