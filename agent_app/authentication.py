"""How the staff's doors know who knocks: by an API token, `Authorization: Bearer sdk_…`, or by Django's login."""

from typing import Any

from drf_spectacular.authentication import SessionScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from agent_app.models.tokens import ApiToken


class ApiTokenLogin(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None  # perhaps a logged-in member of staff
        token = ApiToken.objects.opened_by(secret.strip())
        if token is None:
            raise AuthenticationFailed("This token opens nothing here: it is unknown, or has expired.")
        token.note_use()
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="staff"'


class StaffLogin(SessionAuthentication):
    """Django's login. Unlike its base it names a challenge, so that a stranger gets 401 and not 403."""

    def authenticate_header(self, request: Request) -> str:
        return 'Session realm="staff"'


class StaffLoginScheme(SessionScheme):
    target_class = "agent_app.authentication.StaffLogin"


class ApiTokenScheme(OpenApiAuthenticationExtension):
    target_class = ApiTokenLogin
    match_subclasses = True
    name = "staffToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API token, made in the admin."}
