"""The rules of a conversation: what each act does to its row, or why it is refused.

An act is applied to a `Row` that the journal has read and locked in the same transaction, so that every decision
here is a comparison in one row, whatever leases, clocks and stores do. Nothing here touches a database: the journal
writes what an act left in the row, and the model checker in the tests runs these same rules.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from agent_app.models.conversations import STEP, Entry, new_message_id

AI, WAITING, HUMAN, CLOSED = "ai", "waiting", "human", "closed"
ANSWERED_BY_AGENT = (AI, WAITING)
NOT_THE_AGENTS = (HUMAN, CLOSED)  # no answer of the agent comes any more

# A turn that was begun this often without an answer gets the honest reply and a person: a message that kills its
# process must not kill them all.
LAST_ATTEMPT = 4
# How long after its offer's end a begun write may be repeated: a back end keeps an Idempotency-Key for a day at least.
REPEATABLE_FOR = timedelta(hours=20)
UNSETTLED = "begun"  # for `Act.wants_intent`, in place of a confirmation's id


@dataclass(frozen=True, slots=True)
class Terms:
    """What time means here: how long a turn's holder has, and how long a chat lives after its last message."""

    lease: timedelta
    session: timedelta


@dataclass(slots=True)  # not frozen: that makes one four times as dear, and every turn makes several
class Lease:
    """The right to answer, until it runs out or the row says otherwise. Never changed once made."""

    conversation_id: int
    thread_id: str
    session_id: str
    holder: str
    fence: int
    answered_upto: int
    asked_upto: int
    customer_count: int
    attempt: int
    state: str
    ticket: str | None
    user_id: str | None
    verified: bool

    @property
    def turn(self) -> str:
        """The name of the answer being written; a kept lease that goes on with later messages gets another."""
        return turn_name(self.fence, self.answered_upto)


def turn_name(fence: int, answered_upto: int) -> str:
    return f"{fence}-{answered_upto}"


@dataclass(frozen=True, slots=True)
class NewTicket:
    number: str
    reason: str = ""
    category: str = "general"
    priority: str = "normal"


@dataclass(frozen=True, slots=True)
class NewConfirmation:
    """A write that the answer asks the customer to agree to."""

    id: str
    tool: str
    arguments: dict[str, Any]
    summary: str


@dataclass(frozen=True, slots=True)
class Record:
    """What the audit log keeps of an act."""

    action: str
    actor: str | None
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewLetter:
    """That the customer is owed a letter from then on, unless they have seen the reply by then."""

    event: str
    due_at: datetime


@dataclass(slots=True)
class Intent:
    """A confirmation while its conversation is locked; its states are Confirmation's."""

    id: str
    tool: str
    arguments: dict[str, Any]
    summary: str
    state: str
    expires_at: datetime
    changed: bool = False
    too_old: bool = False  # it was begun, and its key may be forgotten: nobody may repeat it any more

    @property
    def tried_before(self) -> bool:
        """Somebody has begun it, and may have done it."""
        return self.state == "begun" and not self.changed

    def become(self, state: str) -> None:
        self.state = state
        self.changed = True

    def decide(self, agreed: bool, now: datetime) -> None:
        """Offered becomes begun, declined or expired. What was begun may have been done: it can only be repeated."""
        if self.state != "offered":
            self.too_old = self.state == "begun" and self.expires_at + REPEATABLE_FOR <= now
            return
        if not agreed:
            self.become("declined")
        elif self.expires_at <= now:
            self.become("expired")
        else:
            self.become("begun")


@dataclass(slots=True)
class Row:
    """A conversation's row while it is locked. `entries`, `tickets`, `offers`, `records` and `letters` are what this
    transaction adds; `settled` what became of a confirmation, as (id, state). `intent` is there for acts that want it.
    """

    id: int
    thread_id: str
    session_id: str
    state: str
    last_seq: int
    customer_count: int
    asked_upto: int
    answered_upto: int
    live_until: datetime
    turn_holder: str | None
    turn_until: datetime | None
    turn_fence: int
    turn_attempts: int
    turn_stop: str | None
    ticket: str | None
    assignee_id: int | None
    closed_at: datetime | None
    closed_reason: str | None
    updated_at: datetime
    active_at: datetime
    user_id: str | None
    verified: bool
    waiting_since: datetime | None = None  # a person was asked for then, and none has come yet
    nobody_told: bool = False  # the customer was told that nobody came
    entries: list[Entry] = field(default_factory=list)
    tickets: list[NewTicket] = field(default_factory=list)
    offers: list[NewConfirmation] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    letters: list[NewLetter] = field(default_factory=list)
    settled: list[tuple[str, str]] = field(default_factory=list)
    intent: Intent | None = None
    changed: bool = False

    def append(self, entry: Entry, now: datetime, terms: Terms) -> Entry:
        """Numbers a message and keeps the chat alive."""
        self.last_seq += 1
        entry.seq = self.last_seq
        entry.created_at = now
        self.entries.append(entry)
        if now + terms.session > self.live_until:
            self.live_until = now + terms.session + STEP
        self.has_moved(now)
        return entry

    def has_moved(self, now: datetime) -> None:
        self.updated_at = now
        if not timedelta(0) <= now - self.active_at < STEP:
            self.active_at = now
        self.changed = True

    def keep_alive(self, until: datetime) -> None:
        """Nothing moves `live_until` back."""
        if until > self.live_until:
            self.live_until = until
            self.changed = True

    @property
    def customer_waits(self) -> bool:
        """Somebody asked, and the agent is the one to answer."""
        return self.asked_upto > self.answered_upto and self.state in ANSWERED_BY_AGENT

    def has_expired(self, now: datetime) -> bool:
        return self.state == AI and self.asked_upto <= self.answered_upto and self.live_until < now

    def is_leased(self, now: datetime) -> bool:
        return self.turn_holder is not None and self.turn_until is not None and self.turn_until > now

    def take_turn(self, holder: str, now: datetime, terms: Terms) -> Lease | None:
        """The lease, if a customer waits and nobody holds the turn."""
        if not self.customer_waits or self.is_leased(now):
            return None
        self.turn_fence += 1
        self.turn_attempts += 1
        self.turn_holder = holder
        self.turn_until = now + terms.lease
        self.turn_stop = None
        self.changed = True
        return self.lease()

    def lease(self) -> Lease:
        assert self.turn_holder is not None, "only a held turn has a lease"  # noqa: S101 - the caller has just looked
        return Lease(
            self.id,
            self.thread_id,
            self.session_id,
            self.turn_holder,
            self.turn_fence,
            self.answered_upto,
            self.asked_upto,
            self.customer_count,
            self.turn_attempts,
            self.state,
            self.ticket,
            self.user_id,
            self.verified,
        )

    def belongs_to(self, lease: Lease) -> bool:
        """Nobody has taken the turn since."""
        return self.turn_holder == lease.holder and self.turn_fence == lease.fence

    def may_answer(self, lease: Lease) -> bool:
        """The whole comparison: still its turn, still the agent's chat, still the same question."""
        return self.belongs_to(lease) and self.state in ANSWERED_BY_AGENT and self.answered_upto == lease.answered_upto

    def settle_turn(self, now: datetime, terms: Terms) -> Lease | None:
        """After an answer: keep the lease for what came in meanwhile, or free it. So no wake-up is lost."""
        self.changed = True
        if not self.customer_waits:
            self.free_turn()
            return None
        self.turn_until = now + terms.lease
        self.turn_attempts = 1
        return self.lease()

    def free_turn(self) -> None:
        """`turn_until` stays what it was, in its index, until `ForgetLease`: the next turn moves it once."""
        self.turn_holder = self.turn_stop = None
        self.changed = True

    def wait_for_anyone(self, now: datetime, terms: Terms) -> None:
        """The customer waits and nobody has the turn: whoever looks next finds it, also by a clock that is behind."""
        if self.turn_until is None or self.turn_until > now - terms.lease:
            self.turn_until = now - terms.lease
        self.changed = True

    def record(self, action: str, actor: str | None, **details: Any) -> None:
        """For the audit log, in the transaction of the act itself; nothing where nobody is named."""
        if actor is not None:
            self.records.append(Record(action, actor, details))

    def withdraw_from_agent(self) -> None:
        """What was asked so far is no longer the agent's; an answer in progress is refused by its fence."""
        self.answered_upto = self.last_seq
        self.turn_fence += 1
        self.turn_attempts = 0
        self.free_turn()
        self.turn_until = None

    def hand_over(self, ticket: NewTicket, now: datetime) -> bool:
        """Asks for a person; False where one was asked for, or has come, before."""
        if self.state != AI:
            return False
        self.state = WAITING
        self.waiting_since = now
        self.nobody_told = False
        self.ticket = ticket.number
        self.tickets.append(ticket)
        self.has_moved(now)
        return True

    def give_to(self, staff_id: int) -> None:
        """The chat is this person's; what was asked so far is theirs, too."""
        self.withdraw_from_agent()
        self.state = HUMAN
        self.assignee_id = staff_id
        self.waiting_since = None

    def close(self, reason: str, now: datetime) -> None:
        self.withdraw_from_agent()
        self.state = CLOSED
        self.waiting_since = None
        self.closed_at = now
        self.closed_reason = reason
        self.has_moved(now)


IN_MEMORY = {"entries", "tickets", "offers", "records", "letters", "settled", "intent", "changed"}
# The columns of Conversation that a Row holds, in its order, and those that an act may change.
ROW_COLUMNS = tuple(column.name for column in fields(Row) if column.name not in IN_MEMORY)
CONSTANT_COLUMNS = {"id", "thread_id", "session_id", "user_id", "verified"}
CHANGED_COLUMNS = tuple(name for name in ROW_COLUMNS if name not in CONSTANT_COLUMNS)
# Those that a message changes and no index knows; a message that changes no other is written without the others.
BUSY_COLUMNS = (
    *("last_seq", "customer_count", "asked_upto", "answered_upto", "updated_at"),
    *("turn_holder", "turn_fence", "turn_attempts", "turn_stop"),
)
CALM_COLUMNS = tuple(name for name in CHANGED_COLUMNS if name not in BUSY_COLUMNS)


@dataclass(slots=True)  # not frozen: see Lease
class Outcome:
    """What an act did. Never changed once made.

    `refused` is an error code of the protocol, or `lost` for a turn that is no longer its own. `entry` is the act's own
    message: the new one, or the one found for a repeated act. `entries` are the new ones.
    """

    conversation_id: int
    state: str
    last_seq: int
    customer_count: int
    asked_upto: int
    answered_upto: int
    live_until: datetime
    ticket: str | None
    assignee_id: int | None
    entry: Entry | None = None
    entries: tuple[Entry, ...] = ()
    lease: Lease | None = None
    refused: str | None = None
    repeated: bool = False
    stopped: bool = False
    changed_state: bool = False
    intent: Intent | None = None


def outcome(row: Row, **said: Any) -> Outcome:
    return Outcome(
        row.id,
        row.state,
        row.last_seq,
        row.customer_count,
        row.asked_upto,
        row.answered_upto,
        row.live_until,
        row.ticket,
        row.assignee_id,
        **said,
    )


@dataclass(slots=True)
class Act:
    """One change of a conversation. `on` runs with the row locked; `found` is what was stored for it before."""

    conversation_id: int

    @property
    def sent_as(self) -> tuple[str, str] | None:
        """(role, client_id) under which this was perhaps stored before."""
        return None

    @property
    def message_id(self) -> str | None:
        """The id under which this act's own message would be found after a commit in doubt."""
        return None

    @property
    def in_doubt(self) -> bool:
        """True when an earlier try may have committed: its message is looked for before the act is judged."""
        return False

    @property
    def wants_intent(self) -> str | None:
        """The confirmation that `on` is to find in `row.intent`: its id, or UNSETTLED."""
        return None

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        raise TypeError(f"{type(self).__name__} has no rule")

    def repeated(self, row: Row, found: Entry, now: datetime) -> Outcome:
        """The act was stored before: the same acknowledgement, whatever the state now is."""
        return outcome(row, entry=found, repeated=True)


@dataclass(slots=True)
class CustomerMessage(Act):
    """A customer's message; it takes the turn for `holder` when nobody has it (None: this instance is draining)."""

    text: str
    client_id: str | None = None
    holder: str | None = None
    attachments: list[dict[str, Any]] = field(default_factory=list)
    within_rate: bool = True
    decision: dict[str, Any] | None = None  # {confirmation, agreed} of a click on one
    id: str = field(default_factory=new_message_id)

    @property
    def sent_as(self) -> tuple[str, str] | None:
        return ("customer", self.client_id) if self.client_id is not None else None

    @property
    def message_id(self) -> str | None:
        return self.id

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if row.has_expired(now):
            row.close("expired", now)
            return outcome(row, refused="closed", changed_state=True)
        if row.state == CLOSED:
            return outcome(row, refused="closed")
        if not self.within_rate:
            return outcome(row, refused="rate_limited")
        entry = Entry(0, self.id, "customer", self.text, now, self.client_id, attachments=self.attachments)
        entry.details = self.decision
        row.append(entry, now, terms)
        row.asked_upto = entry.seq
        row.customer_count += 1
        lease = row.take_turn(self.holder, now, terms) if self.holder else None
        if row.turn_holder is None and row.customer_waits:
            row.wait_for_anyone(now, terms)
        return outcome(row, entry=entry, entries=(entry,), lease=lease)

    def repeated(self, row: Row, found: Entry, now: datetime) -> Outcome:
        if found.text != self.text or found.attachments != self.attachments:
            return outcome(row, entry=found, refused="conflict")
        # Found by its own id: this very request committed, but the database's word was lost on the way. The lease it
        # took then is still to be used.
        ours = found.id == self.id and row.turn_holder == self.holder and row.is_leased(now) and row.customer_waits
        return outcome(row, entry=found, repeated=True, lease=row.lease() if ours else None)


@dataclass(slots=True)
class AgentReply(Act):
    """The turn's answer, stored only while the turn is still its own."""

    lease: Lease
    text: str
    citations: list[dict[str, Any]] = field(default_factory=list)
    choices: list[dict[str, Any]] | None = None
    confirm: dict[str, Any] | None = None
    offer: NewConfirmation | None = None  # of what `confirm` shows, where it is new
    settles: tuple[str, str] | None = None  # what became of a confirmation: (id, state)
    details: dict[str, Any] | None = None
    escalation: NewTicket | None = None
    stopped: bool = False
    tried: bool = False
    id: str = field(default_factory=new_message_id)

    @property
    def message_id(self) -> str | None:
        return self.id

    @property
    def in_doubt(self) -> bool:
        return self.tried

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if not row.may_answer(self.lease):
            goes_on = row.settle_turn(now, terms) if row.belongs_to(self.lease) else None
            return outcome(row, refused="lost", lease=goes_on)
        stopped = self.stopped or row.turn_stop == self.lease.turn
        entry = Entry(
            0,
            self.id,
            "agent",
            self.text,
            now,
            reply_to=self.lease.asked_upto,
            citations=self.citations,
            choices=self.choices,
            confirm=self.confirm,
            stopped=stopped,
            turn=self.lease.turn,
            details=self.details,
        )
        row.append(entry, now, terms)
        if self.offer is not None:
            row.offers.append(self.offer)
        if self.settles is not None:
            row.settled.append(self.settles)
        row.answered_upto = self.lease.asked_upto
        row.turn_attempts = 0
        row.turn_stop = None
        handed_over = self.escalation is not None and row.hand_over(self.escalation, now)
        goes_on = row.settle_turn(now, terms)
        return outcome(row, entry=entry, entries=(entry,), lease=goes_on, stopped=stopped, changed_state=handed_over)

    def repeated(self, row: Row, found: Entry, now: datetime) -> Outcome:
        goes_on = row.belongs_to(self.lease) and row.customer_waits
        return outcome(row, entry=found, entries=(found,), repeated=True, lease=row.lease() if goes_on else None)


@dataclass(slots=True)
class DecideWrite(Act):
    """The customer's word on a confirmation, with the reply's comparison: `begun` lets the turn's holder try the write.

    The outcome's intent says where it stands; None when it is neither this conversation's newest nor one that was
    begun. Repeated by whoever takes the turn over, it gives the same.
    """

    lease: Lease
    confirmation: str
    agreed: bool

    @property
    def wants_intent(self) -> str | None:
        return self.confirmation

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if not row.may_answer(self.lease):
            return outcome(row, refused="lost")
        if row.intent is None or row.intent.id != self.confirmation:
            return outcome(row)
        row.intent.decide(self.agreed, now)
        return outcome(row, intent=row.intent)


@dataclass(slots=True)
class FindUnsettled(Act):
    """The write that was begun in this conversation and of which nobody knows whether it was done, with the reply's
    comparison. It comes after what the turn's holder asked for before, so that nothing is still on its way.
    """

    lease: Lease

    @property
    def wants_intent(self) -> str | None:
        return UNSETTLED

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if not row.may_answer(self.lease):
            return outcome(row, refused="lost")
        if row.intent is None or row.intent.expires_at + REPEATABLE_FOR <= now:
            return outcome(row)
        return outcome(row, intent=row.intent)


@dataclass(slots=True)
class Renew(Act):
    """Asks for another lease's length, with the reply's comparison."""

    lease: Lease

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if not row.may_answer(self.lease):
            return outcome(row, refused="lost")
        row.turn_until = now + terms.lease
        row.changed = True
        return outcome(row, lease=self.lease, stopped=row.turn_stop == self.lease.turn)


@dataclass(slots=True)
class GiveBack(Act):
    """A draining instance returns an unfinished turn, with its attempt: it did not fail."""

    lease: Lease

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if not row.belongs_to(self.lease):
            return outcome(row, refused="lost")
        row.turn_attempts = max(0, row.turn_attempts - 1)
        row.turn_holder = None
        row.wait_for_anyone(now, terms)
        return outcome(row)


@dataclass(slots=True)
class TakeTurn(Act):
    """Takes a turn whose holder has died or given it back."""

    holder: str

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        asked_to_stop = row.turn_stop is not None
        lease = row.take_turn(self.holder, now, terms)
        if lease is not None and asked_to_stop:
            # A stop that its holder did not live to obey is obeyed by whoever takes the turn over.
            row.turn_stop = lease.turn
        return outcome(row, lease=lease, stopped=lease is not None and asked_to_stop)


@dataclass(slots=True)
class ForgetLease(Act):
    """Takes a chat in which nobody waits out of those that are looked at for a turn that nobody holds."""

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if row.turn_holder is None and not row.customer_waits and row.turn_until is not None:
            row.turn_until = None
            row.changed = True
        return outcome(row)


@dataclass(slots=True)
class WriteAgain(Act):
    """Whether the database takes a write again, after it did not. SQLite writes nothing where nothing has changed."""

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        row.updated_at += timedelta(microseconds=1)
        row.changed = True
        return outcome(row)


@dataclass(slots=True)
class StopTurn(Act):
    """Asks whoever writes this turn to stop; a stop of another turn changes nothing."""

    turn: str

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if row.customer_waits and self.turn == turn_name(row.turn_fence, row.answered_upto):
            row.turn_stop = self.turn
            row.changed = True
            return outcome(row, stopped=True)
        return outcome(row)


@dataclass(slots=True)
class AskForPerson(Act):
    """The customer's own wish for a person: `ai` becomes `waiting`, once; later ones get the ticket there is."""

    ticket: NewTicket
    text: str
    id: str = field(default_factory=new_message_id)

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if row.has_expired(now):
            row.close("expired", now)
            return outcome(row, refused="closed", changed_state=True)
        if row.state == CLOSED:
            return outcome(row, refused="closed")
        if not row.hand_over(self.ticket, now):
            return outcome(row)
        entry = row.append(Entry(0, self.id, "system", self.text, now), now, terms)
        return outcome(row, entry=entry, entries=(entry,), changed_state=True)


@dataclass(slots=True)
class TakeOver(Act):
    """A person takes the chat. Of two at once one wins; the other is refused and told who has it."""

    staff_id: int
    text: str
    author: str
    id: str = field(default_factory=new_message_id)
    actor: str | None = None  # as the audit log names who does it

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if row.state == CLOSED:
            return outcome(row, refused="closed")
        if row.state == HUMAN and row.assignee_id is not None:  # None: whoever had it was deleted
            return outcome(row, refused=None if row.assignee_id == self.staff_id else "conflict", repeated=True)
        row.give_to(self.staff_id)
        row.record("desk.taken_over", self.actor)
        entry = row.append(Entry(0, self.id, "system", self.text, now, author=self.author), now, terms)
        row.answered_upto = row.last_seq
        return outcome(row, entry=entry, entries=(entry,), changed_state=True)


@dataclass(slots=True)
class Release(Act):
    """A person gives the chat back to the agent; what came before is the person's."""

    staff_id: int
    text: str
    author: str | None = None
    id: str = field(default_factory=new_message_id)
    actor: str | None = None

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if row.state == AI:
            return outcome(row, repeated=True)
        if row.state != HUMAN or row.assignee_id != self.staff_id:
            return outcome(row, refused="closed" if row.state == CLOSED else "conflict")
        row.record("desk.released", self.actor)
        row.state = AI
        row.assignee_id = None
        row.ticket = None
        entry = row.append(Entry(0, self.id, "system", self.text, now, author=self.author), now, terms)
        row.withdraw_from_agent()
        return outcome(row, entry=entry, entries=(entry,), changed_state=True)


@dataclass(slots=True)
class Assign(Act):
    """Gives a chat to `to`. A person's chat passes to them at once; one that the agent answers is marked for them, and
    stays the agent's until they take it over. `to=None` takes such a mark away.
    """

    to: int | None
    text: str
    author: str
    id: str = field(default_factory=new_message_id)
    actor: str | None = None

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if row.state == CLOSED:
            return outcome(row, refused="closed")
        if row.assignee_id == self.to:
            return outcome(row, repeated=True)
        if row.state == HUMAN and self.to is None:
            return outcome(row, refused="conflict")
        row.record("desk.assigned", self.actor, to=self.to)
        if row.state != HUMAN:
            row.assignee_id = self.to
            row.changed = True
            return outcome(row)
        assert self.to is not None  # noqa: S101 - refused above
        row.give_to(self.to)
        entry = row.append(Entry(0, self.id, "system", self.text, now, author=self.author), now, terms)
        row.answered_upto = row.last_seq
        return outcome(row, entry=entry, entries=(entry,))


@dataclass(slots=True)
class SayNobodyCame(Act):
    """Tells a customer who has waited `after` for a person that none has come: once for each wish."""

    after: timedelta
    text: str
    id: str = field(default_factory=new_message_id)

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        waited = row.state == WAITING and row.waiting_since is not None and row.waiting_since + self.after <= now
        if not waited or row.nobody_told:
            return outcome(row, repeated=row.nobody_told)
        row.nobody_told = True
        entry = row.append(Entry(0, self.id, "system", self.text, now), now, terms)
        return outcome(row, entry=entry, entries=(entry,))


@dataclass(slots=True)
class StaffReply(Act):
    """A person's message; only from the one who has the chat."""

    staff_id: int
    text: str
    author: str
    client_id: str | None = None
    id: str = field(default_factory=new_message_id)
    actor: str | None = None
    letter_after: timedelta | None = None  # None: nobody is written to

    @property
    def sent_as(self) -> tuple[str, str] | None:
        return ("staff", self.client_id) if self.client_id is not None else None

    @property
    def message_id(self) -> str | None:
        return self.id

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if row.state != HUMAN or row.assignee_id != self.staff_id:
            return outcome(row, refused="closed" if row.state == CLOSED else "conflict")
        entry = Entry(0, self.id, "staff", self.text, now, self.client_id, author=self.author)
        row.append(entry, now, terms)
        row.record("desk.replied", self.actor, seq=entry.seq)
        if self.letter_after is not None:
            row.letters.append(NewLetter(f"reply:{row.id}:{entry.seq}", now + self.letter_after))
        return outcome(row, entry=entry, entries=(entry,))

    def repeated(self, row: Row, found: Entry, now: datetime) -> Outcome:
        refused = "conflict" if found.text != self.text else None
        return outcome(row, entry=found, repeated=True, refused=refused)


@dataclass(slots=True)
class Close(Act):
    """Ends the chat, whatever its state; closing twice changes nothing."""

    reason: str
    actor: str | None = None

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if row.state == CLOSED:
            return outcome(row, repeated=True)
        row.record("chat.ended", self.actor, reason=self.reason)
        row.close(self.reason, now)
        return outcome(row, changed_state=True)


@dataclass(slots=True)
class Expire(Act):
    """Ends the chat if its time has really run out: a sweep or a lost session is only a hint."""

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if not row.has_expired(now):
            return outcome(row, repeated=row.state == CLOSED)
        row.close("expired", now)
        return outcome(row, changed_state=True)


@dataclass(slots=True)
class KeepAlive(Act):
    """Lets the chat live until then at least."""

    until: datetime

    def on(self, row: Row, now: datetime, terms: Terms) -> Outcome:
        if row.state == CLOSED:
            return outcome(row, refused="closed")
        row.keep_alive(self.until)
        return outcome(row)
