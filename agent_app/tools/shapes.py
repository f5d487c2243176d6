"""What a back end's answer is taken apart into: the fields that a tool gives on, checked, and nothing else."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from agent_app.agent.events import TurnContext
from agent_app.tools.failures import Away, NotFound

LONGEST = 300  # characters of one text
MOST_ROWS = 50


def picked(data: Any, needed: tuple[str, ...], also: tuple[str, ...] = ()) -> dict[str, Any]:
    """The named fields as plain values; texts are cut. Raises Away where a needed one is missing: it is nonsense."""
    if not isinstance(data, Mapping):
        raise Away("the back end answers with something else than an object")
    values = {name: plain(data[name]) for name in (*needed, *also) if data.get(name) is not None}
    if missing := [name for name in needed if name not in values]:
        raise Away(f"the back end's answer lacks {', '.join(missing)}")
    return values


def plain(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.split())[:LONGEST]
    if isinstance(value, int | float):
        return value
    if isinstance(value, list):
        return [plain(item) for item in value[:MOST_ROWS]]
    if isinstance(value, Mapping):
        return {str(name)[:50]: plain(item) for name, item in list(value.items())[:30]}
    return str(value)[:LONGEST]


def rows(data: Any) -> list[Any]:
    results = data.get("results") if isinstance(data, Mapping) else None
    if not isinstance(results, list):
        raise Away("the back end answers without results")
    return results[:MOST_ROWS]


def customer_path(context: TurnContext) -> str:
    """Of the verified customer, and of nobody else: no argument names a customer."""
    return f"customers/{quote(str(context.user_id), safe='')}"


def is_theirs(context: TurnContext, data: Mapping[str, Any]) -> bool:
    """A website may prove its customers by number or by e-mail address."""
    return context.user_id in {data.get("customer_id"), data.get("customer_email")}


def number_in(text: str) -> str:
    """ "order #1042" is "1042". Raises NotFound for what is no number of anything."""
    number = text.strip().strip("#.,;:!?").rpartition("#")[2].split(" ")[-1]
    if not 1 <= len(number) <= 32 or not all(letter.isalnum() or letter in "-_" for letter in number):
        raise NotFound(f"{text[:40]!r} is no number: write the number alone, such as 1042")
    return number


def money(amount: Any, currency: Any = "EUR") -> str:
    return f"€{amount}" if currency == "EUR" else f"{amount} {currency}"
