"""What the language model has used, counted in the database, so that all instances share one account."""

from datetime import date
from decimal import Decimal
from typing import TypeVar

from django.db import models
from django.db.models import F
from django.utils import timezone

from agent_app.models.conversations import Conversation

MICROS = 1_000_000  # of a dollar

Account = TypeVar("Account", bound="ModelUse")


class ModelUse(models.Model):
    """One account. Only added to, in the database, so that no instance's share is lost."""

    turns = models.PositiveIntegerField(default=0)
    requests = models.PositiveIntegerField(default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    price_micros = models.PositiveBigIntegerField("price", default=0, help_text="millionths of a dollar, where known")

    class Meta:
        abstract = True

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def add(self, requests: int, input_tokens: int, output_tokens: int, dollars: Decimal | None) -> None:
        type(self)._default_manager.filter(pk=self.pk).update(
            turns=F("turns") + 1,
            requests=F("requests") + requests,
            input_tokens=F("input_tokens") + input_tokens,
            output_tokens=F("output_tokens") + output_tokens,
            price_micros=F("price_micros") + round((dollars or 0) * MICROS),
        )


class DailyUse(ModelUse):
    day = models.DateField(primary_key=True)

    class Meta:
        ordering = ["-day"]
        verbose_name = "day of model use"
        verbose_name_plural = "model use by day"

    def __str__(self) -> str:
        return self.day.isoformat()

    @classmethod
    def today(cls) -> "DailyUse":
        return cls.objects.get_or_create(day=utc_day())[0]


class ConversationUse(ModelUse):
    conversation = models.OneToOneField(Conversation, models.CASCADE, primary_key=True, related_name="model_use")

    def __str__(self) -> str:
        return f"{self.tokens} tokens"


def utc_day() -> date:
    return timezone.now().date()
