"""What the staff's desk doors take, and the shapes that they give, for the schema. `docs/protocol.md` has an example
of each; a test holds the two and what goes out equal.
"""

from typing import Any

from rest_framework import serializers

from agent_app.desk.cards import Wanted
from agent_app.models.refusal import Refused
from agent_app.serializers import (
    STATES,
    CitationSerializer,
    MessageSerializer,
    WireField,
    clean_client_id,
    clean_text,
    storable,
)

MOST_PAGE = 100
MOST_WORDS = 200


# ---- what comes in ----


def clean_words(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MOST_WORDS or not storable(value):
        raise Refused("invalid", f"Send q as a string of at most {MOST_WORDS} characters.", field="q")
    return value.strip()


class ConversationsQuerySerializer(serializers.Serializer[Any]):
    state = serializers.ChoiceField(["open", "all", *STATES], default="open")
    assignee = serializers.CharField(required=False, default="", help_text="me, none, or a person's id")
    q = WireField(clean_words, required=False, default="", help_text="a user, a ticket, a conversation's id, or words")
    cursor = serializers.CharField(required=False, default="", help_text="the next_cursor of the page before")
    limit = serializers.IntegerField(min_value=1, max_value=MOST_PAGE, default=50)

    def validate_assignee(self, value: str) -> str | int | None:
        if value in {"me", "none"}:
            return value
        if value == "":
            return None
        if not value.isascii() or not value.isdigit() or len(value) > 18:
            raise serializers.ValidationError("Send assignee as me, none, or a person's id.")
        return int(value)

    def wanted(self, user_id: int) -> Wanted:
        given = self.validated_data
        assignee = user_id if given["assignee"] == "me" else given["assignee"]
        return Wanted(given["state"], assignee, given["q"])


class WordsSerializer(serializers.Serializer[Any]):
    q = WireField(clean_words, required=False, default="")


class TextSerializer(serializers.Serializer[Any]):
    text = WireField(clean_text)
    client_id = WireField(clean_client_id, required=False, allow_null=True, default=None)


class AssigneeField(serializers.JSONField):
    """A person's id, "me", or null; whether there is such a colleague is the act's to say."""

    def to_internal_value(self, data: Any) -> Any:
        if data == "me" or (isinstance(data, int) and not isinstance(data, bool) and 0 < data < 2**63):
            return data
        raise serializers.ValidationError("Send assignee as a person's id, me, or null.")


class AssignSerializer(serializers.Serializer[Any]):
    assignee = AssigneeField(allow_null=True, help_text="a person's id, me, or null")


# ---- what goes out ----


class PersonSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()


class ColleagueSerializer(PersonSerializer):
    online = serializers.BooleanField()


class ColleaguesSerializer(serializers.Serializer[Any]):
    results = ColleagueSerializer(many=True)


class CardSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(help_text="the conversation's thread_id")
    name = serializers.CharField()
    verified = serializers.BooleanField()
    state = serializers.ChoiceField(STATES)
    assignee = PersonSerializer(allow_null=True)
    answers = serializers.CharField(help_text="who answers the customer now")
    preview = serializers.CharField()
    preview_role = serializers.ChoiceField(["customer", "agent", "staff"], allow_null=True)
    needs_answer = serializers.BooleanField()
    last_seq = serializers.IntegerField()
    updated_at = serializers.DateTimeField()
    waiting_since = serializers.DateTimeField(allow_null=True)
    ticket = serializers.CharField(allow_null=True)
    priority = serializers.CharField(allow_null=True)
    looking = PersonSerializer(many=True)


class CountsSerializer(serializers.Serializer[Any]):
    waiting = serializers.IntegerField()
    mine = serializers.IntegerField()
    human = serializers.IntegerField()
    ai = serializers.IntegerField()
    all = serializers.IntegerField()


class ConversationsSerializer(serializers.Serializer[Any]):
    results = CardSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="give it as cursor for what follows; null: the end")
    counts = CountsSerializer()


class NoteSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    text = serializers.CharField()
    author = serializers.CharField()
    created_at = serializers.DateTimeField()
    after = serializers.IntegerField(help_text="seq of the message behind which it was written")
    client_id = serializers.CharField(required=False)


class FactSerializer(serializers.Serializer[Any]):
    label = serializers.CharField()  # type: ignore[assignment]  # the protocol's name, also one of Field's
    value = serializers.CharField()
    verified = serializers.BooleanField(help_text="false: only what the customer's browser said")


class ToolUseSerializer(serializers.Serializer[Any]):
    tool = serializers.CharField()
    seq = serializers.IntegerField(help_text="of the answer it was used for")
    result = serializers.CharField()


class SuggestionSerializer(serializers.Serializer[Any]):
    text = serializers.CharField(help_text="Markdown")
    citations = CitationSerializer(many=True)


class PacketSerializer(serializers.Serializer[Any]):
    ticket = serializers.CharField()
    reason = serializers.CharField()
    category = serializers.CharField()
    priority = serializers.CharField()
    asked_at = serializers.DateTimeField()
    wants = serializers.CharField()
    facts = FactSerializer(many=True)
    tools = ToolUseSerializer(many=True)
    question = serializers.CharField()
    suggestion = SuggestionSerializer(allow_null=True)


class CustomerSerializer(serializers.Serializer[Any]):
    user_id = serializers.CharField(allow_null=True)
    verified = serializers.BooleanField()
    email = serializers.CharField(allow_null=True)


class LiveSessionSerializer(serializers.Serializer[Any]):
    session_id = serializers.CharField()
    message_count = serializers.IntegerField()
    expires_in = serializers.FloatField(help_text="seconds", allow_null=True)
    metadata = serializers.DictField()


class PreviousSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    state = serializers.ChoiceField(STATES)
    created_at = serializers.DateTimeField()
    last_seq = serializers.IntegerField()
    preview = serializers.CharField()


class AuditSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    actor = serializers.CharField()
    action = serializers.CharField()
    details = serializers.DictField(allow_null=True, help_text="null: erased")


class RememberedSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    value = serializers.CharField()
    said_in = serializers.IntegerField(allow_null=True, help_text="seq of the message; null: in an earlier chat")
    expires_at = serializers.DateTimeField()


class DetailsSerializer(serializers.Serializer[Any]):
    customer = CustomerSerializer()
    session = LiveSessionSerializer(allow_null=True)
    created_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)
    closed_reason = serializers.CharField(allow_null=True)
    rating = serializers.IntegerField(allow_null=True)
    facts = RememberedSerializer(many=True, allow_null=True)
    previous = PreviousSerializer(many=True)
    audit = AuditSerializer(many=True, allow_null=True)


class ConversationSerializer(CardSerializer):
    messages = MessageSerializer(many=True, help_text="the newest 200")
    notes = NoteSerializer(many=True, required=False)
    packet = PacketSerializer(allow_null=True)
    details = DetailsSerializer()


class StandingSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    state = serializers.ChoiceField(STATES)
    assignee = PersonSerializer(allow_null=True)
    ticket = serializers.CharField(allow_null=True)
    last_seq = serializers.IntegerField()


class RepliedSerializer(serializers.Serializer[Any]):
    message = MessageSerializer()


class NotedSerializer(serializers.Serializer[Any]):
    note = NoteSerializer()


class CannedReplySerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    title = serializers.CharField()
    text = serializers.CharField(help_text="Markdown")
    shortcut = serializers.CharField()


class CannedRepliesSerializer(serializers.Serializer[Any]):
    results = CannedReplySerializer(many=True)
