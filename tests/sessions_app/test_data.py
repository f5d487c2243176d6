"""SessionData, and the texts as which it is kept."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions_app.data import SessionData, check_json, decode, dumps, encode, loads, sum_of

pytestmark = pytest.mark.unit

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_defaults() -> None:
    data = SessionData("s")
    assert (data.user_id, data.thread_id, data.message_count, data.escalated, data.metadata, data.request_id) == (
        None,
        None,
        0,
        False,
        {},
        None,
    )
    assert data.created_at is data.updated_at is data.last_activity is None


@given(st.dictionaries(st.text(), values, max_size=5))
def test_json_and_fields_give_back_exactly_what_went_in(metadata: dict[str, object]) -> None:
    data = SessionData("s", metadata=metadata, created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
    assert SessionData.from_json(data.to_json()) == data
    assert decode("s", encode(data)) == data


@pytest.mark.parametrize("value", [[], {}, 2**53 + 1, -(2**63), 2**64, 10**40, 1e300, 0.1, "☃\U0001f600\x00", "\ud800"])
def test_values_that_others_lose(value: object) -> None:
    assert loads(dumps(value)) == value
    assert type(loads(dumps(value))) is type(value)


def test_from_dict_takes_texts_with_and_without_offset() -> None:
    data = SessionData.from_dict(
        {"session_id": "s", "created_at": "2026-01-02T03:04:05", "updated_at": "2026-01-02T03:04:05+02:00"}
    )
    assert data.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert data.updated_at == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)


def test_from_dict_puts_what_it_does_not_know_in_metadata() -> None:
    data = SessionData.from_dict({"session_id": "s", "metadata": {"a": 1}, "to_json": 2, "plan": "gold"})
    assert data.metadata == {"a": 1, "to_json": 2, "plan": "gold"}
    assert '"s"' in data.to_json()


@pytest.mark.parametrize(
    "when", [datetime(2026, 5, 6, 7, 8, 9, 10), datetime(2026, 5, 6, 9, 8, 9, 10, tzinfo=timezone(timedelta(hours=2)))]
)
def test_datetimes_are_kept_as_utc_to_the_microsecond(when: datetime) -> None:
    kept = decode("s", encode(SessionData("s", created_at=when)))
    assert kept.created_at == datetime(2026, 5, 6, 7, 8, 9, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"a": {"b": [1, {2}]}}, "metadata.a.b[1] is a set"),
        ({"a": datetime.now(tz=UTC)}, "metadata.a is a datetime"),
        ({"a": float("nan")}, "metadata.a is nan"),
        ({"a": {1: 2}}, "metadata.a has the key 1"),
        ({"a": b"x"}, "metadata.a is a bytes"),
        ([], "metadata is a dict, not a list"),
    ],
)
def test_what_is_not_json_is_named_by_its_path(metadata: dict[str, object], path: str) -> None:
    with pytest.raises(TypeError, match=path.replace("[", r"\[")):
        encode(SessionData("s", metadata=metadata))


def test_nesting_has_an_end() -> None:
    deep: list[object] = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(TypeError, match="nested deeper"):
        check_json(deep, "metadata")


def test_a_count_that_a_float_meets_is_compared_and_not_searched() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        sum_of("message_count", "1", 1e30)


def test_an_empty_text_is_as_good_as_absent() -> None:
    assert decode("s", {"m:x": "", "m:y": "1"}).metadata == {"y": 1}
    assert sum_of("m:x", "", 2) == "2"


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (SessionData("s", metadata={"a": [1, {2}]}), r"metadata.a\[1\] is a set"),
        (SessionData("s", metadata={"a": float("inf")}), "metadata.a is inf"),
        (SessionData("s", user_id=b"u"), "user_id is a bytes"),  # type: ignore[arg-type]
    ],
)
def test_to_json_names_what_is_not_json(data: SessionData, path: str) -> None:
    with pytest.raises(TypeError, match=path):
        data.to_json()


def test_to_dict_shares_nothing() -> None:
    data = SessionData("s", metadata={"list": [1]})
    data.to_dict()["metadata"]["list"].append(2)
    assert data.metadata == {"list": [1]}


@pytest.mark.parametrize("metadata", ["x", [], [("a", 1)], 0])
def test_from_dict_wants_a_dict_for_metadata(metadata: object) -> None:
    with pytest.raises(TypeError, match="metadata is a dict"):
        SessionData.from_dict({"session_id": "s", "metadata": metadata})
