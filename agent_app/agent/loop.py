"""The loop round one answer: judge whether a person is needed, let the responder answer, degrade honestly."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Generic, Self, TypeVar

from agent_app.agent import catalogue
from agent_app.agent.consent import left_open
from agent_app.agent.events import Answer, Deed, Escalation, Event, Text, TurnContext
from agent_app.agent.responder import Responder, Tool

logger = logging.getLogger(__name__)

# Seconds kept back from the deadline, so that the honest sentence still arrives in time.
RESERVE = 0.5
PATIENCE = 2  # unanswered questions in a row; the next one brings a person

# How an honest answer says so; a model has more words for it than our catalogue.
DONT_KNOW = re.compile(
    r"\b(?:i (?:do not|don't) (?:know|have (?:any |that |this |the )?(?:information|details?|answer))"
    r"|i (?:could not|couldn't|cannot|can't|was not able to|was unable to|am unable to) (?:find|answer|say)"
    r"|i(?:'m| am) not (?:sure|able to (?:find|answer))"
    r"|(?:our|the) help pages? (?:do not|don't|does not) (?:say|cover))",
    re.IGNORECASE,
)

T = TypeVar("T")
Judge = Callable[[TurnContext], Awaitable[Escalation | None]]


async def nobody_needed(context: TurnContext) -> Escalation | None:
    return None


class CustomerSupportAgent:
    """Answers one turn. Never raises: an error of a tool or the responder becomes an honest sentence."""

    def __init__(self, responder: Responder, tools: Mapping[str, Tool], judge: Judge = nobody_needed) -> None:
        self.responder = responder
        self.tools = tools
        self.judge = judge

    async def answer(self, context: TurnContext) -> AsyncGenerator[Event, None]:
        """First what was done about a confirmation; then, if more was asked, the answer to that: a person's coming, or
        the responder's.
        """
        deed, said = context.deed, ""
        answer: Answer | None = None
        try:
            if deed is not None:
                said = deed.text if not context.asked else f"{deed.text}\n\n"
                yield Text(said)
            if deed is not None and not context.asked:
                done = Answer(deed.text, (), (), deed.confirm, None, deed.tools_used)
                answer, more = where_things_stand(context, done)
                if more:
                    yield Text(more)
            elif (escalation := await self.judge(context)) is not None:
                waiting = context.state != "ai"
                text = (catalogue.STILL_WAITING if waiting else catalogue.HANDED_OVER).format(ticket=context.ticket)
                text = f"{text} {context.away}".strip()
                answer = after(deed, Answer(text, escalation=None if waiting else escalation))
                yield Text(text)
            else:
                async with aclosing(
                    Until(context.deadline - RESERVE, self.responder.respond(context, self.tools))
                ) as events:
                    async for event in events:
                        if isinstance(event, Answer):
                            answer, more = the_whole(context, event)
                            if more:
                                yield Text(more)
                            break
                        if isinstance(event, Text):
                            said += event.text
                        yield event
                    else:
                        raise RuntimeError("the responder ended without an answer")
        except Exception:
            logger.exception("turn.failed thread=%s", context.thread_id)
        if answer is None:
            sorry = Text(f"\n\n{catalogue.TROUBLE}" if said else catalogue.TROUBLE)
            yield sorry
            deed = deed or Deed("")
            answer = Answer(said + sorry.text, confirm=deed.confirm, tools_used=deed.tools_used)
        yield answer


def the_whole(context: TurnContext, answer: Answer) -> tuple[Answer, str]:
    """The responder's answer with all that code adds to it, before and behind; and what stands behind it."""
    answer, more = where_things_stand(context, answer)
    deed = context.deed
    if deed is not None and deed.confirm is not None and answer.confirm is not None:
        more += f"\n\n{catalogue.FIRST_THE_OTHER}"
        answer = replace(answer, text=f"{answer.text}\n\n{catalogue.FIRST_THE_OTHER}")
    return after(deed, answer), more


def after(deed: Deed | None, answer: Answer) -> Answer:
    """An answer that goes on from what was done; one confirmation that is in doubt goes before a new one."""
    if deed is None:
        return answer
    return replace(
        answer,
        text=f"{deed.text}\n\n{answer.text}",
        tools_used=tuple(dict.fromkeys(deed.tools_used + answer.tools_used)),
        confirm=deed.confirm or answer.confirm,
    )


def where_things_stand(context: TurnContext, answer: Answer) -> tuple[Answer, str]:
    """The answer with what is to be said of an open question and of the hand-over, and that text by itself ("" for
    none).
    """
    answer, first = what_is_open(context, answer)
    answer, more = about_the_person(context, answer)
    return answer, first + more


def what_is_open(context: TurnContext, answer: Answer) -> tuple[Answer, str]:
    """ "Yes, and where is my parcel?" is no clear yes, and is not to be taken for one by who wrote it either."""
    summary = left_open(context) if context.deed is None and answer.confirm is None and context.asked else None
    if summary is None:
        return answer, ""
    more = "\n\n" + catalogue.NOT_CLEAR.format(summary=summary)
    return replace(answer, text=answer.text + more), more


def about_the_person(context: TurnContext, answer: Answer) -> tuple[Answer, str]:
    if context.state != "ai":
        more = "\n\n" + catalogue.STILL_WAITING.format(ticket=context.ticket)
        return replace(answer, text=answer.text + more), more
    if answer.unanswered and failures(context) >= PATIENCE:
        more = f"\n\n{catalogue.GAVE_UP.format(ticket=context.ticket)} {context.away}".rstrip()
        escalation = Escalation("could not answer several times", "general", "normal", 0.8)
        return replace(answer, text=answer.text + more, escalation=escalation), more
    return answer, ""


def failures(context: TurnContext) -> int:
    """How often in a row the agent has just said that it does not know. A person who was there ends the row."""
    count = 0
    for message in reversed(context.messages):
        if message.author is not None:
            break
        if message.role == "agent":
            if not DONT_KNOW.search(message.text):
                break
            count += 1
    return count


class Until(Generic[T]):
    """The items up to `deadline` (time.monotonic()), then TimeoutError. Whoever iterates closes it (`aclosing`).

    The clock may stop a step, never whoever reads us between two: a timeout that spanned a yield would cancel them. One
    timer serves all steps, since a turn has many and nearly all of them are over at once. No generator, for each
    generator on the way costs every event a step and every turn an end.
    """

    def __init__(self, deadline: float, events: AsyncIterator[T]) -> None:
        self._events = events
        self._rung = False
        self._step: asyncio.Task[Any] | None = None
        self._timer = asyncio.get_running_loop().call_later(max(deadline - time.monotonic(), 0), self._ring)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._rung:
            raise TimeoutError
        self._step = task = asyncio.current_task()
        try:
            return await anext(self._events)
        except asyncio.CancelledError:
            # Ours, or that of somebody who wants the whole turn to end?
            if self._rung and task is not None and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            self._step = None

    async def aclose(self) -> None:
        self._timer.cancel()
        if isinstance(self._events, AsyncGenerator):
            await self._events.aclose()

    def _ring(self) -> None:
        self._rung = True
        if self._step is not None:
            self._step.cancel()
