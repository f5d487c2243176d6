"""Which numbers in a message are orders': not those of telephones, cards, dates and prices."""

import re
from dataclasses import dataclass

CALLED = r"(?:\border(?:s|ed)?|\bno\.?|\bnumber|#)"
NUMBER = re.compile(rf"{CALLED}\s*(?:is\s+|no\.?\s*|number\s*|#\s*){{0,4}}(?P<a>\d{{3,10}})\b|\b(?P<b>\d{{4}})\b")
# What stands between two orders of one list: "1050, 1053 and also order #1054", "1051 / 1052".
BETWEEN = re.compile(
    r"(?:[\s,;&/+#-]|\b(?:and|or|also|plus|then|as well as|both|orders?|my|the|number|no\.?)\b)*", re.IGNORECASE
)
LONGEST_LEAD = 60  # characters before a number that say whether it is left out
LEFT_OUT = re.compile(
    r"\b(?:not|except(?: for)?|apart from|besides|instead of|rather than|keep|leave)\s+(?:(?:my|the|orders?"
    r"|number)\s+)*#?$"
)

MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
NO_ORDERS = re.compile(
    "|".join(
        [
            r"(?<!\S)\S+@\S+|https?://\S+",
            r"(?:\+|\b00)\d[\d\s()./-]{5,}\d",
            r"\b(?:tele)?(?:phone|mobile|cell|fax)\b[^\d,;?!]{0,30}\(?\d[\d\s()/-]{4,}\d",
            r"\b(?:house|flat|apartment|card|account|customer|model|part|phone|telephone|mobile)\s+(?:number|no\.?)"
            r"\s*(?:is\s+)?\d+",
            r"[€$£]\s?\d[\d.,]*|\b\d[\d.,]{0,20}\s?(?:€|\$|£|%|(?:euros?|eur|usd|dollars?|pounds?|percent)\b)",
            r"\b\d+\s?(?:kg|g|cm|mm|km|ml|days|hours|minutes|weeks|pieces|times|watts?)\b",
            r"\b\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b|\b\d{4}-\d\d-\d\d\b",
            rf"\b{MONTH}\s+(?:\d{{1,2}}(?:st|nd|rd|th)?,?\s+)?(?:19|20)\d\d\b|\b(?:in|since|year)\s+(?:19|20)\d\d\b",
        ]
    )
)
GROUPS = re.compile(r"(?<![\w#-])\(?\d[\d\s()/-]{5,}\d(?!\w)")
SHORTEST_PHONE, SHORTEST_CARD = 7, 13  # digits


@dataclass(frozen=True, slots=True)
class Number:
    """An order's number and where it stands in the text."""

    text: str
    start: int
    end: int


def numbers_in(said: str) -> list[Number]:
    """Of lower-case text, in their order; those that are left out ("cancel 1050, not 1053") are not among them."""
    said = masked(said)
    found: list[Number] = []
    place = 0
    while at := NUMBER.search(said, place) if not found else listed(said, place) or NUMBER.search(said, place):
        name = next(name for name, text in at.groupdict().items() if text)
        begins = at.start(name)
        if not LEFT_OUT.search(said[max(begins - LONGEST_LEAD, 0) : begins]):
            found.append(Number(at[name], at.start(name), at.end(name)))
        place = at.end()
    return found


def listed(said: str, place: int) -> re.Match[str] | None:
    """The next of a list: it may have three digits where it stands right behind another one."""
    between = BETWEEN.match(said, place)
    return re.compile(r"(?P<a>\d{3,10})\b").match(said, between.end()) if between and between.end() > place else None


def list_at(numbers: list[Number], said: str, first: int) -> list[Number]:
    """The numbers from the one at index `first` on that make one list with it."""
    chain = numbers[first : first + 1]
    for number in numbers[first + 1 :]:
        between = BETWEEN.match(said, chain[-1].end)
        if between is None or between.end() != number.start:
            break
        chain.append(number)
    return chain


def masked(said: str) -> str:
    """The text with blanks where a number is no order's, so that all else stays in its place."""
    said = NO_ORDERS.sub(lambda found: " " * len(found[0]), said)
    return GROUPS.sub(lambda found: " " * len(found[0]) if is_phone_or_card(found[0]) else found[0], said)


def is_phone_or_card(text: str) -> bool:
    """ "087 123 4567" is; "1051 / 1052" are two orders."""
    groups = re.findall(r"\d+", text)
    digits = sum(map(len, groups))
    if len(groups) == 1:
        return digits >= SHORTEST_CARD
    return digits >= SHORTEST_CARD + 3 or (digits >= SHORTEST_PHONE and any(len(group) < 4 for group in groups))
