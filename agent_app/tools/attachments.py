"""What customers attach: checked when it comes in, read when the agent is asked about it.

It belongs to its conversation, and never enters the shared knowledge.
"""

import asyncio
import re
import threading
import unicodedata
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePath

from django.core.files.storage import default_storage

from agent_app.agent.events import TurnContext
from agent_app.knowledge.documents import (
    ENDINGS,
    GONE,
    KINDS,
    NO_TEXT,
    PICTURES,
    SECONDS,
    WRONG_NAME,
    Unreadable,
    picture_of,
    read_document,
    read_document_async,
)
from agent_app.knowledge.indexing import knowledge
from agent_app.knowledge.passages import Source
from agent_app.knowledge.retrieval import Hit
from agent_app.models.attachments import stored_name
from agent_app.models.refusal import Refused
from agent_app.tools.registry import NotAllowed, tool

__all__ = ["Checked", "checked", "read_attachment", "stored_name"]

LONGEST_NAME = 120  # characters
READ_AT_ONCE = 2  # uploads; each is a process of its own for as long as it is read
KEPT = 16  # texts of attachments; a customer asks several things of one file
CONTENT_TYPES = {
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "csv": "text/csv",
    "html": "text/plain",  # nobody shall open a stranger's page by a click
    "text": "text/plain",
}
MARKDOWN = (".md", ".markdown")

_disk = ThreadPoolExecutor(2, "attachments")
_readers = threading.BoundedSemaphore(READ_AT_ONCE)
_texts: OrderedDict[str, tuple[Source, bool]] = OrderedDict()  # and whether there is more than was read
knowledge.forget_with(_texts.clear)


# ---- coming in ----


@dataclass(frozen=True, slots=True)
class Checked:
    """An upload that may be kept: its name fits what is in it."""

    name: str
    content_type: str
    data: bytes


def checked(name: str, data: bytes) -> Checked:
    """Takes the time of reading it, up to some 12 s, on the caller's thread. Refused `invalid` with a sentence.

    What holds no text (a scan, a picture) is taken, for a person can look at it.
    """
    name = clean_name(name)
    ending = PurePath(name).suffix.lower()
    picture = picture_of(data)
    if picture is not None:
        if ending and ending not in PICTURES[picture][1].split():
            raise Refused("invalid", WRONG_NAME.format(said=ending[1:].upper()), field="file")
        return Checked(name if ending else name + PICTURES[picture][1].split()[0], picture, data)
    if any(ending in endings.split() for _, endings in PICTURES.values()):
        raise Refused("invalid", WRONG_NAME.format(said=ending[1:].upper()), field="file")
    with _readers:
        try:
            kind = read_document(name, data).kind
        except Unreadable as error:
            if str(error) != NO_TEXT or not data.lstrip().startswith(b"%PDF-"):
                raise Refused("invalid", str(error), field="file") from None
            kind = "pdf"
    # A script is text, too: under its own name whoever saves it might run it.
    shown_as = "text" if kind == "html" else kind
    if ENDINGS.get(ending) != shown_as:
        name += KINDS[shown_as].split()[0]
    return Checked(name, "text/markdown" if name.lower().endswith(MARKDOWN) else CONTENT_TYPES[kind], data)


def clean_name(name: str) -> str:
    """The last part of the name, without signs that hide what it says, and short."""
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(sign for sign in name if unicodedata.category(sign)[0] != "C").strip(" .")
    stem, ending = PurePath(name).stem, PurePath(name).suffix[:12]
    return (stem[: LONGEST_NAME - 5 - len(ending)] + ending) or "file"


# ---- reading ----


@tool(timeout=SECONDS + 10)
async def read_attachment(context: TurnContext, attachment_id: str, query: str = "") -> Hit:
    """The passage of one attachment of this conversation that is nearest to the question.

    Raises Unreadable with a sentence that says why.
    """
    named = {str(attachment["id"]): attachment for message in context.messages for attachment in message.attachments}
    attachment = named.get(attachment_id)
    if attachment is None:
        raise NotAllowed("there is no such attachment in this conversation")
    read = _texts.get(attachment_id)
    if read is None:
        loop = asyncio.get_running_loop()
        try:
            data = await loop.run_in_executor(_disk, _bytes, context.session_id, attachment_id)
        except FileNotFoundError:
            raise Unreadable(GONE) from None
        name = str(attachment["name"])
        document = await read_document_async(name, data)
        source = Source(attachment_id, name, document.text, address=str(attachment.get("url", "")))
        read = _texts[attachment_id] = source, document.shortened
        while len(_texts) > KEPT:
            _texts.popitem(last=False)
    source, shortened = read
    return replace(await knowledge.search_within(source, query), shortened=shortened)


def _bytes(session_id: str, attachment_id: str) -> bytes:
    with default_storage.open(stored_name(session_id, attachment_id)) as file:
        return bytes(file.read())
