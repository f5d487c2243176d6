"""Reaching whoever is not there: letters to staff and to customers who left, roles, and a word when nobody comes.

Letters go to a small SMTP server of the test's own, over a real connection.
"""

import socketserver
import threading
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes
from email.message import Message as Letter
from typing import Any

import django
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.utils import timezone

from agent_app import chat, reaching
from agent_app import staff as desk
from agent_app.journal import journal
from agent_app.models import Attendance, Conversation, Mail, Seen
from agent_app.roles import ROLES
from tests.staff import staff, use_memory

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

TAKES_OVER = "agent_app.takeover_conversation"


class Mailbox(socketserver.ThreadingTCPServer):
    """Speaks as much SMTP as a letter needs. `refusing`: says no to every letter."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.letters: list[Letter] = []
        self.to: list[list[str]] = []
        self.refusing = False


class Session(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        self.say("220 here")
        to: list[str] = []
        while line := self.rfile.readline().decode().strip():
            word = line.split(" ")[0].upper()
            if word == "RCPT":
                to.append(line.partition("<")[2].rstrip(">"))
            if word == "DATA" and not self.server.refusing:
                self.say("354 go on")
                self.server.letters.append(message_from_bytes(self.body()))
                self.server.to.append(to)
                to = []
            self.say("554 no" if word == "DATA" and self.server.refusing else "250 ok")
            if word == "QUIT":
                return

    def body(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line)
        return b"".join(lines)

    def say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")


@pytest.fixture
def mailbox(settings: Any) -> Iterator[Mailbox]:
    with Mailbox() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        backend = "django.core.mail.backends.smtp.EmailBackend"
        where = {"host": "127.0.0.1", "port": server.server_address[1], "use_tls": False, "timeout": 60}
        if django.VERSION >= (6, 1):
            settings.MAILERS = {"default": {"BACKEND": backend, "OPTIONS": where}}
        else:
            settings.EMAIL_BACKEND = backend
            settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", where["port"], False
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def store(settings: Any) -> Iterator[None]:
    use_memory(settings)
    settings.SITE_URL = "https://desk.example.com"
    yield
    journal.close()


def waiting_chat(**about: Any) -> Conversation:
    given = {"user_id": "c-104", "verified": False, "metadata": {}, **about}
    conversation, _ = async_to_sync(chat.open_chat)(**given)
    async_to_sync(chat.ask_for_person)(conversation, "my parcel")
    return conversation


def send_due() -> int:
    return async_to_sync(reaching.send_letters)()


def later(**by: float) -> None:
    """As if that much time had gone by for what is owed."""
    Mail.objects.update(due_at=timezone.now() - timedelta(**by))


def text_of(letter: Letter) -> str:
    return letter.get_payload(decode=True).decode()  # type: ignore[union-attr]


# ---- staff ----


def test_staff_are_told_of_an_escalation_once(mailbox: Mailbox, settings: Any) -> None:
    settings.STAFF_EMAIL = ["desk@example.com", "lead@example.com"]
    conversation = waiting_chat()
    assert send_due() == 1
    assert send_due() == 0
    (letter,) = mailbox.letters
    assert mailbox.to == [["desk@example.com", "lead@example.com"]]
    assert letter["To"] is None
    ticket = Conversation.objects.get(pk=conversation.pk).ticket
    assert str(ticket) in str(letter["Subject"])
    assert f"https://desk.example.com/desk/{conversation.thread_id}/" in text_of(letter)
    assert "my parcel" in text_of(letter)


def test_who_is_online_is_told_else_everybody_who_could_come(mailbox: Mailbox) -> None:
    ana = staff(TAKES_OVER, username="ana", email="ana@example.com")
    staff(TAKES_OVER, username="ben", email="ben@example.com")
    staff(username="cass", email="cass@example.com")
    waiting_chat()
    send_due()
    assert mailbox.to == [["ana@example.com", "ben@example.com"]]
    Attendance.objects.note_signs({ana.pk})
    waiting_chat()
    send_due()
    assert mailbox.to[1] == ["ana@example.com"]


def test_a_letter_for_a_chat_that_somebody_took_is_not_needed(mailbox: Mailbox, settings: Any) -> None:
    settings.STAFF_EMAIL = ["desk@example.com"]
    conversation = waiting_chat()
    Mail.objects.owe_escalations(timezone.now())
    async_to_sync(desk.take_over)(staff(TAKES_OVER), conversation.thread_id)
    assert send_due() == 0
    assert Mail.objects.get().state == "not_needed"


def test_a_refused_letter_is_tried_again_later_and_at_last_given_up(mailbox: Mailbox, settings: Any) -> None:
    settings.STAFF_EMAIL = ["desk@example.com"]
    waiting_chat()
    mailbox.refusing = True
    for attempt in range(1, 6):
        assert send_due() == 0
        letter = Mail.objects.get()
        assert letter.attempts == attempt
        assert letter.state == ("due" if attempt < 5 else "failed")
        assert attempt == 5 or letter.due_at > timezone.now() + timedelta(seconds=30)
        later(seconds=1)
    mailbox.refusing = False
    assert send_due() == 0, "it was given up"


def test_of_many_that_look_at_once_one_sends(mailbox: Mailbox, settings: Any) -> None:
    settings.STAFF_EMAIL = ["desk@example.com"]
    for _ in range(5):
        waiting_chat()

    async def looks() -> None:
        import asyncio

        await asyncio.gather(*(reaching.send_letters() for _ in range(6)))

    async_to_sync(looks)()
    assert len(mailbox.letters) == 5
    assert len({letter["Message-ID"] for letter in mailbox.letters}) == 5


def test_a_letter_whose_sender_died_is_not_sent_twice(mailbox: Mailbox, settings: Any) -> None:
    settings.STAFF_EMAIL = ["desk@example.com"]
    waiting_chat()
    Mail.objects.owe_escalations(timezone.now())
    assert Mail.objects.get().claim()
    assert not Mail.objects.get().claim()
    Mail.objects.update(claimed_at=timezone.now() - timedelta(minutes=11))
    assert send_due() == 0
    assert Mail.objects.get().state == "in_doubt"
    assert mailbox.letters == []


# ---- customers who left ----


def answered(**about: Any) -> Conversation:
    conversation = waiting_chat(**about)
    user = staff(TAKES_OVER, first_name="Ana")
    async_to_sync(desk.take_over)(user, conversation.thread_id)
    for number in (1, 2):
        async_to_sync(desk.reply)(user, conversation.thread_id, f"answer {number}", f"r{number}")
    async_to_sync(desk.note)(user, conversation.thread_id, "zebra")
    return conversation


def test_a_customer_who_left_gets_the_transcript_once(mailbox: Mailbox) -> None:
    answered(email="mara@example.com", verified=True)
    assert send_due() == 0, "there is time to see it"
    later(seconds=1)
    assert send_due() == 1
    assert send_due() == 0
    (letter,) = mailbox.letters
    assert mailbox.to == [["mara@example.com"]]
    assert "answer 1" in text_of(letter)
    assert "Ana: answer 2" in text_of(letter)
    assert "zebra" not in letter.as_string()


@pytest.mark.parametrize("why", ["seen", "wrote since", "no address"])
def test_a_customer_who_is_there_gets_none(mailbox: Mailbox, why: str) -> None:
    conversation = answered(email=None if why == "no address" else "mara@example.com", verified=True)
    if why == "seen":
        Seen.upto(conversation.pk, Conversation.objects.get(pk=conversation.pk).last_seq)
    if why == "wrote since":
        async_to_sync(chat.send_message)(conversation, "thank you", "c9")
    later(seconds=1)
    assert send_due() == 0
    assert mailbox.letters == []
    assert Mail.objects.get().state == "not_needed"


def test_seen_never_moves_back() -> None:
    conversation = waiting_chat()
    for seq in (3, 5, 4):
        Seen.upto(conversation.pk, seq)
    assert Seen.objects.get().seq == 5


def test_what_was_seen_of_an_erased_chat_loses_nobody_elses() -> None:
    async def show() -> None:
        seen_by = reaching.SeenBy()
        for conversation_id in (gone, kept.pk):
            seen_by.note(conversation_id, 2)
        while (writing := seen_by._writing) is not None and not writing.done():
            await writing

    kept, erased = waiting_chat(), waiting_chat()
    gone = erased.pk
    erased.delete()
    async_to_sync(show)()
    assert list(Seen.objects.values_list("pk", "seq")) == [(kept.pk, 2)]


# ---- nobody came ----


def test_a_customer_for_whom_nobody_came_is_told_once_and_may_leave_an_address(settings: Any) -> None:
    settings.ESCALATION_TIMEOUT = 10
    conversation = waiting_chat()
    assert async_to_sync(reaching.say_nobody_came)() == 0
    Conversation.objects.update(waiting_since=timezone.now() - timedelta(seconds=11))

    async def together() -> int:
        import asyncio

        return sum(await asyncio.gather(*(reaching.say_nobody_came() for _ in range(4))))

    assert async_to_sync(together)() == 1
    assert async_to_sync(reaching.say_nobody_came)() == 0
    told = conversation.messages.order_by("-seq").first()
    assert told is not None
    assert (told.role, "e-mail address" in told.text, "nobody from our team" in told.text) == ("system", True, True)
    assert conversation.email_of_customer() is None
    async_to_sync(chat.send_message)(conversation, "Sure: Mara.K+desk@example.co.uk, thanks!", "c1")
    assert conversation.email_of_customer() == "Mara.K+desk@example.co.uk"
    async_to_sync(chat.send_message)(conversation, "me@@, or rather old@example.com.", "c2")
    assert conversation.email_of_customer() == "old@example.com"


def test_an_address_that_nobody_asked_for_is_not_used() -> None:
    conversation = waiting_chat()
    async_to_sync(chat.send_message)(conversation, "My friend is bob@example.com", "c1")
    assert conversation.email_of_customer() is None


def test_nobody_is_told_while_somebody_is_online_but_busy(settings: Any) -> None:
    settings.ESCALATION_TIMEOUT = 10
    Attendance.objects.note_signs({staff(TAKES_OVER).pk})
    conversation = waiting_chat()
    Conversation.objects.update(waiting_since=timezone.now() - timedelta(seconds=11))
    async_to_sync(reaching.say_nobody_came)()
    assert "busy" in conversation.messages.order_by("-seq").values_list("text", flat=True)[0]


def test_a_taken_chat_is_told_nothing(settings: Any) -> None:
    settings.ESCALATION_TIMEOUT = 10
    conversation = waiting_chat()
    async_to_sync(desk.take_over)(staff(TAKES_OVER), conversation.thread_id)
    assert Conversation.objects.get().waiting_since is None
    assert async_to_sync(reaching.say_nobody_came)() == 0


# ---- roles ----


def test_migrate_makes_the_roles_and_takes_nothing_away() -> None:
    call_command("migrate", verbosity=0)
    for role, permissions in ROLES.items():
        has = {
            f"{each.content_type.app_label}.{each.codename}"
            for each in Group.objects.get(name=role).permissions.select_related("content_type")
        }
        assert has == set(permissions), role
    agent = Group.objects.get(name="Support agent")
    extra = Permission.objects.get(codename="delete_article")
    agent.permissions.add(extra)
    agent.permissions.remove(Permission.objects.get(codename="add_note"))
    call_command("migrate", verbosity=0)
    names = set(agent.permissions.values_list("codename", flat=True))
    assert {"delete_article", "add_note"} <= names
    assert Group.objects.count() == 3
