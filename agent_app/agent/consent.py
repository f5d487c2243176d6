"""Whether the customer agreed to what they were asked to confirm: by a click, or by a plain yes or no.

Never a model's to say: what is not clearly a yes does nothing.
"""

import re
from dataclasses import dataclass, replace

from agent_app.agent import catalogue
from agent_app.agent.events import ChatMessage, Decision, TurnContext

A_YES = (
    r"(?:yes|yep|yeah|yup|sure|ok(?:ay)?|confirm(?:ed)?|i (?:do )?confirm|i agree|agreed|go ahead|do it|please do"
    r"|correct|that(?:'s| is) (?:right|correct|fine))"
)
YES = re.compile(
    A_YES + r"(?:[\s,.!]+(?:yes|please|sure|confirm(?: it)?|i confirm|i agree|go ahead|do (?:it|that|so)|correct"
    r"|that(?:'s| is) (?:right|correct|fine)|thanks|thank you))*"
)
NO = re.compile(
    r"(?:no(?:pe)?|cancel(?: (?:it|that|this))?|don'?t|do not|never ?mind|forget (?:it|that)|leave it|stop|not now|wait"
    r"|rather not|i changed my mind)"
    r"(?:[\s,.!]+(?:no|please|thanks|thank you|wait|stop|don'?t(?: do (?:it|that))?|do not(?: do (?:it|that))?|cancel"
    r"|do it|do that|leave it(?: as it is)?|never ?mind|forget (?:it|that)|not now|rather not|i changed my mind))*"
)
# "Don't cancel order 1051", "please do not do that": a no, where nothing else is said.
NOT_THIS = re.compile(
    r"(?:(?:no|please|sorry|wait|oh)[\s,]+)*(?:do not|don'?t|never)(?: (?:do|cancel|return|change|send|go ahead))\b"
    r"[^,;.!?]{0,40}|(?:no[\s,]+)?i (?:do not|don'?t) want (?:it|that|this|to)\b[^,;.!?]{0,40}"
)
# "Yes, cancel order 1051": a yes where the card says the same, by the first word of its summary.
SAME_ACT = {
    "cancel": r"cancel|call off",
    "return": r"return|send back|refund",
    "send": r"send|deliver|ship|change the (?:delivery )?address of|change",
    "change": r"change|update",
}
YES_TO_IT = {
    act: re.compile(
        rf"{A_YES}(?:[\s,.!]+(?:yes|please|go ahead(?: and)?|you can|you may|i want to|i'd like to|do))*"
        rf"[\s,.!]+(?:{verbs})\s+"
        r"(?:it|that|this(?: one)?|(?:my |the |that |this )?order(?:\s+(?:number\s+|no\.?\s*)?#?(?P<number>\d{3,10}))?"
        r"|#?(?P<alone>\d{3,10}))(?:[\s,.!]+(?:please|thanks|thank you|now|then|for me))*"
    )
    for act, verbs in SAME_ACT.items()
}
LONGEST_YES = 200  # characters
ORDER_OF = re.compile(r"\border (\d{3,10})\b")
BEGINS_WITH_YES = re.compile(r"(?:yes|yep|yeah|yup|sure|ok(?:ay)?|confirm(?:ed)?|i confirm|go ahead|do it)\b")
# Said after a click: then it is not clear any more, and nothing is done.
SECOND_THOUGHTS = re.compile(r"\b(?:no|wait|stop|don'?t|do not|never ?mind|changed my mind|hold on|instead|rather)\b")


@dataclass(frozen=True, slots=True)
class Consent:
    decision: Decision
    message: ChatMessage


def consent_of(context: TurnContext) -> Consent | None:
    """The customer's word on a confirmation among the messages that this turn answers; the latest counts."""
    asked = context.asked
    for place in range(len(asked) - 1, -1, -1):
        message = asked[place]
        decision = message.decision or in_words(context, message)
        if decision is None:
            continue
        later = " ".join(plain(other.text) for other in asked[place + 1 :])
        if decision.agreed and SECOND_THOUGHTS.search(later):
            decision = replace(decision, agreed=False)
        if message.decision is not None or not decision.agreed or place == len(asked) - 1:
            return Consent(decision, message)
    return None


def in_words(context: TurnContext, message: ChatMessage) -> Decision | None:
    """A plain yes or no to the agent's last message, where that asks for one."""
    asked = card_before(context, message)
    if asked is None or asked.confirm is None:
        return None
    said, summary = plain(message.text), str(asked.confirm["summary"])
    agreed = YES.fullmatch(said) is not None or is_yes_to(summary, said)
    if not agreed and NO.fullmatch(said) is None and NOT_THIS.fullmatch(said) is None:
        return None
    return Decision(str(asked.confirm["id"]), agreed) if asks_last(asked.text, summary) else None


def is_yes_to(summary: str, said: str) -> bool:
    """ "Yes, cancel order 1051": it says what the summary says, of the same order, and nothing beside it."""
    pattern = YES_TO_IT.get(summary.partition(" ")[0].lower())
    found = pattern.fullmatch(said) if pattern and len(said) <= LONGEST_YES else None
    if found is None:
        return False
    number, meant = found["number"] or found["alone"], ORDER_OF.search(summary)
    if number is None:
        return not said.startswith("ok")  # "ok, cancel it": the order, or what we are about to do?
    return meant is not None and meant[1] == number


def asks_last(text: str, summary: str) -> bool:
    """A word is one to what stands there in words, and was asked last.

    Beside a model's words only a click counts, whatever they are: they may be an attacker's question.
    """
    _, found, behind = text.rpartition(summary)
    return bool(found) and catalogue.ON_THE_CARD not in behind and "?" not in behind.replace(catalogue.SHALL_I, "")


def left_open(context: TurnContext) -> str | None:
    """The summary of what was asked last, where the customer began with a yes and went on: it was not clearly one."""
    asked = card_before(context, context.asked[0])
    if asked is None or asked.confirm is None:
        return None
    if not any(BEGINS_WITH_YES.match(plain(message.text)) for message in context.asked):
        return None
    return str(asked.confirm["summary"])


def card_before(context: TurnContext, message: ChatMessage) -> ChatMessage | None:
    """The last that was said to the customer before this message, where that asks them to confirm something."""
    for entry in reversed(context.messages):
        if entry.role != "customer" and entry.seq < message.seq:
            return entry if entry.role == "agent" and entry.confirm else None
    return None


def is_yes_or_no(text: str) -> bool:
    said = plain(text)
    return YES.fullmatch(said) is not None or NO.fullmatch(said) is not None


def plain(text: str) -> str:
    return " ".join(text.lower().replace("’", "'").split()).strip(" .,!?:;)(-–…🙂👍🙏😊")


def without(context: TurnContext, message: ChatMessage) -> TurnContext:
    """The context in which the message is no question any more."""
    return replace(context, messages=tuple(other for other in context.messages if other is not message))
