"""When a person should take over: the policy file, and its judgement of what a customer wrote."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from agent_app.agent.events import Escalation, TurnContext

SHIPPED = Path(__file__).with_suffix(".yaml")
BETWEEN = r"(?:[^\W_]+['’]?[^\W_]*[\s,]+){0,5}?"
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
LAST_PART = re.compile(r"(?:\([^()]*\)|[^\s()]+)$")
CATEGORIES = ("legal", "urgent", "complaint", "general")
PRIORITIES = ("low", "normal", "high", "urgent")


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    category: str
    priority: str
    score: float
    pattern: re.Pattern[str]
    endings: frozenset[str]  # no phrase fits without one of these: a set costs a tenth of the pattern

    def fits(self, text: str, said: frozenset[str]) -> bool:
        return not self.endings.isdisjoint(said) and self.pattern.search(text) is not None


@dataclass(frozen=True, slots=True)
class Policy:
    threshold: float
    rules: tuple[Rule, ...]  # the strongest first

    def judge(self, text: str) -> Escalation | None:
        """The strongest reason for a person in this text, if it reaches the threshold."""
        text = " ".join(text.lower().replace("’", "'").split())
        said = frozenset(WORD.findall(text))
        for rule in self.rules:
            if rule.score >= self.threshold and rule.fits(text, said):
                return Escalation(rule.name, rule.category, self.priority(text, said, rule), rule.score)
        return None

    def priority(self, text: str, said: frozenset[str], found: Rule) -> str:
        """The highest that any fitting rule gives: "a person, urgently" is urgent, though being in a hurry is none."""
        fitting = [rule.priority for rule in self.rules if rule is found or rule.fits(text, said)]
        return max(fitting, key=PRIORITIES.index)


def judge(context: TurnContext) -> Escalation | None:
    """What the policy says to the messages that this turn answers."""
    return policy().judge(context.question)


@lru_cache(maxsize=1)
def policy() -> Policy:
    return read_policy(Path(settings.ESCALATION_POLICY or SHIPPED))


def read_policy(path: Path) -> Policy:
    """Raises ImproperlyConfigured with a line that says what to mend."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        rules = [read_rule(rule) for rule in data["rules"]]
        threshold = float(data.get("threshold", 0.7))
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, re.error) as error:
        raise ImproperlyConfigured(f"ESCALATION_POLICY: {path} cannot be used: {error}") from error
    return Policy(threshold, tuple(sorted(rules, key=lambda rule: -rule.score)))


def read_rule(rule: dict[str, Any]) -> Rule:
    if rule["category"] not in CATEGORIES:
        raise ValueError(f"category {rule['category']!r} is none of {', '.join(CATEGORIES)}")
    if rule["priority"] not in PRIORITIES:
        raise ValueError(f"priority {rule['priority']!r} is none of {', '.join(PRIORITIES)}")
    phrases, whole = rule.get("phrases", []), rule.get("whole", [])
    return Rule(
        str(rule["name"]),
        rule["category"],
        rule["priority"],
        float(rule["score"]),
        pattern(phrases, whole),
        frozenset(word for phrase in [*phrases, *whole] for word in WORD.findall(LAST_PART.search(phrase)[0])),  # type: ignore[index]
    )


def pattern(phrases: Iterable[str], whole: Iterable[str]) -> re.Pattern[str]:
    """Whole words only: "know" is not "now". One pattern a rule, so that judging costs microseconds."""
    found = [rf"\b(?:{words(phrase)})\b" for phrase in phrases]
    alone = [rf"^\W*(?:{words(phrase)})\W*$" for phrase in whole]
    return re.compile("|".join(found + alone))


def words(phrase: str) -> str:
    return re.sub(r"\s*…\s*", lambda _: r"\s+" + BETWEEN, phrase.replace("(", "(?:"))
