"""What customers say of themselves ("my shoe size is 42"), and ask to be told again, heard without a model.

Only what a shop's agent can use is heard: a name, sizes and measures, a birthday, how to be reached. Much that begins
alike is a complaint ("my name is wrong on the invoice", "my size is sold out") and is left to the help pages.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent_app.agent import catalogue
from agent_app.agent.events import ToolResult, TurnContext
from agent_app.agent.responder import Tool, call_tool

LETTERS = r"[^\W\d_][\w.'’-]*"
SIZE = r"(?:(?:uk|eu|us)\s*)?(?:\d{1,3}(?:[.,/]\d{1,2})?|[2-5]?x{0,3}[sl]|m|(?:extra )?(?:small|large)|medium)"
UNIT = r"(?:\s*(?:uk|eu|us|cm|mm|m|kg|lbs?|pounds|inch(?:es)?|feet|ft|st|stone))?"
NAMES = r"(?:first |last |full |sur)?name"
SIZES = r"(?:(?:shoe|boot|foot|jacket|coat|clothes|clothing|shirt|trousers?|hat|glove) )?size"
MEASURES = r"height|weight|foot length|inside leg|chest|waist"
OPENS = re.compile(
    r"(?:(?:hi|hello|hey|by the way|btw|well|ok|so|and|also|oh|please note(?: that)?)\b[\s,.!]+)+", re.IGNORECASE
)
# What each statement is, and what may stand as its value: to its end, so that "my name is Ana Bell" is heard whole.
STATEMENTS = (
    rf"my (?P<name>{NAMES})(?: is|'s) (?:now )?(?P<value>{LETTERS}(?: {LETTERS}){{0,3}})",
    rf"my (?P<name>{SIZES})(?: is|'s) (?:now |an? )?(?P<value>{SIZE}{UNIT})",
    rf"my (?P<name>{MEASURES}) is (?:now |about )?(?P<value>\d{{1,3}}(?:[.,]\d{{1,2}})?{UNIT})",
    r"my (?P<name>birthday) is (?:on )?(?:the )?(?P<value>[\w., ]{0,12}\d[\w., ]{0,16})",
    r"(?:(?:please )?call me|you can call me|i am called|i'm called|they call me) "
    rf"(?P<value>{LETTERS}(?: {LETTERS}){{0,2}})",
    r"i(?:'d| would)? prefer (?:to be (?:contacted|reached|written to|called) (?:by|on|via) )?"
    r"(?P<value>e-?mail|phone|post|letters?|sms|text messages?)",
)
UNNAMED = {4: "name", 5: "contact"}  # by their place above
HEARD = tuple(re.compile(words, re.IGNORECASE) for words in STATEMENTS)
BETWEEN = re.compile(r"\s*(?:[.,;!]\s*(?:and\s+)?|and\s+)(?=(?:my|i|call|you|please|also|by)\b)", re.IGNORECASE)
# After "my name is" or "call me": no name, but what is amiss with it, or when to call.
NO_NAME = re.compile(
    r"\b(?:wrong|not|mis\w+|spel\w+|incorrect|different|missing|on|in|at|by|back|later|the|a|an|no|still|when|as|if|or|but"
    r"|tomorrow|today|soon|again|please|because|for|under|written|changed|too|also|and|my|your)\b",
    re.IGNORECASE,
)
POLITE = re.compile(r"[\s,]+(?:thanks|thank you|please|by the way)$", re.IGNORECASE)
ASKED = re.compile(
    r"(?:what(?:'s| is| was)|do you (?:still )?(?:know|remember)|(?:can|could) you (?:tell|remind) me(?: of)?"
    rf"|(?:tell|remind) me(?: of)?) my (?P<name>{NAMES}|{SIZES}|{MEASURES}|birthday)",
    re.IGNORECASE,
)
ALL_ASKED = re.compile(
    r"(?:what (?:do|did) you (?:know|remember|remembered|keep|note)(?: down)? (?:about|of) me"
    r"|what (?:have|did) i (?:told|tell|said|say)(?: to)? you(?: about (?:me|myself))?|who am i|do you remember me)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Told:
    name: str  # what it is: "shoe size"
    value: str  # in the customer's own words


def told_in(text: str) -> list[Told]:
    """What is told in a message that does nothing but tell; empty where there is more in it, or anything else."""
    told = [statement(part) for part in BETWEEN.split(bare(text)) if part]
    return [each for each in told if each is not None] if all(told) else []


def bare(text: str) -> str:
    """Without what people say before and after."""
    said = text.replace("’", "'").strip(" \t\n.,!?")
    opening = OPENS.match(said)
    return POLITE.sub("", said[opening.end() :] if opening else said)


def statement(part: str) -> Told | None:
    part = POLITE.sub("", part.strip(" .,!"))
    for place, pattern in enumerate(HEARD):
        found = pattern.fullmatch(part)
        if found is None:
            continue
        name = UNNAMED.get(place) or " ".join(found["name"].lower().split())
        if name.endswith("name") and NO_NAME.search(found["value"]):
            return None
        return Told(name, found["value"].strip(" .,"))
    return None


def asked_again(text: str) -> str | None:
    """The fact that a message asks for by its name, "" for all there are; None where it asks for none."""
    said = bare(text)
    found = ASKED.fullmatch(said)
    if found:
        return " ".join(found["name"].lower().split())
    return "" if ALL_ASKED.fullmatch(said) else None


@dataclass(frozen=True, slots=True)
class Noted:
    text: str
    tools: tuple[str, ...]


async def heed(context: TurnContext, tools: Mapping[str, Tool]) -> Noted | None:
    """Keeps what is told, says what is asked for again; None where the message does neither, or nothing is kept."""
    told = told_in(context.question) if "remember" in tools else []
    if told:
        return await keep(context, tools, told)
    asked = asked_again(context.question) if "recall" in tools else None
    return await say_again(context, tools, asked) if asked is not None else None


async def keep(context: TurnContext, tools: Mapping[str, Tool], told: list[Told]) -> Noted | None:
    for each in told:
        outcome = await call_tool(tools, context, "remember", {"name": each.name, "value": each.value})
        if not isinstance(outcome, ToolResult):
            return None
    return Noted(catalogue.NOTED.format(facts=listed(told)), ("remember",))


async def say_again(context: TurnContext, tools: Mapping[str, Tool], asked: str) -> Noted | None:
    outcome = await call_tool(tools, context, "recall", {})
    if not isinstance(outcome, ToolResult):
        return None
    known = [Told(fact["fact"], fact["value"]) for fact in outcome.value["facts"]]
    wanted = [fact for fact in known if f" {fact.name}".endswith(f" {asked}")] if asked else known
    if wanted:
        return Noted(catalogue.KNOWN.format(facts=listed(wanted)), ("recall",))
    if asked and not asked.endswith("name"):
        return None  # "what is my size" may ask for the size guide
    return Noted(catalogue.NOTHING_KNOWN, ("recall",))


def listed(facts: Iterable[Told]) -> str:
    return "\n".join(f"- {fact.name}: {fact.value}" for fact in facts)
