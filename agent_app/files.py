"""The doors for files: customers upload them; the session's token, or staff, opens them again."""

from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.http import HttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.utils import OpenApiTypes, extend_schema
from rest_framework.exceptions import NotAuthenticated, ParseError, PermissionDenied, UnsupportedMediaType
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from agent_app import chat
from agent_app.authentication import ApiTokenLogin, StaffLogin
from agent_app.desk.caller import VIEW, Caller
from agent_app.models import ApiToken, Attachment, Conversation
from agent_app.models.refusal import Refused
from agent_app.serializers import AttachmentSerializer, UploadSerializer
from agent_app.tools.attachments import checked
from agent_app.views import ERRORS, CustomerToken, CustomerView, answers, customers_chat, waiting_place

MEGABYTE = 2**20
AROUND_THE_FILE = 64 * 1024  # bytes of a multipart body that are not the file


class AttachmentsView(CustomerView):
    parser_classes = (MultiPartParser,)

    @extend_schema(
        operation_id="chat_attach",
        request={"multipart/form-data": UploadSerializer},
        responses=answers(201, AttachmentSerializer, 400, 401, 404, 409, 413, 429, 503),
    )
    def post(self, request: Request, session_id: str) -> Response:
        """Uploads one file for a message to come: text, Markdown, CSV, PDF, DOCX or a picture."""
        conversation = customers_chat(request, session_id)
        most = settings.CHAT_MAX_ATTACHMENT_MB * MEGABYTE
        refuse_length(int(request.META.get("CONTENT_LENGTH") or 0) - AROUND_THE_FILE, most)
        if conversation.is_closed:
            raise chat.ENDED
        if not chat.upload_rate().take(session_id):
            after = chat.upload_rate().retry_after(session_id)
            raise Refused("rate_limited", f"Too many files. Send the next one in {after} s.", retry_after=after)
        try:
            uploads = [upload for name in request.FILES for upload in request.FILES.getlist(name)]
        except (UnsupportedMediaType, ParseError):  # no form, or one without the boundary that it names
            uploads = []
        if len(uploads) != 1:
            raise Refused("invalid", "Send one file, as multipart/form-data, in the field file.", field="file")
        refuse_length(uploads[0].size or 0, most)
        if not uploads[0].size:
            raise Refused("invalid", "This file is empty: send another.", field="file")
        with waiting_place():
            upload = checked(uploads[0].name or "file", uploads[0].read())
        return Response(async_to_sync(chat.attach)(conversation, upload), status=201)


def refuse_length(length: int, most: int) -> None:
    if length > most:
        message = f"This file is too large: send at most {settings.CHAT_MAX_ATTACHMENT_MB} MB."
        raise Refused("too_large", message, field="file")


class ApiTokenIfKnown(ApiTokenLogin):
    """Of two kinds of bearer the one that the desk knows; the other may be a session's."""

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        _, _, secret = request.headers.get("Authorization", "").partition(" ")
        return super().authenticate(request) if ApiToken.objects.opened_by(secret.strip()) else None


class CustomerTokenIfAny(CustomerToken):
    """Without a header there may still be a login."""

    def authenticate(self, request: Request) -> tuple[None, str] | None:  # type: ignore[override]
        return super().authenticate(request) if request.headers.get("Authorization") else None


class AttachmentView(CustomerView):
    authentication_classes = (ApiTokenIfKnown, CustomerTokenIfAny, StaffLogin)

    @extend_schema(
        operation_id="chat_attachment",
        # Said here: the schema would take the two lenient readers of a bearer for schemes of their own.
        auth=[{"staffToken": []}, {"sessionToken": []}, {"cookieAuth": []}],  # type: ignore[list-item]  # stub is wrong
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, **{c: ERRORS[c] for c in (401, 404, 503)}},
    )
    def get(self, request: Request, session_id: str, attachment_id: str) -> HttpResponse:
        """The file, to be saved and never shown as a page. For the session's token, and for staff."""
        attachment = opened_attachment(request, session_id, attachment_id)
        try:
            data = attachment.data()
        except FileNotFoundError:
            raise chat.NO_ATTACHMENT from None
        return HttpResponse(
            data,
            content_type=attachment.content_type,
            headers={
                "Content-Disposition": content_disposition_header(True, attachment.name) or "attachment",
                "X-Content-Type-Options": "nosniff",
                "Content-Security-Policy": "sandbox; default-src 'none'",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Cache-Control": "private, no-store",
            },
        )

    @extend_schema(
        operation_id="chat_detach",
        auth=[{"sessionToken": []}],  # type: ignore[list-item]  # stub is wrong
        responses=answers(204, None, 401, 404, 409, 503),
    )
    def delete(self, request: Request, session_id: str, attachment_id: str) -> Response:
        """Takes back a file that no message holds yet."""
        if not isinstance(request.auth, str):
            raise NotAuthenticated
        async_to_sync(chat.withdraw_attachment)(customers_chat(request, session_id), attachment_id)
        return Response(status=204)


def opened_attachment(request: Request, session_id: str, attachment_id: str) -> Attachment:
    """What this caller may open of the session."""
    token: Any = request.auth
    if isinstance(request.auth, str):
        chats = Conversation.objects.filter(pk=customers_chat(request, session_id).pk)
    elif not request.user or not request.user.is_authenticated:
        raise NotAuthenticated
    elif not (request.user.is_staff and Caller(request.user, token).may(VIEW)):
        raise PermissionDenied
    else:
        chats = Conversation.objects.filter(session_id=session_id)
    found = Attachment.objects.filter(conversation__in=chats, public_id=attachment_id).first()
    if found is None:
        raise chat.NO_ATTACHMENT
    return found
