"""Who knocks at the desk's socket, and what they may: asked of the database again and again, for it changes."""

from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

from agent_app.models import ApiToken

VIEW = "agent_app.view_conversation"
VIEW_NOTES = "agent_app.view_note"

# What each act needs, beside seeing conversations at all. `notes` is no act: it is to be shown private notes.
ACTS = {
    "takeover": "agent_app.takeover_conversation",
    "release": "agent_app.release_conversation",
    "reply": "agent_app.reply_conversation",
    "note": "agent_app.add_note",
    "notes": VIEW_NOTES,
    "resolve": "agent_app.resolve_conversation",
    "assign": "agent_app.assign_conversation",
    "canned": "agent_app.view_cannedreply",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """A member of staff, as the database knows them at this moment; a token may do less than its user."""

    user: Any
    token: ApiToken | None

    def may(self, permission: str) -> bool:
        return self.user.has_perm(permission) and (self.token is None or self.token.allows(permission))

    def acts(self) -> list[str]:
        return [act for act, permission in ACTS.items() if self.may(permission)]


@dataclass(frozen=True, slots=True)
class Key:
    """What a socket came with: an API token's secret, or the key of a login's session."""

    secret: str | None
    session_key: str | None

    def caller(self) -> Caller | None:
        """None when it opens nothing (any more): logged out, expired, no staff."""
        if self.secret is not None:
            token = ApiToken.objects.opened_by(self.secret)
            if token is None:
                return None
            token.note_use()
            return Caller(token.user, token)
        if self.session_key is None:
            return None
        request = HttpRequest()
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(self.session_key)
        user = get_user(request)  # compares the session with the password it was made under
        return Caller(user, None) if user.is_active and getattr(user, "is_staff", False) else None


def session_key(scope: dict[str, Any]) -> str | None:
    """The login's session, from the handshake's cookie."""
    jar = SimpleCookie()
    for name, value in scope["headers"]:
        if name == b"cookie":
            try:
                jar.load(value.decode("latin-1"))
            except CookieError:
                return None
    found = jar.get(settings.SESSION_COOKIE_NAME)
    return found.value if found is not None else None


def from_our_own_page(scope: dict[str, Any]) -> bool:
    """A login's cookie comes along from any page: only this desk's own may open the socket with it. A program sends
    no Origin.
    """
    headers = {name: value.decode("latin-1").lower() for name, value in scope["headers"]}
    origin = headers.get(b"origin")
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    host = headers.get(b"host", "")
    return parts.scheme in {"http", "https"} and parts.netloc == host
