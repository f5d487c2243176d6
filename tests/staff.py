"""What the tests of the staff's doors share: people with more or less permission, and a store of each kind."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission, User
from django.test import Client

from agent_app.journal import journal
from sessions_app.stores import SessionData, get_store
from tests.conftest import ValkeyServer, free_port

numbers = itertools.count()


@pytest.fixture(params=["memory", "redis"])
def live(request: pytest.FixtureRequest, settings: Any) -> Iterator[str]:
    """The site's own store, empty, of each kind."""
    if request.param == "memory":
        use_memory(settings)
    else:
        use_redis(settings, request.getfixturevalue("valkey"))
    yield request.param
    journal.close()


@pytest.fixture
def live_redis(settings: Any, valkey: ValkeyServer) -> Iterator[redis.Redis]:
    """The site's store in Valkey, and the server itself, past the store."""
    use_redis(settings, valkey)
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        yield client
    journal.close()


@pytest.fixture
def store_away(settings: Any) -> Iterator[None]:
    """The site's store at an address where nothing listens."""
    use_redis(settings, f"redis://127.0.0.1:{free_port()}/0")
    yield
    journal.close()


def use_memory(settings: Any) -> None:
    options = settings.CACHES["sessions"] | {"LOCATION": f"staff{next(numbers)}"}
    settings.CACHES = {**settings.CACHES, "sessions": options}


def use_redis(settings: Any, where: ValkeyServer | str) -> None:
    options = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": where if isinstance(where, str) else where.url,
        "TIMEOUT": 1800,
        "KEY_PREFIX": f"staff{next(numbers)}:",
        "KEY_FUNCTION": "sessions_app.cache.session_key",
        "OPTIONS": {"CLIENT_CLASS": "sessions_app.cache.SessionsClient"},
    }
    settings.CACHES = {**settings.CACHES, "sessions": options}


def put(session_id: str, ttl: float = 600, **fields: Any) -> None:
    assert async_to_sync(get_store().set)(session_id, SessionData(session_id, **fields), ttl)


def is_live(session_id: str) -> bool:
    return async_to_sync(get_store().exists)(session_id)


def seconds_left(session_id: str) -> float:
    left = async_to_sync(get_store().ttl)(session_id)
    assert left is not None
    return left


def staff(*permissions: str, username: str = "ana", **fields: Any) -> User:
    """A member of staff with just these permissions, each as app.codename."""
    user = User.objects.create(username=username, **{"is_staff": True, **fields})
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return user


def logged_in(*permissions: str, **fields: Any) -> Client:
    client = Client()
    client.force_login(staff(*permissions, **fields))
    return client
