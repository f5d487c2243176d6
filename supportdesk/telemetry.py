"""What an operator sees of a request: its id on the response and in every log line, and its duration."""

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import cast

import orjson
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from prometheus_client import Histogram

HEADER = "X-Request-ID"
SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

request_id: ContextVar[str] = ContextVar("request_id", default="-")

REQUEST_SECONDS = Histogram(
    "supportdesk_http_request_seconds",
    "Time until the response's head, by route; a streamed body is not counted.",
    ["method", "route", "status"],
    buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60),
)


class RequestIdMiddleware:
    """Takes a sane X-Request-ID or makes one, and puts it on the request, the response and the log lines.

    It runs in whichever mode its neighbour does: a middleware of one mode only costs a thread hop a request.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self.answer_async(request)
        began, token = time.perf_counter(), begin(request)
        try:
            return finish(request, cast(HttpResponseBase, self.get_response(request)), began)
        finally:
            request_id.reset(token)

    async def answer_async(self, request: HttpRequest) -> HttpResponseBase:
        began, token = time.perf_counter(), begin(request)
        try:
            return finish(request, await cast(Awaitable[HttpResponseBase], self.get_response(request)), began)
        finally:
            request_id.reset(token)


def begin(request: HttpRequest):  # type: ignore[no-untyped-def]
    given = request.headers.get(HEADER, "")
    request.request_id = given if SANE.fullmatch(given) else uuid.uuid4().hex  # type: ignore[attr-defined]
    return request_id.set(request.request_id)  # type: ignore[attr-defined]


def finish(request: HttpRequest, response: HttpResponseBase, began: float) -> HttpResponseBase:
    response.headers[HEADER] = request.request_id  # type: ignore[attr-defined]
    # Labels come from closed sets: what a client may invent would grow the process without bound.
    method = request.method if request.method in METHODS else "other"
    route = request.resolver_match.route if request.resolver_match else ""
    REQUEST_SECONDS.labels(method, route, response.status_code).observe(time.perf_counter() - began)
    return response


class RequestIdFilter(logging.Filter):
    """Gives every log record the id of the request it belongs to, or "-"."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line, for log collectors (LOG_FORMAT=json)."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "request_id": getattr(record, "request_id", "-"),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()
