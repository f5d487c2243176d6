"""The reader's cursor: order, gaps, and a queue that is bounded."""

import pytest
from django.utils import timezone

from agent_app.doorbell import Ring
from agent_app.follower import MOST_QUEUED, Follower, TooSlow
from agent_app.models.conversations import Entry

pytestmark = pytest.mark.unit


def entry(seq: int, text: str = "hello") -> Entry:
    return Entry(seq, f"id-{seq}", "customer", text, timezone.now())


def following(cursor: int = 0) -> Follower:
    follower = Follower(1)
    follower.start_from(cursor, "ai", cursor)
    return follower


def queued(follower: Follower) -> list[int]:
    return [frame["seq"] for frame in follower.take_queued() if frame["type"] == "message"]


async def test_messages_that_follow_the_cursor_go_out_from_memory() -> None:
    follower = following(cursor=4)
    follower.hear(Ring(1, 6, "ai", (entry(5), entry(6))))
    assert queued(follower) == [5, 6]


async def test_a_ring_that_comes_twice_shows_nothing_twice() -> None:
    follower = following()
    for _ in range(2):
        follower.hear(Ring(1, 1, "ai", (entry(1),)))
    assert queued(follower) == [1]


async def test_after_a_gap_nothing_is_queued_before_the_log_was_read() -> None:
    follower = following()
    follower.hear(Ring(1, 2, "ai", (entry(2),)))
    follower.hear(Ring(1, 3, "ai", (entry(3),), ({"type": "delta", "text": "passing"},)))
    assert follower.take_queued() == []
    assert follower.cursor == 0


async def test_rings_before_the_start_are_remembered_as_a_place_in_the_log() -> None:
    follower = Follower(1)
    follower.hear(Ring(1, 7, "waiting", (entry(7),)))
    follower.start_from(5, "ai", 5)
    follower.hear(Ring(1, 8, None, (entry(8),)))
    assert follower.cursor == 5  # 6 and 7 come from the log first
    assert follower.state_now == "waiting"


async def test_a_full_queue_takes_nothing_more_and_says_so_once() -> None:
    """Nothing small may go out behind a message that was left out."""
    follower = following()
    cut_off: list[bool] = []
    follower.on_too_slow = lambda: cut_off.append(True)
    large = "x" * (MOST_QUEUED // 4)
    for seq in range(1, 6):
        follower.hear(Ring(1, seq, "ai", (entry(seq, large if seq < 5 else "small"),)))
    assert cut_off == [True]
    sent = []
    with pytest.raises(TooSlow):
        async for frame in follower.frames():
            sent.append(frame["seq"])
    assert sent == [1, 2, 3]


async def test_passing_frames_are_dropped_first() -> None:
    follower = following()
    follower.hear(Ring(1, 1, "ai", (entry(1, "x" * 200_000),)))
    follower.hear(Ring(1, frames=({"type": "delta", "text": "late"},)))
    follower.hear(Ring(1, 2, "ai", (entry(2),)))
    assert queued(follower) == [1, 2]


async def test_its_own_typing_does_not_come_back() -> None:
    follower = following()
    typing = {"type": "typing", "role": "customer", "on": True}
    follower.hear(Ring(1, frames=(typing,), sender=follower.name))
    assert follower.take_queued() == []
    follower.hear(Ring(1, frames=(typing,), sender="somebody"))
    assert follower.take_queued() == [typing]


async def test_what_passes_by_with_a_message_from_elsewhere_waits_for_the_log() -> None:
    """A ring of another instance brings no messages: its frames go out once they were read."""
    follower = following()
    started = {"type": "turn", "turn": "1-0", "status": "started"}
    follower.hear(Ring(1, 1, "ai", (), (started,)))
    assert follower.take_queued() == []
    follower.cursor = 1  # as the read leaves it
    follower._release()
    assert follower.take_queued() == [started]


async def test_text_that_a_message_has_replaced_does_not_come_behind_it() -> None:
    follower = following()
    follower.hear(Ring(1, 2, "ai", (), ({"type": "delta", "turn": "1-0", "at": 0, "text": "late"},)))
    follower.cursor, follower._answered = 2, "1-0"
    follower._release()
    assert follower.take_queued() == []
