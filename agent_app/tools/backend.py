"""The company's own systems over HTTP: retries, circuit breaker, deadline and size, once for all tools.

A read is tried up to three times; a write, too, since it carries the confirmation's id as Idempotency-Key: whoever
sends it again, now or after a takeover, means the same intent. docs/adding-a-tool.md says what a back end answers.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from weakref import WeakKeyDictionary

import httpx
import orjson
import stamina
from django.conf import settings

from agent_app import demo
from agent_app.agent.events import TurnContext
from agent_app.demo.access import own_address, own_transport
from agent_app.tools.breaker import CircuitBreaker, Open
from agent_app.tools.failures import Away, NotAllowed, NotFound, TooLarge

logger = logging.getLogger(__name__)

ATTEMPTS = 3
FIRST_WAIT, LONGEST_WAIT, JITTER = 0.1, 1.0, 0.2  # seconds between two tries
MOST_BYTES = 256 * 1024  # of one answer
RETRIED = {429, 500, 502, 503, 504}
# What a back end calls it that the same Idempotency-Key is being worked on already.
IN_PROGRESS = {"in_progress", "request_in_progress", "idempotency_in_progress", "idempotency_key_in_use"}
LOOK_AGAIN = 0.5  # seconds, where it does not say when


class Refusal(NotAllowed):
    """The back end understood and says no. `reason` is its code, such as "already_shipped"."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"The back end refuses: {message or reason}")
        self.reason = reason


class Failed(Exception):
    """A try that failed. `again` is False where another would fail alike; `after` is the seconds that it asks for."""

    def __init__(self, why: str, again: bool = True, after: float = 0.0) -> None:
        super().__init__(why)
        self.again = again
        self.after = after


@dataclass
class Backend:
    """One of the company's systems: crm, billing, inventory. `seconds` is the limit of one try."""

    name: str
    seconds: float = 4.0
    breaker: CircuitBreaker = field(init=False)
    _clients: "WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient]" = field(
        init=False, default_factory=WeakKeyDictionary
    )

    def __post_init__(self) -> None:
        self.breaker = CircuitBreaker(self.name)

    async def get(self, context: TurnContext, path: str, **params: str) -> Any:
        """What the back end answers, as JSON gives it. Raises NotFound, Refusal, Away, TooLarge."""
        return await self._ask(context, "GET", path, params=params)

    async def write(self, context: TurnContext, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """As `get`. A write that nobody has confirmed has no id to go under, and is not sent."""
        if context.writing_as is None:
            raise NotAllowed(f"{self.name} is not written to without a confirmation")
        try:
            return await self._ask(context, method, path, json=body, key=context.writing_as)
        except TooLarge:
            raise Away(f"{self.name} took the change, and its answer is too large") from None

    async def close(self) -> None:
        """Ends the connections of this event loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    # ---- one request, tried a few times ----

    async def _ask(self, context: TurnContext, method: str, path: str, key: str | None = None, **what: Any) -> Any:
        if key is not None:
            what["headers"] = {"Idempotency-Key": key}
        failed = 0

        def worth_another(error: Exception) -> bool | float:
            nonlocal failed
            if not isinstance(error, Failed) or not error.again:
                return False
            failed += not isinstance(error, InProgress)  # that one is no failure: it comes to its end
            if failed >= ATTEMPTS:
                return False
            if time.monotonic() + error.after + self.seconds / 4 > context.deadline:
                return False
            return error.after or True

        try:
            async for attempt in stamina.retry_context(
                on=worth_another,
                attempts=None,
                timeout=max(0.1, context.deadline - time.monotonic()),
                wait_initial=FIRST_WAIT,
                wait_max=LONGEST_WAIT,
                wait_jitter=JITTER,
            ):
                with attempt:
                    return await self._try(method, path, what)
        except (Failed, Open) as error:
            logger.info("backend.gave_up name=%s why=%s", self.name, error)
            raise Away(f"{self.name} does not answer: {error}") from None

    async def _try(self, method: str, path: str, what: dict[str, Any]) -> Any:
        self.breaker.enter()
        try:
            status, headers, body = await self._send(method, path, what)
            answer = self._read(status, headers, body)
        except Failed as error:
            if isinstance(error, Busy):
                self.breaker.succeeded()  # it is there, and says so
            else:
                self.breaker.failed(str(error))
            raise
        except (NotFound, NotAllowed, TooLarge):
            self.breaker.succeeded()
            raise
        except BaseException:
            self.breaker.abandoned()
            raise
        self.breaker.succeeded()
        return answer

    async def _send(self, method: str, path: str, what: dict[str, Any]) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and body, within the time of one try and the size of one answer."""
        read = bytearray()
        try:
            async with (
                asyncio.timeout(self.seconds),
                self._client().stream(method, f"{self._address()}/{path}", **what) as response,
            ):
                async for piece in response.aiter_bytes():
                    read += piece
                    if len(read) > MOST_BYTES:
                        raise TooLarge(f"{self.name} answers with more than {MOST_BYTES} bytes: ask for less")
                return response.status_code, response.headers, bytes(read)
        except TimeoutError:
            raise Failed("no answer in time") from None
        except httpx.HTTPError as error:
            raise Failed(type(error).__name__) from None

    def _read(self, status: int, headers: httpx.Headers, body: bytes) -> Any:
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Busy(f"status {status}", after=retry_after(headers))
        if status in RETRIED:
            raise Failed(f"status {status}", after=retry_after(headers))
        if status == HTTPStatus.NOT_FOUND:
            raise NotFound("There is no such thing, or it is not this customer's.")
        try:
            answer = orjson.loads(body)
        except ValueError:
            raise Failed(f"status {status} without JSON", again=False) from None
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) or not (200 <= status < 300 or status >= 400):
            logger.error("backend.misconfigured name=%s status=%d", self.name, status)
            raise Failed(f"status {status}", again=False)
        if status >= 400:
            said = answer if isinstance(answer, dict) else {}
            reason = str(said.get("error") or "")
            # Without a reason a conflict may be the one with our own earlier try: nobody knows yet.
            if status == HTTPStatus.CONFLICT and (not reason or reason.lower() in IN_PROGRESS):
                raise InProgress("still in progress", after=retry_after(headers) or LOOK_AGAIN)
            raise Refusal((reason or str(status))[:100], str(said.get("message", ""))[:500])
        return answer

    def _address(self) -> str:
        configured = settings.BACKENDS.get(self.name)
        return str(configured["url"]) if configured else f"{own_address()}/demo/backend/{self.name}"

    def _client(self) -> httpx.AsyncClient:
        """One a loop: an httpx client belongs to the loop that it was first used on."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            configured = settings.BACKENDS.get(self.name)
            key = configured["key"] if configured else demo.access_key()
            client = self._clients[loop] = httpx.AsyncClient(
                transport=None if configured else own_transport(),
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=self.seconds,
                trust_env=False,
            )
        return client


class Busy(Failed):
    """429: it answers, and asks to be left alone for a while."""


class InProgress(Busy):
    """409: an earlier try of the same write has not come to its end there. It is asked for until the time is over."""


def retry_after(headers: httpx.Headers) -> float:
    """Seconds; a date, or nonsense, counts as none."""
    try:
        return min(60.0, max(0.0, float(headers.get("Retry-After", "0"))))
    except ValueError:
        return 0.0


crm, billing, inventory = (Backend(name) for name in ("crm", "billing", "inventory"))
BACKENDS = {backend.name: backend for backend in (crm, billing, inventory)}


def statuses() -> dict[str, dict[str, str | int]]:
    """How each circuit stands, of the back ends that have an address."""
    return {
        name: backend.breaker.status()
        for name, backend in BACKENDS.items()
        if name in settings.BACKENDS or demo.is_open()
    }


async def close_all() -> None:
    for backend in BACKENDS.values():
        await backend.close()
