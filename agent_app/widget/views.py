"""The customer's pages. The chat itself speaks to the API: nothing here knows a session."""

import hashlib
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import jwt
from csp.decorators import csp_replace
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone, translation
from django.views.decorators.cache import cache_control
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.http import etag, require_safe

from agent_app import demo
from agent_app.markdown import to_html
from agent_app.models import Article
from agent_app.serializers import identity_key
from agent_app.widget import language as languages
from agent_app.widget import shop

DEMO_LOGIN = timedelta(hours=12)
EMBED = Path(__file__).resolve().parents[1] / "static" / "agent_app" / "embed.js"


def framing_sites(origins: Iterable[str], hosts: Iterable[str], debug: bool) -> list[str]:
    """Who may frame the chat: as for its socket, the allowed origins, or without any this site's own hosts.

    A host of "*" names nobody, and CSP knows no IPv6 addresses, so neither becomes a source.
    """
    if not (sites := list(origins)):
        named = [*hosts, *(["localhost", "127.0.0.1"] if debug else [])]
        sites = [f"{host.removeprefix('.')}:*" for host in named if host != "*" and not host.startswith("[")]
        sites += [f"*{host}:*" for host in named if host.startswith(".")]
    return ["'self'", *sites]


@require_safe
def demo_shop(request: HttpRequest) -> HttpResponse:
    articles = Article.objects.published().filter(slug__in=shop.HELP)
    context = {"products": shop.PRODUCTS, "questions": shop.QUESTIONS, "articles": articles}
    if demo.is_open() and settings.DEBUG:
        context["ana"] = shop.ANA  # it is offered to be her
        if request.GET.get("as") == "ana":
            context |= {"identity": demo_identity(), "questions": shop.ANA_ASKS}
    return render(request, "agent_app/widget/shop.html", context)


def demo_identity() -> str:
    """What a shop's own page would sign for the customer who is logged in there."""
    claims = {**shop.ANA, "exp": timezone.now() + DEMO_LOGIN, "aud": settings.IDENTITY_AUDIENCE}
    return jwt.encode(claims, identity_key(), "HS256")


@require_safe
@xframe_options_exempt
@csp_replace({"frame-ancestors": framing_sites(settings.ALLOWED_ORIGINS, settings.ALLOWED_HOSTS, settings.DEBUG)})
def chat(request: HttpRequest) -> HttpResponse:
    """The page within the iframe. Who may frame it is said by CSP alone: X-Frame-Options cannot name a site."""
    language = languages.spoken(request)
    with translation.override(language):
        response = render(request, "agent_app/widget/chat.html")
    response.headers["Content-Language"] = language
    return response


def strings_version(request: HttpRequest, language: str) -> str | None:
    return version(languages.catalogue(language)) if language in dict(settings.LANGUAGES) else None


@require_safe
@cache_control(public=True, max_age=300)
@etag(strings_version)
def strings(request: HttpRequest, language: str) -> HttpResponse:
    """The catalogue for the chat's scripts. One address is one language, in every cache."""
    if language not in dict(settings.LANGUAGES):
        raise Http404
    return HttpResponse(
        languages.catalogue(language),
        content_type="text/javascript; charset=utf-8",
        headers={"Content-Language": language},
    )


def version(script: bytes) -> str:
    return f'"{hashlib.sha256(script).hexdigest()[:20]}"'


def embed_script() -> bytes:
    return EMBED.read_bytes().replace(b"/* labels */ {}", languages.labels().encode())


def embed_version(request: HttpRequest) -> str:
    return version(embed_script())


@require_safe
@cache_control(public=True, max_age=300)
@etag(embed_version)
def embed(request: HttpRequest) -> HttpResponse:
    """A short life in caches: every site that embeds it names this address, without a version."""
    return HttpResponse(embed_script(), content_type="text/javascript; charset=utf-8")


@require_safe
def article(request: HttpRequest, slug: str) -> HttpResponse:
    found = get_object_or_404(Article.objects.published(), slug=slug)
    context = {"article": found, "body": to_html(found.body)}
    return render(request, "agent_app/widget/article.html", context)
