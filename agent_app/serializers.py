"""What the doors accept and give: validation, the schema of the protocol's objects, and its errors.

Objects go out as `to_wire()` makes them; the serializers here describe the same shapes, and a test holds the two equal.
"""

import json
import logging
from typing import Any

import jwt
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, JsonResponse
from rest_framework import exceptions, serializers
from rest_framework.views import set_rollback

from agent_app import demo
from agent_app.models.attachments import MOST_A_MESSAGE
from agent_app.models.conversations import is_email
from agent_app.models.refusal import Refused, Unavailable
from sessions_app.data import check_json

logger = logging.getLogger(__name__)

MOST_CLIENT_ID = 100  # characters
MOST_USER_ID = 200  # characters
MOST_METADATA = 16_384  # bytes of JSON that a new session may bring
CLOCK_SKEW = 30  # seconds that the site's clock may differ from ours


# ---- values that every door checks alike ----


def clean_text(value: Any, field: str = "text", most: int | None = None, blank: bool = False) -> str:
    """A message's text as it was sent; Refused when it cannot be a message."""
    if not isinstance(value, str):
        raise Refused("invalid", f"Send {field} as a string.", field=field)
    limit = most or settings.CHAT_MAX_TEXT
    if len(value) > limit:
        raise Refused("too_large", f"{field} has {len(value)} characters: send at most {limit}.", field=field)
    if not blank and not value.strip():
        raise Refused("invalid", f"{field} is empty: write something.", field=field)
    if not storable(value):
        raise Refused("invalid", f"{field} holds a NUL or half a surrogate pair: send plain Unicode.", field=field)
    return value


def clean_any_text(value: Any) -> str:
    return clean_text(value, blank=True)


def storable(value: str) -> bool:
    """A database takes neither NUL nor what is not UTF-8."""
    if "\x00" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def clean_client_id(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MOST_CLIENT_ID or not storable(value):
        raise Refused("invalid", f"Send client_id as a string of 1 to {MOST_CLIENT_ID} characters.", field="client_id")
    return value


def clean_reason(value: Any) -> str:
    return "" if value is None else clean_text(value, "reason", most=1000, blank=True)


def clean_comment(value: Any) -> str:
    return "" if value is None else clean_text(value, "comment", most=4000, blank=True)


def clean_rating(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 5:
        raise Refused("invalid", "Send rating as a whole number from 1 to 5.", field="rating")
    return value


def clean_message(text: Any, attachments: Any) -> tuple[str, list[str]]:
    """A message's text, which may be blank beside an attachment, and the ids of its attachments."""
    ids = clean_attachments(attachments)
    return clean_text(text, blank=bool(ids)), ids


def clean_attachments(value: Any) -> list[str]:
    """The ids that uploading gave; whether the chat holds them is the look-up's to say."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(id_, str) and 1 <= len(id_) <= 32 for id_ in value):
        raise Refused("invalid", "Send attachments as a list of the ids that uploading gave.", field="attachments")
    if len(value) > MOST_A_MESSAGE or len(set(value)) < len(value):
        raise Refused("invalid", f"Send at most {MOST_A_MESSAGE} attachments, each once.", field="attachments")
    return value


def proven_user(identity: str, user_id: str | None) -> tuple[str, str | None]:
    """The user, and their `email` claim if there is one, whom the site's signed JWT (HS256, IDENTITY_SECRET) proves;
    Refused when it proves nobody. It needs `sub` and `exp`; an `aud`, if it names one, has to be IDENTITY_AUDIENCE.
    """
    if not identity_key():
        raise Refused("invalid", "This desk takes no identity: leave it out.", field="identity")
    try:
        claims = jwt.decode(
            identity,
            identity_key(),
            algorithms=["HS256"],
            leeway=CLOCK_SKEW,
            options={"require": ["exp", "sub"], "verify_aud": False},
        )
        meant_for = claims.get("aud", settings.IDENTITY_AUDIENCE)
        if settings.IDENTITY_AUDIENCE not in (meant_for if isinstance(meant_for, list) else [meant_for]):
            raise jwt.InvalidAudienceError
    except jwt.PyJWTError:
        raise Refused(
            "invalid", "The identity is not valid or has expired: sign a new one.", field="identity"
        ) from None
    proven = str(claims["sub"])
    if proven != proven.strip() or not 1 <= len(proven) <= MOST_USER_ID:
        why = f"The identity's subject has to have from 1 to {MOST_USER_ID} characters, with no blanks around them."
        raise Refused("invalid", why, field="identity")
    if user_id is not None and user_id != proven:
        raise Refused("invalid", "user_id is not the identity's subject: send the same, or none.", field="user_id")
    email = claims.get("email")
    return proven, email if isinstance(email, str) and is_email(email) else None


def identity_key() -> str:
    """The site's key; while the demo shop is open without one, the key that its own page signs with; else ""."""
    return settings.IDENTITY_SECRET or (demo.identity_key() if demo.is_open() else "")


# ---- what comes in ----


class WireField(serializers.CharField):
    """Text that `clean` judges, so that every door judges it alike."""

    def __init__(self, clean: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.clean = clean

    def to_internal_value(self, data: Any) -> Any:
        return self.clean(data)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is serializers.empty or data is None:
            return serializers.Field.run_validation(self, data)
        return self.clean(data)


class NewSessionSerializer(serializers.Serializer[Any]):
    user_id = serializers.CharField(max_length=MOST_USER_ID, required=False, allow_null=True, default=None)
    identity = serializers.CharField(
        max_length=4096, required=False, allow_null=True, default=None, help_text="JWT (HS256) that proves user_id"
    )
    metadata = serializers.DictField(required=False, allow_null=True, default=dict)

    def validate_metadata(self, value: dict[str, Any] | None) -> dict[str, Any]:
        if value is None:
            return {}
        try:
            check_json(value, "metadata")  # here, for the store would refuse it after the chat has been stored
            text = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError):
            raise serializers.ValidationError("metadata is nested too deep or holds NaN: send plain JSON.") from None
        if not storable(text):
            raise serializers.ValidationError("metadata holds half a surrogate pair: send plain Unicode.")
        size = len(text.encode())
        if size > MOST_METADATA:
            raise Refused("too_large", f"metadata has {size} bytes: send at most {MOST_METADATA}.", field="metadata")
        if "\\u0000" in text:
            raise serializers.ValidationError("metadata holds a NUL: send plain Unicode.")
        return value


class NewMessageSerializer(serializers.Serializer[Any]):
    text = WireField(clean_any_text)
    client_id = WireField(clean_client_id, required=False, allow_null=True, default=None)
    attachments = serializers.ListField(
        child=serializers.CharField(max_length=32),
        required=False,
        allow_null=True,
        max_length=MOST_A_MESSAGE,
        default=list,
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        text, ids = clean_message(attrs["text"], attrs["attachments"])
        return {**attrs, "text": text, "attachments": ids}


class UploadSerializer(serializers.Serializer[Any]):
    file = serializers.FileField()


class ChoiceAnswerSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(max_length=200)
    client_id = WireField(clean_client_id, required=False, allow_null=True, default=None)


class RatingSerializer(serializers.Serializer[Any]):
    rating = serializers.IntegerField(min_value=1, max_value=5)
    comment = WireField(clean_comment, required=False, allow_null=True, default="")


class HelpfulSerializer(serializers.Serializer[Any]):
    helpful = serializers.BooleanField()
    comment = WireField(clean_comment, required=False, allow_null=True, default="")


class TranscriptQuerySerializer(serializers.Serializer[Any]):
    format = serializers.ChoiceField(["text", "json"], default="text")


class EscalateSerializer(serializers.Serializer[Any]):
    reason = WireField(clean_reason, required=False, allow_null=True, default="")


class HistoryQuerySerializer(serializers.Serializer[Any]):
    after = serializers.IntegerField(min_value=0, max_value=2**31 - 1, default=0)
    limit = serializers.IntegerField(min_value=1, max_value=200, default=50)


# ---- what goes out, for the schema ----


class CitationSerializer(serializers.Serializer[Any]):
    n = serializers.IntegerField()
    title = serializers.CharField()
    url = serializers.CharField()
    snippet = serializers.CharField()


class AttachmentSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    content_type = serializers.CharField()
    size = serializers.IntegerField()
    url = serializers.CharField()


class ChoiceSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # the protocol's name, also one of Field's


class ConfirmSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    summary = serializers.CharField()


class MessageSerializer(serializers.Serializer[Any]):
    seq = serializers.IntegerField()
    id = serializers.CharField()
    role = serializers.ChoiceField(["customer", "agent", "staff", "system"])
    text = serializers.CharField(help_text="Markdown")
    created_at = serializers.DateTimeField()
    client_id = serializers.CharField(required=False)
    reply_to = serializers.IntegerField(required=False)
    author = serializers.CharField(required=False)
    citations = CitationSerializer(many=True)
    attachments = AttachmentSerializer(many=True)
    choices = ChoiceSerializer(many=True, required=False)
    confirm = ConfirmSerializer(required=False)
    stopped = serializers.BooleanField(required=False)
    turn = serializers.CharField(required=False)


STATES = ["ai", "waiting", "human", "closed"]


class OpenedSessionSerializer(serializers.Serializer[Any]):
    session_id = serializers.CharField()
    token = serializers.CharField(help_text="shown once: only its digest is kept")
    thread_id = serializers.CharField()
    state = serializers.ChoiceField(STATES)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    websocket = serializers.CharField()


class ChatStateSerializer(serializers.Serializer[Any]):
    session_id = serializers.CharField()
    state = serializers.ChoiceField(STATES)
    message_count = serializers.IntegerField()
    escalated = serializers.BooleanField()
    last_seq = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    last_activity = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)


class ReplyMetadataSerializer(serializers.Serializer[Any]):
    message_count = serializers.IntegerField()
    tools_used = serializers.ListField(child=serializers.CharField())
    confidence = serializers.FloatField(allow_null=True)
    citations = CitationSerializer(many=True)
    session_store = serializers.CharField()
    processing_time_ms = serializers.IntegerField()
    request_id = serializers.CharField()
    tools_failed = serializers.DictField(
        child=serializers.CharField(), required=False, help_text="tool: why it gave nothing, such as unavailable"
    )
    model = serializers.DictField(required=False, help_text="what a language model used for this answer")
    pending = serializers.BooleanField(required=False)
    session_stats = serializers.DictField(required=False)
    circuit_breakers = serializers.DictField(required=False)
    initialization_mode = serializers.CharField(required=False)


class AnsweredSerializer(serializers.Serializer[Any]):
    message = MessageSerializer()
    reply = MessageSerializer(allow_null=True)
    state = serializers.ChoiceField(STATES)
    metadata = ReplyMetadataSerializer()


class HistorySerializer(serializers.Serializer[Any]):
    results = MessageSerializer(many=True)
    last_seq = serializers.IntegerField()
    has_more = serializers.BooleanField()


class TranscriptSerializer(ChatStateSerializer):
    messages = MessageSerializer(many=True)


class EscalatedSerializer(serializers.Serializer[Any]):
    state = serializers.ChoiceField(STATES)
    ticket = serializers.CharField(allow_null=True)


class EraseSerializer(serializers.Serializer[Any]):
    scope = serializers.ChoiceField(
        ["chat", "everything"],
        default="chat",
        help_text="`everything` of the customer needs a chat that was opened with a proven identity",
    )


class ReceiptSerializer(serializers.Serializer[Any]):
    """What was erased, how many, when and by whom; nothing of it."""

    receipt = serializers.CharField(help_text="its number: keep it, it can be checked later")
    scope = serializers.CharField(help_text="`customer` or `chat`")
    state = serializers.CharField(help_text="`pending` or `erased`")
    asked_at = serializers.DateTimeField()
    asked_by = serializers.CharField()
    finished_at = serializers.DateTimeField(allow_null=True)
    removed = serializers.DictField(child=serializers.IntegerField(), help_text="how many of what")
    fingerprint = serializers.CharField(allow_blank=True)
    backups = serializers.CharField(help_text="what it does not reach")


class ErrorSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField(help_text="says what to do")
    field = serializers.CharField(required=False)
    retry_after = serializers.IntegerField(required=False, help_text="seconds")
    client_id = serializers.CharField(required=False)
    who = serializers.DictField(required=False, help_text="for staff: who has the conversation, {id, name}")


# ---- errors ----


def error_response(error: Exception, context: dict[str, Any]) -> JsonResponse:
    """The error object for whatever a REST door raised; nothing internal leaks, also under DEBUG."""
    refused = as_refusal(error)
    set_rollback()
    if caller_is_gone(error, context):
        logger.info("request.caller_gone")
    elif refused.code == "internal":
        logger.error("request.failed", exc_info=error)
    elif isinstance(error, (OperationalError, InterfaceError)):  # also that a table or a column is not there
        logger.error("request.unavailable error=%s", error)
    # Not a DRF response: the door may render YAML or an event stream, and an error is JSON everywhere.
    response = JsonResponse(refused.to_wire(), status=refused.status)
    if refused.retry_after is not None:
        response.headers["Retry-After"] = str(refused.retry_after)
    if refused.code == "unauthorized":
        # What the door's own way of knowing its callers asks for; a door of the customer's may refuse by itself.
        response.headers["WWW-Authenticate"] = getattr(error, "auth_header", None) or 'Bearer realm="chat"'
    return response


def caller_is_gone(error: Exception, context: dict[str, Any]) -> bool:
    """Django closes the body of a request whose caller hung up, also under a view that is about to read it."""
    request = getattr(context.get("request"), "_request", None)
    stream = getattr(request, "_stream", None)
    return isinstance(error, ValueError) and getattr(stream, "closed", False)


def as_refusal(error: Exception) -> Refused:
    match error:
        case Refused():
            return error
        case exceptions.ValidationError():
            return invalid(error.detail)
        case RequestDataTooBig():
            return Refused("too_large", "The body is too large: send at most 2 MB.")
        case exceptions.ParseError() | RecursionError():
            return Refused("bad_json", "The body is not valid JSON: send one JSON object in UTF-8.")
        case exceptions.NotAuthenticated():
            return Refused("unauthorized", "Log in, or send an API token: Authorization: Bearer …")
        case exceptions.AuthenticationFailed():
            return Refused("unauthorized", str(error.detail))
        case exceptions.PermissionDenied() | PermissionDenied():
            return Refused("forbidden", "You may not do this: log in with an account that may.")
        case exceptions.NotFound():  # sessions_app's word for a live session that is not there
            return Refused("not_found", str(error.detail))
        case Http404():
            return Refused("not_found", "There is nothing at this address: check it.")
        case exceptions.MethodNotAllowed():
            return Refused("method_not_allowed", "This address does not take that method: see the Allow header.")
        case exceptions.UnsupportedMediaType():
            return Refused("invalid", "Send the body as application/json.", field="Content-Type")
        case exceptions.NotAcceptable():
            return Refused("invalid", "Accept application/json or text/event-stream.", field="Accept")
        case exceptions.Throttled():
            return Refused("rate_limited", "Too many requests. Try again later.", retry_after=60)
        case exceptions.APIException(status_code=503):  # sessions_app's word for a store that is away
            return Refused("unavailable", str(error.detail), retry_after=5)
        case OperationalError() | InterfaceError():  # the database is away, busy or full
            return Unavailable()
    return Refused("internal", "Something went wrong on our side: try again in a moment.")


def invalid(detail: Any, field: str | None = None) -> Refused:
    """The first of a serializer's complaints, with the field it is about."""
    if isinstance(detail, dict):
        name, first = next(iter(detail.items()))
        return invalid(first, field if name == "non_field_errors" else (f"{field}.{name}" if field else str(name)))
    if isinstance(detail, list):
        return invalid(detail[0], field)
    match getattr(detail, "code", ""):
        case "invalid" | "null" if field is None:  # of no object; our own words on a whole body have another code
            return Refused("invalid", "Send one JSON object.")
        case "required" | "empty":
            return Refused("invalid", f"Send {field}: it is needed.", field=field)
        case "null":
            return Refused("invalid", f"Send {field} with a value, not null.", field=field)
    return Refused("invalid", str(detail), field=field)
