"""A live session, and the text fields as which every store keeps it.

A session is kept as a flat mapping of names to texts (a Redis hash is one): each of its own fields under its
name, each top-level key of `metadata` under `m:` and that key, as JSON. So two writers of different keys never
meet, counters are native ones, and a field that a newer version added stays where it is.
"""

import json
import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import orjson

MAX_ID = 200  # characters
MAX_BYTES = 256 * 1024  # of one session, names and values of its fields
MAX_DEPTH = 200  # orjson stops at 254

TEXTS = ("user_id", "thread_id", "request_id")
MOMENTS = ("created_at", "updated_at", "last_activity")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# What the store keeps for itself does not count against a session's size.
UNCOUNTED = frozenset({"version", "expires", "ttl", *MOMENTS})

Fields = dict[str, str]


@dataclass(slots=True)
class SessionData:
    session_id: str
    user_id: str | None = None
    thread_id: str | None = None
    message_count: int = 0
    escalated: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    last_activity: datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the datetimes as ISO 8601 texts."""
        return {
            "session_id": self.session_id,
            "user_id": self.user_id,
            "thread_id": self.thread_id,
            "message_count": self.message_count,
            "escalated": self.escalated,
            "metadata": deepcopy(self.metadata),
            "request_id": self.request_id,
            "created_at": iso(self.created_at),
            "updated_at": iso(self.updated_at),
            "last_activity": iso(self.last_activity),
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """Unknown keys go to `metadata`; a datetime without offset is taken as UTC."""
        known = {name: value for name, value in given.items() if name in KNOWN}
        unknown = {name: value for name, value in given.items() if name not in KNOWN}
        metadata = known.get("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            raise TypeError(f"metadata is a dict, not a {type(metadata).__name__}.")
        known["metadata"] = {**(metadata or {}), **unknown}
        for name in MOMENTS:
            known[name] = moment(known.get(name))
        return cls(**known)

    def to_json(self) -> str:
        """TypeError, naming the path, on what is not JSON."""
        check_json(self.metadata, "metadata")  # first: what it refuses may be no thing to copy
        plain = self.to_dict()
        for name in plain.keys() - {"metadata"}:
            check_json(plain[name], name)
        return dumps(plain)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        # json, not orjson: a foreign text may hold integers past 64 bits, of which orjson makes floats.
        return cls.from_dict(json.loads(text))


KNOWN = frozenset(SessionData.__dataclass_fields__)


def iso(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat()


def moment(given: datetime | str | None) -> datetime | None:
    """An aware UTC datetime of what a caller wrote."""
    return None if given is None else utc(given)


def utc(given: datetime | str) -> datetime:
    when = datetime.fromisoformat(given) if isinstance(given, str) else given
    if not isinstance(when, datetime):
        raise TypeError(f"{when!r} is no datetime.")
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def microseconds(when: datetime | str) -> int:
    return (utc(when) - EPOCH) // MICROSECOND


def from_microseconds(text: str | int) -> datetime:
    return EPOCH + timedelta(microseconds=int(text))


def dumps(value: Any) -> str:
    """JSON that `loads` gives back exactly. The caller has checked that it is JSON."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # Integers past 64 bits and lone surrogates. orjson would read such integers as floats, so the text is
        # marked for `loads` by a leading blank, which every other JSON reader skips.
        return " " + json.dumps(value, separators=(",", ":"))


def loads(text: str) -> Any:
    return json.loads(text) if text[:1] == " " else orjson.loads(text)


def check_json(value: Any, path: str, depth: int = 0) -> None:
    """TypeError with the path of the first thing in `value` that JSON cannot hold."""
    if value is None or isinstance(value, str | bool | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{path} is {value!r}, which JSON cannot hold.")
    elif depth >= MAX_DEPTH:
        raise TypeError(f"{path} is nested deeper than {MAX_DEPTH} levels.")
    elif isinstance(value, dict):
        for key, item in value.items():
            check_key(key, path)
            check_json(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            check_json(item, f"{path}[{position}]", depth + 1)
    else:
        raise TypeError(f"{path} is a {type(value).__name__}, which JSON cannot hold.")


def check_key(key: Any, path: str) -> None:
    if not isinstance(key, str):
        raise TypeError(f"{path} has the key {key!r}: keys in JSON are texts.")


def check_id(session_id: str) -> None:
    if not isinstance(session_id, str):
        raise TypeError(f"A session id is a text, not a {type(session_id).__name__}.")
    if not 0 < len(session_id) <= MAX_ID:
        raise ValueError(f"A session id has 1 to {MAX_ID} characters, not {len(session_id)}.")
    if not session_id.isascii():
        session_id.encode()  # a lone surrogate is no text: UnicodeEncodeError is a ValueError


def checked(session_ids: Iterable[str]) -> list[str]:
    """Each once. All are looked at before anything is done to one of them."""
    ids = list(dict.fromkeys(session_ids))
    for session_id in ids:
        check_id(session_id)
    return ids


def check_size(fields: Mapping[str, str | None]) -> None:
    size = size_of(fields)
    if size > MAX_BYTES:
        raise ValueError(f"The session has {size} bytes: at most {MAX_BYTES} are kept.")


def size_of(fields: Mapping[str, str | None]) -> int:
    counted = ((name, text) for name, text in fields.items() if text is not None and name not in UNCOUNTED)
    return sum(len(name.encode()) + len(text.encode()) for name, text in counted)


def encode_field(name: str, value: Any) -> str | None:
    """The text of one of the session's own fields; None when there is nothing to keep."""
    if name in TEXTS:
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} is a text or None, not a {type(value).__name__}.")
        return None if value is None else str.__str__(value)  # of an enumeration's member, its text
    if name == "escalated":
        return "1" if value else "0"
    if name == "message_count":
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"message_count is a whole number, not {value!r}.")
        if not fits(value):
            raise ValueError("message_count does not fit in 64 bits.")
        return str(int(value))
    return None if value is None else str(microseconds(value))


def encode_metadata(metadata: Any) -> dict[str, str | None]:
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata is a dict, not a {type(metadata).__name__}.")
    if not metadata:
        return {}
    check_json(metadata, "metadata")
    return {"m:" + key: dumps(value) for key, value in metadata.items()}


def encode(data: SessionData) -> Fields:
    """All that is kept of `data`; what the store sets itself (updated_at, last_activity) left out."""
    fields: dict[str, str | None] = {
        "message_count": encode_field("message_count", data.message_count),
        "escalated": encode_field("escalated", data.escalated),
        "created_at": encode_field("created_at", data.created_at),
        **{name: encode_field(name, getattr(data, name)) for name in TEXTS},
        **encode_metadata(data.metadata),
    }
    kept = {name: text for name, text in fields.items() if text is not None}
    check_size(kept)
    return kept


def decode(session_id: str, fields: Fields) -> SessionData:
    """A session of its own, sharing nothing with `fields`."""
    get = fields.get
    # loads() written out: this runs for every read.
    metadata = {
        name[2:]: json.loads(text) if text[0] == " " else orjson.loads(text)
        for name, text in fields.items()
        if name[:2] == "m:" and text  # an empty text is none of ours
    }
    created, updated, active = get("created_at"), get("updated_at"), get("last_activity")
    return SessionData(
        session_id,
        get("user_id"),
        get("thread_id"),
        int(get("message_count", 0)),
        get("escalated") == "1",
        metadata,
        get("request_id"),
        EPOCH + timedelta(0, 0, int(created)) if created else None,
        EPOCH + timedelta(0, 0, int(updated)) if updated else None,
        EPOCH + timedelta(0, 0, int(active)) if active else None,
    )


@dataclass(slots=True)
class Changes:
    """What an update does: texts set (None removes), and numbers added."""

    texts: dict[str, str | None] = field(default_factory=dict)
    added: dict[str, int | float] = field(default_factory=dict)

    @classmethod
    def of(cls, updates: Mapping[str, Any], atomic: bool) -> Self:
        changes = cls()
        for name, value in updates.items():
            check_key(name, "updates")
            changes.note(name, value, atomic and is_number(value))
        # What alone is too large for a session never sets out: a server cuts the connection of all at half a gigabyte.
        check_size({**changes.texts, **dict.fromkeys(changes.added, "")})
        return changes

    def note(self, name: str, value: Any, adds: bool) -> None:
        if name in ("session_id", "updated_at"):
            return  # the one cannot change, the other is the store's own
        if name == "metadata":
            self.texts.update(encode_metadata(value))
        elif adds:
            self.add(name, value)
        elif name in KNOWN:
            self.texts[name] = encode_field(name, value)
        else:
            check_json(value, name)
            self.texts["m:" + name] = dumps(value)

    def add(self, name: str, delta: int | float) -> None:
        """ValueError when `name` is a field of the session that is no number."""
        if not is_number(delta):
            raise TypeError(f"{delta!r} is not a number to add.")
        check_json(delta, "delta")
        dumps(delta)  # ValueError past the digits that Python writes
        if len(name) > MAX_BYTES:
            check_size({name: ""})
        delta = int(delta) if isinstance(delta, int) else float(delta)  # an enumeration's member is written otherwise
        if name not in KNOWN:
            self.added["m:" + name] = delta
        elif name == "message_count" and isinstance(delta, int):
            self.added[name] = delta
        else:
            raise ValueError(f"{name} is not a field that {delta!r} can be added to.")


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def fits(number: int | float) -> bool:
    """In 64 bits. (`in range(…)` would walk it for a float.)"""
    return -(2**63) <= number < 2**63


def check_total(total: int | None) -> None:
    if total is None:
        return
    if isinstance(total, bool) or not isinstance(total, int):
        raise TypeError(f"total is a whole number, not {total!r}.")
    if not 0 <= total < 2**63:
        raise ValueError(f"total={total!r}: write a number from 0 to 2**63-1.")


def sum_of(name: str, text: str | None, delta: int | float) -> str:
    """The text of `text` + `delta`. ValueError when either the old value or the new one is no number to keep."""
    shown = name.removeprefix("m:")
    old = loads(text) if text else 0
    if not is_number(old):
        raise ValueError(f"{shown} is {old!r}, not a number.")
    try:
        new = old + delta
    except OverflowError:  # a float and a whole number past what floats hold
        new = math.inf
    if isinstance(new, float) and not math.isfinite(new):
        raise ValueError(f"{shown} would be larger than a float can be.")
    if name == "message_count" and not fits(new):
        raise ValueError("message_count does not fit in 64 bits.")
    return dumps(new)
