"""Request ids and log lines, in both modes that Django's middlewares run in."""

import json
import logging

import pytest
from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from supportdesk.errors import api_errors
from supportdesk.health import probes
from supportdesk.telemetry import JsonFormatter, RequestIdFilter, RequestIdMiddleware, request_id

pytestmark = pytest.mark.unit


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request_id.get())


async def view_async(request: HttpRequest) -> HttpResponse:
    return view(request)


def test_the_id_is_known_while_a_view_runs_and_forgotten_after() -> None:
    response = RequestIdMiddleware(view)(RequestFactory().get("/", headers={"X-Request-ID": "abc"}))
    assert (response.content, response.headers["X-Request-ID"]) == (b"abc", "abc")
    assert request_id.get() == "-"


async def test_the_same_where_everything_is_asynchronous() -> None:
    middleware = RequestIdMiddleware(view_async)
    assert iscoroutinefunction(middleware)
    response = await middleware(RequestFactory().get("/", headers={"X-Request-ID": "abc"}))
    assert (response.content, response.headers["X-Request-ID"]) == (b"abc", "abc")
    assert request_id.get() == "-"


async def test_the_other_middlewares_stay_asynchronous_too() -> None:
    async def crash(request: HttpRequest) -> HttpResponse:
        return HttpResponse("<h1>Server error</h1>", status=500)

    chain = probes(api_errors(crash))
    assert iscoroutinefunction(chain)
    assert (await chain(RequestFactory().get("/healthz"))).status_code == 200
    response = await chain(RequestFactory().get("/api/v1/anything"))
    assert json.loads(response.content)["code"] == "internal"
    assert b"Server error" in (await chain(RequestFactory().get("/page"))).content


def test_a_json_line_has_the_id_and_the_traceback() -> None:
    try:
        raise ValueError("no")
    except ValueError as error:
        record = logging.LogRecord("desk", logging.ERROR, "", 1, "turn.failed ms=%d", (7,), (ValueError, error, None))
    token = request_id.set("abc")
    RequestIdFilter().filter(record)
    request_id.reset(token)
    line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["request_id"], line["message"]) == ("ERROR", "abc", "turn.failed ms=7")
    assert "ValueError: no" in line["traceback"]
