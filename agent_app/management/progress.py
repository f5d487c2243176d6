"""A bar on a terminal; nothing elsewhere."""

from collections.abc import Callable
from typing import Any

BAR = 30  # characters


class Progress:
    """Of `total` things; a total of 0 shows nothing."""

    def __init__(self, out: Any, verb: str, total: int) -> None:
        self.out, self.verb, self.total, self.done = out, verb, total, 0

    def __enter__(self) -> Callable[[int], None]:
        return self.advance

    def __exit__(self, *error: Any) -> None:
        if self.done and self.total:
            self.out.write("")

    def advance(self, number: int) -> None:
        self.done += number
        if self.total:
            full = min(BAR, BAR * self.done // self.total)
            self.out.write(f"\r[{'#' * full}{'.' * (BAR - full)}] {self.done} of {self.total} {self.verb}", ending="")
            self.out.flush()
