"""Who did what at the desk: append only, sealed in a chain, and still able to forget a customer.

A row says when, who and what, and holds a salted digest of the rest. The rest, what names a customer, lies beside it
with its salt and can be erased: what then remains tells nobody anything, and still cannot be changed unseen.

`AuditSeal.seal_next` numbers the rows 1, 2, 3 … and seals them in batches, each over the one before. Numbers are given
by the sealing, not by the row's id: in PostgreSQL a transaction that began earlier may well commit later.
"""

import hashlib
import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, Self

from django.core.serializers.json import DjangoJSONEncoder
from django.db import IntegrityError, connection, models, transaction
from django.utils import timezone

from agent_app.models.conversations import Conversation

SEALED_AT_ONCE = 1000
LATELY, SETTLED = timedelta(days=8), timedelta(minutes=5)
SYSTEM = "system"
RETENTION = "retention"  # in the place of a receipt's number, where details went with their conversation


class AppendOnly(TypeError):
    """The audit log is written once: nothing in it is changed or deleted."""

    def __init__(self) -> None:
        super().__init__("The audit log is append only: its entries are neither changed nor deleted.")


def sha256(*parts: str) -> str:
    """Of the parts and of where one ends and the next begins."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    def of_user(self, user_id: str) -> Self:
        return self.filter(kept__user_id=user_id)

    def of_chats(self, session_ids: Sequence[str]) -> Self:
        return self.filter(session_id__in=session_ids)

    def of_no_chat(self, now: datetime) -> Self:
        """Written lately for a chat that is gone: what an answer in the making still noted while it was erased."""
        lately = self.filter(at__range=(now - LATELY, now - SETTLED), erased_for=None).exclude(session_id="")
        return lately.filter(~models.Exists(Conversation.objects.filter(session_id=models.OuterRef("session_id"))))

    def exported(self) -> list[Any]:
        return []  # it tells what staff did, and is not given to a customer

    def erase(self, receipt: str) -> int:
        """Forgets what these rows tell of a customer; the rows and their digests stay. How many there were."""
        ids = list(self.filter(erased_for=None).values_list("pk", flat=True))
        AuditDetails.objects.filter(entry__in=ids).delete()
        super(AuditQuerySet, AuditEntry.objects.filter(pk__in=ids)).update(session_id="", erased_for=receipt)
        return len(ids)

    def update(self, **values: Any) -> NoReturn:
        raise AppendOnly

    def delete(self) -> NoReturn:
        raise AppendOnly

    def bulk_update(self, *args: Any, **options: Any) -> NoReturn:
        raise AppendOnly

    def bulk_create(self, *args: Any, **options: Any) -> NoReturn:
        raise AppendOnly  # a row has its digest and its details from `keep` alone


class AuditManager(models.Manager.from_queryset(AuditQuerySet)):  # type: ignore[misc]  # made at run time
    def get_queryset(self) -> AuditQuerySet:
        found: AuditQuerySet = super().get_queryset().select_related("kept")
        return found


class AuditEntry(models.Model):
    """One act of staff, operator or system, on a session or a conversation. Never holds message text."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor = models.CharField(max_length=150, help_text="a username, or 'system'")
    action = models.CharField(max_length=64)
    session_id = models.CharField(max_length=200, db_index=True, blank=True)
    digest = models.CharField(max_length=64, editable=False, help_text="SHA-256 of all of it, salted")
    erased_for = models.CharField(
        max_length=32, null=True, blank=True, help_text="the receipt of the erasure that took the details"
    )
    number = models.PositiveBigIntegerField(null=True, unique=True, help_text="its place in the sealed log")
    mark = models.CharField(max_length=64, null=True, editable=False, help_text="SHA-256 of the row as it was sealed")

    objects = AuditManager()

    class Meta:
        ordering = ["-at", "-id"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"
        indexes = [models.Index(fields=["id"], name="audit_unsealed", condition=models.Q(number__isnull=True))]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnly
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly

    @classmethod
    def record(cls, action: str, session_id: str, actor: str | None = None, **details: Any) -> "AuditEntry":
        """Writes one entry. A `user_id` among the details is what an erasure finds it by."""
        entry = cls.made(action, session_id, actor, **details)
        cls.keep([entry])
        return entry

    @classmethod
    def made(cls, action: str, session_id: str, actor: str | None = None, **details: Any) -> "AuditEntry":
        """An entry of this moment that is still to be kept."""
        entry = cls(action=action, session_id=session_id, actor=(actor or SYSTEM)[:150], at=timezone.now())
        kept = AuditDetails(
            entry=entry,
            salt=secrets.token_hex(16),
            text=json.dumps(details, sort_keys=True, cls=DjangoJSONEncoder),
            user_id=details.get("user_id"),
        )
        entry.digest = entry.digest_with(kept)
        return entry

    @classmethod
    def keep(cls, entries: Sequence["AuditEntry"]) -> None:
        """Writes these new entries in one transaction; after a failure they can be kept again."""
        for entry in entries:
            entry.pk = None
        with transaction.atomic():
            super(AuditQuerySet, AuditQuerySet(cls)).bulk_create(entries)
            for entry in entries:
                entry.kept.entry = entry
            AuditDetails.objects.bulk_create([entry.kept for entry in entries])

    @classmethod
    def keep_of_chats(cls, entries: Sequence["AuditEntry"]) -> None:
        """As `keep`, without those whose chat was erased meanwhile: what was said in it must not come back.

        An erasure locks its chats before it looks: it waits for this transaction, or this one for it.
        """
        with transaction.atomic():
            there = Conversation.objects.held({entry.session_id for entry in entries})
            cls.keep([entry for entry in entries if entry.session_id in there])

    def write(self) -> None:
        """Into a transaction that somebody else has begun and ends, the journal's: without one of Django's own."""
        self.save(force_insert=True)
        self.kept.entry = self
        self.kept.save(force_insert=True)

    @property
    def details(self) -> dict[str, Any] | None:
        """None once they are erased."""
        kept = self.kept_details
        return json.loads(kept.text) if kept is not None else None

    @property
    def kept_details(self) -> "AuditDetails | None":
        return getattr(self, "kept", None)

    @property
    def is_as_written(self) -> bool:
        """Its details are there, and those of which it holds the digest."""
        kept = self.kept_details
        return kept is not None and self.digest == self.digest_with(kept)

    def digest_with(self, kept: "AuditDetails") -> str:
        return sha256(kept.salt, instant(self.at), self.actor, self.action, self.session_id, kept.text)

    def mark_as(self, number: int) -> str:
        """What the seal vouches for: all that stays when the details are erased."""
        return sha256(str(number), str(self.pk), instant(self.at), self.actor, self.action, self.digest)


class AuditDetails(models.Model):
    """What of an entry may name a customer, with the salt of the entry's digest. Erased together."""

    entry = models.OneToOneField(AuditEntry, models.PROTECT, primary_key=True, related_name="kept")
    salt = models.CharField(max_length=32)
    text = models.TextField(help_text="JSON, to the letter: the digest is of this text")
    user_id = models.CharField(max_length=200, null=True, db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"details of {self.pk}"


class AuditSeal(models.Model):
    """One batch of the log, sealed over the batch before it."""

    number = models.PositiveBigIntegerField(primary_key=True)
    first = models.PositiveBigIntegerField(help_text="number of its first row")
    last = models.PositiveBigIntegerField(help_text="number of its last row")
    sealed_at = models.DateTimeField()
    previous = models.CharField(max_length=64, help_text="the hash of the seal before it; empty for the first")
    hash = models.CharField(max_length=64, help_text="SHA-256 over the seal before it and the marks of its rows")

    class Meta:
        ordering = ["number"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"seal {self.number} of rows {self.first} to {self.last}"

    @classmethod
    def newest(cls) -> "AuditSeal | None":
        return cls.objects.order_by("-number").first()

    @classmethod
    def seal_next(cls, limit: int = SEALED_AT_ONCE) -> "AuditSeal | None":
        """Seals what is not yet sealed, `limit` rows at the most; None when there is nothing.

        Of several at once one seals, and the others go on with what is left: the number is the primary key.
        """
        while True:
            before = cls.newest()
            try:
                with transaction.atomic():
                    return cls._seal_next(limit)
            except IntegrityError:
                if cls.newest() == before:
                    raise  # nobody was faster: a row has a number that no seal gave it

    @classmethod
    def _seal_next(cls, limit: int) -> "AuditSeal | None":
        before = cls.newest()
        rows = list(AuditEntry.objects.select_related(None).filter(number=None).order_by("id")[:limit])
        if not rows:
            return None
        first = before.last + 1 if before else 1
        marks = [row.mark_as(number) for number, row in enumerate(rows, first)]
        seal = cls(
            number=before.number + 1 if before else 1,
            first=first,
            last=first + len(rows) - 1,
            sealed_at=timezone.now(),
            previous=before.hash if before else "",
        )
        seal.hash = seal.hash_over(marks)
        seal.save(force_insert=True)  # before the rows: whoever comes second waits here, then begins anew
        numbered = [(number, mark, row.pk) for (number, mark), row in zip(enumerate(marks, first), rows, strict=True)]
        with connection.cursor() as cursor:
            table = AuditEntry._meta.db_table
            cursor.executemany(f"UPDATE {table} SET number = %s, mark = %s WHERE id = %s", numbered)  # noqa: S608
        return seal

    def hash_over(self, marks: Sequence[str]) -> str:
        return sha256(self.previous, str(self.number), str(self.first), instant(self.sealed_at), *marks)
