"""The responder that needs no network: it quotes the knowledge, asks back, or says that it does not know."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from agent_app.agent import catalogue, questions
from agent_app.agent.doing import Report, do
from agent_app.agent.errands import Errand, is_change, is_wish
from agent_app.agent.events import (
    Answer,
    ChatMessage,
    Event,
    NeedsConfirmation,
    Text,
    Thinking,
    ToolEnded,
    ToolStarted,
    TurnContext,
)
from agent_app.agent.replies import errands_of, is_reply, place_in
from agent_app.agent.responder import ResponderOptions, Tool
from agent_app.agent.smalltalk import reply_to, without_greeting
from agent_app.agent.told import heed
from agent_app.knowledge.citations import Quotes
from agent_app.knowledge.documents import Unreadable
from agent_app.knowledge.retrieval import Band, Findings

CHOICES = 3
MOST_ATTACHMENTS = 5
MOST_ORDERS = 4  # of one question
ATTACHED_AT = 0.35  # cosine from which a passage of an attachment is to the point
# Said to "Did you mean one of these?".
NONE_OF_THEM = re.compile(
    r"^\W*(?:no|nope|none|neither|nothing|something else|another one|not (?:really|quite))"
    r"(?:[\s,.!]+(?:none|neither|sorry|something else))*(?:\s+of\s+(?:these|those|them|the above))?\W*$",
    re.IGNORECASE,
)
ONE_OF_THEM = re.compile(r"^\W*(?:yes|yep|yeah|yup|sure|correct|exactly|right)(?:[\s,]+please)?\W*$", re.IGNORECASE)


@dataclass
class Draft:
    """The answer as it grows: one part a question."""

    parts: list[str] = field(default_factory=list)
    quotes: Quotes = field(default_factory=Quotes)
    probabilities: list[float] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    choices: tuple[dict[str, Any], ...] = ()
    confirm: NeedsConfirmation | None = None
    asks: str = ""  # to confirm it: said last, so that a yes is one to it
    tools: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # tool: why it gave nothing
    refused: set[str] = field(default_factory=set)  # attachments that, as was said, cannot be read, or not whole
    read: bool = False  # an attachment has answered the question in hand
    hint: str = ""  # said after what the help pages answer
    last: str = ""  # said after all answers

    def report(self, errand: Errand, report: Report) -> bool:
        """Takes in what came of an errand; False where the help pages are still to be asked."""
        self.tools += report.tools
        if report.failed:
            self.failed[report.tools[-1] if report.tools else errand.tool] = report.failed
        if not report.found:
            self.hint = report.text
            return False
        self.choices = report.choices or self.choices
        if report.confirm is None:
            self.parts.append(report.text)
        elif self.confirm is None:
            self.confirm, self.asks = report.confirm, report.text
        else:
            self.parts.append(catalogue.ONE_AT_A_TIME.format(summary=report.confirm.summary))
        return True

    def answer(self, longest: int) -> Answer:
        """Whole parts only, as many as fit; an answer that is cut in the middle helps nobody."""
        text = ""
        for part in self.parts:
            longer = f"{text}\n\n{part}" if text else part
            if len(longer) > longest - len(self.asks):
                text = f"{text}\n\n{catalogue.TOO_LONG}" if text else part[:longest]
                break
            text = longer
        return Answer(
            f"{text}\n\n{self.asks}".strip() if self.asks else text,
            citations=tuple(self.quotes.citations),
            choices=self.choices,
            confirm=self.confirm,
            confidence=min(self.probabilities) if self.probabilities else None,
            tools_used=tuple(dict.fromkeys(self.tools)),
            tools_failed=self.failed,
            unanswered="\n".join(self.unanswered) or None,
        )


class OfflineResponder:
    def __init__(self, options: ResponderOptions) -> None:
        pass

    async def respond(self, context: TurnContext, tools: Mapping[str, Tool]) -> AsyncGenerator[Event, None]:
        draft = Draft()
        said = to_an_offer(context, draft) or reply_to(context.question)
        if said is None:
            yield Thinking()
            async for event in self._look_up(context, tools, draft):
                yield event
        else:
            draft.parts.append(said)
        draft.parts += [draft.last] if draft.last else []
        answer = draft.answer(context.max_reply)
        yield Text(answer.text)
        yield answer

    async def _look_up(
        self, context: TurnContext, tools: Mapping[str, Tool], draft: Draft
    ) -> AsyncGenerator[Event, None]:
        noted = await heed(context, tools)
        if noted is not None:
            draft.parts.append(noted.text)
            draft.tools += noted.tools
            return
        parts = questions.split(without_greeting(context.question), is_change, partial(is_reply, context), is_wish)
        if len(parts) > questions.MOST:
            draft.last = catalogue.MORE_ASKED
            parts = parts[: questions.MOST]
        asked = []
        named: frozenset[str] = frozenset()
        for part in parts:
            errands = errands_of(context, part, tools, named)
            orders = frozenset(str(each.arguments.get("order_number", "")) for each in errands) - {""}
            named = orders or named
            answered = False
            for errand in errands[:MOST_ORDERS]:
                yield ToolStarted(errand.tool)
                answered = draft.report(errand, await do(errand, context, tools)) or answered
                yield ToolEnded(errand.tool)
            if left := errands[MOST_ORDERS:]:
                draft.parts.append(catalogue.AT_ONCE.format(orders=orders_of(left)))
            if not answered:
                asked.append(part)
        if parts and not asked:
            return
        chosen = chosen_of(context) if len(parts) == 1 else None
        if chosen:
            asked = [chosen.question]
        if not asked:
            draft.parts.append(what_to_do_with(attached(context.asked)))
        search = tools.get("search_knowledge")
        if search is None or not asked:
            if asked:
                not_known(draft, asked[0], alone=True)
            return
        draft.tools.append(search.name)
        yield ToolStarted(search.name)
        if chosen:
            found = [await search(context, query=chosen.question, article=chosen.slug)]
        else:
            beside = [None, *asked[:-1]]
            found = [await find(context, search, *both) for both in zip(asked, beside, strict=True)]
        yield ToolEnded(search.name)
        for question, findings in zip(asked, found, strict=True):
            if findings.band != Band.ANSWER or attached(context.asked):
                known = findings.band == Band.ANSWER
                async for event in self._read(context, tools, question, draft, known):
                    yield event
                if draft.read:
                    continue
            add(draft, question, findings, alone=len(parts) == 1)
        if draft.hint:
            draft.parts.append(draft.hint)

    async def _read(
        self, context: TurnContext, tools: Mapping[str, Tool], question: str, draft: Draft, known: bool
    ) -> AsyncGenerator[Event, None]:
        """Quotes the attachment that answers; says, once, which of the new ones cannot be read.

        `known`: the help pages answer the question, too, and shall still do so beside what cannot be read.
        """
        draft.read = False
        read = tools.get("read_attachment")
        new = {attachment["id"] for attachment in attached(context.asked)}
        if read is None:
            return
        for attachment in attached(context.messages)[-MOST_ATTACHMENTS:]:
            draft.tools.append(read.name)
            yield ToolStarted(read.name)
            try:
                hit = await read(context, attachment_id=attachment["id"], query=question)
            except Unreadable as error:
                if attachment["id"] in new:
                    if attachment["id"] not in draft.refused:
                        draft.parts.append(f"{attachment['name']}: {error}")
                        draft.refused.add(attachment["id"])
                    draft.read = draft.read or not known
                continue
            finally:
                yield ToolEnded(read.name)
            if hit.shortened and attachment["id"] in new - draft.refused:
                draft.parts.append(f"{attachment['name']}: {catalogue.SHORTENED}")
                draft.refused.add(attachment["id"])
            if hit.passage is not None and hit.score >= ATTACHED_AT:
                quoted = draft.quotes.quote(hit.source, hit.passage)
                draft.parts += [quoted] if quoted else []
                draft.read = True


def orders_of(errands: Sequence[Errand]) -> str:
    return ", ".join(f"order {errand.arguments['order_number']}" for errand in errands)


def what_to_do_with(attachments: Sequence[Mapping[str, Any]]) -> str:
    """What to say to a message without words."""
    if not attachments:
        return catalogue.EMPTY
    pictures = all(str(attachment.get("content_type", "")).startswith("image/") for attachment in attachments)
    return catalogue.PICTURE if pictures else catalogue.READ


def attached(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    return [attachment for message in messages for attachment in message.attachments]


async def find(context: TurnContext, search: Tool, question: str, beside: str | None = None) -> Findings:
    """A follow-up ("and for children?") is understood with the question before it, where that helps.

    `beside`: the one before it in the same message, to which "and" only adds it; it is looked at where the question
    says nothing by itself ("Do you deliver to Germany, and how much is it?").
    """
    findings: Findings = await search(context, query=question)
    leans = beside is None and questions.leans_on_earlier(question)
    if findings.band == Band.ANSWER and not leans:
        return findings
    before = beside or questions.asked_before(context)
    if before is None or not questions.is_follow_up(question):
        return findings
    together: Findings = await search(context, query=f"{before} {question}")
    if findings.band == Band.ANSWER:  # "and how do I return something?" says by itself what it is about
        surer = together.probability > findings.probability or questions.is_fragment(question)
        return together if surer and together.band == Band.ANSWER else findings
    if leans or (together.probability > findings.probability and is_about(together, findings, question)):
        return together
    return findings


def is_about(together: Findings, findings: Findings, question: str) -> bool:
    """Whether what was found for both questions is about the later one, which names a subject of its own.

    "Is the down jacket vegan?" after one of parking is not answered with the shops.
    """
    if questions.points_back(question):
        return True
    return bool(together.hits) and together.hits[0].source.slug in {hit.source.slug for hit in findings.hits}


def add(draft: Draft, question: str, findings: Findings, alone: bool) -> None:
    if findings.language is not None:
        spoken = [catalogue.LANGUAGES.get(language, language) for language in findings.languages]
        draft.parts.append(catalogue.FOREIGN.format(languages=" or ".join(spoken)))
        draft.unanswered.append(question)
    elif findings.band == Band.ANSWER:
        best = findings.hits[0]
        quoted = draft.quotes.quote(best.source, best.passage)
        if quoted is not None:
            draft.parts.append(quoted if alone else f"**{best.source.title}**\n\n{quoted}")
        draft.probabilities.append(findings.probability)
    elif findings.band == Band.CLARIFY and alone:
        titles = {hit.source.slug: hit.source.title for hit in findings.hits[:CHOICES]}
        draft.choices = tuple({"id": slug, "label": title} for slug, title in titles.items())
        listed = "\n".join(f"{number}. {title}" for number, title in enumerate(titles.values(), 1))
        draft.parts.append(f"{catalogue.CLARIFY}\n\n{listed}\n\n{catalogue.CLARIFY_END}")
        draft.probabilities.append(findings.probability)
    else:
        not_known(draft, question, alone)


def not_known(draft: Draft, question: str, alone: bool) -> None:
    shown = question if len(question) <= 120 else f"{question[:117]}…"
    draft.parts.append(catalogue.DONT_KNOW if alone else catalogue.DONT_KNOW_PART.format(question=shown))
    draft.unanswered.append(question)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the customer picked after "did you mean": the article, for the question that was asked."""

    slug: str
    question: str


def chosen_of(context: TurnContext) -> Chosen | None:
    offer = last_offer(context)
    if offer is None or not offer.choices:
        return None
    text = context.question.strip()
    number = place_in(text, len(offer.choices))
    for place, choice in enumerate(offer.choices, 1):
        if number == place or text.casefold() in (str(choice["id"]).casefold(), str(choice["label"]).casefold()):
            return Chosen(str(choice["id"]), asked_for(context, offer) or str(choice["label"]))
    return None


def to_an_offer(context: TurnContext, draft: Draft) -> str | None:
    """A yes, a no or a fourth of three picks none of "Did you mean one of these?"; after a no the answer is missing."""
    offer, text = last_offer(context), context.question
    if offer is None or not offer.choices or not offer.text.startswith((catalogue.CLARIFY, catalogue.WHICH_OF_THESE)):
        return None
    if NONE_OF_THEM.match(text):
        draft.unanswered += [asked_for(context, offer)]
        return catalogue.NONE_OF_THESE
    number = place_in(text, len(offer.choices))
    if ONE_OF_THEM.match(text) or (number is not None and not 1 <= number <= len(offer.choices)):
        draft.choices = offer.choices
        return catalogue.WHICH_OF_THESE
    return None


def asked_for(context: TurnContext, offer: ChatMessage) -> str:
    """What the customer had asked when this was offered; a yes or a thank you since then asked nothing."""
    before = [message.text for message in context.messages if message.role == "customer" and message.seq < offer.seq]
    asked = [text for text in before if questions.says_something(text)]
    return asked[-1] if asked else ""


def last_offer(context: TurnContext) -> ChatMessage | None:
    earlier = [message for message in context.messages if message.role == "agent"]
    return earlier[-1] if earlier else None
