"""Answering: one turn, from the lease to the commit of the answer.

Whoever got the lease answers, on this process's `turns`. The agent sees the live session and the recent log, its text
is shown as it is written, and the answer is stored only while the turn is still its own: the journal compares holder,
fence and what was answered before. A turn that is lost stores nothing; whoever took it over answers.
"""

import asyncio
import contextvars
import logging
import math
import threading
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.utils import timezone

from agent_app.agent import catalogue
from agent_app.agent.consent import consent_of, without
from agent_app.agent.events import (
    Answer,
    ChatMessage,
    Decision,
    Deed,
    Escalation,
    Text,
    Thinking,
    ToolEnded,
    ToolStarted,
    TurnContext,
)
from agent_app.agent.loop import CustomerSupportAgent
from agent_app.agent.responder import Tool
from agent_app.deeds import carry_out, in_doubt, said_of
from agent_app.doorbell import Ring, call_on, doorbell, running_loop
from agent_app.escalation import people_are_away
from agent_app.journal import journal
from agent_app.models import Conversation, Entry, Ticket, UnansweredQuestion
from agent_app.models.refusal import Unavailable
from agent_app.models.turns import (
    LAST_ATTEMPT,
    NOT_THE_AGENTS,
    AgentReply,
    DecideWrite,
    FindUnsettled,
    GiveBack,
    Lease,
    NewConfirmation,
    NewTicket,
    Outcome,
    Renew,
)
from agent_app.session import count_message
from agent_app.tools.registry import build_agent
from sessions_app.stores import get_store

logger = logging.getLogger(__name__)

RECENT = 20  # messages of the log that the agent sees
DELTA_EVERY = 0.05  # seconds between two pieces of text, after the first, which goes at once
REPLY_AGAIN = 0.5  # seconds until an answer that could not be stored is tried again

STOPPED = "I stopped writing, as you asked."
GAVE_UP = (
    "I am sorry: I tried to answer this several times and could not. I have asked a person to look at it "
    "(ticket **{ticket}**); your messages are safe."
)


class TurnLost(Exception):
    """The turn is no longer ours: nothing more may be said in it."""


class Turn:
    """One answer in the making on this instance."""

    def __init__(self, lease: Lease, asked_at: float, announced: bool) -> None:
        self.lease = lease
        self.announced = announced  # its start was rung together with the message that began it
        self.own_until = asked_at + settings.TURN_LEASE  # by our own clock, from before the request: never too late
        self.said: list[str] = []
        self.interrupted: str | None = None  # "stop" or "lost"
        self.acting = False  # a confirmed write is decided and runs: a stop waits for what comes of it
        self.deed: Deed | None = None
        self.settles: tuple[str, str] | None = None  # what became of a confirmation, for the reply's commit
        self.scope: asyncio.Timeout | None = None
        self.task: asyncio.Task[None] | None = None
        self._shown = 0
        self._shown_at = -math.inf
        self._flush: asyncio.TimerHandle | None = None

    def go_on(self, lease: Lease) -> None:
        """The lease was kept for messages that came in meanwhile: another answer begins."""
        self.lease = lease
        self.announced = False
        self.said = []
        self.interrupted = None
        self.deed = self.settles = None
        self._shown = 0
        self._shown_at = -math.inf

    def interrupt(self, why: str) -> None:
        """Ends the agent's work at its next await; `lost` goes before `stop`."""
        if self.interrupted != "lost":
            self.interrupted = why
        if self.acting and why == "stop":
            return
        if self.scope is not None and not self.scope.expired():
            self.scope.reschedule(0)

    # ---- showing the text as it is written ----

    def say(self, text: str) -> None:
        self.said.append(text)
        if self._flush is None:
            wait = self._shown_at + DELTA_EVERY - time.monotonic()
            if wait <= 0:
                self.show()
            else:
                self._flush = asyncio.get_running_loop().call_later(wait, self.show)

    def show(self) -> None:
        self._flush = None
        self._shown_at = time.monotonic()
        text = "".join(self.said)
        if len(text) > self._shown:
            frame = {"type": "delta", "turn": self.lease.turn, "at": self._shown, "text": text[self._shown :]}
            self._shown = len(text)
            doorbell.ring(Ring(self.lease.conversation_id, frames=(frame,)))

    def finish_showing(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None

    def tell(self, status: str, **more: Any) -> None:
        frame = {"type": "turn", "turn": self.lease.turn, "status": status, **more}
        doorbell.ring(Ring(self.lease.conversation_id, frames=(frame,)))


class TurnRunner:
    """Answers the turns that this process holds, one a conversation, each in a task with a clean context.

    Without a server (a command, a test) they run on a loop of their own.
    """

    def __init__(self) -> None:
        self.draining = False
        self.finished = 0
        self._turns: dict[int, Turn] = {}
        self._agent: CustomerSupportAgent | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()

    @property
    def agent(self) -> CustomerSupportAgent:
        if self._agent is None:
            self._agent = build_agent()
        return self._agent

    @property
    def running(self) -> int:
        return len(self._turns)

    def live_on(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """From now on turns run on this loop, the server's; None: on one of our own, on a thread of its own."""
        self._loop = loop

    def begin(self, lease: Lease, asked_at: float, announced: bool = False) -> None:
        """Starts answering, from any loop or thread. `asked_at`: our monotonic clock before the lease was asked for."""
        loop = self.loop()
        if running_loop() is loop:
            self._begin(lease, asked_at, announced)
        else:
            call_on(loop, self._begin, lease, asked_at, announced)

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None or self._loop.is_closed():
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="turns", daemon=True).start()
            return self._loop

    def _begin(self, lease: Lease, asked_at: float, announced: bool = False) -> None:
        before = self._turns.get(lease.conversation_id)
        if before is not None:
            if before.lease.fence >= lease.fence:
                return
            before.interrupt("lost")  # it slept through its lease
        turn = Turn(lease, asked_at, announced)
        self._turns[lease.conversation_id] = turn
        # A clean context: the caller's request id, database state and async_to_sync ties are not the turn's.
        turn.task = asyncio.get_running_loop().create_task(self._run(turn), context=contextvars.Context())

    async def _run(self, turn: Turn) -> None:
        loop = asyncio.get_running_loop()
        keeper: list[asyncio.Task[None]] = []
        renewal = loop.call_later(settings.TURN_LEASE / 3, lambda: keeper.append(loop.create_task(keep_lease(turn))))
        try:
            while await self._answer(turn):
                pass
        except TurnLost:
            logger.info("turn.lost thread=%s turn=%s", turn.lease.thread_id, turn.lease.turn)
            turn.tell("ended", reason="taken_over")
        except Unavailable:
            logger.warning("turn.unstored thread=%s turn=%s", turn.lease.thread_id, turn.lease.turn)
        except Exception:
            logger.exception("turn.broken thread=%s turn=%s", turn.lease.thread_id, turn.lease.turn)
        finally:
            renewal.cancel()
            turn.finish_showing()
            for task in keeper:
                task.cancel()
            if self._turns.get(turn.lease.conversation_id) is turn:
                del self._turns[turn.lease.conversation_id]

    async def _answer(self, turn: Turn) -> bool:
        """One answer from start to commit; True when the lease goes on with messages that came in meanwhile."""
        started = time.monotonic()
        lease = turn.lease
        number = lease.ticket or Ticket.new_number()
        if lease.attempt >= LAST_ATTEMPT:
            answer = await cut_short(turn, GAVE_UP.format(ticket=number))
            why = Escalation("no answer after several attempts", "urgent", "high", 1.0)
            answer = replace(answer, escalation=why)
        else:
            answer = await self._ask_agent(turn, number)
        turn.finish_showing()
        done = await store_reply(turn, answer, number)
        if done.refused is not None:
            if done.lease is None:
                raise TurnLost
            turn.go_on(done.lease)
            return True
        reason = "stopped" if done.stopped else "answered"
        ended = {"type": "turn", "turn": lease.turn, "status": "ended", "reason": reason}
        if done.changed_state:
            await after_escalation(lease.session_id, done, actor="agent")
            turn.tell("ended", reason=reason)
        else:
            doorbell.ring(Ring(lease.conversation_id, done.last_seq, done.state, done.entries, (ended,)))
        self.finished += 1
        if answer.unanswered:
            await remember_unanswered(answer.unanswered, lease.conversation_id)
        logger.debug("turn.finished thread=%s ms=%d", lease.thread_id, (time.monotonic() - started) * 1000)
        if done.lease is None:
            return False
        turn.go_on(done.lease)
        return True

    async def _ask_agent(self, turn: Turn, ticket: str) -> Answer:
        if not turn.announced:
            turn.tell("started")
        try:
            async with asyncio.timeout(settings.AGENT_TURN_TIMEOUT) as turn.scope:
                if turn.interrupted:
                    turn.interrupt(turn.interrupted)
                context = await heed_consent(turn, await turn_context(turn.lease, ticket), self.agent.tools)
                if turn.interrupted == "stop" and turn.deed is not None:
                    return await cut_short(turn, turn.deed.text)
                async with aclosing(self.agent.answer(context)) as events:
                    async for event in events:
                        match event:
                            case Text(text):
                                turn.say(text)
                            case Thinking():
                                turn.tell("thinking")
                            case ToolStarted(tool):
                                turn.tell("tool", tool=tool)
                            case ToolEnded():
                                pass
                            case Answer():
                                return event
        except TimeoutError:
            if turn.interrupted == "lost":
                raise TurnLost from None
            if turn.interrupted == "stop":
                return await cut_short(turn, "".join(turn.said) or STOPPED)
            logger.error("turn.timed_out thread=%s turn=%s", turn.lease.thread_id, turn.lease.turn)
        finally:
            turn.scope = None
        answer = await cut_short(turn, "\n\n".join(filter(None, ["".join(turn.said), GAVE_UP.format(ticket=ticket)])))
        return replace(answer, escalation=Escalation("timeout", "general", "high", 1.0))

    def hear(self, ring: Ring) -> None:
        """A stop that was rung, here or elsewhere; hears every ring, and nearly none is one."""
        if ring.stop is None and ring.state not in NOT_THE_AGENTS:
            return
        turn = self._turns.get(ring.conversation_id)
        if turn is None:
            return
        if ring.stop == turn.lease.turn:
            turn.interrupt("stop")
        elif ring.state in NOT_THE_AGENTS:
            turn.interrupt("lost")

    async def drain(self, seconds: float) -> None:
        """Takes no new turn, lets the running ones finish, and gives back those that do not."""
        self.draining = True
        tasks = [turn.task for turn in self._turns.values() if turn.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        left = [turn for turn in self._turns.values() if turn.task is not None]
        for turn in left:
            if turn.task is not None:
                turn.task.cancel()
        await asyncio.gather(*(give_back(turn.lease) for turn in left))


async def turn_context(lease: Lease, ticket: str) -> TurnContext:
    """What the agent sees: the live session's metadata and the recent log."""
    session = await count_message(lease.session_id, lease.customer_count)
    entries = await journal.tail(
        lease.conversation_id, lease.asked_upto, max(RECENT, lease.asked_upto - lease.answered_upto)
    )
    return TurnContext(
        thread_id=lease.thread_id,
        session_id=lease.session_id,
        state=lease.state,
        user_id=lease.user_id,
        verified=lease.verified,
        metadata=session.metadata if session is not None else {},
        messages=tuple([entry.as_seen or as_chat_message(entry) for entry in entries]),
        answered_upto=lease.answered_upto,
        ticket=ticket,
        deadline=time.monotonic() + settings.AGENT_TURN_TIMEOUT - 1,
        max_reply=settings.AGENT_MAX_REPLY,
        away=people_are_away(timezone.now()),
    )


async def heed_consent(turn: Turn, context: TurnContext, tools: Mapping[str, Tool]) -> TurnContext:
    """Does what the customer said to a confirmation, and takes that message out of what is still to be answered."""
    consent = consent_of(context)
    if consent is None:
        return context
    lease, word = turn.lease, consent.decision
    turn.acting = True
    try:
        decided = await journal.do(DecideWrite(lease.conversation_id, lease, word.confirmation, word.agreed))
        if decided.refused is not None:
            raise TurnLost
        turn.deed = said_of(decided.intent, consent)
        if turn.deed is None:
            assert decided.intent is not None  # noqa: S101 - there is something to say of one that is not there
            turn.tell("tool", tool=decided.intent.tool)
            done = await carry_out(decided.intent, context, tools)
            turn.deed, turn.settles = done.deed, done.settles
    finally:
        turn.acting = False
    return replace(without(context, consent.message), deed=turn.deed)


async def cut_short(turn: Turn, text: str) -> Answer:
    """An answer that ends before its time, with what was done about a confirmation, or what nobody knows about it: by
    this turn, or by a holder who died in the middle.
    """
    deed = turn.deed
    if deed is None:
        found = await journal.do(FindUnsettled(turn.lease.conversation_id, turn.lease))
        if found.refused is not None:
            raise TurnLost
        if found.intent is None:
            return Answer(text)
        deed = in_doubt(found.intent, catalogue.CUT_SHORT)
    whole = text if text.startswith(deed.text) else f"{deed.text}\n\n{text}"
    return Answer(whole, tools_used=deed.tools_used, confirm=deed.confirm)


def as_chat_message(entry: Entry) -> ChatMessage:
    """Kept on the entry: a long chat's twenty newest messages are seen again in every turn."""
    seen = ChatMessage(
        entry.seq,
        entry.role,
        entry.text,
        tuple(entry.choices or ()),
        tuple(entry.citations),
        tuple(entry.attachments),
        entry.confirm,
        Decision(**entry.details) if entry.role == "customer" and entry.details else None,
        author=entry.author,
    )
    entry.as_seen = seen
    return seen


async def store_reply(turn: Turn, answer: Answer, ticket: str) -> Outcome:
    """Stores the answer. While the database is away it is tried again, under the same id, until the lease is out."""
    escalation, asks = answer.escalation, answer.confirm
    act = AgentReply(
        turn.lease.conversation_id,
        turn.lease,
        answer.text[: settings.AGENT_MAX_REPLY],
        citations=list(answer.citations),
        choices=list(answer.choices) or None,
        confirm={"id": asks.id, "summary": asks.summary} if asks else None,
        offer=NewConfirmation(asks.id, asks.tool, dict(asks.arguments), asks.summary)
        if asks is not None and not asks.begun
        else None,
        settles=turn.settles,
        details=details_of(answer),
        escalation=NewTicket(ticket, escalation.reason, escalation.category, escalation.priority)
        if escalation
        else None,
        stopped=turn.interrupted == "stop",
    )
    while True:
        try:
            return await journal.do(act)
        except Unavailable:
            if time.monotonic() > turn.own_until:
                raise
            act.tried = True
            await asyncio.sleep(REPLY_AGAIN)


def details_of(answer: Answer) -> dict[str, Any]:
    about: dict[str, Any] = {"tools_used": list(answer.tools_used), "confidence": answer.confidence}
    if answer.tools_failed:
        about["tools_failed"] = dict(answer.tools_failed)
    if answer.model is not None:
        about["model"] = answer.model
    return about


async def keep_lease(turn: Turn) -> None:
    """Renews the lease every third of its length, and ends the turn when that is refused or our own clock runs out."""
    while True:
        asked_at = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, turn.own_until - asked_at)):
                done = await journal.do(Renew(turn.lease.conversation_id, turn.lease))
        except (Unavailable, TimeoutError):
            if time.monotonic() >= turn.own_until:
                turn.interrupt("lost")
                return
            await asyncio.sleep(REPLY_AGAIN)
            continue
        if done.refused is not None:
            turn.interrupt("lost")
            return
        turn.own_until = asked_at + settings.TURN_LEASE
        if done.stopped:
            turn.interrupt("stop")
        await asyncio.sleep(settings.TURN_LEASE / 3)


async def give_back(lease: Lease) -> None:
    try:
        await journal.do(GiveBack(lease.conversation_id, lease))
    except Unavailable:
        logger.warning("turn.not_given_back thread=%s", lease.thread_id)  # it is taken over when the lease is out
    else:
        doorbell.ring(Ring(lease.conversation_id, lease.asked_upto))


async def remember_unanswered(question: str, conversation_id: int) -> None:
    try:
        await journal.read(UnansweredQuestion.objects.remember, question, conversation_id)
    except Unavailable:
        logger.warning("knowledge.question_not_kept")


async def after_escalation(session_id: str, done: Outcome, actor: str) -> None:
    position = await journal.read(Conversation.objects.place_in_line, done.conversation_id)
    doorbell.ring(Ring(done.conversation_id, done.last_seq, done.state, done.entries, about={"position": position}))
    await get_store().update(session_id, {"escalated": True})
    logger.info("chat.escalated session=%s ticket=%s by=%s", session_id, done.ticket, actor)


def turn_started(lease: Lease) -> dict[str, Any]:
    return {"type": "turn", "turn": lease.turn, "status": "started"}


turns = TurnRunner()
doorbell.overhear(turns.hear)
journal.unclaimed = turns.begin
