"""A token's window as one replica sees it: what it spends, asks for and says."""

from rotary.auth.rate_limit import RateLimitStatus, TokenWindow
from rotary.http.responses import rate_limit_lines
from rotary.redis.rate_limits import HELD_MS, Reserve, Reserved

NOW = 1_780_000_000_000


class Given:
    """A window that was granted hits, and how often it asked for more by itself."""

    def __init__(self, limit: int = 100, held: int = 10, counted: int = 0) -> None:
        self.refills = 0
        self.window = TokenWindow("token", limit, self._refill)
        self.window.ask(NOW)
        self.window.take(Reserved(held, counted, 60_000), NOW, NOW)

    def _refill(self, _window: TokenWindow) -> None:
        self.refills += 1


def test_what_is_granted_is_spent_without_asking_anybody() -> None:
    window = Given(held=10).window
    assert [window.hit(NOW + 1) for _ in range(11)] == [True] * 10 + [False]
    assert window.is_dry(NOW + 1)


def test_more_is_asked_for_before_the_last_is_spent_and_when_half_its_time_is_over() -> None:
    given = Given(limit=1_000, held=10)
    while not given.refills:
        assert given.window.hit(NOW + 1)
    assert given.window.hit(NOW + 1), "some are left"
    late = Given(limit=1_000, held=10)
    assert late.window.hit(NOW + 1)
    early = late.refills
    assert late.window.hit(NOW + HELD_MS // 2)
    assert (early, late.refills) == (0, 1)


def test_what_is_held_for_too_long_is_not_spent() -> None:
    window = Given().window
    assert not window.hit(NOW + HELD_MS)
    assert window.is_dry(NOW + HELD_MS)
    assert window.ask(NOW + HELD_MS).kept == 0


def test_what_is_spent_is_told_once_and_again_if_there_was_no_answer() -> None:
    window = Given(limit=100, held=10).window
    for _ in range(3):
        assert window.hit(NOW + 5)
    assert window.ask(NOW + 9) == Reserve("token", 100, 3, 4, 7, 0)
    assert window.hit(NOW + 10)
    window.fail(NOW + 11)
    assert window.ask(NOW + 12).made == 4
    window.take(Reserved(6, 4, 50_000), NOW + 12, NOW + 13)
    assert window.ask(NOW + 14).made == 0


def test_a_refusal_is_repeated_for_a_second_and_not_longer() -> None:
    window = Given(limit=10, held=0, counted=10).window
    assert not window.is_dry(NOW + 999)
    assert not window.hit(NOW + 999)
    assert window.retry_after(NOW + 999) == 60
    assert window.is_dry(NOW + 1_000)


def test_a_clock_that_is_set_back_keeps_nobody_out() -> None:
    refusing, granting = Given(limit=10, held=0, counted=10).window, Given().window
    assert refusing.is_dry(NOW - 3_600_000)
    assert granting.is_dry(NOW - 3_600_000)
    assert not granting.hit(NOW - 3_600_000)


def test_header_lines_tell_the_limit_the_remaining_requests_and_the_reset_time() -> None:
    window = Given(limit=10, held=4, counted=3).window
    assert window.hit(NOW)
    assert window.status(NOW) == RateLimitStatus(10, 6, 1_780_000_060)
    assert rate_limit_lines(window.status(NOW)) == (
        b"X-RateLimit-Limit: 10\r\nX-RateLimit-Remaining: 6\r\nX-RateLimit-Reset: 1780000060\r\n"
    )


def test_a_lowered_limit_leaves_nothing_rather_than_less() -> None:
    window = Given(limit=10, held=4, counted=6).window
    window.resize(2)
    assert not window.hit(NOW)
    assert window.is_dry(NOW)
    assert window.status(NOW).remaining == 0


def test_who_spends_fast_asks_for_more_and_who_is_slow_for_less() -> None:
    window, now_ms = Given(limit=1_000, held=10).window, NOW
    wanted: list[int] = []
    for step in (100, 100, 100, 100, 100, 100, 2_000, 2_000):
        now_ms += step
        asked = window.ask(now_ms)
        wanted.append(asked.kept + asked.wanted)
        window.take(Reserved(wanted[-1], 0, 60_000), now_ms, now_ms)
        while window.hit(now_ms):
            pass
    assert wanted == [10, 20, 40, 80, 160, 250, 250, 125]
