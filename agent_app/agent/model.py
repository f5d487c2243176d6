"""A language model as the conversation needs it: one streamed request at a time, tried again where that can help.

pydantic-ai knows the providers and their formats. Nothing here is imported unless a model is configured.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import httpx2
from pydantic_ai.direct import model_request_stream
from pydantic_ai.exceptions import (
    AgentRunError,
    ModelAPIError,
    ModelHTTPError,
    ModelQuotaExceededError,
    UserError,
)
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
)
from pydantic_ai.models import Model, ModelRequestParameters, infer_model
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from agent_app.agent.responder import WrongModel
from agent_app.agent.spending import Prices, Spent

logger = logging.getLogger(__name__)

TRIES = 4
FIRST_WAIT = 0.5  # seconds; doubled each time, with jitter
LONGEST_WAIT = 8.0
SILENCE = 20.0  # seconds without a byte, after which a request is given up


class ModelAway(Exception):
    """The model gave no usable answer; the message says why, for the log."""


@dataclass
class Request:
    """One request and what came of it; `response` is there once `pieces` has ended. `spent` grows with each try."""

    messages: Sequence[ModelMessage]
    spent: Spent
    tools: Sequence[ToolDefinition] = ()
    max_tokens: int = 2000
    response: ModelResponse = field(default_factory=lambda: ModelResponse(parts=[]), init=False)

    def characters(self) -> int:
        parts = [part for message in self.messages for part in message.parts]
        return sum(len(str(getattr(part, "content", ""))) for part in parts)


class LanguageModel:
    def __init__(self, name: str, prices: Prices) -> None:
        self.name = name
        self._prices = prices
        try:
            self._model: Model = infer_model(name)
            # No retries of the client's own: ours know the turn's deadline. Said once, for a request that says it gets
            # a client of its own, which costs as much as reading ten chunks.
            self._model.client.max_retries = 0  # type: ignore[attr-defined]
        except (UserError, ImportError, ValueError) as error:
            why = str(error).splitlines()[0].partition(" or pass it")[0]
            raise WrongModel(f"AGENT_MODEL={name!r} cannot be used: {why}.") from error

    async def pieces(self, request: Request, deadline: float) -> AsyncGenerator[str, None]:
        """The answer's text as it comes; the tool calls are in `request.response` afterwards.

        A failed request is sent again as long as nothing of it was given out and `deadline` (time.monotonic())
        allows. Raises ModelAway.
        """
        for attempt in range(1, TRIES + 1):
            given = False
            try:
                async with aclosing(self._once(request, deadline)) as pieces:
                    async for piece in pieces:
                        given = True
                        yield piece
                return
            except (AgentRunError, httpx2.HTTPError, ValueError) as error:
                # ValueError: what a server sent instead of a completion, refused by the client's own types.
                request.spent.tries += 1
                wait = pause(error, attempt)
                if given or wait is None or attempt == TRIES or time.monotonic() + wait >= deadline:
                    raise ModelAway(f"{type(error).__name__}: {str(error)[:200]}") from error
                logger.warning("model.retry attempt=%d wait=%.1f error=%s", attempt, wait, type(error).__name__)
                await asyncio.sleep(wait)

    async def _once(self, request: Request, deadline: float) -> AsyncGenerator[str, None]:
        left = max(deadline - time.monotonic(), 0.1)
        settings = ModelSettings(max_tokens=request.max_tokens, timeout=min(SILENCE, left))
        parameters = ModelRequestParameters(function_tools=list(request.tools))
        stream = model_request_stream(
            self._model, request.messages, model_settings=settings, model_request_parameters=parameters
        )
        async with stream as events:
            try:
                async for event in events:
                    if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                        piece = event.part.content
                    elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                        piece = event.delta.content_delta
                    else:
                        continue
                    if piece:
                        yield piece
            finally:
                request.response = events.get()
                counted = request.response.usage.input_tokens > 0
                request.spent.add(request.response, 0 if counted else request.characters(), self._prices)


def pause(error: Exception, attempt: int) -> float | None:
    """Seconds until the next try; None when trying again would not help."""
    if isinstance(error, ModelQuotaExceededError):
        return None
    if isinstance(error, ModelHTTPError) and error.status_code not in (408, 409, 425, 429) and error.status_code < 500:
        return None
    asked = error.retry_after if isinstance(error, ModelAPIError) else None
    if asked is not None:
        return max(0.0, asked)
    full = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1))
    return full * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing
