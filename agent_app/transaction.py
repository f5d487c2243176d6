"""One transaction of the journal: a group of acts read, decided and written together.

Few statements, whatever the number of acts: sqlite3 gives up the interpreter's lock around each statement and, on a
busy process, waits up to 5 ms to have it back; PostgreSQL answers each after a round trip. Raw statements, for the
ORM's share of a message (a queryset, a model instance, a wrapped cursor) costs more than the whole transaction.
"""

import functools
import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.conf import settings
from django.db import connection
from django.db.models import Model

from agent_app.models.audit import AuditEntry
from agent_app.models.confirmations import OPEN_FOR, Confirmation
from agent_app.models.conversations import ENTRY_COLUMNS, Conversation, Entry, Message
from agent_app.models.desk import Ticket
from agent_app.models.mail import Mail
from agent_app.models.turns import (
    BUSY_COLUMNS,
    CALM_COLUMNS,
    CHANGED_COLUMNS,
    ROW_COLUMNS,
    Act,
    Intent,
    NewConfirmation,
    NewLetter,
    Outcome,
    Row,
    Terms,
)

Key = tuple[int, str, str]  # conversation, role, client_id


@dataclass(slots=True)
class Group:
    """Acts that share one transaction on this thread's connection.

    `in_doubt` is true once COMMIT was sent and its answer did not come. `looking` makes a second run find what the
    first one may have committed, by the messages' own ids: after the rows' locks, for that commit may still be running.
    `patient` waits for rows that another instance has locked; without it their acts are left out (outcome None).
    `wrote` is true once a commit has changed something.
    """

    acts: Sequence[Act]
    looking: bool = False
    patient: bool = False
    in_doubt: bool = False
    wrote: bool = False

    def run(self) -> list[Outcome | None]:
        """The acts' outcomes in their order. Raises Django's database errors."""
        connection.ensure_connection()
        log = dialect()
        with connection.wrap_database_errors:
            now = log.begin()
            terms = current_terms()
            ids = {act.conversation_id for act in self.acts}
            rows = log.lock_rows(ids, self.patient)
            calm = {id_: calm_columns_of(row) for id_, row in rows.items()}
            left_out = log.locked_elsewhere(ids - rows.keys()) if len(rows) < len(ids) and not self.patient else ()
            found = self._find(log)
            self._read_intents(rows)
            outcomes = [
                None if act.conversation_id in left_out else self._decide(act, rows, found, now, terms)
                for act in self.acts
            ]
            changed = [row for row in rows.values() if row.changed]
            log.insert(changed)
            busy: list[Row] = []
            moved: list[Row] = []
            for row in changed:
                (busy if calm_columns_of(row) == calm[row.id] else moved).append(row)
            log.update(busy, BUSY_COLUMNS)
            log.update(moved, CHANGED_COLUMNS)
            self._write_intents(rows, now)
            self._write_records(rows)
            self.in_doubt = True
            log.commit()
            self.in_doubt = False
            self.wrote = bool(changed)
            log.keep(rows)
        return outcomes

    def _find(self, log: "Dialect") -> dict[Any, Entry]:
        """What was stored before for these acts: by (conversation, role, client_id), and when looking, by id."""
        keys = [(act.conversation_id, *act.sent_as) for act in self.acts if act.sent_as is not None]
        doubtful = [act for act in self.acts if act.message_id is not None and (self.looking or act.in_doubt)]
        found: dict[Any, Entry] = {}
        for message in log.sent_before(keys) if keys else ():
            found[(message.conversation_id, (message.role, message.client_id))] = message.to_entry()
        ids = {str(act.message_id) for act in doubtful}
        for message in Message.objects.named({act.conversation_id for act in doubtful}, ids) if ids else ():
            found[message.public_id] = message.to_entry()
        return found

    def _read_intents(self, rows: dict[int, Row]) -> None:
        for act in self.acts:
            row = rows.get(act.conversation_id)
            if row is None or act.wants_intent is None or row.intent is not None:
                continue
            found = Confirmation.objects.wanted(row.id, act.wants_intent)
            if found is not None:
                row.intent = Intent(
                    found.public_id, found.tool, found.arguments, found.summary, found.state, found.expires_at
                )

    def _write_intents(self, rows: dict[int, Row], now: datetime) -> None:
        """Rare, and therefore the ORM's: an update of one row, by its id and its conversation's."""
        for row in rows.values():
            settled = list(row.settled)
            if row.intent is not None and row.intent.changed:
                settled.append((row.intent.id, row.intent.state))
            for public_id, state in settled:
                mine = Confirmation.objects.filter(conversation_id=row.id, public_id=public_id)
                mine.update(state=state, changed_at=now)

    def _write_records(self, rows: dict[int, Row]) -> None:
        """Staff's acts, which are rare, too."""
        for row in rows.values():
            for record in row.records:
                AuditEntry.made(record.action, row.session_id, record.actor, **record.details).write()

    def _decide(self, act: Act, rows: dict[int, Row], found: dict[Any, Entry], now: datetime, terms: Terms) -> Outcome:
        row = rows.get(act.conversation_id)
        if row is None:
            return unknown_conversation(act.conversation_id, now)
        sent_as, message_id = act.sent_as, act.message_id
        before = found.get((row.id, sent_as)) or found.get(message_id) if found else None
        if before is not None:
            return act.repeated(row, before, now)
        done = act.on(row, now, terms)
        if sent_as is not None and done.entries:
            found[(row.id, sent_as)] = done.entries[0]  # the same client_id may come twice within one group
        if act.in_doubt and done.entries:
            found[message_id] = done.entries[0]  # and so may an answer whose first try waited here while it was retried
        return done


def current_terms() -> Terms:
    return Terms(timedelta(seconds=settings.TURN_LEASE), timedelta(seconds=settings.SESSION_TTL))


def unknown_conversation(conversation_id: int, now: datetime) -> Outcome:
    """The conversation was erased."""
    return Outcome(conversation_id, "closed", 0, 0, 0, 0, now, None, None, refused="not_found")


# ---- the statements ----

CONVERSATIONS = Conversation._meta.db_table
MESSAGES = Message._meta.db_table
TICKETS = Ticket._meta.db_table
CONFIRMATIONS = Confirmation._meta.db_table
LETTERS = Mail._meta.db_table
MESSAGE_COLUMNS = ("conversation_id", *ENTRY_COLUMNS)
TICKET_COLUMNS = ("number", "conversation_id", "reason", "category", "priority", "created_at")
OFFER_COLUMNS = (
    *("public_id", "conversation_id", "tool", "arguments", "summary"),
    *("state", "created_at", "expires_at", "changed_at"),
)
LETTER_COLUMNS = ("kind", "conversation_id", "event", "state", "due_at", "attempts")
SENT_COLUMNS = ("conversation_id", "role", "client_id")  # of a Key
TIMES = {"live_until", "turn_until", "closed_at", "updated_at", "active_at", "waiting_since"}
TIME_PLACES = tuple(ROW_COLUMNS.index(name) for name in TIMES)
columns_of = operator.attrgetter(*ROW_COLUMNS)
calm_columns_of = operator.attrgetter(*CALM_COLUMNS)
MOST_KNOWN = 10_000  # rows kept between two groups, a kilobyte each

# ruff: noqa: S608 - every name in these statements is our own


@functools.cache
def reader(names: tuple[str, ...]) -> tuple[Callable[[Row], tuple[Any, ...]], list[int]]:
    """What reads these columns of a row; and which of them are times, counted from 1."""
    return operator.attrgetter(*names), [place for place, name in enumerate(names, 1) if name in TIMES]


def values(mark: str, rows: int, columns: int) -> str:
    row = f"({', '.join([mark] * columns)})"
    return ", ".join([row] * rows)


@functools.cache
def select_rows(mark: str, rows: int) -> str:
    places = ", ".join([mark] * rows)
    return f"SELECT {', '.join(ROW_COLUMNS)} FROM {CONVERSATIONS} WHERE id IN ({places}) ORDER BY id"


@functools.cache
def select_sent(mark: str, rows: int) -> str:
    """A join, for with a row-value IN SQLite would read the whole table instead of the partial index."""
    return (
        f"WITH k (c, r, i) AS (VALUES {values(mark, rows, 3)}) SELECT m.id FROM k CROSS JOIN {MESSAGES} m "
        "WHERE m.conversation_id = k.c AND m.role = k.r AND m.client_id = k.i AND m.client_id IS NOT NULL"
    )


@functools.cache
def insert(table: str, columns: tuple[str, ...], mark: str, rows: int) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {values(mark, rows, len(columns))}"


@functools.cache
def update_rows(columns: tuple[str, ...], mark: str, rows: int) -> str:
    changes = ", ".join(f"{name} = v.column{place}" for place, name in enumerate(columns, 2))
    changed = f"(VALUES {values(mark, rows, len(columns) + 1)}) AS v"
    return f"UPDATE {CONVERSATIONS} SET {changes} FROM {changed} WHERE {CONVERSATIONS}.id = v.column1"


@functools.cache
def insert_records() -> str:
    columns = ", ".join(MESSAGE_COLUMNS)
    return f"INSERT INTO {MESSAGES} ({columns}) SELECT {columns} FROM {recordset(Message, MESSAGE_COLUMNS)}"


@functools.cache
def update_records(columns: tuple[str, ...]) -> str:
    changes = ", ".join(f"{name} = v.{name}" for name in columns)
    changed = recordset(Conversation, ("id", *columns))
    return f"UPDATE {CONVERSATIONS} SET {changes} FROM {changed} WHERE {CONVERSATIONS}.id = v.id"


@functools.cache
def select_records() -> str:
    """The first message at or after each key, in the order of the index that is to be read.

    Asked for what is equal to the key, PostgreSQL may take the index of the numbers, and read all messages of the chat:
    while its statistics are old, both look alike to it. Without its chat for a bound it would walk over whatever was
    deleted behind it, and has not been vacuumed yet.
    """
    key = ", ".join(SENT_COLUMNS)
    wanted = ", ".join(f"v.{name}" for name in SENT_COLUMNS)
    return (
        f"SELECT m.id FROM {recordset(Message, SENT_COLUMNS)} CROSS JOIN LATERAL (SELECT id, {key} FROM {MESSAGES} "
        f"WHERE client_id IS NOT NULL AND conversation_id <= v.conversation_id AND ({key}) >= ({wanted}) "
        f"ORDER BY {key} LIMIT 1) m "
        f"WHERE ({', '.join(f'm.{name}' for name in SENT_COLUMNS)}) = ({wanted})"
    )


def recordset(model: type[Model], columns: Sequence[str]) -> str:
    """Rows that come as one parameter: PostgreSQL's table of a JSON list of objects."""
    types = {field.column: field.cast_db_type(connection) for field in model._meta.concrete_fields}
    return f"json_to_recordset(%s) AS v({', '.join(f'{name} {types[name]}' for name in columns)})"


def as_records(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    try:
        return as_json([dict(zip(columns, row, strict=True)) for row in rows])
    except orjson.JSONEncodeError as error:  # text that is none, as the drivers of both databases call it
        raise ValueError(str(error)) from error


def chunks(rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    """Pieces of 64, 32, … 1: a statement for each length would not stay in the driver's cache."""
    start = 0
    while start < len(rows):
        size = min(64, 1 << ((len(rows) - start).bit_length() - 1))
        yield rows[start : start + size]
        start += size


def flat(rows: Sequence[Sequence[Any]]) -> list[Any]:
    return [value for row in rows for value in row]


class Dialect:
    """The statements of a group, as the two databases want them."""

    mark = "?"
    empty_list: Any = "[]"

    def __init__(self) -> None:
        self.db: Any = connection.connection

    def begin(self) -> datetime:
        """The transaction's time, by the clock of the database where it has one of its own."""
        raise TypeError("a dialect begins its own way")

    def commit(self) -> None:
        self.db.execute("COMMIT")

    def keep(self, rows: dict[int, Row]) -> None:
        """After the commit: what the rows are now."""

    def lock_rows(self, ids: set[int], patient: bool) -> dict[int, Row]:
        """The conversations' rows, locked in the order of their ids."""
        rows: dict[int, Row] = {}
        for piece in chunks([(id_,) for id_ in sorted(ids)]):
            for columns in self.db.execute(select_rows(self.mark, len(piece)), flat(piece)).fetchall():
                rows[columns[0]] = self.row(columns)
        return rows

    def locked_elsewhere(self, ids: set[int]) -> set[int]:
        """Those of the ids that exist all the same."""
        return set()

    def row(self, columns: Sequence[Any]) -> Row:
        return Row(*columns)

    def time(self, moment: datetime | None) -> Any:
        return moment

    def json(self, value: Any) -> Any:
        return as_json(value)

    def sent_before(self, keys: list[Key]) -> list[Message]:
        """The messages stored under these (conversation, role, client_id)."""
        places = self.places_of(keys)
        return list(Message.objects.filter(pk__in=places)) if places else []

    def places_of(self, keys: list[Key]) -> list[int]:
        places: list[int] = []
        for piece in chunks(keys):
            found = self.db.execute(select_sent(self.mark, len(piece)), flat(piece)).fetchall()
            places += [columns[0] for columns in found]
        return places

    def insert(self, changed: Sequence[Row]) -> None:
        messages = [self.message(row.id, entry) for row in changed for entry in row.entries]
        tickets = [self.ticket(row, ticket) for row in changed for ticket in row.tickets]
        self.insert_messages(messages)
        offers = [self.offer(row, offer) for row in changed for offer in row.offers]
        for piece in chunks(offers):
            self.db.execute(insert(CONFIRMATIONS, OFFER_COLUMNS, self.mark, len(piece)), flat(piece))
        letters = [self.letter(row, letter) for row in changed for letter in row.letters]
        for piece in chunks(letters):
            # One that is owed already (by this event, or until it is sent by an earlier reply's) stands for this one.
            owe = insert(LETTERS, LETTER_COLUMNS, self.mark, len(piece)) + " ON CONFLICT DO NOTHING"
            self.db.execute(owe, flat(piece))
        for piece in chunks(tickets):
            self.db.execute(insert(TICKETS, TICKET_COLUMNS, self.mark, len(piece)), flat(piece))

    def insert_messages(self, messages: Sequence[Sequence[Any]]) -> None:
        for piece in chunks(messages):
            self.db.execute(insert(MESSAGES, MESSAGE_COLUMNS, self.mark, len(piece)), flat(piece))

    def update(self, changed: Sequence[Row], columns: tuple[str, ...]) -> None:
        for piece in chunks([self.columns(row, columns) for row in changed]):
            self.db.execute(update_rows(columns, self.mark, len(piece)), flat(piece))

    def ticket(self, row: Row, ticket: Any) -> Sequence[Any]:
        made = self.time(row.updated_at)
        return (ticket.number, row.id, ticket.reason, ticket.category, ticket.priority, made)

    def letter(self, row: Row, letter: NewLetter) -> Sequence[Any]:
        due_at = self.time(letter.due_at)
        return (Mail.Kind.REPLY.value, row.id, letter.event, Mail.State.DUE.value, due_at, 0)

    def offer(self, row: Row, offer: NewConfirmation) -> Sequence[Any]:
        made, until = self.time(row.updated_at), self.time(row.updated_at + OPEN_FOR)
        words = (offer.id, row.id, offer.tool, as_json(offer.arguments), offer.summary)
        return (*words, Confirmation.State.OFFERED.value, made, until, made)

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
            self.json(entry.citations) if entry.citations else self.empty_list,
            self.json(entry.attachments) if entry.attachments else self.empty_list,
            self.json(entry.choices) if entry.choices else None,
            self.json(entry.confirm) if entry.confirm else None,
            entry.stopped,
            entry.turn,
            self.json(entry.details) if entry.details else None,
        )

    def columns(self, row: Row, names: tuple[str, ...]) -> Sequence[Any]:
        """Its id, and these."""
        read, times = reader(names)
        columns = [row.id, *read(row)]
        for place in times:
            columns[place] = self.time(columns[place])
        return columns


class Known(threading.local):
    """Rows as this thread's connection has left them, and how often other connections had committed by then."""

    db: Any = None
    version: int = 0
    rows: dict[int, tuple[Any, ...]]

    def at(self, db: Any, version: int) -> dict[int, tuple[Any, ...]]:
        if db is not self.db or version != self.version or len(self.rows) > MOST_KNOWN:
            self.db, self.version, self.rows = db, version, {}
        return self.rows


known = Known()


class SqliteLog(Dialect):
    """One writer at a time: BEGIN IMMEDIATE is the lock on every row. So a row that this connection wrote is still as
    it was left while no other connection has committed, which SQLite counts: it need not be read again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._written: dict[datetime, str] = {}

    def begin(self) -> datetime:
        self.db.execute("BEGIN IMMEDIATE")
        return datetime.now(UTC)

    def lock_rows(self, ids: set[int], patient: bool) -> dict[int, Row]:
        (version,) = self.db.execute("PRAGMA data_version").fetchone()
        held = known.at(self.db, version)
        # Taken out, and back only after the commit: what fails on the way is read again.
        rows = {id_: Row(*held.pop(id_)) for id_ in ids if id_ in held}
        if len(rows) < len(ids):
            rows |= super().lock_rows(ids - rows.keys(), patient)
        return rows

    def keep(self, rows: dict[int, Row]) -> None:
        known.rows.update({id_: columns_of(row) for id_, row in rows.items() if row.changed})

    def row(self, columns: Sequence[Any]) -> Row:
        made = list(columns)
        for place in TIME_PLACES:
            if made[place] is not None:
                made[place] = made[place].replace(tzinfo=UTC)
        return Row(*made)

    def time(self, moment: datetime | None) -> Any:
        """As Django stores it: UTC without saying so. A group has few different ones."""
        if moment is None:
            return None
        written = self._written.get(moment)
        if written is None:
            written = self._written[moment] = moment.replace(tzinfo=None).isoformat(" ")
        return written


LOCK_ROWS = f"SELECT {', '.join(ROW_COLUMNS)} FROM {CONVERSATIONS} WHERE id = ANY(%s::bigint[]) ORDER BY id FOR UPDATE"


# The statements are prepared once a connection, perhaps while the tables are empty: the planner must not read whole
# tables for that reason until they are analysed next, nor sort what an index has in order. What it does all the same
# looks so dear to it that it would compile it: tens of milliseconds, where the compiler is installed.
BEGIN_BY_INDEX = "; ".join(
    (
        "BEGIN",
        *(f"SET LOCAL enable_{way} = off" for way in ("seqscan", "hashjoin", "mergejoin", "sort", "incremental_sort")),
        "SET LOCAL jit = off",
        "SELECT clock_timestamp()",
    )
)


def prepared_cursor(connection: Any) -> Any:
    """Parameters go to the server beside the statement, which it has parsed and planned: Django's own cursor writes
    them into it.
    """
    from psycopg import Cursor  # only where it is the database's driver

    connection.prepare_threshold = 0  # Django sets None, with which psycopg prepares nothing, whatever it is asked

    class Prepared(Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            return super().execute(query, params, prepare=True)

    return Prepared(connection)


class PostgresLog(Dialect):
    """Rows go in as one parameter: the driver takes a statement of a thousand of them apart each time, which was four
    fifths of a message's CPU.
    """

    mark = "%s"
    empty_list: Any = ()

    def __init__(self) -> None:
        super().__init__()
        self._connection = self.db
        self.db = prepared_cursor(self.db)

    def begin(self) -> datetime:
        began = self._connection.execute(BEGIN_BY_INDEX)
        while began.nextset():
            pass
        moment: datetime = began.fetchone()[0]
        return moment

    def commit(self) -> None:
        self._connection.execute("COMMIT")

    def lock_rows(self, ids: set[int], patient: bool) -> dict[int, Row]:
        statement = LOCK_ROWS if patient else f"{LOCK_ROWS} SKIP LOCKED"
        return {columns[0]: self.row(columns) for columns in self.db.execute(statement, [list(ids)]).fetchall()}

    def locked_elsewhere(self, ids: set[int]) -> set[int]:
        return set(Conversation.objects.filter(pk__in=ids).values_list("pk", flat=True))

    def json(self, value: Any) -> Any:
        return value

    def places_of(self, keys: list[Key]) -> list[int]:
        found = self.db.execute(select_records(), [as_records(SENT_COLUMNS, keys)]).fetchall()
        return [columns[0] for columns in found]

    def insert_messages(self, messages: Sequence[Sequence[Any]]) -> None:
        if messages:
            self.db.execute(insert_records(), [as_records(MESSAGE_COLUMNS, messages)])

    def update(self, changed: Sequence[Row], columns: tuple[str, ...]) -> None:
        if changed:
            records = as_records(("id", *columns), [self.columns(row, columns) for row in changed])
            self.db.execute(update_records(columns), [records])


def dialect() -> Dialect:
    return PostgresLog() if connection.vendor == "postgresql" else SqliteLog()


def as_json(value: Any) -> str:
    return orjson.dumps(value).decode()
