"""The sliding window: laws over any sequence of hits."""

from hypothesis import given
from hypothesis import strategies as st

from rotary.auth.sliding_window import WINDOW_MS, SlidingWindow

NOW = 1_780_000_000_000


@given(limit=st.integers(0, 12), steps=st.lists(st.integers(0, 20_000), max_size=80))
def test_any_sixty_seconds_hold_at_most_the_limit_and_nearly_as_much(limit: int, steps: list[int]) -> None:
    window, now_ms = SlidingWindow(limit), NOW
    allowed: list[int] = []
    for step in steps:
        now_ms += step
        if window.hit(now_ms):
            allowed.append(now_ms)
            assert sum(at > now_ms - WINDOW_MS for at in allowed) <= limit
        else:
            # Hits of one slot leave with its last: the window may remember a tenth of a second too long.
            assert sum(at > now_ms - WINDOW_MS - 100 for at in allowed) >= limit


@given(limit=st.integers(1, 12), steps=st.lists(st.integers(0, 20_000), min_size=1, max_size=80))
def test_after_the_seconds_told_a_hit_is_allowed(limit: int, steps: list[int]) -> None:
    window, now_ms = SlidingWindow(limit), NOW
    for step in steps:
        now_ms += step
        if not window.hit(now_ms):
            seconds = window.retry_after(now_ms)
            assert 1 <= seconds <= 60
            assert not window.is_full(now_ms + seconds * 1000)


def test_a_busy_window_stays_small() -> None:
    window = SlidingWindow(10**9)
    for at in range(0, 120_000, 3):
        assert window.hit(NOW + at)
    assert 20_000 <= window.used <= 20_034
    assert len(window._slots) <= 601  # noqa: SLF001  # the promise is about memory
