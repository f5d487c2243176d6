"""The customer's REST doors (`/api/v1/chat/…`): each parses, calls `chat`, and renders.

Plain DRF views: one holds a thread while it waits, so those that wait for an answer are counted
(CHAT_MAX_WAITING_REST). An event stream holds none.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any, TypeVar

import orjson
from asgiref.sync import async_to_sync
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, OpenApiTypes, extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agent_app import chat
from agent_app.agent.events import Decision
from agent_app.erasing import erase_or_leave
from agent_app.follower import Follower, TooSlow
from agent_app.journal import journal
from agent_app.models import Conversation, Erasure
from agent_app.models.conversations import Entry, wire_time
from agent_app.models.refusal import Refused
from agent_app.models.turns import Outcome
from agent_app.reaching import note_read, seen_by
from agent_app.serializers import (
    AnsweredSerializer,
    ChatStateSerializer,
    ChoiceAnswerSerializer,
    EraseSerializer,
    ErrorSerializer,
    EscalatedSerializer,
    EscalateSerializer,
    HelpfulSerializer,
    HistoryQuerySerializer,
    HistorySerializer,
    NewMessageSerializer,
    NewSessionSerializer,
    OpenedSessionSerializer,
    RatingSerializer,
    ReceiptSerializer,
    TranscriptQuerySerializer,
    TranscriptSerializer,
    proven_user,
)
from agent_app.session import session_statistics
from agent_app.tools.backend import statuses

T = TypeVar("T")

GRACE = 5  # seconds that a waiting caller is given over AGENT_TURN_TIMEOUT
KEEP_ALIVE = 15.0  # seconds of silence after which a stream sends a comment, so that no proxy cuts it


class CustomerToken(BaseAuthentication):
    """The session's token, `Authorization: Bearer …`; which session it opens is the look-up's to say."""

    def authenticate(self, request: Request) -> tuple[None, str]:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise AuthenticationFailed("Send the session's token: Authorization: Bearer …")
        return None, token.strip()

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="chat"'


class CustomerTokenScheme(OpenApiAuthenticationExtension):
    target_class = CustomerToken
    match_subclasses = True
    name = "sessionToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "The token that opening the chat gave."}


class EventStreamRenderer(BaseRenderer):
    """Lets `Accept: text/event-stream` be negotiated; errors on such a request are JSON all the same."""

    media_type = "text/event-stream"
    format = "sse"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return orjson.dumps(data)


class Negotiation(DefaultContentNegotiation):
    """JSON for whoever asks for something else: an error must reach them, too."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        for renderer in renderers:
            if renderer.media_type in request.headers.get("Accept", "") and renderer.media_type != "application/json":
                return renderer, renderer.media_type
        return renderers[0], renderers[0].media_type


ERRORS = {code: OpenApiResponse(ErrorSerializer) for code in (400, 401, 403, 404, 409, 413, 429, 503)}


def answers(success: int, body: Any, *errors: int) -> dict[int, Any]:
    return {success: body, **{code: ERRORS[code] for code in errors}}


class CustomerView(APIView):
    """A door that the session's token alone opens; Django's login means nothing here."""

    authentication_classes: Sequence[type[BaseAuthentication]] = (CustomerToken,)
    permission_classes = ()
    content_negotiation_class = Negotiation
    renderer_classes: Sequence[type[BaseRenderer]] = (JSONRenderer,)


class SessionsView(CustomerView):
    authentication_classes = ()

    @extend_schema(
        operation_id="chat_open",
        request=NewSessionSerializer,
        responses=answers(201, OpenedSessionSerializer, 400, 413, 429, 503),
        auth=[],
    )
    def post(self, request: Request) -> Response:
        """Opens a chat. The token is shown this once."""
        address = caller_address(request)
        if not chat.opening_rate().take(address):
            after = chat.opening_rate().retry_after(address)
            raise Refused("rate_limited", f"Too many new chats from here. Try again in {after} s.", retry_after=after)
        given = validated(NewSessionSerializer, request.data)
        user_id, verified, email = given["user_id"], False, None
        if given["identity"] is not None:
            (user_id, email), verified = proven_user(given["identity"], user_id), True
        conversation, token = async_to_sync(chat.open_chat)(user_id, verified, given["metadata"], email)
        return Response(opened(request, conversation, token), status=201)


class SessionView(CustomerView):
    @extend_schema(operation_id="chat_state", responses=answers(200, ChatStateSerializer, 401, 404, 503))
    def get(self, request: Request, session_id: str) -> Response:
        """Where the chat stands."""
        return Response(customers_chat(request, session_id).to_wire())

    @extend_schema(operation_id="chat_end", responses=answers(204, None, 401, 404, 503))
    def delete(self, request: Request, session_id: str) -> Response:
        """Ends the chat; its messages can still be read with the token."""
        conversation = customers_chat(request, session_id)
        async_to_sync(chat.end_chat)(conversation.pk, "ended_by_customer", "customer")
        return Response(status=204)


class MessagesView(CustomerView):
    renderer_classes = (JSONRenderer, EventStreamRenderer)

    @extend_schema(
        operation_id="chat_history",
        parameters=[HistoryQuerySerializer],
        responses=answers(200, HistorySerializer, 400, 401, 404, 503),
    )
    def get(self, request: Request, session_id: str) -> Response:
        """The messages after a seq, oldest first."""
        asked = validated(HistoryQuerySerializer, request.query_params)
        conversation = customers_chat(request, session_id)
        found = async_to_sync(journal.entries)(conversation.pk, asked["after"], asked["limit"] + 1)
        results = [entry.to_wire() for entry in found[: asked["limit"]]]
        note_read(conversation.pk, found[: asked["limit"]])
        last_seq = max(conversation.last_seq, found[-1].seq if found else 0)
        return Response({"results": results, "last_seq": last_seq, "has_more": len(found) > asked["limit"]})

    @extend_schema(
        operation_id="chat_send",
        request=NewMessageSerializer,
        responses={
            **answers(200, AnsweredSerializer, 400, 401, 404, 409, 413, 429, 503),
            (200, "text/event-stream"): OpenApiTypes.STR,
        },
    )
    def post(self, request: Request, session_id: str) -> Response | StreamingHttpResponse:
        """Stores the message and waits for its answer, or streams the turn's events (`Accept: text/event-stream`)."""
        began = time.monotonic()
        given = validated(NewMessageSerializer, request.data)
        conversation = customers_chat(request, session_id)
        if isinstance(request.accepted_renderer, EventStreamRenderer):
            sent, follower = async_to_sync(chat.ask_and_follow)(
                conversation, given["text"], given["client_id"], given["attachments"]
            )
            return event_stream(turn_events(sent, follower))
        return Response(asked(request, conversation, given["text"], given["client_id"], began, given["attachments"]))


class EventsView(CustomerView):
    renderer_classes = (EventStreamRenderer, JSONRenderer)
    # No HEAD, which Django answers as a GET: of a stream that is a response without an end. A proxy takes it for
    # finished, and the next customer's request on that connection waits for ever.
    http_method_names = ("get", "options")

    @extend_schema(
        operation_id="chat_events",
        parameters=[OpenApiParameter("after", int, description="the last seq that was seen")],
        responses={
            (200, "text/event-stream"): OpenApiTypes.STR,
            **{code: ERRORS[code] for code in (400, 401, 404, 503)},
        },
    )
    def get(self, request: Request, session_id: str) -> StreamingHttpResponse:
        """A standing stream of messages, states and deltas, for clients without WebSockets."""
        after = request.query_params.get("after", request.headers.get("Last-Event-ID", "0"))
        asked = validated(HistoryQuerySerializer, {"after": after})
        conversation = customers_chat(request, session_id)
        return event_stream(standing_events(conversation, asked["after"]))


class EscalateView(CustomerView):
    @extend_schema(
        operation_id="chat_escalate",
        request=EscalateSerializer,
        responses=answers(200, EscalatedSerializer, 400, 401, 404, 409, 503),
    )
    def post(self, request: Request, session_id: str) -> Response:
        """Asks for a person."""
        given = validated(EscalateSerializer, request.data)
        conversation = customers_chat(request, session_id)
        done = async_to_sync(chat.ask_for_person)(conversation, given["reason"] or "")
        return Response({"state": done.state, "ticket": done.ticket})


class ChoiceView(CustomerView):
    @extend_schema(
        operation_id="chat_choose",
        request=ChoiceAnswerSerializer,
        responses=answers(200, AnsweredSerializer, 400, 401, 404, 409, 429, 503),
    )
    def post(self, request: Request, session_id: str) -> Response:
        """Answers the agent's choices: stored as the customer's message, and answered as one."""
        began = time.monotonic()
        given = validated(ChoiceAnswerSerializer, request.data)
        conversation = customers_chat(request, session_id)
        choice = async_to_sync(chat.choose)(conversation, given["id"], given["client_id"])
        return Response(asked(request, conversation, choice.text, given["client_id"], began, decision=choice.decision))


class FeedbackView(CustomerView):
    @extend_schema(
        operation_id="chat_rate", request=RatingSerializer, responses=answers(204, None, 400, 401, 404, 413, 503)
    )
    def post(self, request: Request, session_id: str) -> Response:
        """Rates the chat, 1 to 5; also after it has ended."""
        given = validated(RatingSerializer, request.data)
        conversation = customers_chat(request, session_id)
        async_to_sync(chat.rate_chat)(conversation, given["rating"], given["comment"] or "")
        return Response(status=204)


class MessageFeedbackView(CustomerView):
    @extend_schema(
        operation_id="chat_judge_message",
        request=HelpfulSerializer,
        responses=answers(204, None, 400, 401, 404, 413, 503),
    )
    def post(self, request: Request, session_id: str, seq: int) -> Response:
        """Says whether one answer helped, and why not."""
        given = validated(HelpfulSerializer, request.data)
        async_to_sync(chat.judge_message)(
            customers_chat(request, session_id), seq, given["helpful"], given["comment"] or ""
        )
        return Response(status=204)


class TranscriptView(CustomerView):
    @extend_schema(
        operation_id="chat_transcript",
        parameters=[TranscriptQuerySerializer],
        responses={
            **answers(200, TranscriptSerializer, 400, 401, 404, 503),
            (200, "text/plain"): OpenApiTypes.STR,
        },
    )
    def get(self, request: Request, session_id: str) -> Response | HttpResponse:
        """The whole chat, to keep: as text, or as JSON."""
        wanted = validated(TranscriptQuerySerializer, request.query_params)["format"]
        conversation = customers_chat(request, session_id)
        entries = async_to_sync(chat.whole_log)(conversation)
        if wanted == "json":
            return Response({**conversation.to_wire(), "messages": [entry.to_wire() for entry in entries]})
        response = HttpResponse(conversation.as_text(entries), content_type="text/plain; charset=utf-8")
        response.headers["Content-Disposition"] = 'attachment; filename="chat.txt"'
        return response


class EraseView(CustomerView):
    @extend_schema(
        operation_id="chat_erase",
        request=EraseSerializer,
        responses=answers(202, ReceiptSerializer, 400, 401, 403, 404, 503),
    )
    def post(self, request: Request, session_id: str) -> Response:
        """Forgets the chat, or everything of a proven customer. Asked again, it gives the same receipt."""
        given = validated(EraseSerializer, request.data)
        return Response(erase_or_leave(asked_erasure(request, session_id, given["scope"])).receipt(), status=202)


# ---- parsing ----


def validated(serializer: Callable[..., Any], data: Any) -> dict[str, Any]:
    checked = serializer(data=data)
    checked.is_valid(raise_exception=True)
    result: dict[str, Any] = checked.validated_data
    return result


def customers_chat(request: Request, session_id: str) -> Conversation:
    return async_to_sync(chat.find_chat)(session_id, str(request.auth))


def caller_address(request: Request) -> str:
    """Whom limits count by. X-Forwarded-For is believed only from our own proxy, and only its last entry."""
    address = request.META.get("REMOTE_ADDR") or "unknown"
    if address in settings.TRUSTED_PROXIES:
        forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
        try:
            return str(ip_address(forwarded))
        except ValueError:
            return address
    return address


def asked_erasure(request: Request, session_id: str, scope: str) -> Erasure:
    """What this token asks to erase, or asked before: then its chat may be gone already."""
    try:
        conversation = customers_chat(request, session_id)
    except Refused:
        asked = Erasure.objects.asked_with(str(request.auth), session_id)
        if asked is None:
            raise
        return asked
    if scope == "chat":
        return Erasure.objects.of_chat(conversation, "customer")
    if not conversation.verified or conversation.user_id is None:
        raise Refused("forbidden", "Open a chat with a proven identity to erase everything.", field="scope")
    return Erasure.objects.of_customer(conversation.user_id, "customer", conversation)


_waiting = threading.Semaphore(settings.CHAT_MAX_WAITING_REST)


@contextmanager
def waiting_place() -> Iterator[None]:
    """One of the places for callers that hold a thread while they wait."""
    if not _waiting.acquire(blocking=False):
        raise Refused("unavailable", "Too many callers wait for answers. Try again shortly.", retry_after=2)
    try:
        yield
    finally:
        _waiting.release()


def asked(
    request: Request,
    conversation: Conversation,
    text: str,
    client_id: str | None,
    began: float,
    attachments: Sequence[str] = (),
    decision: Decision | None = None,
) -> dict[str, Any]:
    """Sends the message and waits for its answer, in one of the places for waiting callers."""
    with waiting_place():
        patience = settings.AGENT_TURN_TIMEOUT + GRACE
        exchange = async_to_sync(chat.ask)(conversation, text, client_id, patience, attachments, decision)
    return answered(request, exchange, began)


# ---- rendering ----


def opened(request: Request, conversation: Conversation, token: str) -> dict[str, Any]:
    scheme = "wss" if request.is_secure() else "ws"
    return {
        "session_id": conversation.session_id,
        "token": token,
        "thread_id": conversation.thread_id,
        "state": conversation.state,
        "created_at": wire_time(conversation.created_at),
        "expires_at": wire_time(conversation.expires_at),
        "websocket": f"{scheme}://{request.get_host()}/ws/chat/",
    }


def answered(request: Request, exchange: chat.Exchange, began: float) -> dict[str, Any]:
    sent, reply = exchange.sent, exchange.reply
    assert sent.entry is not None  # noqa: S101 - `ask` gives a stored message or raises
    return {
        "message": sent.entry.to_wire(),
        "reply": reply.to_wire() if reply else None,
        "state": exchange.state,
        "metadata": metadata(request, sent, reply, exchange.pending, began),
    }


def metadata(request: Request, sent: Outcome, reply: Entry | None, pending: bool, began: float) -> dict[str, Any]:
    details = (reply.details if reply else None) or {}
    about: dict[str, Any] = {
        "message_count": sent.customer_count,
        "tools_used": details.get("tools_used", []),
        "confidence": details.get("confidence"),
        "citations": reply.citations if reply else [],
        "session_store": "redis" if settings.USE_SHARED_CONTEXT else "in_memory",
        "processing_time_ms": round((time.monotonic() - began) * 1000),
        "request_id": getattr(request, "request_id", "-"),
    }
    about |= {name: details[name] for name in ("tools_failed", "model") if name in details}
    if pending:
        about["pending"] = True
    if settings.CHAT_DEBUG_METADATA:
        about |= {
            "session_stats": async_to_sync(session_statistics)(),
            "circuit_breakers": statuses(),
            "initialization_mode": settings.AGENT_TOOL_REGISTRY_MODE,
        }
    return about


def event_stream(frames: AsyncIterator[dict[str, Any]]) -> StreamingHttpResponse:
    response = StreamingHttpResponse(server_sent(frames), content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold the events back
    return response


async def server_sent(frames: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """Frames as server-sent events, and a comment after each silence."""
    coming = asyncio.ensure_future(anext(frames, None))
    try:
        while True:
            done, _ = await asyncio.wait([coming], timeout=KEEP_ALIVE)
            if not done:
                yield b": still here\n\n"
                continue
            frame = coming.result()
            if frame is None:
                return
            yield as_event(frame)
            coming = asyncio.ensure_future(anext(frames, None))
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await frames.aclose()  # type: ignore[attr-defined]


def as_event(frame: dict[str, Any]) -> bytes:
    number = f"id: {frame['seq']}\n" if frame["type"] == "message" else ""
    return f"event: {frame['type']}\n{number}data: ".encode() + orjson.dumps(frame) + b"\n\n"


async def turn_events(sent: Outcome, follower: Follower) -> AsyncIterator[dict[str, Any]]:
    """One turn: the customer's message, what happens, the answer, `done`."""
    assert sent.entry is not None  # noqa: S101 - `ask_and_follow` gives a stored message or raises
    seq = sent.entry.seq
    try:
        yield {"type": "message", **sent.entry.to_wire()}
        async with asyncio.timeout(settings.AGENT_TURN_TIMEOUT + GRACE):
            async for frame in chat.frames_until_answered(follower, sent, seq):
                yield frame
    except (TimeoutError, TooSlow):
        pass  # the answer will be in the history
    finally:
        follower.leave()
    yield {"type": "done"}


async def standing_events(conversation: Conversation, after: int) -> AsyncIterator[dict[str, Any]]:
    async with chat.following(conversation.pk) as follower:
        now = await chat.refresh(conversation)
        follower.start_from(min(after, now.last_seq), now.state, now.last_seq)
        yield {"type": "state", "state": now.state}
        try:
            async for frame in follower.frames():
                yield frame
                if frame["type"] == "message" and frame["role"] == "staff":
                    seen_by.note(conversation.pk, frame["seq"])
        except TooSlow:
            yield {"type": "reconnect", "after_ms": 0}
