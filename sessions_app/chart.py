"""The geometry of the small chart of the last hour; the template draws it as SVG, without script or style."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

HALF = 40  # of the chart's height: what was created rises, what ended hangs down
STEP = 10  # of its width, for each minute


@dataclass(frozen=True, slots=True)
class Bar:
    minute: datetime
    created: int
    ended: int
    x: int
    rise: float
    fall: float

    @property
    def top(self) -> float:
        return HALF - self.rise


@dataclass(frozen=True, slots=True)
class Chart:
    bars: list[Bar]
    peak: int

    @classmethod
    def of(cls, activity: Sequence[tuple[datetime, int, int]]) -> "Chart":
        peak = max((max(created, ended) for _, created, ended in activity), default=0)
        scale = HALF / max(peak, 4)  # so that one lonely session does not look like a rush
        bars = [
            Bar(minute, created, ended, STEP * place, round(created * scale, 1), round(ended * scale, 1))
            for place, (minute, created, ended) in enumerate(activity)
        ]
        return cls(bars, peak)

    @property
    def width(self) -> int:
        return STEP * len(self.bars)

    @property
    def height(self) -> int:
        return 2 * HALF

    @property
    def middle(self) -> int:
        return HALF
