"""What answers where no view does: the error object under /api/, a small page elsewhere, an id on everything."""

import re
from collections.abc import Iterator

import httpx
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings

from tests.chat_client import PATIENCE
from tests.desk import Desk, collect_static

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk as others reach it, with DEBUG off."""
    desk = Desk(tmp_path_factory.mktemp("public"), DEBUG="false", SECRET_KEY="x" * 50, ALLOWED_HOSTS="127.0.0.1")
    collect_static(desk.environ)
    desk.start("--prepare")
    yield desk
    desk.stop()


@pytest.fixture(params=["debug", "public"])
def any_desk(request: pytest.FixtureRequest, desk: Desk, public: Desk) -> Desk:
    return desk if request.param == "debug" else public


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("GET", "/api/v1/nothing/", {}, 404, "not_found"),
        ("GET", "/api/", {}, 404, "not_found"),
        ("GET", "/api/v1/nothing", {"Host": "evil.example"}, 400, "invalid"),
        ("DELETE", "/api/schema/", {}, 405, "method_not_allowed"),
    ],
)
def test_an_error_under_api_is_the_error_object(
    any_desk: Desk, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = httpx.request(method, any_desk.url + path, headers=headers, timeout=PATIENCE)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert len(answer.json()["message"]) > 20
    assert answer.headers["X-Request-ID"]


def test_a_page_that_is_not_there_says_so_and_shows_nothing_of_the_inside(public: Desk) -> None:
    answer = httpx.get(f"{public.url}/nothing/here", timeout=PATIENCE)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Traceback" not in answer.text
    assert "urlconf" not in answer.text.lower()


def test_an_id_is_kept_when_sane_and_made_otherwise(desk: Desk) -> None:
    def id_for(path: str, given: str | None = None) -> str:
        headers = {} if given is None else {"X-Request-ID": given}
        return httpx.get(desk.url + path, headers=headers, timeout=PATIENCE).headers["X-Request-ID"]

    assert id_for("/api/schema/", "trace-1.a_B") == "trace-1.a_B"
    for path in ("/healthz", "/nothing", "/static/admin/css/base.css"):
        assert re.fullmatch("[0-9a-f]{32}", id_for(path))
    for insane in ("", "x" * 65, "a b", "a;b", "<script>"):
        assert re.fullmatch("[0-9a-f]{32}", id_for("/healthz", insane))


def test_the_docs_load_nothing_from_elsewhere_and_run_nothing_inline(desk: Desk) -> None:
    page = httpx.get(f"{desk.url}/api/docs/", timeout=PATIENCE)
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert "<style" not in page.text
    assert re.findall(r"<script(?![^>]*\bsrc=)", page.text) == []
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert addresses
    for address in addresses:
        assert address.startswith("/")
        assert httpx.get(desk.url + address, timeout=PATIENCE).status_code == 200


def test_the_demo_account_needs_debug(settings: Settings) -> None:
    settings.DEBUG = False
    with pytest.raises(CommandError, match="DEBUG"):
        call_command("demo_admin")


@pytest.mark.django_db
def test_the_demo_account_is_made_once_and_then_left_alone(settings: Settings) -> None:
    settings.DEBUG = True
    call_command("demo_admin")
    User.objects.filter(username="admin").update(email="kept@example.com")
    call_command("demo_admin")
    assert User.objects.get(username="admin").email == "kept@example.com"
