"""The protocol around one conversation's row, step by step, over the rules that ship.

What runs here is `agent_app.models.turns` itself: each step makes a `Row`, applies an act, and keeps what the act left.
Abstract is only what surrounds the rules: two instances with the turn each believes to hold and the message each is
about to acknowledge; a customer with three messages who sends again what was not acknowledged, anywhere; a person;
time. An observer, who never looks at the row's own bookkeeping, holds the log against the promises.

The state is finite without bounding faults, since only equality of fences and of holders matters: an older fence is
one value, a dead process's name another. So every number of crashes, run-out leases and lost commits is covered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from agent_app.models.conversations import Entry
from agent_app.models.turns import (
    AI,
    CLOSED,
    HUMAN,
    LAST_ATTEMPT,
    WAITING,
    Act,
    AgentReply,
    AskForPerson,
    Close,
    CustomerMessage,
    Expire,
    GiveBack,
    Lease,
    NewTicket,
    Outcome,
    Release,
    Renew,
    Row,
    TakeOver,
    TakeTurn,
    Terms,
)
from tests.model.checker import Step

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TERMS = Terms(lease=timedelta(seconds=10), session=timedelta(hours=1))
AHEAD = timedelta(seconds=60)  # the second instance's clock: every lease of the first looks run out to it
PAST = NOW - timedelta(seconds=1)
ALIVE = NOW + timedelta(days=1)
NAMES = ("A", "B")
DEAD = "dead"  # a process that was killed; the next one of that name is another holder
FENCE, OLDER = 2, 1
STAFF = 1


class Turn(NamedTuple):
    """A turn that an instance believes to hold. `unsure`: its answer's commit is in doubt; `stored`: it is there."""

    fence: int
    answered_upto: int
    asked_upto: int
    attempt: int
    unsure: bool = False
    stored: bool = False


class Asking(NamedTuple):
    """A customer's message whose commit is in doubt on an instance. `stored`: under this request's own id."""

    message: int
    stored: bool


class Instance(NamedTuple):
    turn: Turn | None = None
    asking: Asking | None = None
    late: Turn | None = None  # an answer that was given up, but whose write is still under way in the process


class World(NamedTuple):
    # the row
    state: str = AI
    last_seq: int = 0
    asked_upto: int = 0
    answered_upto: int = 0
    has_run_out: bool = False  # live_until is past
    holder: str | None = None
    until: datetime | None = None
    attempts: int = 0
    # the processes
    instances: tuple[Instance, Instance] = (Instance(), Instance())
    # the observer
    stored: tuple[int, ...] = ()  # seq of each of the customer's messages
    acked: bool = True  # the newest of them; the customer writes on once it is
    replied_upto: int = 0  # the newest customer message that an agent's message covers
    taken_upto: int = 0  # what a person took over, or came before a release or a close
    human: bool = False
    over: bool = False

    def at(self, place: int, **values: Turn | Asking | None) -> "World":
        """With something else on that instance. Built by hand: `_replace` would take half of the checker's time."""
        first, second = self.instances
        instances = (first._replace(**values), second) if place == 0 else (first, second._replace(**values))
        return World._make((*self[:INSTANCES], instances, *self[INSTANCES + 1 :]))


INSTANCES = World._fields.index("instances")


@dataclass(frozen=True)
class Model:
    """What can happen, and which rules decide. The defaults are everything, with the rules that ship."""

    messages: int = 3
    row: type[Row] = Row
    looks: bool = True  # an answer whose commit is in doubt is looked for before it is judged
    recovery: bool = True
    crashes: bool = True
    doubts: bool = True
    late: bool = False
    attempts: bool = False  # counted, so that the last one hands over; else every turn looks like the first
    skew: bool = True
    staff: bool = True
    closing: bool = True
    escalation: bool = True

    # ---- the steps ----

    def steps(self, world: World) -> Iterator[Step[World]]:
        for place in (0, 1):
            yield from self._customer(world, place)
            yield from self._turn(world, place)
            if self.recovery:
                yield from self._recover(world, place)
            if self.crashes:
                yield from self._crash(world, place)
        yield from self._time(world)
        if self.staff:
            yield from self._staff(world)
        if self.closing:
            yield from self._ends(world)
        if self.escalation and world.state == AI:
            done = self._act(world, 0, AskForPerson(1, NewTicket("T"), "asked", id="asked"))
            yield Step("the customer asks for a person", done.world, done.violation)

    def _customer(self, world: World, place: int) -> Iterator[Step[World]]:
        """The next message, or the newest again when it was not acknowledged; to any instance."""
        instance, name = world.instances[place], NAMES[place]
        if instance.asking is not None:
            yield from self._look_for_message(world, place, instance.asking)
            return
        number = len(world.stored) if world.acked else len(world.stored) - 1
        if number < self.messages:
            yield from self._send(world, place, number, f"message {number + 1} to {name}")

    def _send(self, world: World, place: int, number: int, label: str, own: bool = False) -> Iterator[Step[World]]:
        done = self._act(world, place, self._message(place, number), found=self._found(world, number, own))
        yield Step(label, done.acknowledged(place, number), done.violation, fair=own)
        if self.doubts and (own or not in_doubt(world)):
            unheard = done.world.at(place, asking=Asking(number, own or done.new))
            yield Step(f"{label}, committed, its word lost", unheard, done.violation)
            if not own:
                nothing = world.at(place, asking=Asking(number, False))
                yield Step(f"{label}, not committed, no word", nothing)

    def _look_for_message(self, world: World, place: int, asking: Asking) -> Iterator[Step[World]]:
        label = f"{NAMES[place]} looks for message {asking.message + 1}"
        if asking.stored or asking.message <= len(world.stored):
            yield from self._send(world, place, asking.message, label, own=True)
        unknown = world.at(place, asking=None)
        yield Step(f"{NAMES[place]} says unavailable", unknown, fair=True)

    def _message(self, place: int, number: int) -> CustomerMessage:
        return CustomerMessage(1, "hello", f"m{number}", holder=NAMES[place], id="own")

    def _found(self, world: World, number: int, own: bool) -> Entry | None:
        """What the journal finds under the client_id; `own`: under this request's id as well."""
        if number >= len(world.stored):
            return None
        return Entry(world.stored[number], "own" if own else "another", "customer", "hello", NOW, f"m{number}")

    def _turn(self, world: World, place: int) -> Iterator[Step[World]]:
        instance, name = world.instances[place], NAMES[place]
        if instance.late is not None:
            done = self._act(world, place, reply(place, instance.late))
            yield Step(f"{name}'s late write lands", done.world.at(place, late=None), done.violation, fair=True)
        turn = instance.turn
        if turn is None:
            return
        yield from self._answer(world, place, turn)
        if turn.unsure:
            return
        renewed = self._act(world, place, Renew(1, lease(place, turn)))
        kept = renewed.world if not renewed.refused else renewed.world.at(place, turn=None)
        yield Step(f"{name} renews", kept)
        if not self.recovery:
            return
        dropped = world.at(place, turn=None)
        yield Step(f"{name} gives up by its own clock", dropped, fair=True)
        given_back = self._act(world, place, GiveBack(1, lease(place, turn)))
        yield Step(f"{name} drains", given_back.world.at(place, turn=None))

    def _answer(self, world: World, place: int, turn: Turn) -> Iterator[Step[World]]:
        name = NAMES[place]
        label = f"{name} looks, then answers" if turn.unsure else f"{name} answers"
        found = Entry(0, "reply", "agent", "", NOW) if turn.unsure and turn.stored and self.looks else None
        done = self._act(world, place, reply(place, turn), found=found)
        yield Step(label, done.world.at(place, turn=done.lease), done.violation, fair=True)
        if not self.doubts or (in_doubt(world) and not turn.unsure):
            return
        stored = turn.stored or done.new
        unheard = done.world.at(place, turn=turn._replace(unsure=True, stored=stored))
        yield Step(f"{label}, committed, its word lost", unheard, done.violation)
        if turn.unsure:
            yield Step(f"{name} gives up", world.at(place, turn=None), fair=True)
            if self.late and not turn.stored:
                late = world.at(place, turn=None, late=turn)
                yield Step(f"{name} gives up, the write goes on", late)
        else:
            nothing = world.at(place, turn=turn._replace(unsure=True))
            yield Step(f"{label}, not committed, no word", nothing)

    def _recover(self, world: World, place: int) -> Iterator[Step[World]]:
        done = self._act(world, place, TakeTurn(1, NAMES[place]))
        if done.lease is not None:
            yield Step(f"{NAMES[place]} takes over", done.world.at(place, turn=done.lease), fair=True)

    def _crash(self, world: World, place: int) -> Iterator[Step[World]]:
        holder = DEAD if world.holder == NAMES[place] else world.holder
        if world.instances[place] != Instance() or holder != world.holder:
            gone = world.at(place, turn=None, asking=None, late=None)._replace(holder=holder)
            yield Step(f"{NAMES[place]} is killed and started", gone)

    def _time(self, world: World) -> Iterator[Step[World]]:
        if world.until is not None and world.until != PAST:
            yield Step("the lease runs out", world._replace(until=PAST), fair=True)
        if world.state == AI and world.asked_upto <= world.answered_upto and not world.has_run_out and self.closing:
            yield Step("the chat's time runs out", world._replace(has_run_out=True))

    def _staff(self, world: World) -> Iterator[Step[World]]:
        if world.state in {AI, WAITING} and not world.taken_upto:
            done = self._act(world, 0, TakeOver(1, STAFF, "took over", "Mara", id="taken"))
            yield Step("a person takes over", done.world, done.violation)
        if world.state == HUMAN:
            done = self._act(world, 0, Release(1, STAFF, "released", id="released"))
            yield Step("the person releases", done.world, done.violation)

    def _ends(self, world: World) -> Iterator[Step[World]]:
        if world.state == CLOSED:
            return
        done = self._act(world, 0, Close(1, "ended"))
        yield Step("the chat is closed", done.world, done.violation)
        if world.has_run_out:
            done = self._act(world, 0, Expire(1))
            yield Step("a sweep expires the chat", done.world, done.violation, fair=True)

    # ---- one transaction ----

    def _act(self, world: World, place: int, act: Act, found: Entry | None = None) -> "Done":
        """The act applied to the row, as the journal would: what was stored before is repeated, not judged."""
        row = self._row(world)
        now = NOW + AHEAD if place == 1 and self.skew else NOW
        outcome = act.repeated(row, found, now) if found is not None else act.on(row, now, TERMS)
        return Done(observed(self._kept(world, row), act, outcome), outcome, found, violation(world, act, outcome))

    def _kept(self, world: World, row: Row) -> World:
        """What the act left in the row; fences are counted anew from the row's, for only equality with it matters."""
        moved = row.turn_fence != FENCE
        return world._replace(
            state=row.state,
            last_seq=row.last_seq,
            asked_upto=row.asked_upto,
            answered_upto=row.answered_upto,
            has_run_out=row.live_until == PAST,
            holder=row.turn_holder,
            until=row.turn_until if row.turn_holder is not None else None,  # else it says where to look, and no more
            attempts=min(row.turn_attempts, LAST_ATTEMPT) if self.attempts else 0,
            instances=tuple(aged(instance) for instance in world.instances) if moved else world.instances,
        )

    def _row(self, world: World) -> Row:
        return self.row(
            id=1,
            thread_id="thread",
            session_id="session",
            state=world.state,
            last_seq=world.last_seq,
            customer_count=len(world.stored),
            asked_upto=world.asked_upto,
            answered_upto=world.answered_upto,
            live_until=PAST if world.has_run_out else ALIVE,
            turn_holder=world.holder,
            turn_until=world.until,
            turn_fence=FENCE,
            turn_attempts=world.attempts,
            turn_stop=None,
            ticket=None,
            assignee_id=STAFF if world.state == HUMAN else None,
            closed_at=None,
            closed_reason=None,
            updated_at=NOW,
            active_at=NOW,
            user_id=None,
            verified=False,
        )


class Done(NamedTuple):
    world: World
    outcome: Outcome
    found: Entry | None
    violation: str | None

    @property
    def refused(self) -> bool:
        return self.outcome.refused is not None

    @property
    def new(self) -> bool:
        """The act's own message was stored by this transaction."""
        return self.found is None and not self.refused

    @property
    def lease(self) -> Turn | None:
        return turn_of(self.outcome.lease) if self.outcome.lease else None

    def acknowledged(self, place: int, number: int) -> World:
        """The customer has the ack, and the instance begins the turn that came with it, unless it runs it already."""
        world, running = self.world, self.world.instances[place].turn
        if not self.refused and number == len(world.stored) - 1:
            world = world._replace(acked=True)
        takes = self.lease is not None and (running is None or running.fence != FENCE)
        turn = self.lease if takes else running
        return world.at(place, turn=turn, asking=None)


def aged(instance: Instance) -> Instance:
    turn, late = instance.turn, instance.late
    if turn is None and late is None:
        return instance
    return Instance(turn and turn._replace(fence=OLDER), instance.asking, late and late._replace(fence=OLDER))


def in_doubt(world: World) -> bool:
    return any(at.asking is not None or (at.turn is not None and at.turn.unsure) for at in world.instances)


def turn_of(taken: Lease) -> Turn:
    return Turn(FENCE, taken.answered_upto, taken.asked_upto, min(taken.attempt, LAST_ATTEMPT))


def lease(place: int, turn: Turn) -> Lease:
    return Lease(
        conversation_id=1,
        thread_id="thread",
        session_id="session",
        holder=NAMES[place],
        fence=turn.fence,
        answered_upto=turn.answered_upto,
        asked_upto=turn.asked_upto,
        customer_count=0,
        attempt=turn.attempt,
        state=AI,
        ticket=None,
        user_id=None,
        verified=False,
    )


def reply(place: int, turn: Turn) -> AgentReply:
    gives_up = NewTicket("T") if turn.attempt >= LAST_ATTEMPT else None
    return AgentReply(1, lease(place, turn), "answer", escalation=gives_up, tried=turn.unsure, id="reply")


# ---- the observer ----


def observed(world: World, act: Act, outcome: Outcome) -> World:
    """What the log and the people's acts say, without the row's own bookkeeping."""
    for entry in outcome.entries if not outcome.repeated else ():
        if entry.role == "customer":
            world = world._replace(stored=(*world.stored, entry.seq), acked=False)
        elif entry.role == "agent":
            world = world._replace(replied_upto=entry.reply_to or 0)
    if outcome.changed_state and not isinstance(act, AgentReply | AskForPerson):
        human = isinstance(act, TakeOver)
        over = not isinstance(act, TakeOver | Release)
        world = world._replace(taken_upto=max(world.last_seq, 1), human=human, over=over)
    return world


def violation(world: World, act: Act, outcome: Outcome) -> str | None:
    """The promise that this act's new messages break, judged by what was observed before it."""
    if outcome.repeated:
        return None
    for place, entry in enumerate(outcome.entries):
        if entry.seq != world.last_seq + 1 + place:
            return "a gap in the numbers"
        if world.over:
            return "written after the end"
        if entry.role == "customer" and isinstance(act, CustomerMessage):
            if int((act.client_id or "m0")[1:]) < len(world.stored):
                return "stored twice"
        elif entry.role == "agent":
            covered = entry.reply_to or 0
            if world.human or covered <= world.taken_upto:
                return "the AI talks over"
            if covered <= world.replied_upto:
                return "a double answer"
            if covered not in world.stored:
                return "an answer to nothing"
    return None


def settled(world: World) -> bool:
    """Nobody waits: what was asked is answered, or a person's."""
    newest = world.stored[-1] if world.stored else 0
    return world.human or world.over or newest <= max(world.replied_upto, world.taken_upto)
