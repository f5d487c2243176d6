"""The demo shop, the chat's page, the embed and the help articles, as any browser asks for them."""

import hashlib
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from agent_app.models import Article
from agent_app.widget.views import framing_sites

pytestmark = [pytest.mark.integration, pytest.mark.django_db]

VENDOR = Path(settings.BASE_DIR) / "agent_app" / "static" / "agent_app" / "vendor"
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", re.IGNORECASE)


@pytest.fixture
def article() -> Article:
    return Article.objects.create(slug="returns", title="Return an item", body="Within **30 days**.")


@pytest.mark.parametrize("path", ["/", "/widget/", "/help/returns/"])
def test_no_page_holds_inline_code_or_style(client: Client, article: Article, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert INLINE.search(response.text) is None
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-inline" not in policy


@pytest.mark.parametrize("path", ["/", "/help/returns/"])
def test_nobody_may_frame_the_other_pages(client: Client, article: Article, path: str) -> None:
    response = client.get(path)
    assert response.headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


def test_the_chat_may_be_framed_by_whom_the_policy_names(client: Client) -> None:
    response = client.get("/widget/")
    assert "X-Frame-Options" not in response.headers
    assert "frame-ancestors 'self'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("origins", "hosts", "debug", "sites"),
    [
        (["https://shop.example"], ["desk.example"], True, ["'self'", "https://shop.example"]),
        (
            [],
            ["desk.example", ".shop.example"],
            False,
            ["'self'", "desk.example:*", "shop.example:*", "*.shop.example:*"],
        ),
        ([], ["*", "[::1]"], False, ["'self'"]),
        ([], [], True, ["'self'", "localhost:*", "127.0.0.1:*"]),
    ],
)
def test_framing_follows_the_allowed_origins(
    origins: list[str], hosts: list[str], debug: bool, sites: list[str]
) -> None:
    assert framing_sites(origins, hosts, debug) == sites


def test_the_embed_is_one_script_that_caches_shortly(client: Client) -> None:
    response = client.get("/widget.js")
    assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert response.headers["Cache-Control"] == "public, max-age=300"
    again = client.get("/widget.js", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304


def test_a_help_article_is_rendered(client: Client, article: Article) -> None:
    response = client.get("/help/returns/")
    assert "<h1>Return an item</h1>" in response.text
    assert "<strong>30 days</strong>" in response.text
    assert article.get_absolute_url() == "/help/returns/"


def test_an_article_that_is_not_published_is_not_there(client: Client, article: Article) -> None:
    Article.objects.update(published=False)
    assert client.get("/help/returns/").status_code == 404
    assert client.get("/help/never-written/").status_code == 404


def test_vendored_code_is_what_its_readme_says() -> None:
    written = dict(re.findall(r"→ `([^`]+)` \| `([0-9a-f]{64})`", (VENDOR / "README.md").read_text()))
    there = {str(path.relative_to(VENDOR)) for path in VENDOR.rglob("*.mjs")}
    assert set(written) == there
    for name, digest in written.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest
        assert list((VENDOR / name).parent.glob("LICENSE*"))
