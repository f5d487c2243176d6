"""Files of customers: taken by what is in them, read by the agent, opened by their own, gone with the chat."""

import io
import resource
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.utils import timezone

from agent_app.knowledge import documents
from agent_app.models import Attachment, Conversation
from agent_app.models.attachments import MOST_A_CHAT, stored_name
from agent_app.models.refusal import Refused, Unavailable
from agent_app.tools.attachments import checked, clean_name
from tests.agent_app.test_desk_rest import bearer, token_of
from tests.agent_app.test_documents import aes_pdf, docx, pdf
from tests.chat_client import PATIENCE, Chat
from tests.desk import Desk
from tests.staff import logged_in, staff

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MANUAL = b"# Ember stove\n\nThe stove weighs 94 grams.\n\n## Fuel\n\nThe Ember burns gas of the kind EN 417 only.\n"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64


def bomb() -> bytes:
    return docx(["hi"], **{"word/media/a.bin": b"\0" * (documents.MOST_UNPACKED + 1)})


# ---- what is taken ----


@pytest.mark.parametrize(
    ("name", "data", "kept_as", "content_type"),
    [
        ("notes.txt", b"words", "notes.txt", "text/plain"),
        ("manual.md", MANUAL, "manual.md", "text/markdown"),
        ("orders.csv", b"a,b\n1,2\n", "orders.csv", "text/csv"),
        ("bill.pdf", pdf("Total 12"), "bill.pdf", "application/pdf"),
        ("scan.pdf", pdf(), "scan.pdf", "application/pdf"),
        ("torn.png", PNG, "torn.png", "image/png"),
        ("torn", PNG, "torn.png", "image/png"),
        ("letter", pdf("words"), "letter.pdf", "application/pdf"),
        ("run.bat", b"@echo off", "run.bat.txt", "text/plain"),
        ("page.html", b"<html><script>alert(1)</script>hi", "page.html.txt", "text/plain"),
        ("page.txt", b"<html><script>alert(1)</script>hi", "page.txt", "text/plain"),
        ("drawing.svg", b"<svg onload='alert(1)'>hi</svg>", "drawing.svg.txt", "text/plain"),
        ("../../etc/passwd", b"root", "passwd.txt", "text/plain"),
        ("bill\u202efdp.txt", b"words", "billfdp.txt", "text/plain"),
    ],
)
def test_what_is_taken(name: str, data: bytes, kept_as: str, content_type: str) -> None:
    upload = checked(name, data)
    assert (upload.name, upload.content_type) == (kept_as, content_type)


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.pdf", pdf("secret", password="x"), documents.ENCRYPTED),
        ("a.pdf", aes_pdf(), documents.LOCKED),
        ("a.pdf", pdf(pages=10_000), documents.PAGES),
        ("a.pdf", b"%PDF-1.7 <html><script>x</script>", documents.BROKEN),
        ("a.docx", bomb(), documents.TOO_BIG),
        ("a.docx", docx(["hi"], **{"word/vbaProject.bin": b"x"}), documents.MACROS),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old", documents.OLD),
        ("a.pdf", b"MZ\x90\x00\x03\x00\x00", documents.UNKNOWN_KIND),
        ("a.pdf", b"just words", documents.WRONG_NAME.format(said="PDF")),
        ("a.pdf", PNG, documents.WRONG_NAME.format(said="PDF")),
        ("a.png", b"<html>", documents.WRONG_NAME.format(said="PNG")),
        ("a.txt", b" \n ", documents.NO_TEXT),
        ("a.zip", b"PK\x03\x04" + b"\0" * 40, documents.BROKEN),
    ],
)
def test_what_is_refused_gets_a_sentence(name: str, data: bytes, sentence: str) -> None:
    with pytest.raises(Refused) as caught:
        checked(name, data)
    assert (caught.value.code, caught.value.message, caught.value.field) == ("invalid", sentence, "file")


def test_an_archive_within_an_archive_is_no_document() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inner.zip", b"PK\x03\x04")
    with pytest.raises(Refused, match="Files of this kind"):
        checked("a.docx", buffer.getvalue())


@pytest.mark.parametrize("name", ["", "...", "\x00\x01", "/", "a/b/\\"])
def test_a_name_that_is_none(name: str) -> None:
    assert clean_name(name) == "file"


def test_a_long_name_keeps_its_ending() -> None:
    assert clean_name("ä" * 400 + ".pdf").endswith("ä.pdf")
    assert len(clean_name("ä" * 400 + ".pdf")) <= 120


# ---- end to end ----


async def upload(chat: Chat, name: str, data: bytes) -> dict[str, Any]:
    response = await chat.http.post("/attachments/", files={"file": (name, data)})
    assert response.status_code == 201, response.text
    attachment: dict[str, Any] = response.json()
    return attachment


async def test_a_file_is_read_cited_and_opened_again(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    attachment = await upload(chat, "ember.md", MANUAL)
    assert {**attachment, "id": "", "url": ""} == {
        "id": "",
        "name": "ember.md",
        "content_type": "text/markdown",
        "size": len(MANUAL),
        "url": "",
    }
    body = {"text": "What does the Ember burn?", "attachments": [attachment["id"]], "client_id": "c"}
    response = (await chat.http.post("/messages/", json=body)).json()
    assert response["message"]["attachments"] == [attachment]
    assert "EN 417" in response["reply"]["text"]
    assert [citation["url"] for citation in response["reply"]["citations"]] == [attachment["url"]]
    assert "read_attachment" in response["metadata"]["tools_used"]
    assert (await chat.history())[0]["attachments"] == [attachment]

    again = (await chat.http.post("/messages/", json=body)).json()
    assert again["message"]["seq"] == 1  # the same message, not another
    without = await chat.http.post("/messages/", json={**body, "attachments": []})
    assert without.json()["code"] == "conflict"

    later = await chat.say("And how heavy is the Ember stove?")
    assert "94 grams" in later["reply"]["text"]

    opened = await chat.http.get(f"/attachments/{attachment['id']}/")
    assert opened.content == MANUAL
    assert opened.headers["Content-Disposition"] == 'attachment; filename="ember.md"'
    assert opened.headers["X-Content-Type-Options"] == "nosniff"
    assert opened.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert opened.headers["Content-Type"] == "text/markdown"
    assert (await chat.http.delete(f"/attachments/{attachment['id']}/")).status_code == 409


@pytest.mark.parametrize("kind", ["multipart/form-data", "application/json"])
async def test_a_body_that_holds_no_file_is_told_how_to_send_one(desk: Desk, kind: str) -> None:
    chat = await Chat.open(desk.url)
    refused = await chat.http.post("/attachments/", content=b"hello", headers={"Content-Type": kind})
    assert (refused.status_code, refused.json()) == (
        400,
        {
            "code": "invalid",
            "message": "Send one file, as multipart/form-data, in the field file.",
            "field": "file",
        },
    )


async def test_a_file_alone_is_a_message_and_stays_in_its_chat(desk: Desk) -> None:
    chat, other = await Chat.open(desk.url), await Chat.open(desk.url)
    attachment = await upload(chat, "ember.md", MANUAL)
    async with chat.socket() as socket:
        await socket.send("send", client_id="c-1", text="", attachments=[attachment["id"]])
        message = await socket.until("message", role="customer")
        assert message["attachments"] == [attachment]
        reply = await socket.until("message", role="agent")
        assert "I can look into what you attached." in reply["text"]
    elsewhere = await other.http.post("/messages/", json={"text": "hi", "attachments": [attachment["id"]]})
    assert (elsewhere.status_code, elsewhere.json()["field"]) == (400, "attachments")
    answer = await other.say("What does the Ember burn?")
    assert "EN 417" not in answer["reply"]["text"]


async def test_nobody_else_opens_a_file(desk: Desk) -> None:
    chat, other = await Chat.open(desk.url), await Chat.open(desk.url)
    attachment = await upload(chat, "a.txt", b"mine")
    url = desk.url + attachment["url"]
    async with httpx.AsyncClient(timeout=PATIENCE) as stranger:
        assert (await stranger.get(url)).status_code == 401
        for headers in ({"Authorization": f"Bearer {other.token}"}, {"Authorization": "Bearer sdk_wrong"}):
            assert (await stranger.get(url, headers=headers)).status_code == 404
            assert (await stranger.delete(url, headers=headers)).status_code == 404
    assert (await other.http.get(f"/attachments/{attachment['id']}/")).status_code == 404
    assert (await chat.http.delete(f"/attachments/{attachment['id']}/")).status_code == 204
    assert (await chat.http.get(f"/attachments/{attachment['id']}/")).status_code == 404


async def test_bad_uploads_are_refused_by_the_door(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    big = await chat.http.post("/attachments/", files={"file": ("a.txt", b"x" * (10 * 2**20 + 1))})
    assert (big.status_code, big.json()["code"]) == (413, "too_large")
    for files in ({"file": ("a.txt", b"")}, [("file", ("a.txt", b"a")), ("file", ("b.txt", b"b"))]):
        response = await chat.http.post("/attachments/", files=files)
        assert (response.status_code, response.json()["field"]) == (400, "file")
    as_json = await chat.http.post("/attachments/", json={"file": "a"})
    assert (as_json.status_code, as_json.json()["field"]) == (400, "file")
    wrong = await chat.http.post("/attachments/", files={"file": ("a.exe", b"MZ\x00\x00")})
    assert wrong.json() == {"code": "invalid", "message": documents.UNKNOWN_KIND, "field": "file"}
    ids = [str(number) for number in range(6)]
    many = await chat.http.post("/messages/", json={"text": "hi", "attachments": ids})
    assert (many.status_code, many.json()["field"]) == (400, "attachments")
    assert (await chat.http.delete("/")).status_code == 204
    ended = await chat.http.post("/attachments/", files={"file": ("a.txt", b"words")})
    assert (ended.status_code, ended.json()["code"]) == (409, "closed")


async def test_a_file_that_the_desk_cannot_keep_may_be_sent_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    desk = Desk(tmp_path, MEDIA_ROOT=str(tmp_path / "file" / "media"), KNOWLEDGE_EMBEDDER="none")
    desk.start()
    chat = await Chat.open(desk.url)
    answer = await chat.http.post("/attachments/", files={"file": ("a.txt", b"words")})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert desk.stop() == 0
    log = desk.log.read_text()
    assert "agent_app.W002" in log
    assert "attachment.not_kept error=Not a directory" in log
    assert "Traceback" not in log


async def test_a_picture_is_for_a_person(desk: Desk) -> None:
    chat = await Chat.open(desk.url)
    attachment = await upload(chat, "torn.png", PNG)
    body = {"text": "How can I return something?", "attachments": [attachment["id"]]}
    reply = (await chat.http.post("/messages/", json=body)).json()["reply"]
    assert documents.PICTURE in reply["text"]
    assert reply["citations"]  # the question is answered all the same


# ---- rows and files ----


@pytest.fixture
def chat_row(tmp_path: Path, settings: Any) -> Conversation:
    settings.MEDIA_ROOT = tmp_path
    return Conversation.objects.create(session_id="s-1", token_hash="t", live_until=timezone.now())


def store(chat: Conversation, data: bytes = b"words") -> Attachment:
    return Attachment.objects.store(chat, "a.txt", "text/plain", data)


@pytest.mark.django_db(transaction=True)
def test_files_go_with_their_conversation(chat_row: Conversation, tmp_path: Path) -> None:
    other = Conversation.objects.create(session_id="s-2", token_hash="u", live_until=timezone.now())
    mine, also_mine, others = store(chat_row), store(chat_row), store(other)
    assert default_storage.exists(stored_name("s-1", mine.public_id))
    assert default_storage.exists(stored_name("s-1", also_mine.public_id))
    Conversation.objects.filter(pk=chat_row.pk).delete()
    assert not (tmp_path / "attachments" / "s-1").exists()
    assert others.data() == b"words"


@pytest.mark.django_db(transaction=True)
def test_a_chat_holds_so_many(chat_row: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    Attachment.objects.bulk_create(Attachment(conversation=chat_row, name="a", size=1) for _ in range(MOST_A_CHAT))
    with pytest.raises(Refused, match="at most"):
        store(chat_row)


@pytest.mark.django_db(transaction=True)
def test_an_upload_to_an_erased_chat_leaves_no_file(chat_row: Conversation, tmp_path: Path) -> None:
    gone = Conversation(pk=chat_row.pk + 1000, session_id="gone")
    with pytest.raises(Refused, match="no such chat"):
        store(gone)
    assert not (tmp_path / "attachments" / "gone").exists()


@pytest.mark.django_db(transaction=True)
def test_a_full_disk_refuses_an_upload_and_keeps_no_half_of_it(chat_row: Conversation, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with pytest.raises(Unavailable):
            store(chat_row, b"words " * 2**20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "attachments" / "s-1").exists()
    assert not Attachment.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_staff_open_files_by_their_permission(chat_row: Conversation) -> None:
    attachment = store(chat_row)
    url = attachment.to_wire("s-1")["url"]
    assert logged_in("agent_app.view_conversation").get(url).content == b"words"
    assert logged_in(username="bo").get(url).status_code == 403
    seer = "agent_app.view_conversation"
    assert logged_in(seer, username="ex", is_staff=False).get(url).status_code == 403
    program = staff(seer, "agent_app.view_ticket", username="program")
    assert bearer(token_of(program, "view_conversation")).get(url).content == b"words"
    assert bearer(token_of(program, "view_ticket")).get(url).status_code == 403
    assert Client().get(url).status_code == 401
    assert logged_in("agent_app.view_conversation", username="cy").delete(url).status_code == 401
    default_storage.delete(attachment.file.name)
    assert logged_in("agent_app.view_conversation", username="di").get(url).status_code == 404
