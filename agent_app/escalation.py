"""When a person should take over: the policy file, and its judgement of what a customer wrote."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from agent_app.agent import catalogue
from agent_app.agent.events import Escalation, TurnContext
from agent_app.agent.smalltalk import reply_to
from agent_app.knowledge.indexing import knowledge
from agent_app.opening import Hours, read_hours

SHIPPED = Path(__file__).with_suffix(".yaml")
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
MOST_SENTENCES = 4  # of one message whose meaning is judged
MOST_SENTENCE = 300  # characters
FEWEST_WORDS = 2
BETWEEN = r"(?:[^\W_]+(?:['’][^\W_]*)?[\s,]+){0,5}?"
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
LAST_PART = re.compile(r"(?:\([^()]*\)|[^\s()]+)$")
CATEGORIES = ("legal", "urgent", "complaint", "general")
Like = Callable[[str, tuple[str, ...], tuple[str, ...], float, float], int | None]
PRIORITIES = ("low", "normal", "high", "urgent")
POLICY_NAMES = frozenset({"threshold", "meaning", "hours", "no_reason", "rules"})
MEANING_NAMES = frozenset({"threshold", "margin"})
RULE_NAMES = frozenset({"name", "category", "priority", "score", "phrases", "whole", "examples"})


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    category: str
    priority: str
    score: float
    pattern: re.Pattern[str]
    examples: tuple[str, ...]  # sentences that mean it
    endings: frozenset[str]  # no phrase fits without one of these: a set costs a tenth of the pattern

    def fits(self, text: str, said: frozenset[str]) -> bool:
        return not self.endings.isdisjoint(said) and self.pattern.search(text) is not None


@dataclass(frozen=True, slots=True)
class Policy:
    threshold: float
    rules: tuple[Rule, ...]  # the strongest first
    no_reason: tuple[str, ...] = ()  # sentences that sound like a reason and are none
    near: float | None = None  # cosine to an example from which a message means it; None: words alone
    nearer: float = 0.0  # by how much nearer than to what is no reason
    hours: Hours | None = None

    def judge(self, text: str) -> Escalation | None:
        """The strongest reason for a person in this text, if it reaches the threshold."""
        text = " ".join(text.lower().replace("’", "'").split())
        said = frozenset(WORD.findall(text))
        for rule in self.rules:
            if rule.score >= self.threshold and rule.fits(text, said):
                return Escalation(rule.name, rule.category, self.priority(text, said, rule), rule.score)
        return None

    def meant(self, text: str, like: Like) -> Escalation | None:
        """The rule whose examples say what this text says; its priority is also that of any rule whose words fit."""
        said = [(rule, example) for rule in self.rules if rule.score >= self.threshold for example in rule.examples]
        if self.near is None or not said:
            return None
        rules, examples = zip(*said, strict=True)
        found = None
        for sentence in sentences(text):
            place = like(sentence, examples, self.no_reason, self.near, self.nearer)
            if place is not None and (found is None or rules[place].score > found.score):
                found = rules[place]
        if found is None:
            return None
        small = " ".join(text.lower().replace("’", "'").split())
        priority = self.priority(small, frozenset(WORD.findall(small)), found)
        return Escalation(found.name, found.category, priority, found.score)

    def priority(self, text: str, said: frozenset[str], found: Rule) -> str:
        """The highest that any fitting rule gives: "a person, urgently" is urgent, though being in a hurry is none."""
        fitting = [rule.priority for rule in self.rules if rule is found or rule.fits(text, said)]
        return max(fitting, key=PRIORITIES.index)


async def judge(context: TurnContext) -> Escalation | None:
    """What the policy's words say to the messages that this turn answers; small talk has them, and means nothing by it:
    "are you a real person?".
    """
    return policy().judge(context.question) if reply_to(context.question) is None else None


async def judge_by_meaning(context: TurnContext) -> Escalation | None:
    """As `judge`, and where no word says it, by what the messages mean: some 10 ms, off the event loop."""
    if reply_to(context.question) is not None or not context.question.strip():
        return None
    found = policy().judge(context.question)
    return found or await knowledge.beside(policy().meant, context.question, knowledge.like)


def people_are_away(now: datetime) -> str:
    """What a hand-over says of when people are there; "" while they are, or where the policy names no hours."""
    hours = policy().hours
    return "" if hours is None or hours.are_now(now) else catalogue.NOBODY_NOW.format(hours=hours)


def sentences(text: str) -> list[str]:
    """Those of a message that could mean something, the first few."""
    parts = [part.strip() for part in SENTENCE.split(text)]
    return [part[:MOST_SENTENCE] for part in parts if len(WORD.findall(part.lower())) >= FEWEST_WORDS][:MOST_SENTENCES]


@lru_cache(maxsize=1)
def policy() -> Policy:
    return read_policy(Path(settings.ESCALATION_POLICY or SHIPPED))


def read_policy(path: Path) -> Policy:
    """Raises ImproperlyConfigured with a line that says what to mend."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        known_names("the policy", data, POLICY_NAMES)
        meaning = data.get("meaning")
        if meaning is not None:
            known_names("meaning", meaning, MEANING_NAMES)
        made = Policy(
            share("threshold", data.get("threshold", 0.7)),
            tuple(sorted((read_rule(rule) for rule in listed("rules", data["rules"])), key=lambda rule: -rule.score)),
            sentences_of("no_reason", data),
            share("meaning.threshold", meaning["threshold"]) if meaning else None,
            share("meaning.margin", meaning.get("margin", 0.0)) if meaning else 0.0,
            read_hours(data["hours"]) if data.get("hours") else None,
        )
    except KeyError as error:
        raise ImproperlyConfigured(f"ESCALATION_POLICY: {path} cannot be used: {error} is missing") from error
    except (OSError, yaml.YAMLError, TypeError, AttributeError, ValueError, re.error) as error:
        raise ImproperlyConfigured(f"ESCALATION_POLICY: {path} cannot be used: {error}") from error
    return made


def read_rule(rule: dict[str, Any]) -> Rule:
    known_names("a rule", rule, RULE_NAMES)
    name = str(rule["name"])
    if rule["category"] not in CATEGORIES:
        raise ValueError(f"category {rule['category']!r} is none of {', '.join(CATEGORIES)}")
    if rule["priority"] not in PRIORITIES:
        raise ValueError(f"priority {rule['priority']!r} is none of {', '.join(PRIORITIES)}")
    phrases, whole, examples = (sentences_of(of, rule, f" of {name!r}") for of in ("phrases", "whole", "examples"))
    if not (phrases or whole or examples):
        raise ValueError(f"rule {name!r} can never fit: give it phrases, whole or examples")
    return Rule(
        name,
        rule["category"],
        rule["priority"],
        share(f"the score of {name!r}", rule["score"]),
        pattern(phrases, whole),
        examples,
        frozenset(word for phrase in [*phrases, *whole] for word in WORD.findall(LAST_PART.search(phrase)[0])),  # type: ignore[index]
    )


def known_names(where: str, given: Any, names: frozenset[str]) -> None:
    """A name that is written wrongly would be a rule that is silently not there."""
    if not isinstance(given, dict):
        raise ValueError(f"{where} is not made of `name: value` lines")
    unknown = sorted(str(name) for name in given if name not in names)
    if unknown:
        raise ValueError(f"{where} has no {', '.join(unknown)}, only {', '.join(sorted(names))}")


def listed(name: str, given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise ValueError(f"{name} is not a list")
    return given


def sentences_of(name: str, given: dict[str, Any], of: str = "") -> tuple[str, ...]:
    """Of a list. One sentence without the list's dash would be taken for its letters, and "a" would call a person."""
    texts = tuple(str(text).strip() for text in listed(f"{name}{of}", given.get(name) or []))
    if not all(WORD.search(text) for text in texts):
        raise ValueError(f"{name}{of} holds an entry without a word")
    return texts


def share(name: str, given: Any) -> float:
    value = float(given)
    if not 0 <= value <= 1:  # nor "not a number"
        raise ValueError(f"{name} is {given}, not from 0 to 1")
    return value


def pattern(phrases: Iterable[str], whole: Iterable[str]) -> re.Pattern[str]:
    """Whole words only: "know" is not "now". One pattern a rule, so that judging costs microseconds."""
    found = [rf"\b(?:{words(phrase)})\b" for phrase in phrases]
    alone = [rf"^\W*(?:{words(phrase)})\W*$" for phrase in whole]
    return re.compile("|".join(found + alone))


def words(phrase: str) -> str:
    return re.sub(r"\s*…\s*", lambda _: r"\s+" + BETWEEN, phrase.replace("(", "(?:"))
