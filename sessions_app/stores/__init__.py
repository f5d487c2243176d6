"""Where live sessions are kept: one contract, two stores, and the one that the settings name."""

import logging
import threading
from typing import Any

from django.core.cache import caches
from django.core.signals import setting_changed

from sessions_app.cache import IndexedLocMemCache
from sessions_app.data import SessionData
from sessions_app.stores.base import SessionStore, StoreUnavailable
from sessions_app.stores.memory import InMemorySessionStore
from sessions_app.stores.redis import RedisSessionStore

logger = logging.getLogger(__name__)

REDIS_AVAILABLE = True  # redis and hiredis are requirements; older code asks

_store: SessionStore | None = None
_making = threading.Lock()


def get_store() -> SessionStore:
    """The process's store, over the `sessions` cache alias."""
    global _store
    store = _store
    if store is None:
        with _making:
            store = _store
            if store is None:
                store = _store = make_store()
    return store


def make_store() -> SessionStore:
    from django.conf import settings

    if isinstance(caches["sessions"], IndexedLocMemCache):
        logger.info("Using InMemorySessionStore")
        return InMemorySessionStore.from_cache("sessions", sliding=settings.SESSION_SLIDING)
    logger.info("Using RedisSessionStore for shared context")
    grace = 2 * settings.SESSION_CLEANUP_INTERVAL
    return RedisSessionStore.from_cache("sessions", sliding=settings.SESSION_SLIDING, grace=grace)


def forget_store(*, setting: str = "", **kwargs: Any) -> None:
    """The next get_store() reads the settings again."""
    global _store
    if setting in ("", "CACHES") or setting.startswith(("SESSION_", "REDIS_")):
        _store = None


setting_changed.connect(forget_store)

__all__ = [
    "REDIS_AVAILABLE",
    "InMemorySessionStore",
    "RedisSessionStore",
    "SessionData",
    "SessionStore",
    "StoreUnavailable",
    "forget_store",
    "get_store",
]
