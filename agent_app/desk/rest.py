"""The staff's REST doors to conversations (`/api/v1/desk/…`): each parses, calls `staff`, and renders."""

from typing import Any

from asgiref.sync import async_to_sync
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from agent_app import packet, staff
from agent_app.desk import cards, details
from agent_app.desk import serializers as shapes
from agent_app.desk.presence import presence
from agent_app.models import Attendance, Conversation
from agent_app.models.desk import Ticket
from agent_app.serializers import HistoryQuerySerializer, HistorySerializer
from sessions_app.staff import StaffView, answers

NEWEST = 200  # messages of a conversation at once
VIEW = "agent_app.view_conversation"
MAY_SEE_NOTES = "agent_app.view_note"
MAY_SEE_AUDIT = "agent_app.view_auditentry"
MAY_SEE_FACTS = "agent_app.view_fact"
MAY_SEE_SESSION = "sessions_app.view_session"


class DeskView(StaffView):
    def may(self, permission: str) -> bool:
        """Beside what the door itself asks for: what its caller may see in the answer."""
        token: Any = self.request.auth
        return self.request.user.has_perm(permission) and (token is None or token.allows(permission))


class ConversationList(DeskView):
    staff_permissions = {"GET": VIEW}

    @extend_schema(
        operation_id="desk_conversations_list",
        summary="Conversations as the desk lists them",
        parameters=[shapes.ConversationsQuerySerializer],
        responses=answers(200, shapes.ConversationsSerializer, 400, 503),
    )
    def get(self, request: Request) -> Response:
        asked = self.checked(shapes.ConversationsQuerySerializer, request.query_params)
        given, user_id = asked.validated_data, int(request.user.pk or 0)
        try:
            shown, following = cards.page(asked.wanted(user_id), given["cursor"], given["limit"])
        except cards.NoSuchCursor:
            raise ValidationError({"cursor": "This cursor is not one that a page gave: leave it out."}) from None
        looking = presence.looking()
        results = [cards.card(conversation, looking) for conversation in shown]
        return Response({"results": results, "next_cursor": following, "counts": cards.Counts().of(user_id)})


class ConversationDetail(DeskView):
    staff_permissions = {"GET": VIEW}

    @extend_schema(
        operation_id="desk_conversations_retrieve",
        summary="One conversation: its newest messages, notes, hand-over packet and details",
        responses=answers(200, shapes.ConversationSerializer, 404, 503),
    )
    def get(self, request: Request, thread_id: str) -> Response:
        found = cards.with_last(Conversation.objects.named(thread_id)).first()
        if found is None:
            raise staff.NO_SUCH_CHAT
        entries = found.messages.order_by("-seq")[:NEWEST].entries()[::-1]
        ticket = Ticket.objects.filter(conversation=found).first()
        live, handed_over = async_to_sync(beside)(found, packet.packet(found, ticket, entries))
        answer = cards.card(found, presence.looking())
        answer["messages"] = [entry.to_wire() for entry in entries]
        if self.may(MAY_SEE_NOTES):
            answer["notes"] = [note.to_wire() for note in found.notes.all()]
        answer["packet"] = handed_over
        shown = live if self.may(MAY_SEE_SESSION) else None
        answer["details"] = details.details(found, shown, self.may(MAY_SEE_AUDIT), self.may(MAY_SEE_FACTS))
        return Response(answer)


async def beside(
    conversation: Conversation, handed_over: dict[str, Any] | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The live session, and the packet with its suggestion."""
    if handed_over is not None and not conversation.is_closed:
        handed_over["suggestion"] = await packet.suggestion(conversation, handed_over["question"])
    return await details.live_session(conversation.session_id), handed_over


class ConversationMessages(DeskView):
    staff_permissions = {"GET": VIEW}

    @extend_schema(
        operation_id="desk_conversations_messages",
        summary="The messages after a seq, oldest first",
        parameters=[HistoryQuerySerializer],
        responses=answers(200, HistorySerializer, 400, 404, 503),
    )
    def get(self, request: Request, thread_id: str) -> Response:
        given = self.checked(HistoryQuerySerializer, request.query_params).validated_data
        conversation = async_to_sync(staff.find)(thread_id)
        found = conversation.messages.after(given["after"])[: given["limit"] + 1].entries()
        results = [entry.to_wire() for entry in found[: given["limit"]]]
        last_seq = max(conversation.last_seq, found[-1].seq if found else 0)
        return Response({"results": results, "last_seq": last_seq, "has_more": len(found) > given["limit"]})


class TakeOver(DeskView):
    staff_permissions = {"POST": "agent_app.takeover_conversation"}

    @extend_schema(
        operation_id="desk_conversations_takeover",
        summary="Take a chat over",
        description="Of two at once one has it; the other gets `conflict` with `who`.",
        request=None,
        responses=answers(200, shapes.StandingSerializer, 404, 409, 503),
    )
    def post(self, request: Request, thread_id: str) -> Response:
        return Response(async_to_sync(staff.take_over)(request.user, thread_id).to_wire())


class Release(DeskView):
    staff_permissions = {"POST": "agent_app.release_conversation"}

    @extend_schema(
        operation_id="desk_conversations_release",
        summary="Give a chat back to the AI",
        request=None,
        responses=answers(200, shapes.StandingSerializer, 404, 409, 503),
    )
    def post(self, request: Request, thread_id: str) -> Response:
        return Response(async_to_sync(staff.release)(request.user, thread_id).to_wire())


class Reply(DeskView):
    staff_permissions = {"POST": "agent_app.reply_conversation"}

    @extend_schema(
        operation_id="desk_conversations_reply",
        summary="Write to the customer",
        description="For the person who has the chat. The same `client_id` again gives the same message.",
        request=shapes.TextSerializer,
        responses=answers(200, shapes.RepliedSerializer, 400, 404, 409, 413, 503),
    )
    def post(self, request: Request, thread_id: str) -> Response:
        given = self.checked(shapes.TextSerializer, request.data).validated_data
        entry = async_to_sync(staff.reply)(request.user, thread_id, given["text"], given["client_id"])
        return Response({"message": entry.to_wire()})


class Note(DeskView):
    staff_permissions = {"POST": "agent_app.add_note"}

    @extend_schema(
        operation_id="desk_conversations_note",
        summary="Add a private note",
        description="For staff alone: no customer's door shows it.",
        request=shapes.TextSerializer,
        responses=answers(200, shapes.NotedSerializer, 400, 404, 409, 413, 503),
    )
    def post(self, request: Request, thread_id: str) -> Response:
        given = self.checked(shapes.TextSerializer, request.data).validated_data
        written = async_to_sync(staff.note)(request.user, thread_id, given["text"], given["client_id"])
        return Response({"note": written.to_wire()})


class RememberedFact(DeskView):
    staff_permissions = {"DELETE": "agent_app.delete_fact"}

    @extend_schema(
        operation_id="desk_conversations_forget",
        summary="Let the agent forget a fact",
        description="One of `details.facts`. The messages in which it was said stay.",
        responses=answers(204, None, 404, 503),
    )
    def delete(self, request: Request, thread_id: str, fact_id: int) -> Response:
        async_to_sync(staff.forget)(request.user, thread_id, fact_id)
        return Response(status=204)


class Resolve(DeskView):
    staff_permissions = {"POST": "agent_app.resolve_conversation"}

    @extend_schema(
        operation_id="desk_conversations_resolve",
        summary="End a chat",
        request=None,
        responses=answers(200, shapes.StandingSerializer, 404, 503),
    )
    def post(self, request: Request, thread_id: str) -> Response:
        return Response(async_to_sync(staff.resolve)(request.user, thread_id).to_wire())


class Assign(DeskView):
    staff_permissions = {"POST": "agent_app.assign_conversation"}

    @extend_schema(
        operation_id="desk_conversations_assign",
        summary="Give a chat to somebody",
        request=shapes.AssignSerializer,
        responses=answers(200, shapes.StandingSerializer, 400, 404, 409, 503),
    )
    def post(self, request: Request, thread_id: str) -> Response:
        given = self.checked(shapes.AssignSerializer, request.data).validated_data
        return Response(async_to_sync(staff.assign)(request.user, thread_id, given["assignee"]).to_wire())


class Canned(DeskView):
    staff_permissions = {"GET": "agent_app.view_cannedreply"}

    @extend_schema(
        operation_id="desk_canned_list",
        summary="Canned replies",
        parameters=[shapes.WordsSerializer],
        responses=answers(200, shapes.CannedRepliesSerializer, 400),
    )
    def get(self, request: Request) -> Response:
        given = self.checked(shapes.WordsSerializer, request.query_params).validated_data
        return Response({"results": async_to_sync(staff.canned_replies)(given["q"])})


class Staff(DeskView):
    staff_permissions = {"GET": VIEW}

    @extend_schema(
        operation_id="desk_staff_list",
        summary="Who may take chats over, and who is there",
        responses=answers(200, shapes.ColleaguesSerializer),
    )
    def get(self, request: Request) -> Response:
        return Response({"results": Attendance.objects.roll()})
