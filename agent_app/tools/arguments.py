"""A tool's arguments: their JSON schema from the function's signature, and the check of what a model wrote."""

import inspect
import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import orjson

LONGEST_TEXT = 4000  # characters of one text argument
MOST_ITEMS = 50  # of a list argument

NAMES = {str: "string", int: "integer", float: "number", bool: "boolean"}
LIKE = {str: 'a text in quotes, such as "1042"', int: "a whole number", float: "a number", bool: "true or false"}


class BadArguments(Exception):
    """The arguments cannot be used; the message says which, and what to write."""


@dataclass(frozen=True, slots=True)
class Argument:
    name: str
    type: Any
    about: str
    required: bool
    default: Any = None

    @property
    def schema(self) -> dict[str, Any]:
        schema = schema_of(self.type)
        if self.about:
            schema["description"] = self.about
        if not self.required and self.default not in (None, ""):
            schema["default"] = self.default
        return schema


def arguments_of(function: Callable[..., Any]) -> tuple[Argument, ...]:
    """The parameters after the context. TypeError for one whose type has no place in a schema: it stops the start."""
    hints = get_type_hints(function, include_extras=True)
    found = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        hint, about = hints.get(parameter.name), ""
        if hint is None or parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"{function.__name__}: give {parameter.name} a type; a tool takes no *args")
        if get_origin(hint) is Annotated:
            hint, about = get_args(hint)[0], str(get_args(hint)[1])
        try:
            schema_of(hint)
        except TypeError as error:
            raise TypeError(f"{function.__name__}: {parameter.name}: {error}") from None
        required = parameter.default is parameter.empty
        found.append(Argument(parameter.name, hint, about, required, None if required else parameter.default))
    return tuple(found)


def schema_of(hint: Any) -> dict[str, Any]:
    origin, inner = get_origin(hint), get_args(hint)
    if hint in NAMES:
        return {"type": NAMES[hint]}
    if origin is Literal:
        return {"type": NAMES[type(inner[0])], "enum": list(inner)}
    if origin is list:
        return {"type": "array", "items": schema_of(inner[0]), "maxItems": MOST_ITEMS}
    if origin in (Union, types.UnionType) and type(None) in inner and len(inner) == 2:
        return schema_of(without_none(inner))
    raise TypeError(
        f"a tool's argument is str, int, float, bool, Literal, list of one of them, or X | None, not {hint}"
    )


def without_none(inner: tuple[Any, ...]) -> Any:
    return next(part for part in inner if part is not type(None))


def object_schema(arguments: tuple[Argument, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {argument.name: argument.schema for argument in arguments},
        "required": [argument.name for argument in arguments if argument.required],
        "additionalProperties": False,
    }


def checked(arguments: tuple[Argument, ...], raw: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """What the function is to be called with. Raises BadArguments."""
    given = parsed(raw)
    known = {argument.name: argument for argument in arguments}
    if foreign := sorted(set(given) - set(known)):
        raise BadArguments(f"there is no argument {foreign[0]!r}: write {', '.join(known) or 'none'}")
    values = {}
    for name, argument in known.items():
        if name in given:
            values[name] = value_of(argument.type, given[name], name)
        elif argument.required:
            raise BadArguments(f"{name} is missing: write {LIKE.get(argument.type, 'a value')}")
    return values


def parsed(raw: Mapping[str, Any] | str | None) -> Mapping[str, Any]:
    if isinstance(raw, str):
        try:
            raw = orjson.loads(raw) if raw.strip() else {}
        except ValueError:
            raise BadArguments("the arguments are not valid JSON: write one JSON object") from None
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise BadArguments("the arguments are no JSON object: write one")
    return raw


def value_of(hint: Any, value: Any, name: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in inner:
            raise BadArguments(f"{name} is none of {', '.join(map(str, inner))}: write one of them")
        return value
    if origin is list:
        if not isinstance(value, list) or len(value) > MOST_ITEMS:
            raise BadArguments(f"{name}: write a list of at most {MOST_ITEMS}")
        return [value_of(inner[0], item, name) for item in value]
    if origin in (Union, types.UnionType):
        return None if value is None else value_of(without_none(inner), value, name)
    return plain_value(hint, value, name)


def plain_value(hint: Any, value: Any, name: str) -> Any:
    """As JSON types go, but an order's number may come as a number: models write both."""
    if hint is str and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        raise BadArguments(f"{name}: write {LIKE[hint]}")
    if hint is str and not is_plain_text(value):
        raise BadArguments(f"{name}: write at most {LONGEST_TEXT} characters of plain text")
    if hint is float and not math.isfinite(value):
        raise BadArguments(f"{name}: write a finite number")
    return value


def is_plain_text(value: str) -> bool:
    """Neither NUL nor half a surrogate pair, which no database takes."""
    return len(value) <= LONGEST_TEXT and "\x00" not in value and not re.search("[\ud800-\udfff]", value)
