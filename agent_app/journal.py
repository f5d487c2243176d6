"""The durable log's one writer in this process, and its readers.

Acts (`agent_app.models.turns`) that come in while a transaction runs share the next one: the group is read and
locked, each act is decided by the rules in turn, and one commit makes all of them durable. A refused act writes
nothing and disturbs nobody. Nothing is answered before the commit.

A commit whose outcome is unknown (the connection was lost under it) is resolved by looking: the group runs again on
a new connection, which first waits for the rows' locks and looks for each act's own message.
"""

import asyncio
import functools
import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

import orjson
from django.conf import settings
from django.db import DataError, IntegrityError, connection
from django.db.utils import DatabaseError, InterfaceError

from agent_app.models.conversations import ENTRY_COLUMNS, Conversation, Entry, Message
from agent_app.models.desk import Ticket
from agent_app.models.refusal import Unavailable
from agent_app.models.turns import CHANGED_COLUMNS, ROW_COLUMNS, Act, Outcome, Row, Terms

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

GROUP = 200  # acts of one transaction at the most: more would make the first of them wait for the last
READERS = 4
ANSWER_WITHIN = 10.0  # seconds until a caller is told `unavailable`; longer than the database's own time limits
CLOSING = object()


@dataclass(slots=True)
class Request:
    """One act on its way through the writer, and the caller's future on the caller's own loop."""

    act: Act
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Outcome]"

    def answer(self, result: Outcome | Exception) -> None:
        if self.future.done():  # its caller has gone away; the act is done all the same
            return
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Recent:
    """The newest messages that this process wrote, per conversation, so that they need not be read again.

    Written by the writer's thread alone; readers see whole tuples. A gap (another instance wrote in between) starts
    the tuple anew, so what is held is always contiguous.
    """

    LENGTH = 50

    def __init__(self, conversations: int = 2000) -> None:
        self._limit = conversations
        self._tails: OrderedDict[int, tuple[Entry, ...]] = OrderedDict()

    def add(self, conversation_id: int, entries: tuple[Entry, ...]) -> None:
        tail = self._tails.get(conversation_id, ())
        joined = tail + entries if tail and tail[-1].seq + 1 == entries[0].seq else entries
        self._tails[conversation_id] = joined[-self.LENGTH :]
        self._tails.move_to_end(conversation_id)
        if len(self._tails) > self._limit:
            self._tails.popitem(last=False)

    def between(self, conversation_id: int, after: int, upto: int) -> tuple[Entry, ...] | None:
        """The messages after `after` up to `upto`, or None when some of them are not held."""
        tail = self._tails.get(conversation_id, ())
        if not tail or tail[0].seq > after + 1 or tail[-1].seq < upto:
            return None
        first = tail[0].seq
        return tail[max(0, after + 1 - first) : upto + 1 - first]


class Journal:
    """The way in for every message and every change of a conversation's state, for any event loop and thread."""

    def __init__(self) -> None:
        self.recent = Recent()
        self.available = True
        self.commits = 0
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._readers: ThreadPoolExecutor | None = None

    # ---- what everyone calls ----

    async def do(self, act: Act) -> Outcome:
        """The act's outcome, after its commit. Raises Unavailable when the database did not say so in time; the act
        may then still have happened, and doing it again is safe.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        if self._thread is None:
            self._start()
        self._requests.put(Request(act, loop, future))
        timer = loop.call_later(ANSWER_WITHIN, give_up, future)
        try:
            return await future
        finally:
            timer.cancel()

    async def read(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a function that uses the ORM on one of the journal's own threads, whose connections stay open.

        Raises Unavailable when the database is away.
        """
        if self._readers is None:
            self._start()
        assert self._readers is not None  # noqa: S101 - _start made it
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: reading(function, *args, **kwargs))

    async def entries(self, conversation_id: int, after: int, limit: int) -> list[Entry]:
        """Messages after `after`, oldest first, `limit` at the most; from the database."""
        return await self.read(read_entries, conversation_id, after, limit)

    async def tail(self, conversation_id: int, upto: int, length: int) -> tuple[Entry, ...]:
        """The `length` newest messages up to `upto`, oldest first; from memory when this process wrote them."""
        after = max(0, upto - length)
        held = self.recent.between(conversation_id, after, upto)
        if held is not None:
            return held
        return tuple(await self.entries(conversation_id, after, upto - after))

    def close(self) -> None:
        """Commits what was asked, then ends the writer and the readers and their connections."""
        with self._starting:
            thread, self._thread = self._thread, None
            readers, self._readers = self._readers, None
        if thread is not None:
            self._requests.put(CLOSING)
            thread.join(ANSWER_WITHIN)
        if readers is not None:
            for _ in range(READERS):
                readers.submit(connection.close)
            readers.shutdown()

    # ---- the writer's thread ----

    def _start(self) -> None:
        with self._starting:
            if self._readers is None:
                self._readers = ThreadPoolExecutor(READERS, "journal-reader")
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="journal-writer", daemon=True)
                self._thread.start()

    def _write(self) -> None:
        while True:
            requests = self._gather()
            if requests:
                self._deliver(requests, self._commit([request.act for request in requests]))
            else:
                connection.close()
                return

    def _gather(self) -> list[Request]:
        """What has been asked by now; waits for the first. Empty when the journal closes."""
        requests = [self._requests.get()]
        while len(requests) < GROUP and requests[-1] is not CLOSING:
            try:
                requests.append(self._requests.get_nowait())
            except queue.Empty:
                break
        if requests[-1] is CLOSING:
            requests.pop()
            if requests:
                self._requests.put(CLOSING)
        return requests

    def _deliver(self, requests: Sequence[Request], results: Sequence[Outcome | Exception]) -> None:
        per_loop: dict[asyncio.AbstractEventLoop, list[tuple[Request, Outcome | Exception]]] = {}
        for request, result in zip(requests, results, strict=True):
            per_loop.setdefault(request.loop, []).append((request, result))
        for loop, answers in per_loop.items():
            try:
                loop.call_soon_threadsafe(answer_all, answers)
            except RuntimeError:  # its loop has closed: nobody is left to tell
                logger.info("journal.caller_gone count=%s", len(answers))

    def _commit(self, acts: list[Act]) -> list[Outcome | Exception]:
        group = Group(acts)
        try:
            outcomes = group.run()
        except (DataError, IntegrityError, ValueError) as error:
            group.roll_back()
            return self._commit_apart(acts, error)
        except (DatabaseError, InterfaceError) as error:
            return self._commit_again(group, error)
        except Exception as error:
            logger.exception("journal.failed acts=%s", len(acts))
            group.roll_back()
            return [error] * len(acts) if len(acts) == 1 else self._commit_apart(acts, error)
        self._committed(outcomes)
        return list(outcomes)

    def _commit_apart(self, acts: list[Act], error: Exception) -> list[Outcome | Exception]:
        """One act's data broke the group: each alone, so that the error is its own caller's."""
        if len(acts) == 1:
            logger.error("journal.refused act=%s error=%s", type(acts[0]).__name__, type(error).__name__)
            return [error]
        return [self._commit([act])[0] for act in acts]

    def _commit_again(self, group: "Group", error: Exception) -> list[Outcome | Exception]:
        """The database failed us. In doubt about the commit: look, on a new connection, before anything is said.

        A connection that was lost before that (its server was restarted while we were quiet) costs no message either.
        """
        lost = getattr(connection.connection, "closed", False)  # psycopg's word; a file is never lost like that
        connection.close()
        if group.in_doubt or lost:
            try:
                outcomes = Group(group.acts, looking=True).run()
            except (DatabaseError, InterfaceError) as again:
                error = again
                connection.close()
            else:
                self._committed(outcomes)
                return list(outcomes)
        if self.available:
            logger.error("journal.unavailable error=%s", type(error).__name__)
        self.available = False
        return [Unavailable() for _ in group.acts]

    def _committed(self, outcomes: Iterable[Outcome]) -> None:
        if not self.available:
            logger.info("journal.available")
        self.available = True
        self.commits += 1
        for result in outcomes:
            if result.entries:
                self.recent.add(result.conversation_id, result.entries)


def give_up(future: "asyncio.Future[Outcome]") -> None:
    if not future.done():
        future.set_exception(Unavailable())


def answer_all(answers: list[tuple[Request, Outcome | Exception]]) -> None:
    for request, result in answers:
        request.answer(result)


def reading(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    connection.close_if_unusable_or_obsolete()
    try:
        return function(*args, **kwargs)
    except (DatabaseError, InterfaceError) as error:
        if isinstance(error, (DataError, IntegrityError)):
            raise
        connection.close()
        logger.warning("journal.read_failed error=%s", type(error).__name__)
        raise Unavailable from error


def read_entries(conversation_id: int, after: int, limit: int) -> list[Entry]:
    return Message.objects.filter(conversation_id=conversation_id).after(after)[:limit].entries()


# ---- one transaction ----


@dataclass
class Group:
    """Acts that share one transaction on this thread's connection.

    `in_doubt` is true once COMMIT was sent and its answer did not come. `looking` makes a second run find what the
    first one may have committed, by the messages' own ids.
    """

    acts: list[Act]
    looking: bool = False
    in_doubt: bool = False
    _rows: dict[int, Row] = field(default_factory=dict)

    def run(self) -> list[Outcome]:
        connection.ensure_connection()
        log = dialect()
        with connection.wrap_database_errors:
            log.begin()
            now = log.now()
            terms = current_terms()
            rows = self._rows = log.lock_rows({act.conversation_id for act in self.acts})
            found = self._find(log)
            outcomes = [self._decide(act, rows, found, now, terms) for act in self.acts]
            log.write(rows.values())
            self.in_doubt = True
            log.commit()
            self.in_doubt = False
        return outcomes

    def roll_back(self) -> None:
        connection.close()

    def _decide(self, act: Act, rows: dict[int, Row], found: dict[Any, Entry], now: datetime, terms: Terms) -> Outcome:
        row = rows.get(act.conversation_id)
        if row is None:
            return unknown_conversation(act.conversation_id, now)
        before = found.get((row.id, act.sent_as)) or found.get(act.message_id) if found else None
        if before is not None:
            return act.repeated(row, before, now)
        first_new = len(row.entries)
        done = act.on(row, now, terms)
        if found is not None and act.sent_as is not None:
            for entry in row.entries[first_new:]:
                # The same client_id may come twice within one group.
                found[(row.id, act.sent_as)] = entry
        return done

    def _find(self, log: "Dialect") -> dict[Any, Entry]:
        """What was stored before for these acts: by (conversation, role, client_id), and when looking, by id."""
        keys = [(act.conversation_id, *act.sent_as) for act in self.acts if act.sent_as is not None]
        found: dict[Any, Entry] = {}
        for message in log.sent_before(keys):
            found[(message.conversation_id, (message.role, message.client_id))] = message.to_entry()
        ids = [act.message_id for act in self.acts if act.message_id is not None and (self.looking or act.in_doubt)]
        if ids:
            for message in Message.objects.filter(public_id__in=ids):
                found[message.public_id] = message.to_entry()
        return found


def current_terms() -> Terms:
    return Terms(timedelta(seconds=settings.TURN_LEASE), timedelta(seconds=settings.SESSION_TTL))


def unknown_conversation(conversation_id: int, now: datetime) -> Outcome:
    """The conversation was erased."""
    return Outcome(conversation_id, "closed", 0, 0, 0, 0, now, None, None, refused="not_found")


CONVERSATION_TABLE = Conversation._meta.db_table
MESSAGE_TABLE = Message._meta.db_table
TICKET_TABLE = Ticket._meta.db_table
TIMES = ("live_until", "turn_until", "closed_at", "updated_at")
TIME_PLACES = tuple(ROW_COLUMNS.index(name) for name in TIMES)
EMPTY_LIST = "[]"


@functools.cache
def insert_statement(mark: str) -> str:
    columns = ("conversation_id", *ENTRY_COLUMNS)
    return f"INSERT INTO {MESSAGE_TABLE} ({', '.join(columns)}) VALUES ({', '.join([mark] * len(columns))})"  # noqa: S608


@functools.cache
def ticket_statement(mark: str) -> str:
    columns = ("number", "conversation_id", "reason", "category", "priority", "created_at")
    return f"INSERT INTO {TICKET_TABLE} ({', '.join(columns)}) VALUES ({', '.join([mark] * len(columns))})"  # noqa: S608


@functools.cache
def update_statement(mark: str) -> str:
    changes = ", ".join(f"{name} = {mark}" for name in CHANGED_COLUMNS)
    return f"UPDATE {CONVERSATION_TABLE} SET {changes} WHERE id = {mark}"  # noqa: S608 - our names


class Dialect:
    """The few statements of a group, as the two databases want them.

    Raw statements: the ORM's share of a message (building a queryset, a model instance, a wrapped cursor) costs more
    than the whole transaction.
    """

    mark = "?"
    locking = ""

    def __init__(self) -> None:
        self.db: Any = connection.connection

    def begin(self) -> None:
        raise TypeError("a dialect begins its own way")

    def now(self) -> datetime:
        return datetime.now(UTC)

    def commit(self) -> None:
        self.db.execute("COMMIT")

    def lock_rows(self, ids: set[int]) -> dict[int, Row]:
        wanted = sorted(ids)
        rows = self.db.execute(
            f"SELECT {', '.join(ROW_COLUMNS)} FROM {CONVERSATION_TABLE} "  # noqa: S608 - our names
            f"WHERE id IN ({', '.join([self.mark] * len(wanted))}) ORDER BY id{self.locking}",
            wanted,
        ).fetchall()
        return {row[0]: self.row(row) for row in rows}

    def row(self, columns: Sequence[Any]) -> Row:
        return Row(*columns)

    def time(self, moment: datetime | None) -> Any:
        return moment

    def sent_before(self, keys: list[tuple[int, str, str]]) -> list[Message]:
        """The messages stored under these (conversation, role, client_id)."""
        raise TypeError("a dialect looks its own way")

    def write(self, rows: Iterable[Row]) -> None:
        changed = [row for row in rows if row.changed]
        messages = [self.message(row.id, entry) for row in changed for entry in row.entries]
        if messages:
            self.many(insert_statement(self.mark), messages)
        if changed:
            self.many(update_statement(self.mark), [self.columns(row) for row in changed])
        for row in changed:
            for ticket in row.tickets:
                values = (ticket.number, row.id, ticket.reason, ticket.category, ticket.priority)
                self.db.execute(ticket_statement(self.mark), (*values, self.time(row.updated_at)))

    def many(self, statement: str, rows: list[Sequence[Any]]) -> None:
        self.db.executemany(statement, rows)

    def message(self, conversation_id: int, entry: Entry) -> Sequence[Any]:
        return (
            conversation_id,
            entry.seq,
            entry.id,
            entry.role,
            entry.text,
            self.time(entry.created_at),
            entry.client_id,
            entry.reply_to,
            entry.author,
            as_json(entry.citations) if entry.citations else EMPTY_LIST,
            as_json(entry.attachments) if entry.attachments else EMPTY_LIST,
            as_json(entry.choices) if entry.choices else None,
            as_json(entry.confirm) if entry.confirm else None,
            entry.stopped,
            entry.turn,
            as_json(entry.details) if entry.details else None,
        )

    def columns(self, row: Row) -> Sequence[Any]:
        return (
            row.state,
            row.last_seq,
            row.customer_count,
            row.asked_upto,
            row.answered_upto,
            self.time(row.live_until),
            row.turn_holder,
            self.time(row.turn_until),
            row.turn_fence,
            row.turn_attempts,
            row.turn_stop,
            row.ticket,
            row.assignee_id,
            self.time(row.closed_at),
            row.closed_reason,
            self.time(row.updated_at),
            row.id,
        )


class SqliteLog(Dialect):
    def begin(self) -> None:
        self.db.execute("BEGIN IMMEDIATE")

    def row(self, columns: Sequence[Any]) -> Row:
        values = list(columns)
        for place in TIME_PLACES:
            if values[place] is not None:
                values[place] = values[place].replace(tzinfo=UTC)
        return Row(*values)

    def time(self, moment: datetime | None) -> Any:
        return moment.replace(tzinfo=None) if moment else None

    def sent_before(self, keys: list[tuple[int, str, str]]) -> list[Message]:
        found = []
        for key in keys:  # a look-up costs some 3 µs here; a row-value IN would not use the partial index
            place = self.db.execute(
                f"SELECT id FROM {MESSAGE_TABLE} WHERE conversation_id = ? AND role = ? AND client_id = ?",  # noqa: S608
                key,
            ).fetchone()
            if place is not None:
                found.append(Message.objects.get(pk=place[0]))
        return found


class PostgresLog(Dialect):
    mark = "%s"
    locking = " FOR UPDATE"

    def begin(self) -> None:
        self.db.execute("BEGIN")

    def now(self) -> datetime:
        moment: datetime = self.db.execute("SELECT clock_timestamp()").fetchone()[0]
        return moment

    def many(self, statement: str, rows: list[Sequence[Any]]) -> None:
        with self.db.cursor() as cursor:
            cursor.executemany(statement, rows)

    def sent_before(self, keys: list[tuple[int, str, str]]) -> list[Message]:
        if not keys:
            return []
        places = self.db.execute(
            f"SELECT id FROM {MESSAGE_TABLE} WHERE (conversation_id, role, client_id) IN "  # noqa: S608 - our names
            f"({', '.join(['(%s, %s, %s)'] * len(keys))})",
            [value for key in keys for value in key],
        ).fetchall()
        return list(Message.objects.filter(pk__in=[place[0] for place in places])) if places else []


def dialect() -> Dialect:
    return PostgresLog() if connection.vendor == "postgresql" else SqliteLog()


def as_json(value: Any) -> str:
    return orjson.dumps(value).decode()


journal = Journal()
