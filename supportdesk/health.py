"""The operator's probes: /healthz (is it alive), /readyz (may it get traffic), /metrics (Prometheus)."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.crypto import constant_time_compare
from django.utils.decorators import sync_and_async_middleware
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

from agent_app.engine import engine
from agent_app.knowledge.indexing import knowledge
from agent_app.tools.backend import statuses
from sessions_app.stores import get_store
from supportdesk.lifespan import process

PROBE_SECONDS = 2  # for each part, so that an answer comes before a load balancer's own deadline

PART_STATE = Gauge("supportdesk_part_state", "1 for the state that each part is in", ["part", "state"])
CIRCUIT_OPEN = Gauge("supportdesk_circuit_open", "1 while a back end's circuit is not closed", ["backend"])
PART_VALUE = Gauge("supportdesk_part_value", "The numbers that each part reports", ["part", "name"])


async def healthz(request: HttpRequest) -> HttpResponseBase:
    return JsonResponse({"status": "ok"})


async def readyz(request: HttpRequest) -> HttpResponseBase:
    """503 while a part without which no message can be answered is down, and from SIGTERM on."""
    parts = await states()
    ready = all(part["state"] != "down" for part in parts.values())
    body = {"status": "ready" if ready else "unavailable", "parts": parts}
    return JsonResponse(body, status=200 if ready else 503)


async def metrics(request: HttpRequest) -> HttpResponseBase:
    if not may_read_metrics(request):
        return JsonResponse({"code": "forbidden", "message": "Metrics need METRICS_TOKEN as bearer."}, status=403)
    PART_STATE.clear()
    for name, part in (await states()).items():
        PART_STATE.labels(name, part["state"]).set(1)
        for field, value in part.items():
            if isinstance(value, int | float):
                PART_VALUE.labels(name, field).set(value)
    for name, breaker in statuses().items():
        CIRCUIT_OPEN.labels(name).set(breaker["state"] != "closed")
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)


def may_read_metrics(request: HttpRequest) -> bool:
    if settings.DEBUG:
        return True
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if settings.METRICS_TOKEN and constant_time_compare(bearer, settings.METRICS_TOKEN):
        return True
    # Through a proxy the peer's address is the proxy's own, often 127.0.0.1, and says nothing about who asks.
    direct = "X-Forwarded-For" not in request.headers and "Forwarded" not in request.headers
    return direct and request.META.get("REMOTE_ADDR") in settings.METRICS_ALLOWED_ADDRESSES


async def states() -> dict[str, dict[str, Any]]:
    """Each part's name with its state (ok, degraded or down) and what numbers it gives."""
    parts: dict[str, dict[str, Any]] = {
        "database": await database(),
        "session_store": await session_store(),
        "knowledge": knowledge.status(),
        **engine.status(),
    }
    if process.draining:
        parts["draining"] = {"state": "down"}
    return parts


async def database() -> dict[str, Any]:
    began = time.perf_counter()
    try:
        await asyncio.wait_for(asyncio.to_thread(ask_database), PROBE_SECONDS)
    except (DatabaseError, TimeoutError):
        return {"state": "down"}
    return {"state": "ok", "ms": round((time.perf_counter() - began) * 1000, 1)}


def ask_database() -> None:
    """Over a connection of its own, made and closed here: the thread it runs in belongs to no request."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


async def session_store() -> dict[str, Any]:
    """Never down: chat goes on from the database while the store is away."""
    try:
        there = await asyncio.wait_for(get_store().ping(), PROBE_SECONDS)
    except TimeoutError:
        there = False
    return {"state": "ok" if there else "degraded"}


PROBES: dict[str, Callable[[HttpRequest], Awaitable[HttpResponseBase]]] = {
    "/healthz": healthz,
    "/readyz": readyz,
    "/metrics": metrics,
}


@sync_and_async_middleware
def probes(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Answers the probes before hosts are checked and http redirected: a probe calls by address, over http."""

    async def answer_async(request: HttpRequest) -> HttpResponseBase:
        probe = PROBES.get(request.path)
        return await probe(request) if probe else cast(HttpResponseBase, await get_response(request))

    def answer(request: HttpRequest) -> HttpResponseBase:
        probe = PROBES.get(request.path)
        return async_to_sync(probe)(request) if probe else cast(HttpResponseBase, get_response(request))

    return answer_async if iscoroutinefunction(get_response) else answer
