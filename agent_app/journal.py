"""The durable log's one writer in this process, and its readers.

Acts (`agent_app.models.turns`) that come in while a transaction runs share the next one: the group is read and
locked, each act is decided by the rules in turn, and one commit makes all of them durable. A refused act writes
nothing and disturbs nobody. Nothing is answered before the commit.

A commit whose outcome is unknown (the connection was lost under it) is resolved by looking: the group runs again on
a new connection, which first waits for the rows' locks and looks for each act's own message.
"""

import asyncio
import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from django.db import DataError, IntegrityError, connection
from django.db.utils import DatabaseError, InterfaceError

from agent_app.models.conversations import Entry, Message
from agent_app.models.refusal import Unavailable
from agent_app.models.turns import Act, Lease, Outcome
from agent_app.transaction import Group

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

GROUP = 200  # acts of one transaction at the most: more would make the first of them wait for the last
CROWD = 3  # acts in a group from which on the next one is waited for
GATHER_FOR = 0.0005  # seconds; a commit costs as much as fifteen acts, and who is alone never waits
READERS = 4
ANSWER_WITHIN = 10.0  # seconds until a caller is told `unavailable`; longer than the database's own time limits
CLOSING = object()


@dataclass(slots=True)
class Request:
    """One act on its way through the writer, and the caller's future on the caller's own loop."""

    act: Act
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Outcome]"
    unclaimed: Callable[[Lease, float], None]
    asked_at: float = field(default_factory=time.monotonic)

    def answer(self, result: Outcome | Exception) -> None:
        if self.future.done():
            self.hand_on(result)
        elif isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)

    def hand_on(self, result: Outcome | Exception) -> None:
        """Its caller has gone away; the act is done all the same, and the turn that it took must not lie idle."""
        if isinstance(result, Outcome) and result.lease is not None:
            self.unclaimed(result.lease, self.asked_at)


def leave_to_recovery(lease: Lease, asked_at: float) -> None:
    """Where no engine runs: whoever looks for orphaned turns takes it when the lease has run out."""


class Recent:
    """The newest messages that this process wrote, per conversation, so that they need not be read again.

    Written by the writing threads; readers see whole tuples. A gap (another instance wrote in between) starts
    the tuple anew, so what is held is always contiguous.
    """

    LENGTH = 50

    def __init__(self, conversations: int = 2000) -> None:
        self._limit = conversations
        self._tails: OrderedDict[int, tuple[Entry, ...]] = OrderedDict()
        self._writing = threading.Lock()

    def add(self, conversation_id: int, entries: tuple[Entry, ...]) -> None:
        with self._writing:
            tail = self._tails.get(conversation_id, ())
            joined = tail + entries if tail and tail[-1].seq + 1 == entries[0].seq else entries
            self._tails[conversation_id] = joined[-self.LENGTH :]
            self._tails.move_to_end(conversation_id)
            if len(self._tails) > self._limit:
                self._tails.popitem(last=False)

    def forget(self, conversation_id: int) -> None:
        with self._writing:
            self._tails.pop(conversation_id, None)

    def forget_all(self) -> None:
        with self._writing:
            self._tails.clear()

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
        self.unclaimed = leave_to_recovery  # takes a lease, and when it was asked for, whose asker has gone away
        self.available = True
        self.commits = 0
        self.log_reads = 0
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._crowded = False  # the last group was of several: the next one is worth waiting for
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._patient: ThreadPoolExecutor | None = None

    # ---- what everyone calls ----

    async def do(self, act: Act) -> Outcome:
        """The act's outcome, after its commit. Raises Unavailable when the database did not say so in time; the act
        may then still have happened, and doing it again is safe.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        if self._thread is None:
            self._start()
        self._requests.put(Request(act, loop, future, self.unclaimed))
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
        self.log_reads += 1
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
        with self._starting:  # the writer may have handed acts over to it until now
            patient, self._patient = self._patient, None
        if patient is not None:
            patient.submit(connection.close)
            patient.shutdown()
        if readers is not None:
            met = threading.Barrier(READERS)
            for _ in range(READERS):
                readers.submit(close_in_company, met)
            readers.shutdown()

    # ---- the writer's thread ----

    def _start(self) -> None:
        with self._starting:
            if self._readers is None:
                self._readers = ThreadPoolExecutor(READERS, "journal-reader")
            if self._patient is None:
                self._patient = ThreadPoolExecutor(1, "journal-patient")
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="journal-writer", daemon=True)
                self._thread.start()

    def _write(self) -> None:
        while requests := self._gather():
            results = self._commit([request.act for request in requests])
            answered = [(request, result) for request, result in zip(requests, results, strict=True) if result]
            self._deliver(answered)
            if len(answered) < len(requests):
                self._wait_for_locks([request for request, result in zip(requests, results, strict=True) if not result])
        connection.close()

    def _wait_for_locks(self, requests: list[Request]) -> None:
        """Conversations that another instance has locked are taken alone, so that nobody else waits for them."""
        assert self._patient is not None  # noqa: S101 - _start made it
        for request in requests:
            self._patient.submit(self._write_patiently, request)

    def _write_patiently(self, request: Request) -> None:
        (result,) = self._commit([request.act], patient=True)
        assert result is not None  # noqa: S101 - a patient group leaves nothing out
        self._deliver([(request, result)])

    def _gather(self) -> list[Request]:
        """What has been asked by now; waits for the first. Empty when the journal closes."""
        requests = [self._requests.get()]
        if self._crowded:
            time.sleep(GATHER_FOR)
        while len(requests) < GROUP and requests[-1] is not CLOSING:
            try:
                requests.append(self._requests.get_nowait())
            except queue.Empty:
                break
        if requests[-1] is CLOSING:
            requests.pop()
            if requests:
                self._requests.put(CLOSING)
        self._crowded = len(requests) > CROWD
        return requests

    def _deliver(self, answered: Sequence[tuple[Request, Outcome | Exception]]) -> None:
        per_loop: dict[asyncio.AbstractEventLoop, list[tuple[Request, Outcome | Exception]]] = {}
        for request, result in answered:
            per_loop.setdefault(request.loop, []).append((request, result))
        for loop, answers in per_loop.items():
            try:
                loop.call_soon_threadsafe(answer_all, answers)
            except RuntimeError:  # its loop has closed: nobody is left to tell
                logger.info("journal.caller_gone count=%s", len(answers))
                for request, result in answers:
                    request.hand_on(result)

    def _commit(self, acts: list[Act], patient: bool = False) -> list[Outcome | Exception | None]:
        """Each act's outcome or error; None for one that must wait for another instance's lock."""
        group = Group(acts, patient=patient)
        try:
            outcomes = group.run()
        except (DataError, IntegrityError, ValueError) as error:
            connection.close()
            return self._commit_apart(acts, error)
        except (DatabaseError, InterfaceError) as error:
            return self._commit_again(group, error)
        except Exception as error:
            logger.exception("journal.failed acts=%s", len(acts))
            connection.close()
            return self._commit_apart(acts, error)
        self._committed(group, outcomes)
        return list(outcomes)

    def _commit_apart(self, acts: list[Act], error: Exception) -> list[Outcome | Exception | None]:
        """One act's data broke the group: each alone, so that the error is its own caller's."""
        if len(acts) == 1:
            logger.error("journal.refused act=%s error=%s", type(acts[0]).__name__, type(error).__name__)
            return [error]
        return [self._commit([act])[0] for act in acts]

    def _commit_again(self, group: Group, error: Exception) -> list[Outcome | Exception | None]:
        """The database failed us. In doubt about the commit: look, on a new connection, before anything is said.

        A connection that was lost before that (its server was restarted while we were quiet) costs no message either.
        """
        lost = getattr(connection.connection, "closed", False)  # psycopg's word; a file is never lost like that
        connection.close()
        if group.in_doubt or lost:
            second = Group(group.acts, looking=True, patient=True)
            try:
                outcomes = second.run()
            except (DatabaseError, InterfaceError) as again:
                error = again
                connection.close()
            else:
                self._committed(second, outcomes)
                return list(outcomes)
        if self.available:
            logger.error("journal.unavailable error=%s", type(error).__name__)
        self.available = False
        return [Unavailable() for _ in group.acts]

    def _committed(self, group: Group, outcomes: Iterable[Outcome | None]) -> None:
        if group.wrote and not self.available:  # what writes nothing says nothing of a full disk
            logger.info("journal.available")
            self.available = True
        self.commits += 1
        for result in outcomes:
            if result is not None and result.entries:
                self.recent.add(result.conversation_id, result.entries)


def close_in_company(met: threading.Barrier) -> None:
    """Closes this thread's connection once every reader has come to do so: else one of them might take all turns."""
    with suppress(threading.BrokenBarrierError):  # one is held by its query: it is left to the process's end
        met.wait(ANSWER_WITHIN)
    connection.close()


def give_up(future: "asyncio.Future[Outcome]") -> None:
    if not future.done():
        future.set_exception(Unavailable())


def answer_all(answers: list[tuple[Request, Outcome | Exception]]) -> None:
    for request, result in answers:
        request.answer(result)


def reading(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    if connection.settings_dict["CONN_MAX_AGE"]:  # a server may have gone since; a file is opened once
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


journal = Journal()
