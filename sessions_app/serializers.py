"""What the staff doors take and give."""

from typing import Any

from rest_framework import serializers

from sessions_app.data import MAX_ID
from sessions_app.models import Session

LONGEST_EXTENSION = 86400  # seconds; for more, extend again
MOST_AT_ONCE = 1000


class SessionSerializer(serializers.ModelSerializer[Session]):
    metadata = serializers.DictField(help_text="any JSON")
    remaining_seconds = serializers.FloatField(
        source="remaining", read_only=True, help_text="until it expires, unless something renews it"
    )

    class Meta:
        model = Session
        fields = [
            "session_id",
            "user_id",
            "thread_id",
            "message_count",
            "escalated",
            "metadata",
            "request_id",
            "created_at",
            "updated_at",
            "last_activity",
            "remaining_seconds",
        ]
        read_only_fields = fields


class SessionPageSerializer(serializers.Serializer[Any]):
    results = SessionSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="give it as cursor for what follows; null: the end")


class PageQuerySerializer(serializers.Serializer[Any]):
    cursor = serializers.CharField(required=False, help_text="the next_cursor of the page before")
    limit = serializers.IntegerField(required=False, default=50, min_value=1, max_value=100)
    user_id = serializers.CharField(required=False, max_length=MAX_ID)
    escalated = serializers.BooleanField(required=False, allow_null=True, default=None)


class SessionChangeSerializer(serializers.Serializer[Any]):
    escalated = serializers.BooleanField(required=False)
    metadata = serializers.DictField(required=False, help_text="merged into what is there, key by key")

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if not given:
            raise serializers.ValidationError("Nothing to change: give escalated or metadata.", "incomplete")
        return given


class ExtensionSerializer(serializers.Serializer[Any]):
    seconds = serializers.IntegerField(min_value=1, max_value=LONGEST_EXTENSION)


class ExpirySerializer(serializers.Serializer[Any]):
    session_ids = serializers.ListField(
        child=serializers.CharField(max_length=MAX_ID), required=False, allow_empty=False, max_length=MOST_AT_ONCE
    )
    user_id = serializers.CharField(required=False, max_length=MAX_ID)

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if len(given) != 1:
            raise serializers.ValidationError("Give either session_ids or user_id.", "incomplete")
        return given


class ExpiredSerializer(serializers.Serializer[Any]):
    expired = serializers.IntegerField(help_text="how many sessions this ended")


class StatsSerializer(serializers.Serializer[Any]):
    store_type = serializers.ChoiceField(choices=["in_memory", "redis"])
    active_sessions = serializers.IntegerField()
    total_sessions = serializers.IntegerField(required=False, help_text="in memory")
    expired_sessions = serializers.IntegerField(required=False, help_text="in memory")
    max_sessions = serializers.IntegerField(required=False, help_text="in memory")
    utilization = serializers.CharField(required=False, help_text="in memory, such as 12.3%")
    redis_version = serializers.CharField(required=False, help_text="redis")
    connected_clients = serializers.IntegerField(required=False, help_text="redis")
    used_memory_human = serializers.CharField(required=False, help_text="redis")
    total_commands_processed = serializers.IntegerField(required=False, help_text="redis")
