"""The probes and the metrics, asked as an operator's tools ask them: over HTTP, by address."""

import signal
import time
from pathlib import Path

import httpx
import pytest
from django.http import HttpRequest
from pytest_django import Settings

from supportdesk.health import may_read_metrics
from tests.chat_client import PATIENCE
from tests.conftest import ValkeyServer
from tests.desk import Desk

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_healthz_answers_for_any_host(desk: Desk) -> None:
    answer = httpx.get(f"{desk.url}/healthz", headers={"Host": "10.0.0.7"}, timeout=PATIENCE)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_readyz_names_each_part_with_its_state(desk: Desk) -> None:
    answer = httpx.get(f"{desk.url}/readyz", timeout=PATIENCE)
    assert answer.status_code == 200
    parts = ready_parts(desk)
    assert {"database", "session_store", "doorbell", "knowledge"} <= parts.keys()
    assert {part["state"] for part in parts.values()} == {"ok"}


def ready_parts(desk: Desk) -> dict[str, dict[str, object]]:
    """The parts once the index, which loads in the background, is there."""
    deadline = time.monotonic() + PATIENCE
    while True:
        parts = httpx.get(f"{desk.url}/readyz", timeout=PATIENCE).json()["parts"]
        if parts["knowledge"]["articles"] or time.monotonic() > deadline:
            return parts
        time.sleep(0.1)


def test_metrics_are_what_prometheus_reads(desk: Desk) -> None:
    httpx.get(f"{desk.url}/api/schema/", timeout=PATIENCE)
    answer = httpx.get(f"{desk.url}/metrics", timeout=PATIENCE)
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert 'supportdesk_part_state{part="database",state="ok"} 1.0' in answer.text
    assert 'supportdesk_http_request_seconds_count{method="GET",route="api/schema/",status="200"}' in answer.text


def test_an_invented_method_makes_no_new_series(desk: Desk) -> None:
    httpx.request("INVENTED", f"{desk.url}/api/schema/", timeout=PATIENCE)
    assert "INVENTED" not in httpx.get(f"{desk.url}/metrics", timeout=PATIENCE).text


def asked_from(address: str, **headers: str) -> HttpRequest:
    request = HttpRequest()
    request.META = {"REMOTE_ADDR": address} | {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return request


@pytest.mark.parametrize(
    ("request_", "may"),
    [
        (asked_from("10.1.1.1"), True),
        (asked_from("10.1.1.2"), False),
        (asked_from("10.1.1.2", authorization="Bearer correct-horse"), True),
        (asked_from("10.1.1.2", authorization="Bearer wrong"), False),
        (asked_from("10.1.1.2", authorization="Bearer "), False),
        (asked_from("10.1.1.1", x_forwarded_for="203.0.113.9"), False),
    ],
    ids=["its address", "another", "the token", "a wrong token", "an empty token", "through a proxy at its address"],
)
def test_with_debug_off_metrics_are_for_the_operator(settings: Settings, request_: HttpRequest, may: bool) -> None:
    settings.DEBUG = False
    settings.METRICS_TOKEN = "correct-horse"
    settings.METRICS_ALLOWED_ADDRESSES = ["10.1.1.1"]
    assert may_read_metrics(request_) is may


def test_without_a_token_set_an_empty_bearer_is_nobody(settings: Settings) -> None:
    settings.DEBUG = False
    settings.METRICS_TOKEN = ""
    assert not may_read_metrics(asked_from("10.1.1.2", authorization="Bearer "))


def test_the_store_away_is_degraded_and_still_ready(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path)
    server.start()
    desk = Desk(tmp_path, USE_SHARED_CONTEXT="true", REDIS_URL=server.url)
    try:
        desk.start("--prepare")
        assert httpx.get(f"{desk.url}/readyz", timeout=PATIENCE).json()["parts"]["session_store"]["state"] == "ok"
        server.stop(signal.SIGKILL)
        answer = httpx.get(f"{desk.url}/readyz", timeout=PATIENCE)
        assert answer.status_code == 200
        assert answer.json()["parts"]["session_store"]["state"] == "degraded"
    finally:
        desk.stop()
        server.stop()


def test_the_database_away_is_down(tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    desk = Desk(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path / 'held' / 'desk.sqlite3'}")
    try:
        desk.start("--prepare")
        (tmp_path / "held").rename(tmp_path / "gone")
        answer = httpx.get(f"{desk.url}/readyz", timeout=PATIENCE)
        assert answer.status_code == 503
        assert answer.json()["parts"]["database"] == {"state": "down"}
    finally:
        desk.stop()
