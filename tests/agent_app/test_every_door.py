"""Every address of the staff, found by walking the URLs and not from memory: what a door asks for is in the table, and
a door that is not fails. Bodies and acts are tested where the door is; here is who comes in at all.
"""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from agent_app.models import (
    ApiToken,
    Article,
    AuditEntry,
    CannedReply,
    Conversation,
    Erasure,
    Feedback,
    Mail,
    Ticket,
    UnansweredQuestion,
)
from tests.agent_app.test_desk_rest import bearer, client_of, new_chat
from tests.doors import POSTS, address, doors
from tests.staff import logged_in, put, staff, use_memory

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.slow]

ANY_STAFF = ""  # the page itself; what it shows depends
NOBODY = "nobody"  # not even a superuser: what is only read, or written by the desk alone

# By name of the address: the permission that a GET needs.
PAGES = {
    "desk": "agent_app.view_conversation",
    "desk-thread": "agent_app.view_conversation",
    "admin:agent_app_conversation_export": "agent_app.view_conversation",
    "admin:agent_app_conversation_end": "sessions_app.expire_session",
    "admin:agent_app_erasure_erase": "agent_app.erase_customer",
    "admin:agent_app_erasure_export": "agent_app.export_customer",
    "admin:agent_app_unansweredquestion_groups": "agent_app.view_unansweredquestion",
    "admin:agent_app_article_try": "agent_app.view_article",
    "admin:sessions_app_session_expire_user": "sessions_app.expire_session",
    "admin:sessions_app_session_expire": "sessions_app.expire_session",
    "admin:sessions_app_session_extend": "sessions_app.extend_session",
}
BY_POST = {403, 404, 405}
WRITTEN = {"article", "cannedreply", "apitoken"}  # by people, in the admin
OF_A_MODEL = re.compile(r"admin:(agent_app|sessions_app)_(\w+)_(changelist|add|change|history|delete)$")


def needed(name: str) -> str:
    if name in PAGES:
        return PAGES[name]
    found = OF_A_MODEL.match(name)
    assert found is not None, f"{name} is in no table: say what it needs"
    app, model, page = found.groups()
    if page in {"add", "delete"}:
        return f"{app}.{page}_{model}" if model in WRITTEN else NOBODY
    return f"{app}.view_{model}"


@pytest.fixture
def rows(settings: Any) -> dict[str, Any]:
    """A row of each model that has one, and the key of a live session."""
    use_memory(settings)
    conversation, token = new_chat(user_id="c-1")
    put("s-1", user_id="c-1")
    secret = ApiToken(name="a program")
    secret.seal(staff(username="owner"))
    secret.save()
    return {
        "token": token,
        "session": "s-1",
        "thread": conversation.thread_id,
        "conversation": conversation.pk,
        "ticket": Ticket.objects.create(number="ESC-1", conversation=conversation).pk,
        "article": Article.objects.create(slug="a", title="A", body="x").pk,
        "cannedreply": CannedReply.objects.create(title="A", shortcut="a", text="x").pk,
        "auditentry": AuditEntry.record("chat.ended", conversation.session_id, "ana").pk,
        "unansweredquestion": UnansweredQuestion.objects.remember("Canoes?", conversation.pk).pk,
        "erasure": Erasure.objects.of_customer("c-9", "ana").pk,
        "feedback": Feedback.objects.create(conversation=conversation, rating=4).pk,
        "mail": Mail.objects.create(kind="reply", conversation=conversation, event="reply:1", due_at=timezone.now()).pk,
        "apitoken": secret.pk,
    }


def test_every_page_is_in_the_table() -> None:
    found = doors()
    assert set(PAGES) | set(POSTS) <= set(found)
    for name in set(found) - set(POSTS):
        needed(name)


@pytest.mark.parametrize("name", sorted(set(doors())))
def test_exactly_the_permitted_open_each_page(name: str, rows: dict[str, Any]) -> None:
    path = address(doors()[name], rows)
    permission = POSTS.get(name) or needed(name)
    every = Permission.objects.filter(content_type__app_label__in=["agent_app", "sessions_app"])
    without = staff(username="without")
    if permission == NOBODY:
        without.user_permissions.set(every)
    else:
        app, codename = permission.split(".")
        verb, _, model = codename.partition("_")
        kin = [codename, f"change_{model}"] if verb == "view" else [codename]  # who may change a thing may see it
        without.user_permissions.set(every.exclude(content_type__app_label=app, codename__in=kin))
    nothing_there = name.endswith(("_history", "_delete", "_change"))
    callers = {
        "stranger": (Client(), {302}),
        "customer": (bearer(rows["token"]), {302}),
        "staff with nothing": (logged_in(username="nothing"), {403}),
        "without": (client_of(without), {403}),
        "no staff any more": (logged_in(username="ex", is_superuser=True, is_staff=False), {302, 403}),
    }
    for who, (client, expected) in callers.items():
        answer = client.get(path)
        if answer.headers.get("Location") == "/admin/" and nothing_there:
            continue  # the admin says first that there is no such thing
        assert answer.status_code in expected, (name, who, path, answer.status_code)
        if answer.status_code == 302:
            assert answer.headers["Location"].startswith("/admin/login/"), (name, who)
    opened = {302, 403} if permission == NOBODY else BY_POST if name in POSTS else {200, 302, 404}
    root = logged_in(username="root", is_superuser=True).get(path)
    assert root.status_code in opened, (name, "superuser", path, root.status_code)
    if root.status_code == 200:
        may = [permission, *{"sessions_app.view_session"} - {permission}]
        may += ["agent_app.view_conversation"] if "conversation" in name else []
        if found := OF_A_MODEL.match(name):
            may.append(f"{found.group(1)}.view_{found.group(2)}")
        holder = logged_in(*dict.fromkeys(may), username="with")
        if "apitoken" in name and "<path:object_id>" in doors()[name]:
            assert holder.get(path).status_code in {302, 403}, "another's token is nobody's but a superuser's to see"
        else:
            assert holder.get(path).status_code == 200, (name, "with", path)
    assert Conversation.objects.get(thread_id=rows["thread"]).state == "ai"
