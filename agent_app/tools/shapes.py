"""What a back end's answer is taken apart into: the fields that a tool gives on, each of its type, and nothing else.

An answer in another shape is no answer: `Away`, with a line in the log that says what is wrong with it.
"""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from agent_app.agent.events import TurnContext
from agent_app.tools.failures import Away, NotFound

logger = logging.getLogger(__name__)

LONGEST = 300  # characters of one text
MOST_ROWS = 50
AMOUNT = re.compile(r"-?\d[\d.,' ]{0,20}")

Shape = Callable[[Any], Any]  # gives the value as a tool may hand it on; raises ValueError with what it should be


def text(value: Any) -> str:
    """A number's digits are a text, too: many systems keep an order's number so."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("no text")
    return " ".join(str(value).split())[:LONGEST]


def amount(value: Any) -> str | int | float:
    """As it was written: "12.50" stays "12.50"."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("no amount")
    if not AMOUNT.fullmatch(str(value)):
        raise ValueError("no amount")
    return value


def count(value: Any) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, str | int | float)
        or not re.fullmatch(r"-?\d+(\.0+)?", str(value))
    ):
        raise ValueError("no whole number")
    return int(float(value))


def texts(value: Any) -> list[str]:
    return [text(each) for each in listed(value)]


def listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("no list")
    return value[:MOST_ROWS]


def items(value: Any) -> list[dict[str, Any]]:
    """The lines of an order."""
    return [fields(each, {"name": text}, {"quantity": count, "sku": text, "price": amount}) for each in listed(value)]


def stock(value: Any) -> list[dict[str, Any]]:
    return [fields(each, {"place": text, "count": count}) for each in listed(value)]


def returned(value: Any) -> dict[str, Any]:
    """The return of an order, where there is one."""
    return fields(value, {}, {"number": text, "reason": text})


def fields(value: Any, needed: Mapping[str, Shape], also: Mapping[str, Shape] | None = None) -> dict[str, Any]:
    """The named fields, each in its shape; null is as good as missing. Raises ValueError."""
    if not isinstance(value, Mapping):
        raise ValueError("no object")
    taken = {}
    for name, shape in {**needed, **(also or {})}.items():
        if value.get(name) is None:
            if name in needed:
                raise ValueError(f"{name} is missing")
            continue
        try:
            taken[name] = shape(value[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return taken


def picked(data: Any, needed: Mapping[str, Shape], also: Mapping[str, Shape] | None = None) -> dict[str, Any]:
    """The named fields, each in its shape. Raises Away where one is missing or of another: the answer is nonsense."""
    try:
        return fields(data, needed, also)
    except ValueError as error:
        raise nonsense(str(error)) from None


def nonsense(why: str) -> Away:
    """A back end answered, and not as docs/adding-a-tool.md says. `why` names fields and no values."""
    logger.error("backend.nonsense why=%s", why.replace(" ", "_"))
    return Away(f"the back end's answer is not as agreed ({why})")


def rows(data: Any) -> list[Any]:
    if not isinstance(data, Mapping) or not isinstance(data.get("results"), list):
        raise nonsense("no results")
    return list(data["results"][:MOST_ROWS])


def customer_path(context: TurnContext) -> str:
    """Of the verified customer, and of nobody else: no argument names a customer."""
    return f"customers/{quote(str(context.user_id), safe='')}"


def is_theirs(context: TurnContext, data: Any) -> bool:
    """A website may prove its customers by number or by e-mail address. Raises Away where it is said of neither."""
    owner = picked(data, {}, {"customer_id": text, "customer_email": text})
    if not owner:
        raise nonsense("whose order it is")
    return context.user_id in owner.values()


def number_in(text: str) -> str:
    """ "order #1042" is "1042". Raises NotFound for what is no number of anything."""
    number = text.strip().strip("#.,;:!?").rpartition("#")[2].split(" ")[-1]
    if not 1 <= len(number) <= 32 or not all(letter.isalnum() or letter in "-_" for letter in number):
        raise NotFound(f"{text[:40]!r} is no number: write the number alone, such as 1042")
    return number


def money(amount: Any, currency: Any = "EUR") -> str:
    return f"€{amount}" if currency == "EUR" else f"{amount} {currency}"
