"""Documents of strangers: read by content, within bounds, and a clear sentence for what cannot be read."""

import contextlib
import io
import re
import time
import zipfile
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject, NumberObject

from agent_app.agent.events import ChatMessage, TurnContext
from agent_app.agent.loop import CustomerSupportAgent
from agent_app.agent.offline import OfflineResponder
from agent_app.agent.responder import ResponderOptions
from agent_app.knowledge import documents
from agent_app.knowledge.documents import MOST_TEXT, Unreadable, read_document
from agent_app.knowledge.indexing import knowledge
from agent_app.management.commands.import_knowledge import answers_of
from agent_app.models import Article, ExampleQuestion
from agent_app.tools.attachments import read_attachment, stored_name
from agent_app.tools.registry import RegisteredTool

pytestmark = pytest.mark.integration


def pdf(text: str = "", pages: int = 1, password: str = "") -> bytes:
    writer = PdfWriter()
    for _ in range(pages):
        page = writer.add_blank_page(200, 200)
        if text:
            font = DictionaryObject(
                {
                    NameObject("/Type"): NameObject("/Font"),
                    NameObject("/Subtype"): NameObject("/Type1"),
                    NameObject("/BaseFont"): NameObject("/Helvetica"),
                }
            )
            page[NameObject("/Resources")] = DictionaryObject(
                {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
            )
            stream = DecodedStreamObject()
            stream.set_data(f"BT /F1 12 Tf 10 100 Td ({text}) Tj ET".encode())
            page[NameObject("/Contents")] = writer._add_object(stream)
    if password:
        writer.encrypt(password)
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def aes_pdf() -> bytes:
    """One that opens without a password, as scanners and offices make them. Its key is that of RC4, which pypdf knows
    by itself; its texts are said to be AES, and are not.
    """
    writer = PdfWriter(clone_from=io.BytesIO(pdf("Invoice 4711")))
    writer.encrypt("", "owner", algorithm="RC4-128")
    name = NameObject
    aes = DictionaryObject({name("/CFM"): name("/AESV2"), name("/Length"): NumberObject(16)})
    filters = {name("/CF"): DictionaryObject({name("/StdCF"): aes}), name("/StmF"): name("/StdCF")}
    version = {name("/V"): NumberObject(4), name("/R"): NumberObject(4)}
    assert writer._encrypt_entry is not None
    writer._encrypt_entry.update(filters | version)
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def docx(paragraphs: list[str], **more: bytes) -> bytes:
    buffer = io.BytesIO()
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Override PartName="/word/'
            'document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+'
            'xml"/></Types>',
        )
        archive.writestr(
            "word/document.xml",
            '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
            f"{body}</w:body></w:document>",
        )
        for name, data in more.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def locked(archive: bytes) -> bytes:
    """The same archive; each of its files is said to be encrypted."""
    data = bytearray(archive)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(signature, archive):
            data[found.start() + flags] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "kind", "said"),
    [
        ("a.txt", b"Plain words.", "text", "Plain words."),
        ("a.md", "# Über uns".encode(), "text", "# Über uns"),
        ("a.csv", b"item;price\ntent;120\n", "csv", "| tent | 120 |"),
        ("a.html", b"<html><script>x()</script><h2>Care</h2><ul><li>dry it</li></ul>", "html", "- dry it"),
        ("a.pdf", pdf("Wash at thirty degrees"), "pdf", "Wash at thirty degrees"),
        ("a.docx", docx(["Feed the goat."]), "docx", "Feed the goat."),
        ("unnamed", pdf("By content"), "pdf", "By content"),
    ],
)
def test_what_can_be_read(name: str, data: bytes, kind: str, said: str) -> None:
    document = read_document(name, data)
    assert document.kind == kind
    assert said in document.text


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.pdf", b"%PDF-1.7 and then nothing of the kind", documents.BROKEN),
        ("a.pdf", pdf("secret", password="x"), documents.ENCRYPTED),
        ("a.pdf", aes_pdf(), documents.LOCKED),
        ("a.pdf", pdf(pages=documents.MOST_PAGES + 1), documents.PAGES),
        ("a.pdf", pdf(), documents.NO_TEXT),
        ("a.pdf", b"just words", documents.WRONG_NAME.format(said="PDF")),
        ("a.txt", pdf("words"), documents.WRONG_NAME.format(said="TEXT")),
        ("a.docx", docx(["hi"], **{"word/vbaProject.bin": b"x"}), documents.MACROS),
        ("a.docx", docx(["hi"], bomb=b"\0" * (documents.MOST_UNPACKED + 1)), documents.TOO_BIG),
        ("a.docx", b"PK\x03\x04 broken", documents.BROKEN),
        ("a.docx", docx(["<"]), documents.BROKEN),
        ("a.docx", locked(docx(["hi"])), documents.ENCRYPTED),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old", documents.OLD),
        ("a.exe", b"MZ\x00\x00\x01", documents.UNKNOWN_KIND),
        ("a.txt", b"  \n ", documents.NO_TEXT),
    ],
)
def test_what_cannot_be_read_gets_a_sentence(name: str, data: bytes, sentence: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_document(name, data)
    assert str(caught.value) == sentence


def test_long_texts_are_shortened_and_say_so() -> None:
    document = read_document("a.txt", b"word " * documents.MOST_TEXT)
    assert document.shortened
    assert len(document.text) == documents.MOST_TEXT


@pytest.mark.django_db(transaction=True)
def test_import_knowledge(tmp_path: Path, settings) -> None:  # type: ignore[no-untyped-def]
    settings.KNOWLEDGE_EMBEDDER = "none"
    knowledge.forget()
    (tmp_path / "faq.csv").write_text("Question,Answer\nDo you sell goats?,No goats.\nAny goats?,No goats.\n")
    (tmp_path / "goat-care.pdf").write_bytes(pdf("Feed the goat twice a day"))
    out = StringIO()
    call_command("import_knowledge", str(tmp_path), stdout=out)
    assert "added do-you-sell-goats" in out.getvalue()
    faq = Article.objects.get(slug="do-you-sell-goats")
    assert (faq.body, faq.question_texts()) == ("No goats.", ["Any goats?"])
    assert knowledge.find("how often to feed it a day").hits[0].source.slug == "goat-care"
    faq.questions.create(text="got a goat for me?", customer=ExampleQuestion.digest_of("ana"))
    call_command("import_knowledge", str(tmp_path), stdout=out)
    assert faq.question_texts() == ["Any goats?", "got a goat for me?"]  # what staff taught it of customers
    (tmp_path / "bad.pdf").write_bytes(b"no pdf")
    (tmp_path / "long.txt").write_text("goat " * (MOST_TEXT // 4))
    said = StringIO()
    with pytest.raises(CommandError, match="2 files could not be imported"):
        call_command("import_knowledge", str(tmp_path), stdout=out, stderr=said)
    assert "long.txt: it holds more than 400,000 characters" in said.getvalue()
    assert not Article.objects.filter(slug="long").exists()  # no half of an article is published
    knowledge.forget()


def imports(*arguments: str) -> tuple[str, str]:
    """What it says is done, and what it refuses."""
    out, said = StringIO(), StringIO()
    with contextlib.suppress(CommandError):
        call_command("import_knowledge", *arguments, stdout=out, stderr=said)
    return out.getvalue(), said.getvalue()


@pytest.fixture
def no_embedder(settings) -> Iterator[None]:  # type: ignore[no-untyped-def]
    settings.KNOWLEDGE_EMBEDDER = "none"
    knowledge.forget()
    yield
    knowledge.forget()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_embedder")
def test_an_import_replaces_nothing_but_what_it_made(tmp_path: Path) -> None:
    Article.objects.create(slug="returns", title="By hand", body="Thirty days.")
    Article.objects.create(slug="stoves", title="Of a folder", body="Gas.", from_folder=True)
    Article.objects.create(slug="do-you-ship", title="By hand", body="Yes.")
    for name in ("returns.md", "stoves.md", "goats.md"):
        (tmp_path / name).write_text("# Imported\n\nOf a file.")
    (tmp_path / "camels.md").write_text("---\nslug: returns\ntitle: Camels\n---\nOf a file.")
    (tmp_path / "faq.csv").write_text("Question,Answer\nAny llamas?,None.\nDo you ship?,No.\n")
    for draft in ([], ["--draft"]):
        done, refused = imports(str(tmp_path), *draft)
        assert refused.splitlines() == [
            "camels.md: the article 'returns' was made by no import: write another slug in it, or delete the article",
            "faq.csv: the article 'do-you-ship' was made by no import: word its question in another way, or delete the "
            "article",
            "returns.md: the article 'returns' was made by no import: rename the file, or delete the article",
            "stoves.md: the article 'stoves' was made by no import: rename the file, or delete the article",
        ]
        assert f"{'replaced' if draft else 'added'} goats" in done
        kept = Article.objects.exclude(slug="goats").order_by("slug").values_list("slug", "body", "published")
        assert list(kept) == [
            ("do-you-ship", "Yes.", True),
            ("returns", "Thirty days.", True),
            ("stoves", "Gas.", True),
        ]
    assert not Article.objects.get(slug="goats").published


@pytest.mark.parametrize(
    ("content", "answers"),
    [
        (
            "Is there wifi?;Free wifi is in each shop; ask staff",
            {"Is there wifi?": "Free wifi is in each shop; ask staff"},
        ),
        (
            "Is there wifi?,Free wifi is in each shop; ask staff",
            {"Is there wifi?": "Free wifi is in each shop; ask staff"},
        ),
        (
            'Is it free?,"Yes, it is"\nHow much?,From 1,000 on',
            {"Is it free?": "Yes, it is", "How much?": "From 1,000 on"},
        ),
        (
            "Hello, is it free?;Yes, it is; today\nIf so, how long?;Two, three days",
            {"Hello, is it free?": "Yes, it is; today", "If so, how long?": "Two, three days"},
        ),
        (
            "Wifi, in short;Yes, all day\nOpening;Nine to five;;",
            {"Wifi, in short": "Yes, all day", "Opening": "Nine to five"},
        ),
        ('"Free; or not?"; "Yes; it is"', {"Free; or not?": "Yes; it is"}),
        ("Frage;Antwort\nGratis?;Ja, heute; morgen, auch", {"Gratis?": "Ja, heute; morgen, auch"}),
        ('Topic,Answer,Question\nShop,Yes,"Free, is it?"', {"Free, is it?": "Yes"}),
        ("Answer,Question,Topic\nYes,Is it free?,Shop", {"Is it free?": "Yes"}),
        ("Is it free?\tYes, it is; today | tomorrow", {"Is it free?": "Yes, it is; today | tomorrow"}),
    ],
)
def test_questions_and_answers_are_told_apart(content: str, answers: dict[str, str]) -> None:
    assert {source.title: source.body for source in answers_of(content, "en")} == answers


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_embedder")
def test_of_two_files_of_one_stem_the_second_is_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "goats.html", tmp_path / "goats.md"
    first.write_text("<html><body><p>Feed it.</p></body></html>")
    second.write_text("# Goats\n\nMilk it.")
    _, refused = imports(str(tmp_path), str(first))  # named twice it is one file all the same
    assert refused == f"goats.md: {first} has just made the article 'goats': rename the file\n"
    _, refused = imports(str(second))
    assert "goats.md: the article 'goats' was imported from goats.html: rename the file, or delete" in refused
    assert Article.objects.get().body == "Feed it."
    (tmp_path / "two.csv").write_text("Question,Answer\nMilk?,Yes.\nMilk,No.\n")
    assert "two.csv: two of its rows would be the article 'milk'" in imports(str(tmp_path / "two.csv"))[1]
    assert Article.objects.get().slug == "goats"


async def test_an_attachment_is_quoted_and_cited(tmp_path: Path, settings) -> None:  # type: ignore[no-untyped-def]
    settings.MEDIA_ROOT = tmp_path
    file = tmp_path / stored_name("session", "a1")
    file.parent.mkdir(parents=True)
    file.write_bytes(ContentFile(b"# Manual\n\nThe stove weighs 94 grams.\n\n## Fuel\n\nIt burns gas only.").read())
    attachment = {"id": "a1", "name": "manual.md", "url": "/files/a1", "content_type": "text/markdown", "size": 60}
    message = ChatMessage(1, "customer", "How heavy is the stove?", attachments=(attachment,))
    context = TurnContext(
        thread_id="t",
        session_id="session",
        state="ai",
        user_id=None,
        verified=False,
        metadata={},
        messages=(message,),
        answered_upto=0,
        ticket="ESC-1",
        deadline=time.monotonic() + 30,
        max_reply=8000,
    )

    async def nothing_known(context: TurnContext, query: str, article: str = "") -> object:
        from agent_app.knowledge.retrieval import Band, Findings

        return Findings(query, Band.UNKNOWN, 0.0, ())

    tools = {
        "search_knowledge": RegisteredTool("search_knowledge", nothing_known, read_attachment.policy),
        "read_attachment": RegisteredTool("read_attachment", read_attachment, read_attachment.policy),
    }
    agent = CustomerSupportAgent(OfflineResponder(ResponderOptions()), tools)
    answer = [event async for event in agent.answer(context)][-1]
    assert "94 grams" in answer.text
    assert [(c["title"], c["url"]) for c in answer.citations] == [("manual.md", "/files/a1")]
