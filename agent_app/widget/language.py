"""What the chat says, in each of the site's languages: Django's catalogues of this app, as scripts for a browser."""

import json
from contextlib import suppress
from functools import cache

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import get_language, get_language_info, gettext, override
from django.utils.translation.trans_real import get_supported_language_variant
from django.views.i18n import JavaScriptCatalog


def spoken(request: HttpRequest) -> str:
    """What the address asks for (`?lang=ar`), if the chat speaks it; else what LocaleMiddleware found."""
    with suppress(LookupError, ValueError):  # one that is not spoken, one that is too long to be a language
        return get_supported_language_variant(request.GET.get("lang", ""))
    return get_language() or settings.LANGUAGE_CODE


@cache
def catalogue(language: str) -> bytes:
    """A script that makes `django.gettext` and its like; read once a process, as Django reads its catalogues."""
    with override(language):
        return JavaScriptCatalog(packages=["agent_app"]).get(HttpRequest()).content


@cache
def labels() -> str:
    """What the embed says before there is a chat, as JSON by language: which one is known in the browser only."""
    return json.dumps({code: labels_in(code) for code, _ in settings.LANGUAGES})


def labels_in(language: str) -> dict[str, str | bool]:
    with override(language):
        return {
            "rtl": get_language_info(language)["bidi"],
            "chat": gettext("Chat"),
            "open": gettext("Open chat"),
            "openNamed": gettext("Open chat: %(title)s"),
            "close": gettext("Close chat"),
        }
