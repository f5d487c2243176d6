"""An address in a customer's words: what of a message it is, and how one that was offered is put right."""

import re

LONGEST = 400  # characters of what may hold an address
LONGEST_CORRECTION = 150
FLAGS = re.IGNORECASE | re.DOTALL
HAS_ONE = re.compile(r"(?=.*\d)(?=.*[^\W\d_]{3}).{8,}$", re.DOTALL)
CLEARLY_ONE = re.compile(r"\d+\w?,?\s+[^\W\d_]{2,}.*,.*[^\W\d_]{3}", re.DOTALL)

AHEAD = re.compile(
    r"\W*(?:(?:no|nope|yes|ok|okay|sure|wait|sorry|oh|well|not that(?: one)?|that(?:'s| is) (?:wrong|not right)"
    r"|my mistake"
    r"|actually|rather|i (?:meant|mean)|make (?:it|that)|(?:it|that) should be|it(?:'s| is)|(?:please )?use"
    r"|(?:please )?(?:send|deliver|ship) it to|please|instead|(?:the |my )?(?:right|correct|new) (?:one"
    r"|address)(?: is)?"
    r"|(?:the|my) address is|to|this address)\b[\s,.:;!–-]*)+",
    re.IGNORECASE,
)
BEHIND = re.compile(
    r"(?:[\s,.;!–-]+(?:instead|please|thanks(?: a lot| so much)?|many thanks|thank you(?: so much| very much)?"
    r"(?: for (?:your|the) help)?|thx|cheers|if (?:possible|you can)|ok|okay|for me|right away|asap"
    r"|as soon as possible|now"
    r"|from now on|then|that(?:'s| is) (?:it|all)|sorry))+\W*$",
    re.IGNORECASE,
)
NOT_THE_OTHER = re.compile(r"[\s,]+(?:instead of|rather than|(?:and )?not(?: to)?)\s+\S.*$", FLAGS)
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
TALK = re.compile(
    r"\W*(?:i|i'm|we|my|it|they|he|she|because|also|and|but|just|so|could|can|would|will|please|ring|leave"
    r"|thanks?|sorry|is"
    r"|are|was|do|does|did|what|when|where|how|why|which|there)\b",
    re.IGNORECASE,
)
ANOTHER_WISH = re.compile(r"\b(?:send|deliver|ship|change|move|redirect)\b.*\bto\b", FLAGS)
TO = re.compile(r"\bto\s*:?\s+", re.IGNORECASE)
NO_ADDRESS_BEGINS = re.compile(
    r"\W*(?:cancel|return|change|update|correct|send|ship|deliver|move|know|have|get|be|my order|the order)\b",
    re.IGNORECASE,
)

# "number 16, not 12", "Oak Road instead of Oak Lane", "not 12 but 16", "12 should be 16"
NAMED = r"(?:(?:the )?(?:house )?(?:number|no\.?)\s+)?"
CORRECTIONS = tuple(
    re.compile(rf"\W*(?:it(?:'s| is)\s+)?{pattern}\W*$", FLAGS)
    for pattern in (
        rf"not\s+{NAMED}(?P<old>.+?)[\s,]+(?:but|rather|it(?:'s| is))[\s,]+{NAMED}(?P<new>.+?)",
        rf"{NAMED}(?P<new>.+?)[\s,]+(?:and not|not|instead of|rather than)\s+{NAMED}(?P<old>.+?)",
        rf"{NAMED}(?P<old>.+?)\s+should be\s+{NAMED}(?P<new>.+?)",
        rf"{NAMED}(?P<old>.+?)\s+is wrong[\s,.;]+(?:it(?:'s| is| should be)\s+)?{NAMED}(?P<new>.+?)",
    )
)
HOUSE_NUMBER = re.compile(r"\W*(?:house )?(?:number|no\.?)\s+(?P<new>\d+\w?)\W*$", re.IGNORECASE)


def address_in(text: str) -> str:
    """What of the text is the address: without what leads to it, and without "instead", "please" and "thanks"."""
    begins = AHEAD.match(text)
    text = text[begins.end() :] if begins else text
    first, *more = SENTENCE.split(text.strip())
    kept = [first]
    for sentence in more:
        if TALK.match(sentence):
            break
        kept.append(sentence)
    bare = NOT_THE_OTHER.sub("", " ".join(kept))
    return BEHIND.sub("", bare).strip(" .,;!")


def address_behind_to(text: str, numbers: list[str]) -> str | None:
    """The address to which these orders are to go; "I want to change order 1053" names none."""
    for to in TO.finditer(text):
        rest = text[to.end() : to.end() + LONGEST]
        named = (
            NO_ADDRESS_BEGINS.match(rest)
            or ANOTHER_WISH.search(rest)
            or any(re.search(rf"\b{number}\b", rest) for number in numbers)
        )
        address = address_in(rest)
        if not named and len(address) >= 8 and re.search(r"\d", address):
            return address
    return None


def corrected(offered: str, said: str) -> str | None:
    """The offered address with the part put right that was said to be wrong; None where no such correction is said.

    "" where it is one and it is not clear of what: "number 16, not 13" of an address without a 13.
    """
    said = " ".join(said.split())
    if len(said) > LONGEST_CORRECTION:
        return None
    begins = AHEAD.match(said)
    for text in [said[begins.end() :], said] if begins else [said]:
        text = BEHIND.sub("", text)
        for correction in CORRECTIONS:
            if (found := correction.match(text)) and not CLEARLY_ONE.match(found["new"]):
                right = replaced(offered, found["old"].strip(" ,."), found["new"].strip(" ,."))
                return right if right or re.search(r"\d", found[0]) else None  # "I am not sure" corrects nothing
        if house := HOUSE_NUMBER.match(text):
            return re.sub(r"^\d+\w?\b", house["new"], offered) if re.match(r"\d", offered) else ""
    return None


def replaced(offered: str, old: str, new: str) -> str:
    places = list(re.finditer(rf"(?<!\w){re.escape(old)}(?!\w)", offered, re.IGNORECASE))
    if len(places) != 1:
        return ""
    return offered[: places[0].start()] + new + offered[places[0].end() :]
