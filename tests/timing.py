"""How long something takes, on a machine that others use as well."""

import time
from collections.abc import Awaitable, Callable
from typing import Any


async def within(seconds: float, act: Callable[[], Awaitable[Any]], tries: int = 5) -> bool:
    """Whether it can be done in that time, once of several tries: what others do to the machine only ever adds."""
    for _ in range(tries):
        began = time.monotonic()
        await act()
        if time.monotonic() - began < seconds:
            return True
    return False
