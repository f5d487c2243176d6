"""Makes people for a desk that runs elsewhere, in a process of its own over the desk's database.

Reads one JSON command a line and answers each with one:
{"do": "hire", "name", "may": [permission], ...} → {"id", "session", "token"}: a login's session key and an API token
{"do": "grant" or "revoke", "name", "permission"} · {"do": "log out", "session"} · {"do": "fire", "name"}
{"do": "run", "code"} → {"said": what the code left in `said`}
"""

import json
import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "supportdesk.settings")
django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402 - Django is set up first
from django.contrib.auth.models import Permission, User  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402

from agent_app.models import ApiToken  # noqa: E402


def permission(name: str) -> Permission:
    app, codename = name.split(".")
    return Permission.objects.get(content_type__app_label=app, codename=codename)


def hire(name: str, may: list[str], **about: object) -> dict[str, object]:
    user = User.objects.create(username=name, **{"is_staff": True, "first_name": name.title(), **about})
    user.user_permissions.set([permission(each) for each in may])
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    token = ApiToken(name="test")
    secret = token.seal(user)
    token.save()
    token.scopes.set(Permission.objects.all() if user.is_superuser else user.user_permissions.all())
    return {"id": user.pk, "session": session.session_key, "token": secret}


def obey(do: str, **asked: object) -> dict[str, object]:
    name = str(asked.get("name", ""))
    match do:
        case "hire":
            return hire(**asked)  # type: ignore[arg-type]
        case "grant":
            User.objects.get(username=name).user_permissions.add(permission(str(asked["permission"])))
        case "revoke":
            User.objects.get(username=name).user_permissions.remove(permission(str(asked["permission"])))
        case "log out":
            SessionStore(str(asked["session"])).delete()
        case "fire":
            User.objects.filter(username=name).update(is_active=False)
        case "run":
            places: dict[str, object] = {}
            exec(str(asked["code"]), places)
            return {"said": places.get("said")}
    return {}


def main() -> None:
    for line in sys.stdin:
        sys.stdout.write(json.dumps(obey(**json.loads(line)), default=str) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
