"""Documents of strangers as Markdown: text, Markdown, HTML, CSV, PDF and DOCX, told by content and not by name.

A hostile file may be endless, or grow a thousandfold when it is unpacked, and no thread can be stopped in the middle of
it. So the reading is done by a process of its own, with bounds of memory and time: this module, run as a program.
"""

import asyncio
import csv
import io
import json
import re
import resource
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 10
MEMORY = 768 * 2**20  # bytes of address space; pypdf and its tables take 150 MB of it
MOST_PAGES = 300
MOST_TEXT = 400_000  # characters; what comes after is left out, and said
MOST_UNPACKED = 60 * 2**20
MOST_ENTRIES = 2000

KINDS = {"pdf": ".pdf", "docx": ".docx", "html": ".html .htm", "csv": ".csv", "text": ".txt .md .markdown .text .log"}
# What a person can look at, and we cannot: by its first bytes.
PICTURES = {
    "image/png": (b"\x89PNG\r\n\x1a\n", ".png"),
    "image/jpeg": (b"\xff\xd8\xff", ".jpg .jpeg"),
    "image/gif": (b"GIF8", ".gif"),
    "image/webp": (b"RIFF", ".webp"),
}
ENDINGS = {ending: kind for kind, endings in KINDS.items() for ending in endings.split()}

TOO_SLOW = "This file takes too long to read. Please send a shorter one, or paste the part that matters."
TOO_BIG = "This file is too big when it is unpacked. Please send a smaller one."
BROKEN = "This file cannot be read: it seems to be damaged."
ENCRYPTED = "This file is protected by a password. Please send one without."
LOCKED = "This PDF is encrypted, and cannot be opened here. Please print it to a new PDF, and send that one."
MACROS = "This document holds macros, and those are not opened. Please send it without, or as a PDF."
OLD = "This is an old Word format, or locked by a password, and cannot be read. Please save it as .docx or PDF."
PAGES = f"This PDF has more than {MOST_PAGES} pages. Please send the pages that matter."
NO_TEXT = "There is no text in this file. If it is a scan, please type the part that matters."
UNKNOWN_KIND = "Files of this kind cannot be read. Please send text, Markdown, CSV, PDF, HTML or DOCX."
GONE = "This file is not here any more. Please send it again."
PICTURE = "I cannot look at pictures; a person from our team can."
WRONG_NAME = "The name of this file says {said}, but it is not one. Please send it under its right name."


class Unreadable(Exception):
    """The file cannot be read; the message is a sentence for whoever sent it."""


@dataclass(frozen=True, slots=True)
class Document:
    kind: str
    text: str  # Markdown
    shortened: bool = False


def read_document(name: str, data: bytes) -> Document:
    """Reads in a process of its own. Raises Unreadable."""
    try:
        done = subprocess.run(  # noqa: S603 - our own module, no shell
            command(name), input=data, capture_output=True, timeout=SECONDS + 2, check=False, cwd=ROOT, env={}
        )
    except subprocess.TimeoutExpired:
        raise Unreadable(TOO_SLOW) from None
    return result(done.returncode, done.stdout)


async def read_document_async(name: str, data: bytes) -> Document:
    process = await asyncio.create_subprocess_exec(
        *command(name),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
        env={},  # whatever a file may make the reader do, it finds no secrets there
    )
    try:
        async with asyncio.timeout(SECONDS + 2):
            printed, _ = await process.communicate(data)
    except TimeoutError:
        raise Unreadable(TOO_SLOW) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return result(process.returncode, printed)


def command(name: str) -> list[str]:
    return [sys.executable, "-m", "agent_app.knowledge.documents", name]


def result(returncode: int | None, printed: bytes) -> Document:
    if returncode == 1:  # what neither the readers nor we foresaw of a file
        raise Unreadable(BROKEN)
    if returncode != 0:  # killed by its bounds
        raise Unreadable(TOO_SLOW if returncode in (-9, -24) else TOO_BIG)
    told = json.loads(printed)
    if "unreadable" in told:
        raise Unreadable(told["unreadable"])
    return Document(**told)


# ---- in the process of its own ----


def read(name: str, data: bytes) -> Document:
    if picture_of(data) is not None:
        raise Unreadable(PICTURE)
    kind = kind_of(data)
    ending = re.search(r"\.\w+$", name.lower())
    said = ENDINGS.get(ending[0]) if ending else None
    if kind is None:
        raise Unreadable(UNKNOWN_KIND)
    if said == "csv" and kind == "text":
        kind = "csv"
    if said is not None and said != kind and not {said, kind} <= {"text", "html", "csv"}:
        raise Unreadable(WRONG_NAME.format(said=said.upper()))
    text = READERS[kind](data).replace("\x00", "").strip()
    if not text:
        raise Unreadable(NO_TEXT)
    return Document(kind, text[:MOST_TEXT], shortened=len(text) > MOST_TEXT)


def picture_of(data: bytes) -> str | None:
    """The content type of a picture; None for everything else."""
    for content_type, (opening, _) in PICTURES.items():
        if data.startswith(opening) and (content_type != "image/webp" or data[8:12] == b"WEBP"):
            return content_type
    return None


def kind_of(data: bytes) -> str | None:
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return "pdf"
    if data[:4] == b"PK\x03\x04":
        return "docx"
    if data[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise Unreadable(OLD)  # a container of the old Office, in which a new document is locked, too
    if b"\x00" in data[:4096] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    if re.match(rb"\s*<(?:!doctype html|html|head|body)\b", data[:1024], re.IGNORECASE):
        return "html"
    return "text"


def decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def read_csv(data: bytes) -> str:
    rows = csv_rows(decoded(data))
    if not rows:
        return ""
    head, *body = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def csv_rows(text: str) -> list[list[str]]:
    try:
        dialect: type[csv.Dialect] = csv.Sniffer().sniff(text[:4096], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    return [[cell.strip() for cell in row] for row in read_rows(text, dialect) if any(row)]


def rows_by(separator: str, text: str) -> list[list[str]]:
    """The rows under this separator, their cells with the spaces that they have."""

    class Dialect(csv.excel):
        delimiter = separator
        skipinitialspace = f'{separator} "' in text  # else a quoted cell would not be one behind a space

    return [row for row in read_rows(text, Dialect) if any(cell.strip() for cell in row)]


def read_rows(text: str, dialect: type[csv.Dialect]) -> list[list[str]]:
    csv.field_size_limit(MOST_TEXT)
    try:
        return list(csv.reader(io.StringIO(text), dialect))
    except csv.Error as error:
        raise Unreadable(BROKEN) from error


def read_html(data: bytes) -> str:
    from markdownify import markdownify

    html = re.sub(r"(?is)<(script|style|head|nav|footer)\b.*?</\1\s*>", " ", decoded(data))
    text: str = markdownify(html, heading_style="ATX", bullets="-", strip=["img", "a"])
    return re.sub(r"\n{3,}", "\n\n", text)


def read_docx(data: bytes) -> str:
    import mammoth

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            names = {entry.filename for entry in entries}
    except zipfile.BadZipFile as error:
        raise Unreadable(BROKEN) from error
    if sum(entry.file_size for entry in entries) > MOST_UNPACKED or len(entries) > MOST_ENTRIES:
        raise Unreadable(TOO_BIG)
    if any(entry.flag_bits & 1 for entry in entries):
        raise Unreadable(ENCRYPTED)
    if any(name.lower().endswith(("vbaproject.bin", ".exe", ".js")) for name in names):
        raise Unreadable(MACROS)
    if "word/document.xml" not in names:
        raise Unreadable(UNKNOWN_KIND)
    try:
        html: str = mammoth.convert_to_html(io.BytesIO(data)).value
    except (KeyError, ValueError, SyntaxError, AttributeError, zipfile.BadZipFile) as error:
        raise Unreadable(BROKEN) from error
    return read_html(html.encode())


def read_pdf(data: bytes) -> str:
    import logging

    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable(ENCRYPTED)
        if len(reader.pages) > MOST_PAGES:
            raise Unreadable(PAGES)
        pages = [page.extract_text() for page in reader.pages]
    except DependencyError as error:  # AES, which pypdf leaves to a package that is not installed
        raise Unreadable(LOCKED) from error
    except (PyPdfError, KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise Unreadable(BROKEN) from error
    return "\n\n".join(
        f"## Page {number}\n\n{page.strip()}" for number, page in enumerate(pages, 1) if page and page.strip()
    )


READERS = {
    "pdf": read_pdf,
    "docx": read_docx,
    "html": read_html,
    "csv": read_csv,
    "text": decoded,
}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        document = read(sys.argv[1], sys.stdin.buffer.read())
        told: dict[str, object] = {"kind": document.kind, "text": document.text, "shortened": document.shortened}
    except Unreadable as error:
        told = {"unreadable": str(error)}
    except MemoryError:
        told = {"unreadable": TOO_BIG}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
