"""Live sessions for staff programs. The store is asked; what it says is given."""

from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from sessions_app.models import Session
from sessions_app.serializers import (
    ExpiredSerializer,
    ExpirySerializer,
    ExtensionSerializer,
    PageQuerySerializer,
    SessionChangeSerializer,
    SessionPageSerializer,
    SessionSerializer,
    StatsSerializer,
)
from sessions_app.staff import StaffView, answers
from sessions_app.stores import StoreUnavailable

VIEW, EXPIRE, EXTEND = (f"sessions_app.{verb}_session" for verb in ("view", "expire", "extend"))


class Unavailable(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The session store is unavailable: try again in a moment."
    default_code = "unavailable"


class NoSuchSession(NotFound):
    default_detail = "There is no such live session: it may have ended."


class LiveSessionView(StaffView):
    def handle_exception(self, exc: Exception) -> Response:
        return super().handle_exception(Unavailable() if isinstance(exc, StoreUnavailable) else exc)


class SessionList(LiveSessionView):
    staff_permissions = {"GET": VIEW}

    @extend_schema(
        operation_id="sessions_list",
        summary="Live sessions, most recently active first",
        parameters=[PageQuerySerializer],
        responses=answers(200, SessionPageSerializer, 400, 503),
    )
    def get(self, request: Request) -> Response:
        query = self.checked(PageQuerySerializer, request.query_params)
        wanted: dict[str, Any] = {"cursor": None, "user_id": None, **query.validated_data}
        try:
            sessions, following = Session.live.page(**wanted)
        except ValueError:
            raise ValidationError({"cursor": "This cursor is not one that a page gave: leave it out."}) from None
        return Response({"results": SessionSerializer(sessions, many=True).data, "next_cursor": following})


class SessionStats(LiveSessionView):
    staff_permissions = {"GET": VIEW}

    @extend_schema(summary="The session store's own statistics", responses=answers(200, StatsSerializer, 503))
    def get(self, request: Request) -> Response:
        return Response(Session.live.stats())


class SessionDetail(LiveSessionView):
    staff_permissions = {"GET": VIEW, "PATCH": EXTEND, "DELETE": EXPIRE}

    @extend_schema(summary="One live session", responses=answers(200, SessionSerializer, 404, 503))
    def get(self, request: Request, session_id: str) -> Response:
        return answer(session_id)

    @extend_schema(
        summary="Change what a live session carries",
        request=SessionChangeSerializer,
        responses=answers(200, SessionSerializer, 400, 404, 503),
    )
    def patch(self, request: Request, session_id: str) -> Response:
        change = self.checked(SessionChangeSerializer, request.data)
        try:
            changed = Session.live.change(session_id, change.validated_data, by=request.user)
        except (TypeError, ValueError) as error:
            raise ValidationError({"metadata": str(error)}) from error
        if not changed:
            raise NoSuchSession
        return answer(session_id)

    @extend_schema(
        summary="Expire a live session", responses=answers(204, OpenApiResponse(description="It has ended"), 404, 503)
    )
    def delete(self, request: Request, session_id: str) -> Response:
        if not Session.live.expire([session_id], by=request.user):
            raise NoSuchSession
        return Response(status=status.HTTP_204_NO_CONTENT)


class SessionExtend(LiveSessionView):
    staff_permissions = {"POST": EXTEND}

    @extend_schema(
        summary="Let a live session live longer",
        description="The seconds are added to those it has left.",
        request=ExtensionSerializer,
        responses=answers(200, SessionSerializer, 400, 404, 503),
    )
    def post(self, request: Request, session_id: str) -> Response:
        extension = self.checked(ExtensionSerializer, request.data)
        if not Session.live.extend([session_id], extension.validated_data["seconds"], by=request.user):
            raise NoSuchSession
        return answer(session_id)


class SessionExpire(LiveSessionView):
    staff_permissions = {"POST": EXPIRE}

    @extend_schema(
        summary="Expire several live sessions, or all of a user",
        request=ExpirySerializer,
        responses=answers(200, ExpiredSerializer, 400, 503),
    )
    def post(self, request: Request) -> Response:
        wanted = self.checked(ExpirySerializer, request.data)
        given = wanted.validated_data
        session_ids = given.get("session_ids") or Session.live.of_user(given["user_id"])
        return Response({"expired": len(Session.live.expire(session_ids, by=request.user))})


class SessionCleanup(LiveSessionView):
    staff_permissions = {"POST": EXPIRE}

    @extend_schema(
        summary="Sweep the sessions that have run out", request=None, responses=answers(200, ExpiredSerializer, 503)
    )
    def post(self, request: Request) -> Response:
        return Response({"expired": Session.live.cleanup(by=request.user)})


def answer(session_id: str) -> Response:
    session = Session.live.one(session_id)
    if session is None:
        raise NoSuchSession
    return Response(SessionSerializer(session).data)
