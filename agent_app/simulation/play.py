"""One run of one scenario: the customer says their part, and what comes of it is judged."""

import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
from websockets.exceptions import WebSocketException

from agent_app.simulation import verdict
from agent_app.simulation.books import Books, Shop, differences
from agent_app.simulation.desks import Desks
from agent_app.simulation.scenario import OFFLINE, Customer, Scenario, Step
from agent_app.simulation.talk import RefusedByDesk, Talk, Trouble, new_client_id

PATIENCE = {OFFLINE: 45.0, "model": 120.0}  # seconds for an answer, a turn's takeover included
YES, NO = "Yes, please do that.", "No, please leave it as it is."
ONCE_MORE = 2  # times that a customer says yes in words to a model that has not offered a button


@dataclass
class Run:
    """`problems` is empty for a run that passed."""

    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    transcript: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a scenario is played: the instances, the shop behind them, and the key that proves customers."""

    desks: Sequence[str]
    shop: Shop | None
    identity_key: str
    mode: str
    ours: Desks | None = None  # for faults and logs, when the desks are ours


async def play(scenario: Scenario, stage: Stage) -> Run:
    run = Run()
    began = time.monotonic()
    tracebacks = stage.ours.tracebacks() if stage.ours is not None else 0
    before: Books = {}
    part = Part(scenario, stage, run)
    try:
        if stage.shop is not None:
            await stage.shop.first_day()
            before = await stage.shop.books()
        await part.act()
        await part.judge(before)
    except (Trouble, RefusedByDesk, httpx.HTTPError, WebSocketException, OSError) as error:
        run.problems.append(f"{part.at}{error or type(error).__name__}")
    finally:
        if part.talk is not None:
            run.transcript = [as_line(message) for _, message in sorted(part.talk.log.items())]
            with suppress(WebSocketException, OSError):
                await part.talk.close()
    if stage.ours is not None:
        if stage.ours.tracebacks() > tracebacks:
            run.problems.append("the desk logged a traceback")
        run.problems += [f"{fault} was to break something, and nothing met it" for fault in stage.ours.unmet()]
    run.seconds = time.monotonic() - began
    return run


def as_line(message: dict[str, Any]) -> str:
    offer = f" [confirm: {message['confirm']['summary']}]" if message.get("confirm") else ""
    return f"{message['seq']} {message['role']}: {' '.join(message['text'].split())}{offer}"


class Part:
    """The customer's part in one run."""

    def __init__(self, scenario: Scenario, stage: Stage, run: Run) -> None:
        self.scenario, self.stage, self.run = scenario, stage, run
        self.at = ""  # where in the file we are, for the problems
        self.customer = scenario.customer
        self.talk: Talk | None = None
        self.clicked: list[dict[str, Any]] = []  # what was offered and has been answered
        self.labelled: dict[str, tuple[dict[str, Any], int]] = {}  # frames that were sent, with their seq

    async def act(self) -> None:
        if self.scenario.steps[0].action != "open":
            await self.open(self.scenario.customer)
        for step in self.scenario.steps:
            self.at = f"line {step.line}: "
            await self.take_step(step)
        self.at = ""

    async def open(self, customer: Customer) -> None:
        body: dict[str, Any] = {"user_id": customer.claimed} if customer.claimed else {}
        if customer.proven:
            claims = {"sub": customer.proven, "exp": time.time() + customer.expires_in}
            key = secrets.token_urlsafe(32) if customer.forged else self.stage.identity_key
            body["identity"] = jwt.encode(claims, key, "HS256")
        talk = await Talk.open(self.stage.desks, body, PATIENCE[self.stage.mode])
        if self.talk is not None:
            await self.talk.close()
        self.talk, self.customer = talk, customer

    @property
    def chat(self) -> Talk:
        if self.talk is None:
            raise Trouble("no chat is open")
        return self.talk

    async def take_step(self, step: Step) -> None:
        if step.fault is not None and self.stage.ours is not None:
            self.stage.ours.break_(*step.fault)
        wanted_error = step.expect.error if step.expect is not None else None
        try:
            seq = await self.do(step)
        except RefusedByDesk as refused:
            if refused.code != wanted_error:
                raise
            return
        if wanted_error is not None:
            self.complain([f"it was not refused with {wanted_error}"])
        if seq is not None:
            await self.judge_answer(step, seq)

    async def do(self, step: Step) -> int | None:
        """Does what the step says; the seq of the newest message that now wants an answer, if one does."""
        if step.action == "open":
            await self.open(step.value)
            return None
        chat = self.chat
        chat.tools.clear()
        if step.other_desk:
            await chat.come_back(other_desk=True)
        match step.action:
            case "say":
                return await self.say(step)
            case "choose":
                return await self.choose(step)
            case "confirm":
                return await self.confirm(step.value, step.over)
            case "resend":
                return await self.resend(step)
            case "ask_person":
                await chat.ask_for_person(step.value)
            case "intrude":
                await chat.intrude()
            case "reconnect":
                await chat.come_back()
            case "end":
                await chat.end()
        return None

    # ---- what is sent ----

    async def say(self, step: Step) -> int:
        more: dict[str, Any] = {}
        if step.attach is not None:
            more["attachments"] = [await self.chat.upload(*step.attach)]
        seq = 0
        for text in step.value:
            frame = {"type": "send", "client_id": new_client_id(), "text": text, **more}
            seq = await self.send(frame, step.over)
            if step.label is not None:
                self.labelled[step.label] = (frame, seq)
        return seq

    async def send(self, frame: dict[str, Any], over: str) -> int:
        if over == "socket":
            return await self.chat.send(frame)
        body = {name: value for name, value in frame.items() if name != "type"}
        return await self.chat.say_over_rest("choice/" if frame["type"] == "choice" else "messages/", body)

    async def choose(self, step: Step) -> int:
        answer = self.chat.newest_answer() or {}
        choices = answer.get("choices") or []
        if isinstance(step.value, int):
            if step.value > len(choices):
                raise Trouble(f"there is no choice {step.value}; there are {len(choices)}")
            id_ = choices[step.value - 1]["id"]
        else:
            id_ = step.value
        return await self.send({"type": "choice", "client_id": new_client_id(), "id": id_}, step.over)

    async def confirm(self, agreed: bool, over: str) -> int:
        """A click on what is offered. To a model that only asks in words it is said in words, until it offers it."""
        for _ in range(ONCE_MORE if self.stage.mode != OFFLINE and agreed else 0):
            if self.offer() not in (None, *self.clicked):
                break
            seq = await self.chat.send({"type": "send", "client_id": new_client_id(), "text": YES})
            await self.answered(seq)
        offer = self.offer()
        if offer is None:
            if self.stage.mode == OFFLINE or agreed:
                raise Trouble("nothing is offered to be confirmed")
            return await self.chat.send({"type": "send", "client_id": new_client_id(), "text": NO})
        self.clicked.append(offer)
        id_ = offer["id"] if agreed else f"{offer['id']}:no"
        return await self.send({"type": "choice", "client_id": new_client_id(), "id": id_}, over)

    def offer(self) -> dict[str, Any] | None:
        """The newest thing that was offered: a customer may still click on it further up."""
        log = sorted(self.chat.log.items(), reverse=True)
        offers = [message["confirm"] for _, message in log if message.get("confirm")]
        return offers[0] if offers else None

    async def resend(self, step: Step) -> int | None:
        frame, seq = self.labelled[step.value]
        if step.text is not None:
            frame = {**frame, "text": step.text}
        self.chat.acks.pop(frame["client_id"], None)
        again = await self.send(frame, step.over)
        if again != seq:
            self.complain([f"message {seq} was sent again and acknowledged as {again}"])
        return again

    # ---- what comes ----

    async def answered(self, seq: int) -> dict[str, Any]:
        await self.chat.until(lambda: self.chat.answer_to(seq) is not None, f"an answer to message {seq}")
        answer = self.chat.answer_to(seq)
        if answer is None:
            raise Trouble(f"message {seq} has no answer")
        return answer

    async def judge_answer(self, step: Step, seq: int) -> None:
        answer = await self.answered(seq)
        expected = [step.expect, step.expect_offline if self.stage.mode == OFFLINE else None]
        for each in expected:
            if each is not None:
                self.complain(verdict.wrong_with_answer(each, answer, self.chat.tools))
                if each.state is not None:
                    state = (await self.chat.about())["state"]
                    self.complain([f"the chat is {state}, and not {each.state}"] if state != each.state else [])

    async def judge(self, before: Books) -> None:
        about, log = await self.chat.about(), await self.chat.history()
        closed = about["state"] == "closed"
        self.complain(verdict.wrong_with_chat(self.scenario, log, closed))
        seen = [message for _, message in sorted(self.chat.log.items())]
        if seen != log[: len(seen)]:
            self.complain(["the socket showed other messages than the history holds"])
        for name in ("state", "escalated"):
            wanted = getattr(self.scenario, name)
            if wanted is not None and about[name] != wanted:
                self.complain([f"the chat's {name} is {about[name]}, and not {wanted}"])
        if self.stage.shop is not None:
            after = await self.stage.shop.books()
            self.complain(differences(before, after, self.scenario.books))
            self.complain(verdict.leaks(log, before, self.customer.proven))

    def complain(self, problems: list[str]) -> None:
        self.run.problems += [f"{self.at}{problem}" for problem in problems]
