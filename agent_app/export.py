"""Everything of a customer as one ZIP: `data.json` for programs, `index.html` and a page a chat for people.

Written chat by chat, so that its size does not matter. What staff wrote for each other (private notes, the audit log)
is not in it: the file is given to the customer.
"""

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from typing import IO, Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.template.loader import render_to_string
from django.utils import timezone

from agent_app.models import AuditEntry, Conversation
from agent_app.models.conversations import wire_time
from agent_app.models.erasure import declaring, named

TEMPLATES = "agent_app/export"
UNSAFE = re.compile(r"[^\w. -]|\.\.+")


def export(user_id: str, to: IO[bytes], by: str) -> int:
    """Writes the ZIP, and that it was made; how many chats are in it."""
    chats = Conversation.objects.filter(user_id=user_id).order_by("pk")
    beside = {named(model): list(rows) for model, rows in of_user(user_id)}
    made_at = timezone.now()
    listed: list[dict[str, Any]] = []
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("data.json", "w", force_zip64=True) as data:
            about = {"user_id": user_id, "made_at": wire_time(made_at), **beside}
            data.write(as_json(about)[:-1] + b', "conversations": [')
            for number, chat in enumerate(chats.iterator(chunk_size=100), 1):
                data.write((b"" if number == 1 else b", ") + as_json(whole(chat)))
            data.write(b"]}\n")
        for number, chat in enumerate(chats.iterator(chunk_size=100), 1):
            page = f"chats/{number:05}.html"
            archive.writestr(page, readable("chat.html", chat=chat, messages=chat.messages.all(), files=files(chat)))
            for name, attachment in files(chat):
                copy(attachment, archive, f"chats/{name}")
            listed.append({"page": page, "chat": chat})
        archive.writestr(
            "index.html", readable("index.html", user_id=user_id, made_at=made_at, chats=listed, beside=beside)
        )
    AuditEntry.record("customer.exported", "", by, user_id=user_id, chats=len(listed))
    return len(listed)


def whole(chat: Conversation) -> dict[str, Any]:
    return {
        **chat.to_wire(),
        "thread_id": chat.thread_id,
        "verified": chat.verified,
        "email": chat.email,
        "metadata": chat.metadata,
        "closed_at": wire_time(chat.closed_at),
        "messages": [message.to_wire() for message in chat.messages.all()],
        "tickets": list(chat.tickets.values("number", "reason", "category", "priority", "created_at")),
        "feedback": list(chat.feedback.values("seq", "rating", "helpful", "comment", "said_at")),
        "unanswered_questions": list(chat.unanswered.values("text", "asked_at")),
        "files": [name for name, _ in files(chat)],
    }


def of_user(user_id: str) -> Iterator[tuple[type[models.Model], Any]]:
    """What is the customer's without a chat. A model whose QuerySet has `exported()` says itself what may leave."""
    for model in declaring("of_user"):
        rows = model._default_manager.of_user(user_id)  # type: ignore[attr-defined]
        yield model, rows.exported() if hasattr(rows, "exported") else rows.values()


def files(chat: Conversation) -> list[tuple[str, Any]]:
    """(name in the archive, attachment). The id goes before the customer's name of it, so that none meets another, and
    what could lead out of the folder that it is unpacked to is left out.
    """
    return [(f"files/{one.public_id}-{UNSAFE.sub('_', one.name)}", one) for one in chat.attachments.all()]


def copy(attachment: Any, archive: zipfile.ZipFile, name: str) -> None:
    try:
        source = attachment.file.open()
    except FileNotFoundError:  # the row outlives a file that the storage has lost
        return
    with source, archive.open(name, "w") as target:
        shutil.copyfileobj(source, target)


def readable(template: str, **context: Any) -> str:
    return render_to_string(f"{TEMPLATES}/{template}", context)


def as_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False).encode()
