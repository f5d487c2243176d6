"""API tokens: what they open, what they do not, and how they are made."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from agent_app.desk import rest
from agent_app.desk.caller import ACTS
from agent_app.models import ApiToken
from sessions_app.staff import StaffView
from tests.staff import is_live, live, logged_in, put, staff  # noqa: F401 - fixtures

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.slow]

ALL = ("sessions_app.view_session", "sessions_app.expire_session", "agent_app.view_article")
SESSIONS = "/api/v1/sessions/"


def token_of(user: User, *scopes: str, **about: Any) -> str:
    token = ApiToken(name="night report", **about)
    secret = token.seal(user)
    token.save()
    token.scopes.set(Permission.objects.filter(codename__in=scopes))
    return secret


def bearer(secret: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {secret}"}, enforce_csrf_checks=True)


def test_a_token_does_what_its_user_and_its_scopes_may(live: str) -> None:  # noqa: F811
    put("s1")
    client = bearer(token_of(staff(*ALL), "view_session", "extend_session"))
    assert client.get(SESSIONS).status_code == 200
    assert client.delete(f"{SESSIONS}s1/").status_code == 403, "its user may, its scopes do not"
    extend = client.post(f"{SESSIONS}s1/extend/", {"seconds": 9}, "application/json")
    assert extend.status_code == 403, "its scopes do, its user may not"
    assert client.get("/api/v1/knowledge/articles/").status_code == 403
    assert is_live("s1")


# The session's end is recorded on a connection of its own, which no test's transaction takes back.
@pytest.mark.django_db(transaction=True)
def test_a_token_needs_no_cross_site_proof(live: str) -> None:  # noqa: F811
    put("s1")
    client = bearer(token_of(staff(*ALL), "expire_session"))
    assert client.delete(f"{SESSIONS}s1/").status_code == 204


def test_a_superusers_token_is_bound_by_its_scopes() -> None:
    client = bearer(token_of(staff(is_superuser=True), "view_article"))
    assert client.get("/api/v1/knowledge/articles/").status_code == 200
    assert client.get(SESSIONS).status_code == 403


@pytest.mark.parametrize("why", ["unknown", "expired", "user gone", "user no staff", "deleted", "empty"])
def test_what_opens_nothing_gets_401(why: str) -> None:
    user = staff(*ALL)
    secret = token_of(user, "view_session")
    assert bearer(secret).get(SESSIONS).status_code == 200
    match why:
        case "unknown":
            secret = secret[:-1] + ("a" if secret[-1] != "a" else "b")
        case "expired":
            ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        case "user gone":
            User.objects.update(is_active=False)
        case "user no staff":
            User.objects.update(is_staff=False)
        case "deleted":
            ApiToken.objects.all().delete()
        case "empty":
            secret = ""
    answer = bearer(secret).get(SESSIONS)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


def test_every_staff_permission_of_a_door_can_be_a_scope() -> None:
    page = logged_in(is_superuser=True).get("/admin/agent_app/apitoken/add/").content.decode()
    asked = {permission for door in staff_doors() for permission in door.staff_permissions.values()}
    assert "agent_app.erase_customer" in asked
    shown = {rest.MAY_SEE_NOTES, rest.MAY_SEE_AUDIT, rest.MAY_SEE_FACTS, rest.MAY_SEE_SESSION}
    for permission in {*asked, *shown, *ACTS.values()}:
        app, codename = permission.split(".")
        scope = Permission.objects.get(content_type__app_label=app, codename=codename)
        assert f'value="{scope.pk}"' in page, permission


def staff_doors() -> set[type[StaffView]]:
    """Those that have an address."""
    found: set[type[StaffView]] = set()
    left: list[Any] = [get_resolver()]
    while left:
        each = left.pop()
        left += getattr(each, "url_patterns", [])
        view = getattr(getattr(each, "callback", None), "view_class", object)
        if issubclass(view, StaffView):
            found.add(view)
    return found


def test_the_secret_is_not_kept() -> None:
    secret = token_of(staff(*ALL))
    (row,) = ApiToken.objects.values_list()
    assert secret not in str(row)


def test_its_use_is_noted_once_a_minute(django_assert_num_queries: Any) -> None:
    client = bearer(token_of(staff(*ALL), "view_article"))
    client.get("/api/v1/knowledge/articles/")
    first = ApiToken.objects.get().last_used_at
    assert first is not None
    client.get("/api/v1/knowledge/articles/")
    assert ApiToken.objects.get().last_used_at == first
    ApiToken.objects.update(last_used_at=first - timedelta(minutes=2))
    client.get("/api/v1/knowledge/articles/")
    assert ApiToken.objects.get().last_used_at >= first


def test_it_is_made_for_oneself_and_shown_once() -> None:
    own = ("agent_app.add_apitoken", "agent_app.view_apitoken", "agent_app.change_apitoken")
    client = logged_in(*own, *ALL)
    scope = Permission.objects.get(codename="view_article")
    form = {"name": "report", "scopes": [scope.pk], "expires_at_0": "2100-01-01", "expires_at_1": "00:00:00"}
    page = client.post("/admin/agent_app/apitoken/add/", form, follow=True).content.decode()
    token = ApiToken.objects.get()
    assert token.user.username == "ana"
    secret = page.split("<code>")[1].split("</code>")[0]
    assert bearer(secret).get("/api/v1/knowledge/articles/").status_code == 200
    shown = client.get(f"/admin/agent_app/apitoken/{token.pk}/change/").content.decode()
    assert secret not in shown
    assert token.digest not in shown


def test_anothers_token_is_out_of_sight() -> None:
    token_of(staff(*ALL, username="boss"), "view_session")
    token = ApiToken.objects.get()
    client = logged_in("agent_app.view_apitoken", "agent_app.change_apitoken", "agent_app.delete_apitoken")
    assert "night report" not in client.get("/admin/agent_app/apitoken/").content.decode()
    assert client.get(f"/admin/agent_app/apitoken/{token.pk}/change/").status_code == 302
    root = logged_in(is_superuser=True, username="root")
    assert "night report" in root.get("/admin/agent_app/apitoken/").content.decode()
    assert root.post(f"/admin/agent_app/apitoken/{token.pk}/change/", {"name": "mine"}).status_code == 403
    assert root.post(f"/admin/agent_app/apitoken/{token.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not ApiToken.objects.exists()
