"""What a customer wants done or looked up, of what the shipped tools can do: recognised by its words, without a model.

Careful rather than clever: "how do I cancel an order?" asks the help pages, "cancel order 1050" and "cancel my order"
are errands, and "was order 1050 cancelled?" looks how it stands.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent_app.agent.addresses import address_behind_to
from agent_app.agent.numbers import Number, list_at, masked, numbers_in
from agent_app.agent.wishes import ADDRESS, ADVICE, CANCEL, RETURN, Act, Mood, acts_in, asks_after

GENERAL = re.compile(
    r"^\W*(?:(?:and|but|so|ok|okay|hi|hello)\W+)*"
    r"(?:how|what happens|what if|is it possible|do you|does|why|until when|when can)\b"
)
MINE = re.compile(r"\b(?:my|i|me|mine|we|our)\b")
PARCEL = re.compile(r"\b(?:orders?|parcels?|packages?|delivery|shipments?)\b")
ORDERED = re.compile(r"\bi(?:'ve| have)? (?:just |only |already )?(?:ordered|bought|purchased)\b")

TO_SOMEWHERE = re.compile(r"\b(?:address|deliver(?:y|ed)?|send|sent|ship(?:ped)?)\b")
STATUS = re.compile(
    r"\b(?:where(?:'s| is| are)|where (?:(?:my|the) )?(?:order |parcel )?#?\d{3,10} is|track(?:ing)?|status"
    r"|when (?:will|does|is)|shipped|arriv(?:e|ed|ing)|dispatched"
    r"|delivered|how (?:is|are|about|far)|what about|what(?:'s| is) (?:up|happening|going on)|has|any news"
    r"|look(?:ing)? (?:up|for|into))\b"
)
ORDERS = re.compile(
    r"\b(?:my|all|list|show)\b.{0,20}\borders\b|\b(?:what|which) (?:(?:have|did) i order|orders (?:do|did|have) i)"
)
INVOICE = re.compile(r"\b(?:invoices?|bills?|receipts?)\b")
BALANCE = re.compile(r"\b(?:balance|owe|outstanding|open amount|have to pay|unpaid)\b")
STOCK = re.compile(
    r"\b(?:in stock|in store|available|availability|sold out|do you (?:have|sell)|have you got|how many|price of"
    r"|how much (?:is|are))\b"
)
TICKETS = re.compile(r"\bmy (?:support )?(?:tickets?|requests?|cases?)\b")
CONTACT = re.compile(r"\b(?:my|the)\b.{0,20}\b(?P<what>e-?mail|phone|telephone|mobile|number)\b")
CHANGE_CONTACT = re.compile(r"\b(?:change|update|new|correct)\b")
DETAILS = re.compile(
    r"\b(?:what|which)\b.{0,40}\b(?:details|data|e-?mail|phone|address)\b"
    r".{0,30}\b(?:have|on file|of me|for me|about me)\b"
)
EMAIL = re.compile(r"(?<![^@\s,;<>()])[^@\s,;<>()]+@[^@\s,;<>()]+\.[a-z]{2,}", re.IGNORECASE)
PHONE = re.compile(r"\+?\d[\d\s()/-]{5,}\d")
NOTHING_ELSE = re.compile(r"[\s#.,;:?!/&+-]|\band\b|\bor\b")
WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")

LONGEST = 1000  # characters of one sentence that is looked at
CHANGING = frozenset({CANCEL, RETURN, ADDRESS, "update_contact"})


@dataclass(frozen=True, slots=True)
class Errand:
    """A tool with the arguments that were understood; `missing` names one that has to be asked for."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    missing: str | None = None
    sure: bool = True  # False: for somebody who is not verified, the help pages answer it as well
    about: str = ""  # of a look at orders: the change that was asked after, by its tool


def understood(text: str) -> list[Errand]:
    """What this part of a message asks for, in its order: several where it names several orders."""
    text = text.replace("’", "'").strip()
    if len(text) > LONGEST:
        return []
    said = text.lower()
    numbers = numbers_in(said)
    asking_in_general = bool(GENERAL.match(said)) and not numbers
    if not asking_in_general and (found := changes(text, said, numbers)):
        return found
    return lookups(said, numbers, asking_in_general)


def is_change(text: str) -> bool:
    """It says by itself what is to be changed: "cancel order 1050"."""
    return any(errand.sure and errand.tool in CHANGING for errand in understood(text))


def is_wish(text: str) -> bool:
    """It wants something changed, be it without saying of what: "I want to cancel my order"."""
    return any(errand.tool in CHANGING for errand in understood(text))


# ---- what is to be changed ----


def changes(text: str, said: str, numbers: list[Number]) -> list[Errand]:
    if not numbers and not PARCEL.search(said) and not ORDERED.search(said):
        return contact_changes(text, said, numbers)
    acts = acts_in(said, CANCEL, RETURN)
    wishes = [act for act in acts if act.mood is Mood.WISH]
    if wishes:
        return ends_of_orders(said, wishes, numbers)
    if any(act.mood is Mood.DENIED for act in acts):
        return []
    return address_change(text, said, numbers) or contact_changes(text, said, numbers)


def ends_of_orders(said: str, wishes: list[Act], numbers: list[Number]) -> list[Errand]:
    """Each wish with the orders that it names, behind it or, if there are none, before it; an order ends once."""
    if not numbers:
        first = wishes[0].tool
        meant = MINE if first == CANCEL else re.compile(r"\bmy\b")
        return [Errand(first, missing="order_number", sure=False)] if meant.search(said) else []
    found: dict[str, Errand] = {}
    for place, wish in enumerate(wishes):
        until = wishes[place + 1].start if place + 1 < len(wishes) else len(said)
        named = orders_of(said, wish, until, numbers)
        if not named and not found:
            named = orders_before(said, wish, numbers)
        for number in named:
            found.setdefault(number.text, Errand(wish.tool, {"order_number": number.text}))
    return list(found.values())


def orders_of(said: str, wish: Act, until: int, numbers: list[Number]) -> list[Number]:
    behind = next((place for place, number in enumerate(numbers) if wish.start <= number.start < until), None)
    return [] if behind is None else [n for n in list_at(numbers, said, behind) if n.start < until]


def orders_before(said: str, wish: Act, numbers: list[Number]) -> list[Number]:
    """The list of orders that stands last before the wish: "orders 1050 and 1053: cancel both"."""
    before = [number for number in numbers if number.start < wish.start]
    firsts = range(len(before) - 1, -1, -1)
    lists = [list_at(before, said, first) for first in firsts]
    return max((each for each in lists if each and each[-1] == before[-1]), key=len, default=[])


def address_change(text: str, said: str, numbers: list[Number]) -> list[Errand]:
    acts = acts_in(said, ADDRESS)
    if not TO_SOMEWHERE.search(said) or not any(act.mood is Mood.WISH for act in acts):
        return []
    if not numbers and "address" not in said:
        return []
    if numbers:
        address = address_behind_to(text, [numbers[0].text])
        named = list_at(numbers, said, 0)
        if address is not None:
            inside = said.rfind(address.lower())
            named = [number for number in named if number.start < inside]
            return [Errand(ADDRESS, {"order_number": number.text, "address": address}) for number in named]
        if "address" not in said:
            return []
        return [Errand(ADDRESS, {"order_number": number.text}, "address") for number in named]
    return [Errand(ADDRESS, missing="order_number", sure=False)] if MINE.search(said) else []


def contact_changes(text: str, said: str, numbers: list[Number]) -> list[Errand]:
    """Only with the new value in the message: without it the help pages say how it is done in the account."""
    contact = CONTACT.search(said)
    if contact is None or numbers or not CHANGE_CONTACT.search(said) or asks_after(said):
        return []
    if "mail" in contact["what"]:
        email = EMAIL.findall(text)
        return [Errand("update_contact", {"email": email[-1].rstrip(".")})] if email else []
    phone = PHONE.search(text)
    return [Errand("update_contact", {"phone": phone[0]})] if phone else []


# ---- what is to be looked up ----


def lookups(said: str, numbers: list[Number], asking_in_general: bool) -> list[Errand]:
    named = list(dict.fromkeys(number.text for number in numbers))
    if INVOICE.search(said) and (named or MINE.search(said)) and not asking_in_general:
        return [Errand("invoices", {"order_number": each}) for each in named] or [Errand("invoices", sure=False)]
    if BALANCE.search(said) and MINE.search(said):
        return [Errand("balance")]
    acts = acts_in(said, CANCEL, RETURN)
    if any(act.mood is Mood.TERMS for act in acts):
        return [Errand("order_status", {"order_number": each}) for each in named] if ADVICE.match(said) else []
    about = asked_after(said, acts)
    if named and (about or PARCEL.search(said) or STATUS.search(said) or is_list(said, numbers)):
        return [Errand("order_status", {"order_number": each}, about=about) for each in named]
    if not numbers and (found := without_a_number(said, about, asking_in_general)):
        return [found]
    if STOCK.search(said):
        return [Errand("check_stock", {"product": " ".join(WORD.findall(said))}, sure=False)]
    return []


def without_a_number(said: str, about: str, asking_in_general: bool) -> Errand | None:
    if TICKETS.search(said):
        return Errand("customer_tickets")
    if DETAILS.search(said) or asks_after_contact(said):
        return Errand("look_up_customer", sure=False)
    if asking_in_general:
        return None
    if ORDERS.search(said):
        return Errand("list_orders", sure=False, about=about)
    mine = re.search(r"\bmy\b", said)
    if mine and ((PARCEL.search(said) and (about or STATUS.search(said))) or about == RETURN):
        return Errand("list_orders", sure=False, about=about)
    return None


def asked_after(said: str, acts: list[Act]) -> str:
    """The change that a fact was asked of or told: "was it cancelled?", "where is it sent to?"."""
    if told := [act.tool for act in acts if act.mood is Mood.FACT]:
        return told[0]
    changed = re.search(r"\baddress\b|\b(?:sent|delivered|going|go) to\b|\b(?:ship|send|deliver) \S+ \S+ to\b", said)
    return ADDRESS if changed and asks_after(said) else ""


def asks_after_contact(said: str) -> bool:
    """ "Did you change my email to …?", "is my new phone number …?": how it is on file."""
    contact = CONTACT.search(said)
    if contact is None or not contact[0].startswith("my") or not asks_after(said):
        return False
    return bool(re.search(r"\b(?:changed?|updated?|corrected|new)\b", said))


def is_list(said: str, numbers: list[Number]) -> bool:
    """Nothing but orders' numbers: "1042", "1051 / 1052"."""
    rest = masked(said)
    for number in numbers:
        rest = rest.replace(number.text, " ", 1)
    return bool(numbers) and not NOTHING_ELSE.sub("", rest)
