"""The responder with a language model: it converses and calls tools; what leaves passes the gate.

The loop is ours, a request at a time, so that limits, policy, gate and cancellation stand in one place. Whatever the
model does, the turn ends in one honest answer: when it cannot be reached in time, the offline responder takes over.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.tools import ToolDefinition

from agent_app.agent import catalogue, prompt
from agent_app.agent.claims import plain
from agent_app.agent.events import (
    FAILURES,
    Answer,
    ChatMessage,
    Escalation,
    Event,
    NeedsConfirmation,
    Text,
    Thinking,
    ToolEnded,
    ToolOutcome,
    ToolResult,
    ToolStarted,
    TurnContext,
)
from agent_app.agent.gate import Evidence, Gate
from agent_app.agent.loop import DONT_KNOW, Until
from agent_app.agent.model import LanguageModel, ModelAway, Request
from agent_app.agent.offline import OfflineResponder
from agent_app.agent.responder import Known, ResponderOptions, Tool, call_tool
from agent_app.agent.spending import Spent
from agent_app.knowledge.retrieval import Findings

logger = logging.getLogger(__name__)

FALLBACK = 5.0  # seconds of a turn that the offline responder keeps, or half of a short one
KEPT_FOR_US = 700  # characters of a reply for what we add ourselves
MOST_AT_ONCE = 16_000  # tokens of one response
WINDOW = 20  # messages of the log that a turn sees
STAYS = 8  # of them stay out of the notes: they are seen for a while yet
MARK = re.compile(r"\[(\d+)\]")
OURS = plain(
    prompt.instructions(prompt.Fence())
)  # without the fence's name, which is markup, and so the same each turn


class LanguageModelResponder:
    def __init__(self, options: ResponderOptions) -> None:
        self._options = options
        self._model = LanguageModel(options.model, options.prices)
        self._offline = OfflineResponder(options)
        self._behind: set[asyncio.Task[None]] = set()  # what goes on after the answer: counting, taking notes

    async def respond(self, context: TurnContext, tools: Mapping[str, Tool]) -> AsyncGenerator[Event, None]:
        allowed = self._options.turn_timeout
        deadline = min(time.monotonic() + max(allowed - FALLBACK, allowed / 2), context.deadline - 1)
        known = await self._options.notes.known(context)
        talk = Talk(context, tools, known, self._options)
        trouble = ""
        if known.tokens_left <= 0:
            trouble = catalogue.OVER_BUDGET
        else:
            try:
                async with aclosing(Until(deadline, self._converse(talk, deadline))) as events:
                    async for event in events:
                        yield event
            except (ModelAway, TimeoutError) as error:
                logger.warning("model.away thread=%s error=%s", context.thread_id, str(error) or "timeout")
                trouble = catalogue.MODEL_AWAY_AFTERWARDS if talk.gate.passed else catalogue.MODEL_AWAY
            finally:
                self._in_background(self._options.notes.count(context, talk.spent))
        if trouble and talk.has_room():
            async with aclosing(self._without_model(talk, trouble)) as events:
                async for event in events:
                    yield event
            return
        closing = talk.closing_words(trouble)
        if closing:
            yield Text(closing)
        about = talk.spent.to_json(self._model.name)
        if trouble:
            about["fallback"] = "broken off"
        else:
            self._in_background(self._take_notes(talk))
        yield talk.answer(closing, about)

    # ---- the loop ----

    async def _converse(self, talk: "Talk", deadline: float) -> AsyncGenerator[Event, None]:
        yield Thinking()
        while True:
            request = talk.next_request()
            async with aclosing(self._model.pieces(request, deadline)) as pieces:
                async for piece in pieces:
                    if text := talk.gate.feed(piece):
                        yield Text(text)
                    if talk.gate.halted == "length":
                        return
            if text := talk.gate.finish():
                yield Text(text)
            calls = request.response.tool_calls
            if calls and request.tools:
                async with aclosing(talk.run(request.response, calls)) as events:
                    async for event in events:
                        yield event
            elif not talk.try_again(request.response):
                return

    async def _without_model(self, talk: "Talk", why: str) -> AsyncGenerator[Event, None]:
        """Says why, then what the offline responder says."""
        before = talk.gate.passed
        first = f"\n\n{why}\n\n" if before else f"{why}\n\n"
        yield Text(first)
        room = replace(talk.context, max_reply=talk.context.max_reply - len(before) - len(first))
        async with aclosing(self._offline.respond(room, talk.tools)) as events:
            async for event in events:
                match event:
                    case Answer():
                        yield talk.joined(event, first, self._model.name)
                    case Text(text):
                        yield Text(talk.renumbered(text))
                    case _:
                        yield event

    # ---- behind the answer ----

    async def _take_notes(self, talk: "Talk") -> None:
        """Sums up what is about to leave the window, once for a dozen messages, after the customer has the answer."""
        context, known = talk.context, talk.known
        newest = context.messages[-1].seq + 1  # the reply's, or a later one
        leaving = newest + 2 - WINDOW  # the next turn sees nothing before this
        if leaving <= known.summary_upto + 1:
            return
        upto = newest - STAYS
        told = [f"notes so far: {known.summary}"] if known.summary else []
        told += [f"{m.role}: {m.text}" for m in context.messages if known.summary_upto < m.seq <= upto]
        fence = prompt.Fence()
        asked = prompt.SUMMARISE.format(open=fence.open, close=fence.close)
        spent = Spent()
        request = Request([ModelRequest([UserPromptPart(fence("\n".join(told)))], instructions=asked)], spent, (), 1000)
        deadline = time.monotonic() + self._options.turn_timeout
        try:
            async with aclosing(Until(deadline, self._model.pieces(request, deadline))) as pieces:
                text = "".join([piece async for piece in pieces]).strip()
            if text:
                await self._options.notes.keep_summary(context, upto, text[:2000])
        except (ModelAway, TimeoutError) as error:
            logger.warning("model.no_notes thread=%s error=%s", context.thread_id, error)
        finally:
            await self._options.notes.count(context, spent)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)


class Talk:
    """One turn's conversation with the model: what it was told, what it did, what passed the gate."""

    def __init__(
        self, context: TurnContext, tools: Mapping[str, Tool], known: Known, options: ResponderOptions
    ) -> None:
        self.context = context
        self.tools = tools
        self.known = known
        self.options = options
        self.spent = Spent()
        self.evidence = Evidence()
        if context.deed is not None and context.deed.done is not None:
            self.evidence.add_deed(context.deed.done, writes=True)
        self._fence = prompt.Fence()
        longest = context.max_reply - KEPT_FOR_US if context.max_reply > 1000 else 150
        self.gate = Gate(self.evidence, longest, OURS)
        self.confirm: NeedsConfirmation | None = None
        self.escalation: Escalation | None = None
        self.tools_used: list[str] = []
        self.tools_failed: dict[str, str] = {}
        self._definitions = [
            ToolDefinition(name=tool.name, description=tool.description, parameters_json_schema=tool.schema)
            for tool in tools.values()
        ]
        self._messages: list[ModelMessage] = self._history()
        self._steps = 0
        self._calls = 0
        self._made: dict[tuple[str, str], str] = {}
        self._second_chances = 1
        self._surest: float | None = None
        self._searched = False

    def _history(self) -> list[ModelMessage]:
        """The recent messages in the roles that a model knows; ours and the staff's are the assistant's side."""
        fence = self._fence
        about = prompt.background(self.context, fence, self.known.facts, self.known.summary)
        history: list[ModelMessage] = []
        asked: list[str] = [about]
        for message in self.context.messages:
            if message.role == "customer":
                asked.append(prompt.said_by_customer(message, fence))
                continue
            if asked:
                history.append(ModelRequest([UserPromptPart("\n\n".join(asked))]))
                asked = []
            history.append(ModelResponse([TextPart(told(message))]))
        if self.context.deed is not None:
            asked.append(fence(self.context.deed.text, "the desk has just told the customer"))
        history.append(ModelRequest([UserPromptPart("\n\n".join(asked) or "…")]))
        return [*merged(history[:-1]), with_instructions(history[-1], prompt.instructions(fence))]

    # ---- steps ----

    def next_request(self) -> Request:
        """Raises ModelAway when the turn's limits leave no room for another answer."""
        left = self.options.max_tokens - self.spent.tokens
        if self._steps > self.options.max_steps or left <= 0:
            raise ModelAway(f"the turn's limit is reached: {self._steps} steps, {self.spent.tokens} tokens")
        self._steps += 1
        # The last step is for the answer.
        may_call = self._steps < self.options.max_steps and self._calls < self.options.max_tool_calls
        if not may_call and self._calls:
            self._ask(prompt.NO_MORE_TOOLS)
        tools = self._definitions if may_call else []
        return Request(list(self._messages), self.spent, tools, min(left, MOST_AT_ONCE))

    def try_again(self, response: ModelResponse) -> bool:
        """After an answer without tool calls: True when it is worth asking once more."""
        if self.gate.halted == "claim":
            if not self._second_chances:
                return False
            self._second_chances -= 1
            self._messages.append(ModelResponse([TextPart(self.gate.passed or "…")]))
            self._ask(prompt.HELD_BACK.format(said=self._fence(self.gate.passed)))
            self.gate.next_step(again=True)
            return True
        if self.gate.passed.strip():
            return False
        if not self._second_chances:
            raise ModelAway("the model said nothing")
        self._second_chances -= 1
        self._ask(prompt.NOTHING_SAID)
        return True

    def _ask(self, text: str) -> None:
        instructions = prompt.instructions(self._fence)
        self._messages.append(ModelRequest([UserPromptPart(text)], instructions=instructions))

    async def run(self, response: ModelResponse, calls: Sequence[ToolCallPart]) -> AsyncGenerator[Event, None]:
        """The tool calls of one step, side by side; the same call is made once in a turn."""
        wanted = {key_of(call): call for call in calls if key_of(call) not in self._made}
        room = max(self.options.max_tool_calls - self._calls, 0)
        fresh = dict(list(wanted.items())[:room])
        self._calls += len(calls)
        known = [call.tool_name for call in fresh.values() if call.tool_name in self.tools]
        for name in known:
            yield ToolStarted(name)
        outcomes = await asyncio.gather(
            *(call_tool(self.tools, self.context, call.tool_name, call.args) for call in fresh.values())
        )
        for name in known:
            yield ToolEnded(name)
        said = {key: self._take_in(outcome) for key, outcome in zip(fresh, outcomes, strict=True)}
        returns = [ToolReturnPart(call.tool_name, self._told_of(call, said), call.tool_call_id) for call in calls]
        self._made |= said
        self._messages += [
            self._as_said(response),
            ModelRequest(returns, instructions=prompt.instructions(self._fence)),
        ]
        self.gate.next_step()

    def _told_of(self, call: ToolCallPart, said: Mapping[tuple[str, str], str]) -> str:
        key = key_of(call)
        if key in self._made:
            return f"{prompt.SAME_AGAIN}\n{self._made[key]}"
        return said.get(key, prompt.NO_MORE_TOOLS)

    def _take_in(self, outcome: ToolOutcome) -> str:
        """What a call came to, for the gate and the answer; the text that the model reads, fenced."""
        text = outcome.text
        if isinstance(outcome, NeedsConfirmation):
            self.tools_used.append(outcome.tool)
            if self.confirm is not None:
                text = "Only one thing can be confirmed at a time, and another one waits already. Ask for this later."
            self.confirm = self.confirm or outcome
        elif isinstance(outcome, ToolResult):
            tool = self.tools[outcome.tool]
            self.tools_used.append(outcome.tool)
            self.evidence.add_deed(outcome.tool, tool.writes)
            text = self._read(outcome)
        elif outcome.code in FAILURES:
            self.tools_failed[outcome.tool] = outcome.code
        return self._fence(text, outcome.tool)

    def _read(self, outcome: ToolResult) -> str:
        value = outcome.value
        if isinstance(value, Escalation):
            self.escalation = self.escalation or value
            return f"A person has been asked for; the customer's ticket is {self.context.ticket}. Say so, briefly."
        if isinstance(value, Findings):
            self._searched = True
            self._surest = max(self._surest or 0.0, value.probability)
        passages = prompt.as_read(value, self.evidence.quotes)
        if passages is None:
            self.evidence.add_result(value)
            return outcome.text
        self.evidence.links |= {citation["url"] for citation in self.evidence.quotes.citations}
        return passages

    def _as_said(self, response: ModelResponse) -> ModelResponse:
        """A response as the customer saw it: what the gate held back, the model did not say."""
        if self.gate.halted is None:
            return response
        kept = [part for part in response.parts if not isinstance(part, TextPart)]
        return replace(response, parts=kept)

    # ---- the answer ----

    def closing_words(self, trouble: str) -> str:
        """What we add to what the model said."""
        more = [trouble] if trouble else []
        if self.gate.halted == "claim":
            more.append(catalogue.CLAIMED_TOO_MUCH)
        elif self.gate.halted == "length":
            more.append(catalogue.MORE_THAN_FITS)
        if self.escalation is not None and self.context.state == "ai" and self.context.ticket not in self.gate.passed:
            more.append(f"{catalogue.HANDED_OVER.format(ticket=self.context.ticket)} {self.context.away}".rstrip())
        if self.confirm is not None:  # in our words, whatever the model says beside the card
            more.append(catalogue.ON_THE_CARD)
        said = [""] if self.gate.passed else []
        return "\n\n".join([*said, *more]) if more else ""

    def answer(self, closing: str, about: dict[str, Any]) -> Answer:
        citations = self.gate.citations()
        lost = self._searched and not citations and DONT_KNOW.search(self.gate.passed)
        return Answer(
            self.gate.passed + closing,
            citations=citations,
            confirm=self.confirm,
            confidence=self._surest if citations else None,
            tools_used=tuple(dict.fromkeys(self.tools_used)),
            tools_failed=self.tools_failed,
            escalation=self.escalation if self.context.state == "ai" else None,
            unanswered=self.context.question if lost else None,
            model=about,
        )

    def has_room(self) -> bool:
        """For the offline responder: what it says helps nobody who has most of an answer, or gets a person."""
        return self.escalation is None and len(self.gate.passed) < self.context.max_reply / 2

    def joined(self, offline: Answer, first: str, model: str) -> Answer:
        """The offline answer, behind what the model said and with what its tools came to before it went away."""
        citations = tuple({**citation, "n": citation["n"] + self._cited} for citation in offline.citations)
        return replace(
            offline,
            text=self.gate.passed + first + self.renumbered(offline.text),
            citations=self.gate.citations() + citations,
            tools_used=tuple(dict.fromkeys((*self.tools_used, *offline.tools_used))),
            tools_failed={**self.tools_failed, **offline.tools_failed},
            confirm=offline.confirm or self.confirm,
            model={**self.spent.to_json(model), "fallback": "broken off" if self.gate.passed else "offline"},
        )

    def renumbered(self, text: str) -> str:
        """Of the offline answer, whose sources are counted on from ours."""
        return MARK.sub(lambda mark: f"[{int(mark[1]) + self._cited}]", text)

    @property
    def _cited(self) -> int:
        return len(self.evidence.quotes.citations) if self.gate.passed else 0


def told(message: ChatMessage) -> str:
    by = {"staff": "(a member of staff wrote) ", "system": "(the desk wrote) "}.get(message.role, "")
    # The numbers of an earlier turn's sources mean nothing in this one.
    return by + MARK.sub("", message.text)


def merged(history: Sequence[ModelMessage]) -> list[ModelMessage]:
    """Neighbours of one role as one message: some providers refuse two in a row."""
    found: list[ModelMessage] = []
    for message in history:
        if isinstance(message, ModelResponse) and found and isinstance(found[-1], ModelResponse):
            found[-1] = replace(found[-1], parts=[*found[-1].parts, *message.parts])
        else:
            found.append(message)
    return found


def with_instructions(message: ModelMessage, text: str) -> ModelMessage:
    return replace(message, instructions=text) if isinstance(message, ModelRequest) else message


def key_of(call: ToolCallPart) -> tuple[str, str]:
    """The same call is the same name with the same arguments, in whatever order they are written."""
    raw = call.args_as_json_str()
    try:
        return call.tool_name, orjson.dumps(orjson.loads(raw), option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONDecodeError:
        return call.tool_name, raw
