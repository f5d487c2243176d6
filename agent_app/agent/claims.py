"""Does a sentence claim that something was done? English; what it cannot judge it lets the caller decide.

A claim is one of the company's acts told as a fact: "I have refunded you", "your order has been cancelled", "Done!".
It names the kinds of act (`acts`) that would back it. Questions, conditions and denials claim nothing.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from agent_app.agent.acts import ANY, FAMILIES, LOOKED, PHRASES, SEPARABLE, either, gerund_of, joined, kinds, past_of

VERBS = [verb for family, verbs in FAMILIES.items() for verb in verbs.split()]
ACTING = [verb for family, verbs in FAMILIES.items() if family != LOOKED for verb in verbs.split()]
PAST = "(?:re-?)?(?P<{0}>" + either([*(form for verb in VERBS for form in past_of(verb)), *PHRASES, *joined()]) + r")\b"
BASE = "(?P<{0}>" + either(ACTING) + r")\b"
DOING = "(?P<{0}>" + either(form for verb in ACTING for form in gerund_of(verb)) + r")\b"
# "put it through", "called your order off": verb and particle with the object between them
PARTED = (
    "(?P<v>" + either({form for phrase in SEPARABLE for form in past_of(phrase.split()[0])}) + r")\s+"
    r"(?:[^\s.;!?,]+\s+){1,5}?(?P<p>" + either({phrase.split()[1] for phrase in SEPARABLE}) + r")\b"
)

# What may stand between "have" and the verb; never a denial.
BETWEEN = (
    r"(?:\s*,?\s*\b(?:now|just|already|also|hereby|gone ahead and|went ahead and|then|today|in the meantime|therefore|"
    r"indeed|since|both|all|even|only|right away|straight away|approx|half|"
    r"as requested|as promised|as you asked|as you wished|"
    r"of course|for you|on your behalf|at once|at your request|per your request|(?!only\b)\w+ly)\b,?"
    r"|\s*,[^,.;!?]{1,50},|\s*,)*"
)
SELF = r"\b(?:i|we)(?:'ve|'d|'ll have|\s+(?:have|had|did|do))?\b"
OURS = (
    r"\b(?:our|my|the|a)\s+(?:[\w-]+\s+){0,2}?(?:team|department|colleagues?|staff|warehouse|system|manager|specialists?"
    r"|supervisor|support|office|agents?|bank|carrier|courier|desk|shop|store)(?:'s)?(?:\s+(?:has|have|had))?\b"
)
SUBJECT = (
    r"\b(?:your|the|this|(?<![a-z] )that|it|its|these|those|they|everything|all|both|you|a|an|my|our"
    r"|[#€$£]?\d[\w.,#€$£-]*)(?=['\s])"
)
THING = (
    r"(?:refund|cancellation|order|return|replacement|exchange|address|payment|invoice|subscription|account|password"
    r"|ticket|request|change|update|credit|voucher|booking|delivery|e-?mail|correction|transfer|discount|amount|money"
    r"|complaint|parcel|package|label|reservation|appointment)"
)
MONEY = r"(?:refund|money|payment|credit|amount|reimbursement)"
IT = r"(?:it|that|this|everything|all)"
# "status: refunded", "shows as cancelled", "is marked as returned"
AS_A_STATE = (
    r"(?:(?:marked|listed|flagged|recorded|noted|down)\s+as|(?:set|changed|moved|gone|went|switched)\s+(?:over\s+)?to"
    r"|(?:now\s+)?(?:reads?|says|shows?(?:\s+up)?)(?:\s+as)?)\s+(?:now\s+)?"
)
ALREADY = r"(?:has|have|had|'s|'ve)" + BETWEEN + r"\s+been"
# "an order that has been shipped" says which order, not what was done
NOT_WHICH = r"(?<![a-z] that )(?<![a-z] which )(?<![a-z] who )"
FINISHED = (
    r"(?:complete|completed|done|on (?:its|their|the) way|underway|under way|in progress|approved|through|confirmed|"
    r"successful|finished|in effect|in place|sorted|settled|all set|back on your (?:card|account)|in your account|"
    r"back in your (?:bank )?account|with your bank|no longer active)"
)

# By how the act is told. OURS: no condition excuses it. PROMISED: "I will refund you", which a condition does excuse.
# TOLD: "your order has been cancelled", which may also be what a back end said. The named groups are the verbs that
# must be backed; a pattern without any speaks of whatever was done.
VAGUE = frozenset({ANY, "grant", "order"})  # "processed", "issued", "placed": what, the noun says
# What a word without a kind of its own ("processed", "done") is about.
SUBJECTS = {
    re.compile(rf"\b(?:{nouns})\b"): frozenset(families.split())
    for nouns, families in {
        "refunds?|reimbursements?|money|credit": "refund",
        "cancell?ations?": "cancel",
        "vouchers?|discounts?|extensions?": "grant",
        "replacements?|exchanges?|swap": "exchange",
        "returns?": "return",
        "changes?|updates?|corrections?|address": "change",
        "booking|reservation|appointment": "order",
        "tickets?": "ticket person",
        "password": "access",
    }.items()
}

SAID, PROMISED, TOLD = "said", "promised", "told"
PATTERNS = {
    SAID: [
        # I have refunded, we just cancelled; our team has issued
        rf"(?:{SELF}|{OURS}){BETWEEN}\s+{PAST.format('v')}",
        # I looked at your order and refunded it
        rf"(?:{SELF}|{OURS})[^.;!?]{{0,90}}?(?:\band|\bthen|,){BETWEEN}\s+{PAST.format('v')}(?!\s+by\b)",
        # I was able to cancel, I managed to get it refunded, I went ahead and refund(ed), I hereby cancel
        rf"{SELF}[^.;!?]{{0,40}}?\b(?:able to|managed to|went ahead(?: and|,)|gone ahead(?: and|,)|made sure to"
        rf"|liberty (?:of|to)|succeeded in|finished|hereby|did(?! not)){BETWEEN}\s+(?:{BASE.format('v')}"
        rf"|{DOING.format('w')}|(?:(?:get|have)\s+[^.;!?]{{1,30}}?\s)?{PAST.format('x')})",
        # I had your order cancelled, I got it refunded
        rf"{SELF}{BETWEEN}\s+(?:had|got|gotten)\s+[^.;!?]{{1,40}}?\b{PAST.format('v')}",
        # I put it through
        rf"(?:{SELF}|{OURS}){BETWEEN}\s+{PARTED}",
        # I ran the refund, I released your payment, I hit cancel, I marked it as cancelled
        rf"(?:{SELF}|{OURS}){BETWEEN}\s+(?:ran|run|released|kicked off|fired off|entered|keyed in|pulled|filled in"
        rf"|drew up)\s+(?:[^\s.;!?,]+\s+){{1,3}}?{THING}\b",
        rf"{SELF}{BETWEEN}\s+(?:hit|pressed|clicked|pushed|tapped)\s+(?:on\s+)?(?:[^\s.;!?,]+\s+)?"
        r"(?:button|cancel|refund|return|send|submit|confirm|ok)\b",
        rf"{SELF}{BETWEEN}\s+(?:marked|set|flagged|recorded|booked|put)\s+(?:[^\s.;!?,]+\s+){{1,4}}?(?:as|to)"
        rf"\s+{PAST.format('v')}",
        rf"\b(?:i|we)(?:'m|'re|\s+am|\s+are){BETWEEN}\s+(?:all\s+)?(?:done|finished|through)\s+with\b",
    ],
    PROMISED: [
        # I am refunding you; I will cancel it
        rf"\bi(?:'m|\s+am){BETWEEN}\s+{DOING.format('v')}",
        rf"\bi(?:'ll|\s+will|'m going to|\s+am going to|'m about to|\s+shall){BETWEEN}\s+(?:go ahead and\s+)?"
        rf"{BASE.format('v')}",
    ],
    TOLD: [
        # Your order has been cancelled; you were refunded; it got sent
        rf"{SUBJECT}[^.;!?]{{0,80}}?{NOT_WHICH}(?:{ALREADY}|\b(?:was|were|got)|\b(?:is|are|'s|'re){BETWEEN}"
        rf"\s+(?:being|now|already|hereby)){BETWEEN}\s+{PAST.format('v')}",
        # Your order is cancelled.
        rf"(?:{SUBJECT}[^.;!?]{{0,60}}?{NOT_WHICH}\b(?:is|are)|\b(?:it|that)'s|\byou're){BETWEEN}\s+{PAST.format('v')}"
        r"(?:\s+(?:in full|for you|as requested|today|from now on))?[\s.!]*$",
        # Your refund is on its way; the cancellation went through
        rf"\b(?:your|the|this|that|a|my|full|it|everything)\b[^.;!?]{{0,60}}?(?:\b(?:is|are)|'s|'re){BETWEEN}"
        rf"\s+(?P<done>{FINISHED})\b",
        rf"\b{THING}\b[^.;!?]{{0,40}}?\b(?:was|were|has been|have been){BETWEEN}\s+successful\b",
        rf"\bconsider (?:it|that|this|your {THING}){BETWEEN}\s+{PAST.format('v')}",
        rf"\b{THING}\b[^.;!?]{{0,40}}?\b(?:went|came|gone) through\b(?!\s+customs)",
        rf"\b{THING}\b[^.;!?]{{0,40}}?\b(?:took effect|is in effect|no longer exists)\b",
        r"\byou(?:'re| are) (?:now )?(?:all )?(?:set|sorted|refunded|covered|good to go)\b",
        r"\byou(?: now| already)? have(?: now| already)? (?:your|the) (?:money|refund)\b",
        r"\byou(?:'ve| have)(?: now| just| already)? (?:got|gotten|received|been given)\b[^.;!?]{0,40}?"
        r"\b(?:refund|money|credit|discount|voucher)\b",
        r"\bhere(?:'s| is) your (?:refund|credit|voucher|discount|money)\b",
        # Done! Refund issued. Address: updated. - Cancelled the order
        r"^\W*(?:(?:ok|okay|great|sure|yes|certainly|perfect|absolutely|all right|alright|good news)\W+)*"
        r"(?:(?:it|that|everything|all)(?:'s| is| are)?\s+|consider (?:it|that|this)\s+|and\s+|all\s+)?(?:now\s+)?"
        r"(?:done|sorted|settled|taken care of|completed|complete|success|all set)(?:\W+[\w ]{0,25})?\W*$",
        rf"^\W*(?:success\w*\W+)?(?:(?:your|the|a|an|full|new|this|partial)\s+)*{THING}\b"
        r"(?:\s+(?!(?:is|are|can|could|will|may|might|must|should|has|have|was|were|that|which|when|if|once|not|never|"
        r"cannot|does|do|needs?|in)\b)[\w#€$£.,'-]+){0,6}?\s*[:–—-]?\s+(?:success\w+\s+)?"
        rf"{PAST.format('v')}",
        rf"\b(?:status|state|result|outcome)\W{{0,3}}[:=–—-]\s*{PAST.format('v')}",
        rf"(?:\b{THING}|#?\b\d{{3,10}})(?:\s+#?\d{{3,10}})?\s*[:=]+\s*(?:now\s+|already\s+)?{PAST.format('v')}",
        rf"\b(?:status|state|{THING}|it|(?<![a-z] )that)\b(?:(?!\b(?:that|which|who|can|may|will)\b)[^.;!?]){{0,40}}?"
        rf"{AS_A_STATE}{PAST.format('v')}",
        rf"^[^✓]*\b{THING}\b[^.;!?✓]{{0,30}}✓\W*$",
        # It went through. It worked! Job done. Your order is gone. The refund has left our account
        rf"^\W*(?:(?:ok|okay|great|sure|yes|perfect|and|so|there)\W+)*{IT}(?:\s+(?:has|just|now|already))*"
        r"\s+(?:went through|gone through|worked)\b(?!\s+(?:for|with|before|until))",
        r"^\W*(?:job|mission|task|request)\s+(?:done|accomplished|complete|completed|finished)\b",
        rf"^\W*(?:your\s+|the\s+)?{THING}\s*[:–—-]?\s*(?:complete|done|through|successful|sorted|settled)\W*$",
        rf"(?:\b{THING}\b(?:\s+#?\d{{3,10}})?\s+(?:is|are)|\b(?:it|that)(?:'s|\s+is)){BETWEEN}\s+(?:gone(?!\s+missing)"
        r"|no more|history|off the books|(?:out of|off) (?:the|our) (?:system|books|records|list))\b",
        rf"\b(?:refund|cancellation|return|replacement|address|change|update|correction|credit|discount)\s+(?:is|are){BETWEEN}"
        r"\s+in (?:the|our) (?:system|books|records)\b",
        rf"\b{MONEY}\b(?:\s+(?:has|just|now|already))*\s+(?:left|reached|hit|landed)\b",
        rf"^\W*(?:\d+[.)]\s*)?(?:success\w+\s+|just\s+|now\s+|already\s+)?(?!did\s){PAST.format('v')}"
        r"(?![^.;!?]*\b(?:is|are|can|could|will|must|may|should|cannot|do|does)\b)",
    ],
}
COMPILED = [(re.compile(pattern), how) for how, patterns in PATTERNS.items() for pattern in patterns]
CONDITION = re.compile(
    r"\b(?:once|when|whenever|if|unless|until|till|after|before|as soon as|in case|whether|should (?:you|your|the|it)"
    r"|provided|would you like|do you want|shall i|please confirm|confirm (?:it|this|that|first|below))\b"
)
PERFECT = re.compile(r"\b(?:has|have|had|was|were|been|got|'ve)\b")
DENIAL = re.compile(
    r"\b(?:not|never|no(?! (?:more|longer)\b)|none|nothing|nobody|cannot|unable|without|neither|nor)\b|n't\b"
)

# → ⇒ ➔ ➜ ➡ ▶ » point to what something became; ✅ ✔ ☑ tick it off
SIGNS = {ord(sign): meaning for signs, meaning in (("→⇒➔➜➡▶»", " : "), ("✅✔☑✓🗸", " ✓ ")) for sign in signs}
DENIED_BEHIND = re.compile(r"\s*(?:not\b|n't\b)")  # "the payment did not go through"

LOOKALIKES = str.maketrans("аеорсхуікмнтв", "aeopcxyikmhtb")  # Cyrillic letters that look Latin
MARKS = re.compile(r"[*_~`#>|\\]+|\[\d+\]|<[^>]{0,40}>")
ABBREVIATION = re.compile(r"\b(?:(?:e\.g|i\.e)\.,?|(etc|no|nr|approx|mr|mrs|ms|dr|vs|incl|inc|ltd|st)\.)")


def plain(text: str) -> str:
    """Lower case, without markup, invisible characters and the dots that end nothing."""
    if text.isascii():  # most are, and each of the next steps goes letter by letter
        text = MARKS.sub("", text).lower()
    else:
        text = unicodedata.normalize("NFKC", text)
        text = "".join(letter for letter in text if unicodedata.category(letter) not in ("Cf", "Mn"))
        text = MARKS.sub("", text).translate(SIGNS).lower().replace("’", "'").replace("‘", "'").replace("´", "'")
        if re.search(r"[a-z]", text):
            text = text.translate(LOOKALIKES)
    text = ABBREVIATION.sub(lambda found: found[1] or "", text)
    return " ".join(re.sub(r"\.(?=\S)", "", text).split())


@dataclass(frozen=True, slots=True)
class Claim:
    """An act that a sentence tells as done. Any of `kinds` among the turn's deeds backs it."""

    kinds: frozenset[str]
    told: bool  # not by whom: a back end's own word that it is so backs it, too


def claims(sentence: str) -> list[Claim]:
    text = plain(sentence)
    found = []
    for pattern, how in COMPILED:
        for match in pattern.finditer(text):
            if (
                DENIAL.search(match[0])
                or DENIED_BEHIND.match(text, match.end())
                or (how != SAID and is_conditional(text, match))
            ):
                continue
            backing = kinds_of(match.groupdict())
            if backing:
                found.append(Claim(by_subject(backing, text), how == TOLD))
    return found


def kinds_of(groups: Mapping[str, str | None]) -> frozenset[str]:
    """The kinds of act that a match names: ANY where it names none; nothing for a verb and a particle that are no
    phrase ("took it through").
    """
    if particle := groups.get("p"):
        parted = joined().get(f"{groups['v']} {particle}")
        return frozenset({parted}) if parted else frozenset()
    words = [word for name, word in groups.items() if word and name != "done"]
    if not words:
        return frozenset({ANY})
    return frozenset().union(*(kinds()[word] for word in words))


def by_subject(backing: frozenset[str], text: str) -> frozenset[str]:
    """ "Processed" and "done" say no kind of act; what the sentence is about may: "your refund has been processed"."""
    if backing.isdisjoint(VAGUE):
        return backing
    about = frozenset().union(*(families for noun, families in SUBJECTS.items() if noun.search(text)))
    return about or backing


def is_conditional(text: str, match: re.Match[str]) -> bool:
    """A condition makes no claim. Of what has been done it must stand in the same clause: "once your return has been
    processed" is none, "when you look at your card, your refund has been issued" is one.
    """
    if not PERFECT.search(match[0]):
        return CONDITION.search(text) is not None
    start = text.rfind(",", 0, match.end()) + 1
    return CONDITION.search(text[start:].partition(",")[0]) is not None
