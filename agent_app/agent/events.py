"""What goes into a turn and what comes out of it: plain data, so that the agent runs without a framework."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of the log. `role`: customer, agent, staff or system."""

    seq: int
    role: str
    text: str
    choices: tuple[dict[str, Any], ...] = ()
    citations: tuple[dict[str, Any], ...] = ()
    attachments: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
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

    @property
    def asked(self) -> tuple[ChatMessage, ...]:
        """The customer's messages that this turn answers, oldest first."""
        return tuple(m for m in self.messages if m.role == "customer" and m.seq > self.answered_upto)

    @property
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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Answer:
    """The last event of every turn, exactly one; the turn's joined `Text`s are its `text`."""

    text: str
    citations: tuple[dict[str, Any], ...] = ()  # {n, title, url, snippet}
    choices: tuple[dict[str, Any], ...] = ()  # {id, label}
    confirm: dict[str, Any] | None = None  # {id, summary}
    confidence: float | None = None  # the calibrated probability that the answer is right
    tools_used: tuple[str, ...] = ()
    escalation: Escalation | None = None
    unanswered: str | None = None  # the question that the knowledge could not answer


Event = Thinking | ToolStarted | ToolEnded | Text | Answer
