"""When people are at the desk: part of the escalation policy, so that a hand-over does not promise them at night."""

from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Opening:
    days: tuple[int, ...]  # 0 is Monday
    start: time
    end: time

    def holds(self, moment: datetime) -> bool:
        """`moment` in the desk's own zone. Hours past midnight belong to the day on which they began."""
        now, day = moment.time(), moment.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= now < self.end
        return (day in self.days and now >= self.start) or ((day - 1) % 7 in self.days and now < self.end)

    def __str__(self) -> str:
        return f"{days_named(self.days)} {self.start:%H:%M}–{self.end:%H:%M}"


@dataclass(frozen=True, slots=True)
class Hours:
    zone: ZoneInfo
    open: tuple[Opening, ...]

    def are_now(self, moment: datetime) -> bool:
        """`moment` must know its zone."""
        local = moment.astimezone(self.zone)
        return any(opening.holds(local) for opening in self.open)

    def __str__(self) -> str:
        return f"{', '.join(str(opening) for opening in self.open)} ({self.zone.key})"


def read_hours(data: dict[str, Any]) -> Hours:
    """Raises ValueError, KeyError or TypeError for what is not understood."""
    try:
        zone = ZoneInfo(str(data["timezone"]))
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"hours.timezone {data['timezone']!r} is unknown: write one such as Europe/Dublin") from None
    return Hours(zone, tuple(read_opening(row) for row in data["open"]))


def read_opening(row: dict[str, Any]) -> Opening:
    days = tuple(sorted(DAYS.index(str(day).lower()[:3]) for day in row["days"]))
    start, end = (read_time(row[name]) for name in ("from", "to"))
    if not days or start == end:
        raise ValueError("hours.open: name days, and two different times")
    return Opening(days, start, end)


def read_time(value: Any) -> time:
    if not isinstance(value, str):  # YAML reads a bare 9:00 as the number 540
        raise ValueError(f'hours.open: write times in quotes, as "09:00", not {value!r}')
    return time.fromisoformat(value.zfill(5))


def days_named(days: tuple[int, ...]) -> str:
    if len(days) > 2 and days == tuple(range(days[0], days[0] + len(days))):
        return f"{NAMES[days[0]]} to {NAMES[days[-1]]}"
    return " and ".join(NAMES[day] for day in days) if len(days) < 3 else ", ".join(NAMES[day] for day in days)
