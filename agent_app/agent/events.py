"""What goes into a turn and what comes out of it: plain data, so that the agent runs without a framework."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Decision:
    """A click on a confirmation: which one, and whether it was agreed to."""

    confirmation: str
    agreed: bool


@dataclass(slots=True)  # not frozen: see TurnContext
class ChatMessage:
    """One message of the log. `role`: customer, agent, staff or system."""

    seq: int
    role: str
    text: str
    choices: tuple[dict[str, Any], ...] = ()
    citations: tuple[dict[str, Any], ...] = ()
    attachments: tuple[dict[str, Any], ...] = ()
    confirm: dict[str, Any] | None = None  # {id, summary} of what the agent asked the customer to confirm
    decision: Decision | None = None  # of a customer's message
    author: str | None = None  # the person who wrote it, or whom a system message is about


@dataclass(frozen=True, slots=True)
class Deed:
    """What code did about a confirmation before this turn's answer: said first, whatever the responder says after."""

    text: str
    tools_used: tuple[str, ...] = ()
    confirm: "NeedsConfirmation | None" = None  # offered again, as nobody knows whether it was done
    done: str | None = None  # the tool whose write has been performed, for certain


@dataclass  # not frozen, though never changed once made: that makes one four times as dear, and every turn makes some
class TurnContext:
    """What the agent may know about the turn it answers."""

    thread_id: str
    session_id: str
    state: str  # "ai", or "waiting" once a person was asked for
    user_id: str | None
    verified: bool
    metadata: Mapping[str, Any]
    messages: tuple[ChatMessage, ...]  # the recent log, oldest first, the unanswered ones included
    answered_upto: int  # customer messages with a greater seq are what this turn answers
    ticket: str  # the number a new ticket would get, or the existing ticket's
    deadline: float  # time.monotonic() by which the answer must be there
    max_reply: int  # characters
    deed: Deed | None = None
    away: str = ""  # what to say beside a hand-over while nobody is at the desk
    writing_as: str | None = None  # while a confirmed write runs: the confirmation's id, its Idempotency-Key

    @cached_property
    def asked(self) -> tuple[ChatMessage, ...]:
        """The customer's messages that this turn answers, oldest first."""
        return tuple(m for m in self.messages if m.role == "customer" and m.seq > self.answered_upto)

    @cached_property
    def question(self) -> str:
        return "\n".join(message.text for message in self.asked)


@dataclass(frozen=True, slots=True)
class Thinking:
    pass


@dataclass(frozen=True, slots=True)
class ToolStarted:
    tool: str


@dataclass(frozen=True, slots=True)
class ToolEnded:
    tool: str


@dataclass(slots=True)  # not frozen: see TurnContext
class Text:
    """A piece of the answer that has passed the gate, in order."""

    text: str


@dataclass(frozen=True, slots=True)
class Escalation:
    """Why a person should take over. `score` is the policy's, never the answer's confidence."""

    reason: str
    category: str  # legal, urgent, complaint or general
    priority: str
    score: float


# ---- what a tool call comes to ----


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The tool ran. `value` is what its function gave, which may be more than plain data (Findings, Escalation)."""

    tool: str
    value: Any
    most: int = 8000  # characters of `text`

    @property
    def text(self) -> str:
        """The value as a model reads it: JSON, cut at the tool's cap, and saying so."""
        text = orjson.dumps(self.value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        if len(text) <= self.most:
            return text
        return f"{text[: self.most]}… [cut: the result has {len(text)} characters; ask for something narrower]"


@dataclass(frozen=True, slots=True)
class ToolError:
    """The tool did not give what was asked. `message` tells a model, or a programmer, what to do about it; the codes:

    unknown_tool, bad_arguments; needs_identity (nobody is verified here: say how to log in); not_found (also what is
    somebody else's); refused (the back end or the policy says no, and why); unavailable (away, slow or out of
    service: nothing was done, say so); too_large; failed (a fault of ours, in the log).
    """

    tool: str
    code: str
    message: str
    said: str = ""  # a sentence for the customer that says why, where the tool has one

    @property
    def text(self) -> str:
        return orjson.dumps({"error": self.code, "message": self.message}).decode()


@dataclass(frozen=True, slots=True)
class NeedsConfirmation:
    """A write that has not run. It runs once the customer agrees to it, with these arguments and no others.

    An answer carries one at the most (`Answer.confirm`): what is in no answer can never be confirmed. The summary is
    made by the tool's own code, never by a model.
    """

    id: str
    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""
    begun: bool = False  # offered again, since nobody knows whether it was done

    @property
    def text(self) -> str:
        """What a model is told."""
        said = "Nothing has been done yet. The customer sees a card with this summary and has to confirm it there."
        return orjson.dumps({"needs_confirmation": self.summary, "message": said}).decode()


# Nobody knows what the tool would have said; the other codes are answers.
FAILURES = frozenset({"unavailable", "failed", "too_large"})

ToolOutcome = ToolResult | ToolError | NeedsConfirmation


@dataclass(slots=True)  # not frozen: see TurnContext
class Answer:
    """The last event of every turn, exactly one; the turn's joined `Text`s are its `text`."""

    text: str
    citations: tuple[dict[str, Any], ...] = ()  # {n, title, url, snippet}
    choices: tuple[dict[str, Any], ...] = ()  # {id, label}
    confirm: NeedsConfirmation | None = None
    confidence: float | None = None  # the calibrated probability that the answer is right
    tools_used: tuple[str, ...] = ()
    tools_failed: Mapping[str, str] = field(default_factory=dict)  # tool: ToolError's code, where it gave nothing
    escalation: Escalation | None = None
    unanswered: str | None = None  # the question that the knowledge could not answer
    model: dict[str, Any] | None = None  # {name, requests, input_tokens, output_tokens, price_usd, fallback?}


Event = Thinking | ToolStarted | ToolEnded | Text | Answer
