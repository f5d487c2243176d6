"""Forgetting a customer: what is theirs, how it goes, and the receipt that stays.

What of a model is a customer's, the model says itself: by a cascade from its conversation, or by methods of its
QuerySet, `of_user(user_id)` and `of_chats(session_ids)`, with `erase(receipt)` where rows are not simply deleted.
There is no list of models here; a test walks all of them and fails when one that could hold a customer says nothing.

Django's own log outlives the rows it is about. So nothing in it calls a thing by a customer's words: each such model's
`__str__` is a number, and a test holds them to that, too.
"""

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.files.storage import default_storage
from django.db import models, transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac

from agent_app.models.audit import RETENTION, AuditEntry
from agent_app.models.conversations import Conversation, hash_token, wire_time
from agent_app.models.desk import TICKET_LETTERS
from agent_app.models.drafts import ERASED, DraftSource
from agent_app.models.knowledge import KnowledgeState

FOLDER = "attachments"
ON_RECORD = "customer.erased"  # as the audit log calls it
RENAMED = "titles of drafts"  # as the receipt calls drafts whose title or address was the question
SOON = timedelta(minutes=1)
BACKUPS = (
    "Copies made before this moment (database backups, snapshots, logs of proxies) are beyond its reach: they are "
    "forgotten when they run out, and a restored one has to be erased from again."
)


class ErasureQuerySet(models.QuerySet["Erasure"]):
    def unfinished(self) -> "ErasureQuerySet":
        return self.filter(finished_at=None).order_by("id")

    def of_customer(self, user_id: str, asked_by: str, through: Conversation | None = None) -> "Erasure":
        """The erasure of everything of this customer: the unfinished one, or a new one. `through`: the customer's own
        chat, whose token may ask for the receipt again.
        """
        return self._ask(Erasure.Scope.CUSTOMER, user_id, asked_by, through)

    def of_chat(self, conversation: Conversation, asked_by: str) -> "Erasure":
        return self._ask(Erasure.Scope.CHAT, conversation.session_id, asked_by, conversation)

    def _ask(self, scope: str, subject: str, asked_by: str, through: Conversation | None) -> "Erasure":
        number = Erasure.new_number()
        asked, _ = self.get_or_create(
            scope=scope,
            subject=subject,
            defaults={
                "number": number,
                "subject_digest": Erasure.digest_of(number, subject),
                "chat_digest": Erasure.digest_of(number, through.session_id) if through else "",
                "token_hash": through.token_hash if through else "",
                "asked_by": asked_by[:150],
            },
        )
        return asked

    def asked_with(self, token: str, session_id: str) -> "Erasure | None":
        """What the customer asked with this token of this chat, which is perhaps gone."""
        found = self.filter(token_hash=hash_token(token)).order_by("-id")
        return next((asked for asked in found if asked.was_asked_in(session_id)), None)


class Erasure(models.Model):
    """One wish to be forgotten, and once it is fulfilled, its receipt.

    `subject` is the only thing in it that names the customer, and goes with the rest: what stays of it is a digest
    under the site's SECRET_KEY, by which somebody who knows the customer's id can say that this receipt is theirs.
    """

    class Scope(models.TextChoices):
        CUSTOMER = "customer", "everything of a customer"
        CHAT = "chat", "one chat"

    number = models.CharField(max_length=32, unique=True, editable=False)
    scope = models.CharField(max_length=8, choices=Scope.choices)
    subject = models.CharField(max_length=200, blank=True, editable=False, help_text="gone once it is finished")
    subject_digest = models.CharField(max_length=64, editable=False)
    chat_digest = models.CharField(max_length=64, blank=True, editable=False)
    token_hash = models.CharField(max_length=64, blank=True, db_index=True, editable=False)
    asked_by = models.CharField(max_length=150, help_text="a username, 'customer' or 'operator'")
    asked_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    removed = models.JSONField(default=dict, help_text="how many of what")
    conversations = models.JSONField(default=list, editable=False, help_text="numbers of the rows that went")
    fingerprint = models.CharField(max_length=64, blank=True, editable=False)

    objects = ErasureQuerySet.as_manager()

    class Meta:
        ordering = ["-asked_at", "-id"]
        default_permissions = ("view",)
        permissions = [
            ("erase_customer", "Can erase everything of a customer"),
            ("export_customer", "Can export everything of a customer"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["scope", "subject"], condition=models.Q(finished_at__isnull=True), name="erasure_asked_once"
            )
        ]

    def __str__(self) -> str:
        return self.number

    @staticmethod
    def new_number() -> str:
        return "ERA-" + "".join(chr(secrets.choice(TICKET_LETTERS)) for _ in range(16))

    @staticmethod
    def digest_of(number: str, subject: str) -> str:
        return salted_hmac(number, subject, algorithm="sha256").hexdigest()

    def is_about(self, subject: str) -> bool:
        return constant_time_compare(self.subject_digest, self.digest_of(self.number, subject))

    def was_asked_in(self, session_id: str) -> bool:
        return constant_time_compare(self.chat_digest, self.digest_of(self.number, session_id))

    def receipt(self) -> dict[str, Any]:
        """What, how many, when and by whom; nothing of what was erased."""
        return {
            "receipt": self.number,
            "scope": self.scope,
            "state": "erased" if self.finished_at else "pending",
            "asked_at": wire_time(self.asked_at),
            "asked_by": self.asked_by,
            "finished_at": wire_time(self.finished_at),
            "removed": dict(sorted(self.removed.items())),
            "fingerprint": self.fingerprint,
            "backups": BACKUPS,
        }

    def fingerprint_now(self) -> str:
        """Of all that the receipt says; the audit log keeps it, too, under its seal."""
        said = {name: value for name, value in self.receipt().items() if name not in {"fingerprint", "backups"}}
        said |= {"subject": self.subject_digest, "conversations": sorted(self.conversations)}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def doubts(self, subject: str = "") -> list[str]:
        """What speaks against this receipt, in sentences; empty when it holds. With the `subject` (a user id, or a
        session id of one chat) also whether it is theirs, and whether anything of them is here again.
        """
        doubts = []
        if self.finished_at is None:
            return ["The erasure is not finished: run it again, or cleanup."]
        if self.fingerprint != self.fingerprint_now():
            doubts.append("The receipt was changed after it was written.")
        recorded = AuditEntry.objects.filter(
            action=ON_RECORD, at__gte=self.finished_at - SOON, at__lte=self.finished_at + SOON
        )
        if (self.number, self.fingerprint) not in [
            (entry.details["receipt"], entry.details["fingerprint"])
            for entry in recorded
            if entry.details and entry.is_as_written
        ]:
            doubts.append("The audit log does not know it as it is.")
        left = Conversation.objects.filter(pk__in=self.conversations).count()
        if left:
            doubts.append(f"{left} of its conversations are here again: an older copy of the database was restored.")
        if subject and not self.is_about(subject):
            doubts.append("It is not about this customer.")
        elif subject:
            here = Erasure(scope=self.scope, subject=subject).foretold()
            doubts += [f"{count} {what} of this customer are here." for what, count in here.items()]
        return doubts

    # ---- what there is ----

    def foretold(self) -> dict[str, int]:
        """How many of what there is now; what is the customer's in more than one way is counted once."""
        chats = self.chats()
        session_ids = list(chats.values_list("session_id", flat=True))
        found: Counter[str] = Counter({named(Conversation): len(session_ids)})
        found["files"] = sum(len(files_of(session_id)) for session_id in session_ids)
        theirs: dict[type[models.Model], models.QuerySet[Any]] = {}
        for model, path in hanging_on(Conversation):
            theirs[model] = model._default_manager.filter(**{f"{path}__in": chats.order_by()})
        for model in declaring("of_chats"):
            rows = model._default_manager.of_chats(session_ids)  # type: ignore[attr-defined]
            theirs[model] = theirs[model] | rows if model in theirs else rows
        if self.scope == self.Scope.CUSTOMER:
            for model in declaring("of_user"):
                rows = model._default_manager.of_user(self.subject)  # type: ignore[attr-defined]
                theirs[model] = theirs[model] | rows if model in theirs else rows
        found.update({named(model): rows.count() for model, rows in theirs.items()})
        sources: Any = theirs[DraftSource]
        found[RENAMED] = len(list(sources.still_named()))
        return dict(+found)

    def chats(self) -> models.QuerySet[Conversation]:
        if self.finished_at is not None:
            return Conversation.objects.none()
        named = {"user_id": self.subject} if self.scope == self.Scope.CUSTOMER else {"session_id": self.subject}
        return Conversation.objects.filter(**named).order_by("pk")

    def forget_chats(self, ids: Sequence[int]) -> int:
        """Deletes those of these chats that are closed, with all that hangs on them; how many.

        Safe to be killed in: files go first, so that their rows are still there to find them by.
        """
        with transaction.atomic():
            held = Erasure.objects.select_for_update().get(pk=self.pk)  # a second runner waits here
            # Locked before anything is looked for: whoever still writes about one of them has ended, or finds none.
            closed = held.chats().filter(pk__in=ids, state="closed").select_for_update()
            chats = dict(closed.values_list("pk", "session_id"))
            if chats:
                held.note(forget_chats(chats, self.number), list(chats))
                KnowledgeState.forget_customers()
        return len(chats)

    def forget_the_rest(self) -> None:
        """What is the customer's without a chat, then the name itself; the receipt is complete."""
        with transaction.atomic():
            held = Erasure.objects.select_for_update().get(pk=self.pk)
            if held.finished_at is not None:
                return
            if held.scope == self.Scope.CUSTOMER:
                held.note(forget_user(held.subject, self.number), [])
            held.subject, held.finished_at = "", timezone.now()
            held.fingerprint = held.fingerprint_now()
            held.save()
            AuditEntry.record("customer.erased", "", held.asked_by, receipt=held.number, fingerprint=held.fingerprint)

    def note(self, removed: Counter[str], conversations: list[int]) -> None:
        self.removed = dict(Counter(self.removed) + removed)
        self.conversations = [*self.conversations, *conversations]
        self.save(update_fields=["removed", "conversations"])


# ---- what goes ----


def forget_chats(chats: Mapping[int, str], receipt: str) -> Counter[str]:
    """Deletes these chats (row number to session id) and what hangs on them; how many of what.

    Call it in a transaction of its own. `receipt` is an erasure's number, or "retention".
    """
    session_ids = list(chats.values())
    removed: Counter[str] = Counter()
    for session_id in session_ids:
        removed["files"] += forget_files(session_id)
    if receipt != RETENTION:  # what was made of a question outlives the chat, but not an erasure
        removed[RENAMED] += DraftSource.objects.of_chats(session_ids).rename()
    scrub_admin_log(Conversation, chats)
    scrub_admin_log(apps.get_model("sessions_app", "Session"), session_ids)
    for model, path in hanging_on(Conversation):
        if model._meta.label != "agent_app.Message":  # nobody edits one, so no log names one
            scrub_admin_log(model, model._default_manager.filter(**{f"{path}__in": list(chats)}).values_list("pk"))
    for model in declaring("of_chats"):
        removed[named(model)] += erase_rows(model._default_manager.of_chats(session_ids), receipt)  # type: ignore[attr-defined]
    _, of_each = Conversation.objects.filter(pk__in=list(chats)).delete()
    for label, count in of_each.items():
        removed[named(apps.get_model(label))] += count
    return +removed


def forget_user(user_id: str, receipt: str) -> Counter[str]:
    """Deletes what is this customer's without a chat; how many of what."""
    removed: Counter[str] = Counter({RENAMED: DraftSource.objects.of_user(user_id).rename()})
    for model in declaring("of_user"):
        rows = model._default_manager.of_user(user_id)  # type: ignore[attr-defined]
        scrub_admin_log(model, rows.values_list("pk"))
        removed[named(model)] += erase_rows(rows, receipt)
    return +removed


def declaring(method: str) -> Iterator[type[models.Model]]:
    """The models whose QuerySet says what of them is a customer's."""
    return (model for model in apps.get_models() if hasattr(model._default_manager, method))


def erase_rows(rows: Any, receipt: str) -> int:
    if hasattr(rows, "erase"):
        return int(rows.erase(receipt))
    return int(rows.delete()[0])


def hanging_on(model: type[models.Model], path: str = "") -> Iterator[tuple[type[models.Model], str]]:
    """The models whose rows go with a row of `model`, each with its way there."""
    for relation in model._meta.related_objects:
        if relation.on_delete is models.CASCADE:
            way = relation.field.name + (f"__{path}" if path else "")
            yield relation.related_model, way
            yield from hanging_on(relation.related_model, way)


def named(model: type[models.Model]) -> str:
    return str(model._meta.verbose_name_plural)


def scrub_admin_log(model: type[models.Model], keys: Iterable[Any]) -> None:
    """Django's own log names each object in words, which may be the customer's. That it was done stays, and by whom."""
    ids = [str(key[0] if isinstance(key, tuple) else key) for key in keys]
    if not ids:
        return
    found = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(model), object_id__in=ids)
    found.exclude(object_repr=ERASED).update(object_repr=ERASED, object_id=None, change_message="")


def forget_files(session_id: str) -> int:
    """Deletes the folder of a chat's uploads; how many files there were."""
    folder = f"{FOLDER}/{session_id}"
    names = files_of(session_id)
    for name in names:
        default_storage.delete(f"{folder}/{name}")
    if names:
        default_storage.delete(folder)
    return len(names)


def files_of(session_id: str) -> list[str]:
    try:
        return list(default_storage.listdir(f"{FOLDER}/{session_id}")[1])
    except FileNotFoundError:
        return []
