"""What a model's answers cost: tokens as the provider counts them, and their price."""

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelResponse

MILLION = 1_000_000
CHARACTERS_A_TOKEN = 4  # for a server that counts none


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars for a million tokens; None: as the provider's public list has it, where it is known."""

    input: float | None = None
    output: float | None = None


@dataclass(slots=True)
class Spent:
    """Sums over the requests of a turn."""

    requests: int = 0
    tries: int = 0  # that failed
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: Decimal | None = None  # None: nobody knows the price

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def add(self, response: "ModelResponse", asked: int, prices: Prices) -> None:
        """One request and its response, whole or not. `asked`: characters sent, for when nobody counted tokens."""
        used = response.usage
        self.requests += 1
        self.input_tokens += used.input_tokens or asked // CHARACTERS_A_TOKEN
        self.output_tokens += used.output_tokens or len(response.text or "") // CHARACTERS_A_TOKEN
        price = price_of(response, prices)
        if price is not None:
            self.dollars = (self.dollars or Decimal(0)) + price

    def to_json(self, model: str) -> dict[str, Any]:
        """For the answer's metadata."""
        return {
            "name": model,
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "price_usd": float(self.dollars) if self.dollars is not None else None,
        }


def price_of(response: "ModelResponse", prices: Prices) -> Decimal | None:
    if prices.input is not None or prices.output is not None:
        paid = Decimal(str(prices.input or 0)) * response.usage.input_tokens
        paid += Decimal(str(prices.output or 0)) * response.usage.output_tokens
        return paid / MILLION
    try:
        return response.cost().total_price
    except (LookupError, ValueError, AssertionError):  # a model that no list has, or no usage in the answer
        return None
