"""What the doors to a customer's data take and give."""

from typing import Any

from rest_framework import serializers

from agent_app.serializers import ReceiptSerializer


class NamedCustomerSerializer(serializers.Serializer[Any]):
    user_id = serializers.CharField(max_length=200, help_text="the customer, as your website names them")


class CheckedReceiptSerializer(ReceiptSerializer):
    sound = serializers.BooleanField()
    doubts = serializers.ListField(child=serializers.CharField(), help_text="what speaks against it, in sentences")
