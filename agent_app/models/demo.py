"""The demo shop's books: what its back end keeps, shared by all instances. Nothing of the desk itself is in here."""

from collections.abc import Sequence
from typing import Any, Self

from django.db import models

from agent_app.models.confirmations import Confirmation


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


class DemoWriteQuerySet(models.QuerySet["DemoWrite"]):
    def of_chats(self, session_ids: Sequence[str]) -> Self:
        """Those that these customers agreed to: a write's key is its confirmation's id."""
        agreed = Confirmation.objects.filter(conversation__session_id__in=session_ids)
        return self.filter(key__in=agreed.values("public_id"))


class DemoWrite(models.Model):
    """A write that was done, under its Idempotency-Key, with its answer: the same again is answered, not done."""

    key = models.CharField(max_length=100, unique=True)
    request = models.TextField(help_text="method, path and body")
    status = models.PositiveSmallIntegerField()
    answer = models.JSONField()

    objects = DemoWriteQuerySet.as_manager()

    def __str__(self) -> str:
        return self.key
