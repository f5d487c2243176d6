"""The words for what a desk does to an order, an account or a payment, by kind of act, in each of their forms.

Data and grammar alone: what makes a sentence of them a claim, `claims` says.
"""

import re
from collections.abc import Iterable
from functools import cache

ANY = "any"  # "Done!": whatever was done backs it
LOOKED = "look"  # "I have checked": a look backs it, too

# The acts by kind; words of one kind back each other, for a tool has one name and a sentence has many.
FAMILIES = {
    "refund": "refund reimburse credit repay compensate",
    "cancel": "cancel void withdraw revoke annul stop abort terminate reverse scrap",
    "change": "change update correct modify edit amend adjust alter set switch move fix redirect reroute rename"
    " replace",
    "send": "send email e-mail mail message text dispatch ship deliver resend reship forward post",
    "person": "escalate transfer forward pass hand refer notify inform alert contact tell ask flag raise report connect"
    " involve consult ring phone",
    "ticket": "open create file submit log lodge raise",
    "note": "note save store remember record register write keep",
    "order": "order reorder place book schedule reserve arrange purchase buy organise organize rebook",
    "exchange": "replace exchange swap substitute",
    "return": "return",
    "grant": "apply add grant give waive deduct discount extend approve authorise authorize issue award offer",
    "charge": "charge bill invoice pay",
    "access": "reset unlock lock block unblock activate deactivate disable enable close reopen suspend restore lift",
    "remove": "delete remove erase clear unsubscribe",
    "plan": "subscribe upgrade downgrade renew",
    ANY: "process complete finish finalise finalize initiate start trigger execute handle resolve settle do make"
    " perform carry confirm sort expedite prioritise prioritize implement"
    " request",
    LOOKED: "check look search verify review examine investigate double-check",
}
# Names of tools begin with these and go on with what they are about.
WEAK = frozenset(["request", "start", "create", "make", "open", "submit", "place", "do", "process", "ask"])

IRREGULAR = {
    "send": "sent", "resend": "resent", "withdraw": "withdrew withdrawn", "set": "set", "reset": "reset",
    "tell": "told", "write": "wrote written", "keep": "kept", "buy": "bought", "give": "gave given", "pay": "paid",
    "repay": "repaid", "do": "did done", "make": "made", "cancel": "cancelled canceled",
    "stop": "stopped", "ship": "shipped", "reship": "reshipped", "refer": "referred", "transfer": "transferred",
    "log": "logged", "flag": "flagged", "swap": "swapped", "submit": "submitted", "e-mail": "e-mailed",
    "scrap": "scrapped", "ring": "rang rung", "put": "put", "get": "got gotten", "run": "ran run", "see": "saw seen",
    "take": "took taken", "strike": "struck stricken", "let": "let", "bring": "brought", "hand": "handed",
}  # fmt: skip
GERUNDS = {
    "cancel": "cancelling canceling", "stop": "stopping", "ship": "shipping", "reship": "reshipping", "set": "setting",
    "reset": "resetting", "refer": "referring", "transfer": "transferring", "log": "logging", "flag": "flagging",
    "swap": "swapping", "submit": "submitting", "scrap": "scrapping",
}  # fmt: skip
# What is done by more than one word, and counts as its kind.
PHRASES = {
    "taken care of": ANY, "took care of": ANY, "dealt with": ANY, "seen to": ANY, "seen to it": ANY, "saw to": ANY,
    "put in": ANY, "redone": ANY, "got you": ANY, "undone": "cancel", "undid": "cancel", "moved up": "change",
    "spoken to": "person", "spoken with": "person", "talked to": "person", "looped in": "person",
    "checked with": "person", "reached out": "person", "had a word": "person", "got in touch": "person",
    "returned your money": "refund", "money back": "refund", "got rid of": "remove",
}  # fmt: skip
# Verb and particle, which the object may part: "I put it through", "I called your order off".
SEPARABLE = {
    "put through": ANY, "push through": ANY, "get through": ANY, "rush through": ANY, "see through": ANY,
    "carry out": ANY, "sort out": ANY, "sign off": ANY, "wrap up": ANY, "call off": "cancel", "pull from": "cancel",
    "pull out": "cancel", "take off": "remove", "wipe off": "remove", "cross off": "remove", "strike off": "remove",
    "take out": "remove", "knock off": "grant", "send off": "send", "send back": "return", "pay back": "refund",
    "hand over": "person", "pass on": "person", "pass along": "person", "let know": "person",
    "write down": "note", "note down": "note", "jot down": "note", "key in": "change", "type in": "change",
    "bring forward": "change", "push back": "change", "switch over": "change", "set up": "order",
    "turn off": "access", "turn on": "access", "switch off": "access", "switch on": "access",
}  # fmt: skip


def past_of(verb: str) -> list[str]:
    if verb in IRREGULAR:
        return IRREGULAR[verb].split()
    if verb.endswith("e"):
        return [f"{verb}d"]
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return [f"{verb[:-1]}ied"]
    return [f"{verb}ed"]


def gerund_of(verb: str) -> list[str]:
    if verb in GERUNDS:
        return GERUNDS[verb].split()
    return [f"{verb[:-1]}ing" if verb.endswith("e") and not verb.endswith("ee") else f"{verb}ing"]


@cache
def joined() -> dict[str, str]:
    """The past forms of the separable ones, written together: "called off"."""
    found: dict[str, str] = {}
    for phrase, family in SEPARABLE.items():
        verb, particle = phrase.split()
        found |= {f"{form} {particle}": family for form in past_of(verb)}
    return found


@cache
def kinds() -> dict[str, frozenset[str]]:
    """Every form of every word, and the kinds of act that it names."""
    found: dict[str, set[str]] = {}
    for family, verbs in FAMILIES.items():
        for verb in verbs.split():
            for form in (verb, *past_of(verb), *gerund_of(verb)):
                found.setdefault(form, set()).add(family)
    for phrase, family in (*PHRASES.items(), *joined().items()):
        found.setdefault(phrase, set()).add(family)
    return {form: frozenset(families) for form, families in found.items()}


def either(words: Iterable[str]) -> str:
    return "(?:" + "|".join(sorted((re.escape(word) for word in words), key=len, reverse=True)) + ")"


def deeds_of(tool: str) -> frozenset[str]:
    """The kinds of act that a tool of this name performs: `cancel_order` cancels, `request_refund` refunds."""
    words = tool.lower().split("_")
    strong = [word for word in words[:1] if word not in WEAK] or words
    return frozenset().union(*(kinds().get(word, frozenset()) for word in strong)) - {ANY, LOOKED}
