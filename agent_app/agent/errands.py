"""What a customer wants done or looked up, of what the shipped tools can do: recognised by its words, without a model.

Careful rather than clever: "how do I cancel an order?" asks the help pages, "cancel order 1050" and "cancel my order"
are errands.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent_app.agent import catalogue
from agent_app.agent.events import ChatMessage, TurnContext

NUMBER = re.compile(
    r"(?:\border(?:s|ed)?|\bno\.?|\bnumber|#)\s*(?:is\s+|no\.?\s*|number\s*|#\s*)*(?P<a>\d{3,10})\b|\b(?P<b>\d{4})\b"
)
GENERAL = re.compile(
    r"^\W*(?:(?:and|but|so|ok|okay|hi|hello)\W+)*"
    r"(?:how|what happens|what if|is it possible|do you|does|why|until when|when can)\b"
)
MINE = re.compile(r"\b(?:my|i|me|mine|we|our)\b")
NOT_WANTED = re.compile(r"\b(?:do not|don'?t|never|not)\s+(?:want to\s+|wish to\s+)?(?:cancel|return|change|send)\b")

CANCEL = re.compile(r"\bcancel(?:l?ed|ling|lation)?\b|\bcall off\b|\bcalled off\b")
RETURN = re.compile(r"\b(?:return|send (?:it |them |this |that |my \w+ |order \S+ )?back|refund|money back)\b")
ADDRESS = re.compile(r"\b(?:address|deliver(?:y|ed)?|send|ship(?:ped)?)\b")
CHANGE = re.compile(r"\b(?:change|update|correct|different|new|instead|wrong|move|redirect|send|ship|deliver)\b")
# More than one order in a breath.
SEVERAL = re.compile(
    r"\border(?:s|ed)?\s+#?\d{3,10}\s*(?:,|&|and|or|as well as)\s*(?:(?:and|also|my|the)\s+)*(?:order\s+)?#?\d{3,10}\b"
)
# What follows "to", if the order is not in it: "I want to change … of order 1053" names no address.
TO_ADDRESS = re.compile(r"\bto\s*:?\s+(?P<address>(?=\D*\d)(?!.*\border\b)\S.{6,})$", re.IGNORECASE | re.DOTALL)
STATUS = re.compile(
    r"\b(?:where(?:'s| is| are)|where (?:(?:my|the) )?(?:order |parcel )?#?\d{3,10} is|track(?:ing)?|status"
    r"|when (?:will|does|is)|shipped|arriv(?:e|ed|ing)|dispatched"
    r"|delivered|how (?:is|about|far)|what about|what(?:'s| is) (?:up|happening|going on)|has|any news"
    r"|look(?:ing)? (?:up|for|into))\b"
)
ORDERS = re.compile(r"\b(?:my|all|list|show)\b.{0,20}\borders\b|\bwhat (?:have|did) i order")
PARCEL = re.compile(r"\b(?:order|parcel|package|delivery|shipment)\b")
INVOICE = re.compile(r"\b(?:invoices?|bills?|receipts?)\b")
BALANCE = re.compile(r"\b(?:balance|owe|outstanding|open amount|have to pay|unpaid)\b")
STOCK = re.compile(
    r"\b(?:in stock|in store|available|availability|sold out|do you (?:have|sell)|have you got|how many|price of"
    r"|how much (?:is|are))\b"
)
TICKETS = re.compile(r"\bmy (?:support )?(?:tickets?|requests?|cases?)\b")
CONTACT = re.compile(r"\b(?:my|the)\b.{0,20}\b(?P<what>e-?mail|phone|telephone|mobile|number)\b")
DETAILS = re.compile(
    r"\b(?:what|which)\b.{0,40}\b(?:details|data|e-?mail|phone|address)\b"
    r".{0,30}\b(?:have|on file|of me|for me|about me)\b"
)
EMAIL = re.compile(r"[^@\s,;<>()]+@[^@\s,;<>()]+\.[a-z]{2,}", re.IGNORECASE)
PHONE = re.compile(r"\+?\d[\d\s()/-]{5,}\d")


NOT_THAT = re.compile(
    r"\W*(?:(?:no|nope|wait|sorry|oh|not that(?: one)?|that(?:'s| is) (?:wrong|not right)|my mistake|actually|rather"
    r"|i (?:meant|mean)|make (?:it|that)|(?:it|that) should be|(?:please )?(?:send|deliver|ship) it to|please|instead"
    r"|the (?:right|correct|new) (?:one|address) is|to)\b[\s,.:;!–-]*)+",
    re.IGNORECASE,
)
AN_ADDRESS = re.compile(r"(?=.*\d)(?=.*[^\W\d_]{3}).{8,}$", re.DOTALL)
CLEARLY_AN_ADDRESS = re.compile(r"\d+\w?,?\s+[^\W\d_]{2,}.*,.*[^\W\d_]{3}", re.DOTALL)

PLACE = re.compile(
    r"^\W*(?:(?:number|option|no\.?|the)\s+)?(\d|first|second|third|fourth|last)(?:\s+one)?(?:,? please)?\W*$"
)
PLACES = {"first": 1, "second": 2, "third": 3, "fourth": 4}
ALONE = re.compile(
    r"^\W*(?:(?:oh|ah|sorry|my mistake|i (?:meant|mean)|it(?:'s| is| was| should be)|order|number|no\.?|the|one)\W+)*"
    r"(\d{3,10})(?:,? (?:please|sorry|instead|of course))?\W*$"
)
SPOKEN_OF = re.compile(r"\border \*{0,2}(\d{3,10})\b", re.IGNORECASE)
IT = r"(?:it|that|this)(?: one)?"
ABOUT_IT = re.compile(
    rf"\b(?:cancel|return|track|send) {IT}\b|\bstatus of {IT}\b|\bwhere(?: is|'s) {IT}\b|\bwhen (?:will|does|is) {IT}\b"
    rf"|\b(?:has|is|was) {IT} (?:been |already |on its way|shipped|sent|dispatched|delivered|arrived|packed)"
)


@dataclass(frozen=True, slots=True)
class Errand:
    """A tool with the arguments that were understood; `missing` names one that has to be asked for."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    missing: str | None = None
    sure: bool = True  # False: for somebody who is not verified, the help pages answer it as well
    more: bool = False  # the same is asked for other orders, too


def errand_of(context: TurnContext, text: str, tools: Mapping[str, Any]) -> Errand | None:
    """What this part of the customer's message asks for, if it is something that one of the tools does."""
    text = text.replace("’", "'").strip()
    found = (
        answer_to_question(context, text)
        or corrected_address(context, text)
        or picked_order(context, text)
        or corrected_order(context, text)
        or same_order(context, text)
        or understood(text)
    )
    return found if found is not None and found.tool in tools else None


def understood(text: str) -> Errand | None:
    said = text.lower()
    number = number_in(said)
    asking_in_general = bool(GENERAL.match(said)) and number is None
    if not asking_in_general and (found := changes(text, said, number)):
        return found
    return lookups(said, number, asking_in_general)


def is_change(text: str) -> bool:
    """It says by itself what is to be changed: "cancel order 1050"."""
    found = understood(text.replace("’", "'").strip())
    return found is not None and found.sure and found.tool in CHANGING


CHANGING = frozenset({"cancel_order", "return_order", "change_delivery_address", "update_contact"})


def changes(text: str, said: str, number: str | None) -> Errand | None:
    about = number is not None or PARCEL.search(said)
    order = {"order_number": number} if number else {}
    missing = None if number else "order_number"
    if NOT_WANTED.search(said):
        return None
    several = SEVERAL.search(said) is not None
    if (verb := CANCEL.search(said)) and about and (number or MINE.search(said)):
        return Errand("cancel_order", order_of(said, verb, order), missing, sure=bool(number), more=several)
    if (verb := RETURN.search(said)) and about and (number or re.search(r"\bmy\b", said)):
        return Errand("return_order", order_of(said, verb, order), missing, sure=bool(number), more=several)
    if about and ADDRESS.search(said) and CHANGE.search(said) and (number or "address" in said):
        to = TO_ADDRESS.search(text)
        if to is not None and number:
            return Errand("change_delivery_address", {**order, "address": to["address"].strip(" .!")})
        if ("address" in said and MINE.search(said)) or (number and "address" in said):
            return Errand("change_delivery_address", order, missing or "address", sure=bool(number))
    if (contact := CONTACT.search(said)) and re.search(r"\b(?:change|update|new|correct)\b", said) and not number:
        return contact_change(text, contact["what"])
    return None


def order_of(said: str, verb: re.Match[str], named: dict[str, str]) -> dict[str, str]:
    """The order that the verb is about: "I have order 1042, and want to cancel 1050" names two."""
    behind = number_in(said[verb.start() :])
    return {"order_number": behind} if behind else named


def contact_change(text: str, what: str) -> Errand | None:
    """Only with the new value in the message: without it the help pages say how it is done in the account."""
    if "mail" in what:
        email = EMAIL.findall(text)
        return Errand("update_contact", {"email": email[-1].rstrip(".")}) if email else None
    phone = PHONE.search(text)
    return Errand("update_contact", {"phone": phone[0]}) if phone else None


def lookups(said: str, number: str | None, asking_in_general: bool) -> Errand | None:
    if INVOICE.search(said) and (number or MINE.search(said)) and not asking_in_general:
        return Errand("invoices", {"order_number": number} if number else {}, sure=number is not None)
    if BALANCE.search(said) and MINE.search(said):
        return Errand("balance")
    if number is not None and (PARCEL.search(said) or STATUS.search(said) or said.strip(" #.?!") == number):
        return Errand("order_status", {"order_number": number})
    if TICKETS.search(said):
        return Errand("customer_tickets")
    if DETAILS.search(said):
        return Errand("look_up_customer", sure=False)
    if ORDERS.search(said) and not asking_in_general:
        return Errand("list_orders", sure=False)
    if PARCEL.search(said) and STATUS.search(said) and re.search(r"\bmy\b", said) and not asking_in_general:
        return Errand("list_orders", sure=False)
    if STOCK.search(said):
        return Errand("check_stock", {"product": said}, sure=False)
    return None


def number_in(said: str) -> str | None:
    found = NUMBER.search(said)
    return (found["a"] or found["b"]) if found else None


# ---- answers to what we asked ----


def last_said(context: TurnContext) -> ChatMessage | None:
    first = min((message.seq for message in context.asked), default=0)
    earlier = [message for message in context.messages if message.role == "agent" and message.seq < first]
    return earlier[-1] if earlier else None


def answer_to_question(context: TurnContext, text: str) -> Errand | None:
    """The address that was asked for, for the order that the question named."""
    asked = last_said(context)
    if asked is None or not asked.text.startswith(catalogue.WHICH_ADDRESS_BEGINS):
        return None
    number = number_in(asked.text.lower())
    if number is None or text.endswith("?") or not AN_ADDRESS.match(text) or understood(text) is not None:
        return None  # "where is order 1042" and "actually, cancel order 1053" are no addresses
    address = re.sub(
        r"^(?:it(?:'s| is)|the new (?:one|address) is|to|new address)\s*:?\s*", "", text, flags=re.IGNORECASE
    )
    return Errand("change_delivery_address", {"order_number": number, "address": address.strip(" .!")})


def corrected_address(context: TurnContext, text: str) -> Errand | None:
    """ "No, 14 Shop Street, Galway", when we have just offered to send an order somewhere else."""
    asked = last_said(context)
    summary = str(asked.confirm["summary"]) if asked is not None and asked.confirm else ""
    number = number_in(summary.lower())
    if catalogue.TO_THIS_ADDRESS not in summary or number is None or understood(text) is not None:
        return None
    begins = NOT_THAT.match(text)
    address = text[begins.end() :] if begins else text
    if text.endswith("?") or not (AN_ADDRESS if begins else CLEARLY_AN_ADDRESS).match(address):
        return None
    return Errand("change_delivery_address", {"order_number": number, "address": address.strip(" .!")})


def picked_order(context: TurnContext, text: str) -> Errand | None:
    """After we had asked which order: its number alone, or its place in the list."""
    asked = last_said(context)
    if asked is None or not asked.choices or not asked.text.startswith(catalogue.WHICH_ORDER):
        return None
    labels = [str(choice["label"]) for choice in asked.choices]
    said = text.lower()
    if place := PLACE.match(said):
        nth = PLACES.get(place[1], len(labels) if place[1] == "last" else int(place[1]) if place[1].isdigit() else 0)
        return understood(labels[nth - 1]) if 1 <= nth <= len(labels) else None
    number = ALONE.match(said)
    if number is None:
        return None
    named = [label for label in labels if number_in(label.lower()) == number[1]]
    return understood(named[0] if named else re.sub(r"\d{3,10}", number[1], labels[0]))


def corrected_order(context: TurnContext, text: str) -> Errand | None:
    """After we had found no such order: the right number, for what was asked with the wrong one."""
    asked, number = last_said(context), ALONE.match(text.lower())
    if asked is None or number is None or catalogue.NO_ORDER_BEGINS not in asked.text:
        return None
    before = [message.text for message in context.messages if message.role == "customer" and message.seq < asked.seq]
    wrong = SPOKEN_OF.search(asked.text)
    return understood(before[-1].replace(wrong[1], number[1])) if before and wrong else None


def same_order(context: TurnContext, text: str) -> Errand | None:
    """ "And when will it arrive?", when we have just spoken of one order."""
    asked, said = last_said(context), text.lower()
    if asked is None or number_in(said) or GENERAL.match(said) or not ABOUT_IT.search(said):
        return None
    numbers = set(SPOKEN_OF.findall(asked.text))
    return understood(f"{text} (order {numbers.pop()})") if len(numbers) == 1 else None
