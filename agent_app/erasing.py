"""Fulfilling a customer's wish to be forgotten: chats are closed first, wherever they are open, then everything goes.

What goes, and in which steps it may be killed, is the models' (`agent_app.models.erasure`). Here is the order of the
steps, and what is not in the database: sockets, live sessions, the index of what articles were taught.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from asgiref.sync import async_to_sync
from django.db import connection

from agent_app import chat
from agent_app.demo import books
from agent_app.doorbell import ERASED, Ring, doorbell
from agent_app.journal import journal
from agent_app.knowledge.indexing import knowledge
from agent_app.models import Conversation, Erasure, IndexGeneration, KnowledgeState
from agent_app.models.refusal import Unavailable
from sessions_app.stores import StoreUnavailable, get_store

logger = logging.getLogger(__name__)

knowledge.forget_with(journal.recent.forget_all)  # rung, too, chat by chat; but a ring may be lost

FORGOTTEN_AT_ONCE = 200  # chats of one transaction
REASON = "erased"
INDEX_WITHIN = 60.0  # seconds that an erasure waits for another instance that builds the index
LOOK_AGAIN = 0.25  # seconds
STORE_AWAY = "The session store is away: what is in it goes as soon as it is back, with the next run."


def erase(erasure: Erasure, advance: Callable[[int], None] = lambda chats: None) -> Erasure:
    """Begins an erasure or goes on with it, and gives its receipt. May be killed at any moment, and run by several.

    Raises StoreUnavailable while the session store is away; what has gone by then is gone, and it can be gone on with.
    """
    while batch := list(erasure.chats().values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE]):
        async_to_sync(close_chats)(batch)
        for user_id in proven_customers(batch):  # first, while their chats still say who they are
            books.restore(user_id)
        advance(erasure.forget_chats(batch))
        async_to_sync(tell_erased)(batch)
    async_to_sync(end_sessions)(erasure)
    if erasure.scope == Erasure.Scope.CUSTOMER and erasure.subject:
        books.restore(erasure.subject)
    erasure.forget_the_rest()
    erasure.refresh_from_db()
    renew_index()
    empty_log()
    return erasure


def erase_or_leave(erasure: Erasure) -> Erasure:
    """For a door: an erasure that cannot be finished now stays pending, and `manage.py cleanup` goes on with it."""
    try:
        return erase(erasure)
    except (StoreUnavailable, Unavailable) as error:
        logger.warning("erasure.pending receipt=%s error=%s", erasure.number, type(error).__name__)
        erasure.refresh_from_db()
        return erasure


async def close_chats(ids: list[int]) -> None:
    """From here on nothing more is written in them; their sockets hear of it on every instance."""
    store = get_store()
    async with doorbell.calling():
        await asyncio.gather(*(chat.end_chat(id_, REASON) for id_ in await journal.read(still_open, ids)))
    await store.delete_many(await journal.read(session_ids_of, ids))
    if not store.available:
        raise StoreUnavailable(STORE_AWAY)


async def tell_erased(ids: list[int]) -> None:
    """Instances forget what they hold in memory, and readers of closed chats are let go."""
    async with doorbell.calling():
        for conversation_id in ids:
            doorbell.ring(Ring(conversation_id, state=ERASED))


def still_open(ids: list[int]) -> list[int]:
    return list(Conversation.objects.open().filter(pk__in=ids).values_list("pk", flat=True))


def session_ids_of(ids: list[int]) -> list[str]:
    return list(Conversation.objects.filter(pk__in=ids).values_list("session_id", flat=True))


def proven_customers(ids: list[int]) -> set[str]:
    verified = Conversation.objects.filter(pk__in=ids, verified=True, user_id__isnull=False)
    return {user_id for user_id in verified.values_list("user_id", flat=True) if user_id}


async def end_sessions(erasure: Erasure) -> None:
    """Live sessions of the customer that no chat led to."""
    if erasure.scope == Erasure.Scope.CUSTOMER and erasure.subject:
        store = get_store()
        for session_id in await store.sessions_of(erasure.subject):
            await store.end(session_id, REASON)


def empty_log() -> None:
    """SQLite overwrites what is deleted, but its log holds pages as they were until it begins anew.

    It cannot while somebody reads the file, such as a backup: then the next `manage.py cleanup` does it.
    """
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # waits for readers as long as for a lock
            busy = cursor.fetchone()[0]
        if busy:
            logger.warning("erasure.log_not_emptied somebody reads the database: manage.py cleanup empties it later")


def renew_index() -> None:
    """Leaves no index of knowledge as it was: one may hold what an article was taught by the customer, also where an
    editor has taken that out again.

    Where another instance is building, its index is the next one, and is waited for; a builder forgets the older ones
    itself as well, however long it takes.
    """
    until = time.monotonic() + INDEX_WITHIN
    while there_are_old_indexes():
        knowledge.renew()
        if forget_old_indexes():
            return
        if time.monotonic() > until:
            logger.warning("erasure.index_follows the index is still being built: it replaces the older ones then")
            return
        time.sleep(LOOK_AGAIN)


def there_are_old_indexes() -> bool:
    return IndexGeneration.objects.before(KnowledgeState.current_revision()).exists()


def forget_old_indexes() -> int:
    """Deletes the generations that are older than the knowledge, of whatever embedder, once one is not."""
    current = KnowledgeState.current_revision()
    if not IndexGeneration.objects.filter(revision__gte=current).exists():
        return 0
    return IndexGeneration.objects.before(current).delete()[0]
