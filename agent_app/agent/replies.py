"""A customer's words as a reply to what we said last: an address, a choice, a right number, "did it work?"."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent_app.agent import addresses, catalogue
from agent_app.agent.errands import GENERAL, Errand, understood
from agent_app.agent.events import ChatMessage, TurnContext
from agent_app.agent.numbers import BETWEEN, numbers_in
from agent_app.agent.wishes import ADDRESS, CANCEL, OPENERS, RETURN

LONGEST = 400  # characters of a reply to a question of ours

PLACE = re.compile(
    r"^\W*(?:(?:i (?:meant?|want|choose|take)|(?:what|how) about|maybe)\s+)?"
    r"(?:(?:number|option|choice|answer|no\.?|nr\.?|the)\s+){0,2}"
    r"(\d|first|second|third|fourth|last|one|two|three|four)(?:\s+(?:one|option|choice))?"
    r"(?:[\s,]+(?:please|thanks|thank you))*\W*$",
    re.IGNORECASE,
)
PLACES = {"first": 1, "second": 2, "third": 3, "fourth": 4, "one": 1, "two": 2, "three": 3, "four": 4}
NTH = re.compile(
    r"\b(?:the )?(first|second|third|fourth|last)(?: one| order)?\b(?! (?:time|name|step|class|week|month))"
)
LISTED_LATELY = 3  # answers that are looked at for a list of orders
LISTED = re.compile(r"^(?:- )?Order \*\*(\d{3,10})\*\*", re.MULTILINE)  # as say_orders lists them
ALL_OF_THEM = re.compile(r"^\W*(?:both|all)(?: of (?:them|these|those))?(?:,? please)?\W*$")
ALONE = re.compile(
    r"^\W*(?:(?:oh|ah|sorry|my mistake|i (?:meant|mean)|it(?:'s| is| was| should be)|orders?|number|no\.?|the"
    r"|one|both)\W+)*"
    rf"(?P<numbers>\d{{3,10}}(?:{BETWEEN.pattern}\d{{3,10}})*)(?:,? (?:please|sorry|instead|of course))?\W*$"
)
SPOKEN_OF = re.compile(r"\border \*{0,2}(\d{3,10})\b", re.IGNORECASE)
IT = r"(?:it|that|this)(?: one)?"
ABOUT_IT = re.compile(
    rf"\b(?:cancel|return|refund|track|send) {IT}\b|\bstatus of {IT}\b|\bwhere(?: is|'s) {IT}\b|\bwhen (?:will"
    rf"|does|is) {IT}\b"
    rf"|\b(?:has|is|was|did|will) {IT} (?:been |already |now |on its way|shipped|sent|dispatched|delivered"
    rf"|arrived|packed"
    r"|cancell?ed|returned|refunded|changed|arrive|come|ship)"
)
HOW_IT_STANDS = re.compile(
    OPENERS
    + rf"(?:how (?:does|do) (?:{IT}|things) (?:stand|look)(?: now)?|how (?:is|are) (?:{IT}|things) (?:standing|looking)"
    rf"|did {IT} (?:work|go through|happen|succeed|come through)(?: out)?|has {IT} (?:worked|gone through"
    rf"|happened)(?: out)?"
    rf"|(?:was|is|has) {IT} (?:been )?(?:now |already )?(?:done|through|in effect)(?: now| already| yet)?"
    rf"|what(?:'s| is) the (?:status|state|outcome|result)(?: now| of {IT})?|what(?:'s| has"
    rf"| is)? happened(?: to {IT}| with {IT})?"
    rf"|what (?:came|became|has become) of {IT}|where do (?:we|things|{IT}) stand(?: now)?"
    rf"|where does {IT} stand(?: now)?"
    r"|any (?:news|update|change)(?: now| yet)?|can you (?:check|look|see)(?: now| again)?(?: if it worked"
    r"| whether it worked)?"
    rf"|do (?:you|we) know (?:now|yet)|(?:is|was) {IT} successful)\W*$"
)
# The last change that a text of ours speaks of, by the first word of its summary.
SUMMARY = re.compile(r"\b(Cancel|Return|Send) order \*{0,2}\d")
SUMMARISED = {"Cancel": CANCEL, "Return": RETURN, "Send": ADDRESS}
CONTACT_SUMMARY = re.compile(r"\b(?:Change your|Your) (?:e-mail address|phone number) (?:to|is now)\b")


def errands_of(
    context: TurnContext, text: str, tools: Mapping[str, Any], named: frozenset[str] = frozenset()
) -> list[Errand]:
    """What this part of the customer's message asks for, of what the tools can do.

    `named`: the orders that the message has spoken of before, which "it" may mean.
    """
    text = text.replace("’", "'").strip()
    found = as_reply(context, text, named) if len(text) <= LONGEST else []
    return [errand for errand in found or understood(text) if errand.tool in tools]


def as_reply(context: TurnContext, text: str, named: frozenset[str]) -> list[Errand]:
    return (
        answer_to_question(context, text)
        or corrected_address(context, text)
        or picked_orders(context, text)
        or corrected_order(context, text)
        or one_of_listed(context, text)
        or same_order(context, text, named)
        or how_it_stands(context, text, named)
    )


def is_reply(context: TurnContext, text: str) -> bool:
    """It answers what we asked, and what else stands in the message is beside it."""
    return len(text) <= LONGEST and bool(answer_to_question(context, text) or corrected_address(context, text))


def last_said(context: TurnContext) -> ChatMessage | None:
    earlier = said_before(context)
    return earlier[-1] if earlier else None


def said_before(context: TurnContext) -> list[ChatMessage]:
    """By the agent, before what is asked now."""
    first = min((message.seq for message in context.asked), default=0)
    return [message for message in context.messages if message.role == "agent" and message.seq < first]


def first_number(text: str) -> str | None:
    numbers = numbers_in(text.lower())
    return numbers[0].text if numbers else None


def answer_to_question(context: TurnContext, text: str) -> list[Errand]:
    """The address that was asked for, for the order that the question named."""
    asked = last_said(context)
    if asked is None or catalogue.WHICH_ADDRESS_BEGINS not in asked.text:
        return []
    number = SPOKEN_OF.search(asked.text, asked.text.index(catalogue.WHICH_ADDRESS_BEGINS))
    if number is None or text.endswith("?") or understood(text):
        return []  # "where is order 1042" and "actually, cancel order 1053" are no addresses
    address = addresses.address_in(text)
    return [with_address(number[1], address)] if addresses.HAS_ONE.match(address) else []


def corrected_address(context: TurnContext, text: str) -> list[Errand]:
    """ "No, 14 Shop Street, Galway" or "16, not 12", when we have just offered to send an order somewhere else."""
    asked = last_said(context)
    summary = str(asked.confirm["summary"]) if asked is not None and asked.confirm else ""
    number = first_number(summary)
    if catalogue.TO_THIS_ADDRESS not in summary or number is None or text.endswith("?") or understood(text):
        return []
    offered = summary.partition(catalogue.TO_THIS_ADDRESS)[2].strip()
    right = addresses.corrected(offered, text)
    if right is not None:
        return [with_address(number, right) if right else Errand(ADDRESS, {"order_number": number}, "address")]
    begins = addresses.AHEAD.match(text)
    address = addresses.address_in(text)
    if not (addresses.HAS_ONE if begins else addresses.CLEARLY_ONE).match(address):
        return []
    return [with_address(number, address)]


def with_address(number: str, address: str) -> Errand:
    return Errand(ADDRESS, {"order_number": number, "address": address})


def picked_orders(context: TurnContext, text: str) -> list[Errand]:
    """After we had asked which order: the numbers alone, a place in the list, or all of it."""
    asked = last_said(context)
    if asked is None or not asked.choices or not asked.text.startswith(catalogue.WHICH_ORDER):
        return []
    labels = [str(choice["label"]) for choice in asked.choices]
    said = text.lower()
    if place := place_in(said, len(labels)):
        return understood(labels[place - 1]) if place <= len(labels) else []
    if ALL_OF_THEM.match(said):
        return [errand for label in labels for errand in understood(label)]
    wanted = ALONE.match(said)
    numbers = re.findall(r"\d{3,10}", wanted["numbers"]) if wanted else []
    return [errand for number in numbers for errand in understood(re.sub(r"\d{3,10}", number, labels[0]))]


def place_in(text: str, count: int) -> int | None:
    """Which of a list of so many a message names, and nothing else: from 1, and as said, also beyond the list."""
    found = PLACE.match(text)
    return place_of(found[1].lower(), count) if found else None


def place_of(word: str, count: int) -> int:
    return count if word == "last" else PLACES[word] if word in PLACES else int(word)


def one_of_listed(context: TurnContext, text: str) -> list[Errand]:
    """ "The second one", "cancel the first one": after we had listed several orders."""
    said = text.lower()
    lists = [LISTED.findall(message.text) for message in said_before(context)[-LISTED_LATELY:]]
    listed: list[str] = next((each for each in reversed(lists) if len(each) > 1), [])
    if not listed or numbers_in(said) or GENERAL.match(said):
        return []
    alone, within = place_in(said, len(listed)), NTH.search(said)
    place = alone or (place_of(within[1], len(listed)) if within else 0)
    if not 1 <= place <= len(listed):
        return []
    number = listed[place - 1]
    if alone or within is None:
        return [Errand("order_status", {"order_number": number})]
    return understood(f"{text[: within.start()]}order {number}{text[within.end() :]}")


def corrected_order(context: TurnContext, text: str) -> list[Errand]:
    """After we had found no such order: the right number, for what was asked with the wrong one."""
    asked, number = last_said(context), ALONE.match(text.lower())
    if asked is None or number is None or catalogue.NO_ORDER_BEGINS not in asked.text:
        return []
    before = [message.text for message in context.messages if message.role == "customer" and message.seq < asked.seq]
    wrong = SPOKEN_OF.search(asked.text, asked.text.index(catalogue.NO_ORDER_BEGINS))
    if not before or not wrong:
        return []
    meant = [errand for errand in understood(before[-1]) if errand.arguments.get("order_number") == wrong[1]]
    rights = re.findall(r"\d{3,10}", number["numbers"])
    return [
        replace(errand, arguments={**errand.arguments, "order_number": right}) for errand in meant for right in rights
    ]


def spoken_of(context: TurnContext, named: frozenset[str]) -> str | None:
    """The one order that "it" means: of this message, else of what we said last."""
    asked = last_said(context)
    numbers = named or frozenset(SPOKEN_OF.findall(asked.text) if asked else ())
    return next(iter(numbers)) if len(numbers) == 1 else None


def same_order(context: TurnContext, text: str, named: frozenset[str]) -> list[Errand]:
    """ "And when will it arrive?", when we have just spoken of one order."""
    said = text.lower()
    if numbers_in(said) or GENERAL.match(said) or not ABOUT_IT.search(said):
        return []
    number = spoken_of(context, named)
    return understood(f"{text} (order {number})") if number else []


def how_it_stands(context: TurnContext, text: str, named: frozenset[str]) -> list[Errand]:
    """ "Did it work?", "how does it stand?" after a change that we spoke of."""
    asked = last_said(context)
    if asked is None or not HOW_IT_STANDS.match(text.lower()):
        return []
    if number := spoken_of(context, named):
        summary = SUMMARY.search(asked.text)
        about = SUMMARISED[summary[1]] if summary else ""
        return [Errand("order_status", {"order_number": number}, about=about)]
    return [Errand("look_up_customer")] if CONTACT_SUMMARY.search(asked.text) else []
