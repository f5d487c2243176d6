"""A conversation whose turns a test runs itself, on instances that it names, beside the doors and the engine."""

import time
from datetime import timedelta
from typing import Any

from django.utils import timezone

from agent_app import chat
from agent_app.agent.events import Decision
from agent_app.agent.loop import CustomerSupportAgent, Judge
from agent_app.agent.offline import OfflineResponder
from agent_app.agent.responder import Responder, ResponderOptions
from agent_app.answering import Turn, TurnRunner
from agent_app.escalation import judge as by_words
from agent_app.journal import journal
from agent_app.models import Confirmation, Conversation
from agent_app.models.turns import CustomerMessage, Lease, TakeTurn
from agent_app.tools.registry import load_tools


class Talk:
    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.pk = conversation.pk
        self.turn_now: Turn | None = None

    async def ask(self, text: str, decision: Decision | None = None, client_id: str | None = None) -> Lease:
        stored = {"confirmation": decision.confirmation, "agreed": decision.agreed} if decision else None
        done = await journal.do(CustomerMessage(self.pk, text, client_id, holder="A", decision=stored))
        assert done.lease is not None
        return done.lease

    async def click(self, choice_id: str, client_id: str | None = None) -> Lease:
        chosen = await chat.choose(self.conversation, choice_id, client_id)
        return await self.ask(chosen.text, chosen.decision, client_id)

    def turn(self, lease: Lease, responder: Responder | None = None, judge: Judge = by_words) -> Any:
        """The coroutine that answers. Judged by words alone: without articles there is no meaning to judge by."""
        runner = TurnRunner()
        runner._agent = CustomerSupportAgent(responder or OfflineResponder(ResponderOptions()), load_tools(), judge)
        self.turn_now = Turn(lease, time.monotonic(), True)
        return runner._run(self.turn_now)

    async def say(self, text: str, decision: Decision | None = None) -> dict[str, Any]:
        await self.turn(await self.ask(text, decision))
        return await self.last()

    async def log(self) -> list[dict[str, Any]]:
        return [entry.to_wire() for entry in await journal.read(self.conversation.messages.after(0).entries)]

    async def last(self) -> dict[str, Any]:
        return (await self.log())[-1]

    async def offer(self, number: str = "1050") -> str:
        reply = await self.say(f"cancel order {number}")
        assert "confirm" in reply, reply
        return str(reply["confirm"]["id"])

    async def taken_over(self) -> None:
        """Another instance goes on, as after the holder's death, once its lease has run out. Nothing is left for it
        where the holder died while its answer was being committed.
        """
        past = timezone.now() - timedelta(seconds=1)
        await journal.read(Conversation.objects.filter(pk=self.pk).update, turn_until=past)
        done = await journal.do(TakeTurn(self.pk, "B"))
        if done.lease is not None:
            answering = self.turn(done.lease)
            if done.stopped and self.turn_now is not None:
                self.turn_now.interrupt("stop")
            await answering

    async def states(self) -> list[str]:
        """Of this conversation's confirmations, the newest first."""
        mine = Confirmation.objects.filter(conversation=self.pk)
        return await journal.read(lambda: list(mine.values_list("state", flat=True)))
