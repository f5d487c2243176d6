"""What the desk keeps for a responder with a language model: facts, notes of long chats, and the account of tokens."""

import logging
import math

from django.conf import settings

from agent_app.agent.events import TurnContext
from agent_app.agent.responder import Known
from agent_app.agent.spending import Spent
from agent_app.journal import journal
from agent_app.models import Conversation, ConversationSummary, ConversationUse, DailyUse, Fact
from agent_app.models.budget import utc_day
from agent_app.models.refusal import Unavailable

logger = logging.getLogger(__name__)


class DeskNotes:
    """See `agent_app.agent.responder.Notes`. A database that is away means nothing known, and is said in the log."""

    async def known(self, context: TurnContext) -> Known:
        try:
            return await journal.read(known_of, context.thread_id)
        except Unavailable:
            logger.warning("notes.unread thread=%s", context.thread_id)
            return Known()

    async def count(self, context: TurnContext, spent: Spent) -> None:
        if not spent.requests:
            return
        try:
            await journal.read(count, context.thread_id, spent)
        except Unavailable:
            logger.warning("notes.uncounted thread=%s tokens=%d", context.thread_id, spent.tokens)

    async def keep_summary(self, context: TurnContext, upto: int, text: str) -> None:
        try:
            await journal.read(keep_summary, context.thread_id, upto, text)
        except Unavailable:
            logger.warning("notes.unkept thread=%s", context.thread_id)


def known_of(thread_id: str) -> Known:
    conversation = Conversation.objects.select_related("summary", "model_use").filter(thread_id=thread_id).first()
    if conversation is None:
        return Known()
    facts = tuple((fact.name, fact.value) for fact in Fact.objects.known_to(conversation))
    summary: ConversationSummary | None = getattr(conversation, "summary", None)
    return Known(
        facts,
        summary.text if summary else "",
        summary.upto if summary else 0,
        tokens_left(getattr(conversation, "model_use", None)),
    )


def tokens_left(used: ConversationUse | None) -> float:
    left = math.inf
    if settings.AGENT_CONVERSATION_BUDGET:
        left = settings.AGENT_CONVERSATION_BUDGET - (used.tokens if used else 0)
    if settings.AGENT_DAY_BUDGET:
        today = DailyUse.objects.filter(day=utc_day()).first()
        left = min(left, settings.AGENT_DAY_BUDGET - (today.tokens if today else 0))
    return left


def count(thread_id: str, spent: Spent) -> None:
    accounts: list[DailyUse | ConversationUse] = [DailyUse.today()]
    conversation = Conversation.objects.filter(thread_id=thread_id).only("pk").first()
    if conversation is not None:  # erased meanwhile: the day has been charged all the same
        accounts.append(ConversationUse.objects.get_or_create(conversation=conversation)[0])
    for account in accounts:
        account.add(spent.requests, spent.input_tokens, spent.output_tokens, spent.dollars)


def keep_summary(thread_id: str, upto: int, text: str) -> None:
    conversation = Conversation.objects.filter(thread_id=thread_id).only("pk").first()
    if conversation is not None:
        ConversationSummary.keep(conversation.pk, upto, text)
