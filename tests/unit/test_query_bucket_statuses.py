"""What the cache believes of a bucket, and by which clock: messages and answers, in any order."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotary.errors import UnavailableError
from rotary.redis.positions import RECOVERY_LIMIT_MS, BucketStatus
from rotary.redis.versions import TOKENS, Versions
from rotary_query.cache.bucket_statuses import BACK_MS, BucketStatuses
from rotary_query.cache.redis_clock import RedisClock

NOW = 1_800_000_000_000
BUCKET = 17


class Local:
    """A local clock that a test moves."""

    def __init__(self) -> None:
        self.ms = 5_000

    def __call__(self) -> float:
        return self.ms / 1000 + 1e-6


def standings_at(now_ms: int = NOW) -> tuple[BucketStatuses, RedisClock, Local, list[int]]:
    local, dropped = Local(), list[int]()
    clock = RedisClock(local)
    clock.answered(now_ms, local.ms)
    made = BucketStatuses(clock, dropped.append, dropped.append)
    made.open()
    return made, clock, local, dropped


def current(age_ms: int = 100) -> BucketStatus:
    return BucketStatus(NOW - age_ms, 0, 0)


# Redis' clock


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300), st.booleans()), min_size=1, max_size=30),
    st.integers(-(10**6), 10**6),
)
def test_the_estimate_is_never_further_off_than_the_last_answer_took(
    steps: list[tuple[int, int, bool]], offset: int
) -> None:
    local = Local()
    clock = RedisClock(local)
    for there, back, is_message in steps:
        asked = local.ms
        local.ms += there
        said = local.ms + NOW + offset
        local.ms += back
        if is_message:
            clock.heard(said)
            assert clock.now_ms() >= said
        else:
            clock.answered(said, asked)
            assert said <= clock.now_ms() <= said + there + back


@pytest.mark.parametrize("jump", [-300_000, 300_000])
def test_the_estimate_follows_a_clock_that_is_set(jump: int) -> None:
    local = Local()
    clock = RedisClock(local)
    clock.answered(NOW, local.ms)
    clock.answered(NOW + jump, local.ms)
    assert clock.now_ms() == NOW + jump


def test_a_clock_that_nobody_told_is_not_made_up() -> None:
    assert RedisClock(Local()).now_ms() == 0


# BucketStatuses


def test_what_nobody_keeps_up_grows_old() -> None:
    made, _, local, _ = standings_at()
    made.heard(BUCKET, current(100))
    for waited in range(0, 12_000, 50):
        local.ms = 5_000 + waited
        age_ms = made.age_ms(BUCKET)
        assert age_ms is not None
        assert age_ms // 1000 == (100 + waited) // 1000
        assert made.oldest_ms() == 100 + waited
    assert made.age_ms(BUCKET + 1) is None


@pytest.mark.parametrize(
    ("bucket_status", "is_refused"),
    [
        (BucketStatus(0, 0, 0), True),
        (BucketStatus(NOW - 3_600_000, 0, 0), False),
        (BucketStatus(NOW - 100, 0, NOW + 1), True),
        (BucketStatus(NOW - 100, 0, NOW - 1), False),
        (BucketStatus(NOW - RECOVERY_LIMIT_MS, NOW - 50, 0), False),
        (BucketStatus(NOW - RECOVERY_LIMIT_MS - 1, NOW - 50, 0), True),
    ],
)
def test_memory_refuses_what_redis_would_have_refused(bucket_status: BucketStatus, *, is_refused: bool) -> None:
    made, *_ = standings_at()
    made.heard(BUCKET, bucket_status)
    assert (bucket_status.refusal(NOW) is not None) == is_refused
    if is_refused:
        with pytest.raises(UnavailableError, match=str(bucket_status.refusal(NOW))):
            made.age_ms(BUCKET)
        assert made.refusals() == {bucket_status.refusal(NOW): 1}
    else:
        assert made.age_ms(BUCKET) == bucket_status.age_ms(NOW)


@pytest.mark.parametrize(
    ("later", "is_dropped"),
    [
        (current(0), False),
        (current(100 + BACK_MS), False),
        (current(101 + BACK_MS), True),
        (BucketStatus(NOW, NOW - 5, 0), True),
        (BucketStatus(0, 0, 0), True),
        (BucketStatus(NOW, 0, NOW + 5), False),
    ],
)
def test_a_bucket_that_went_back_is_dropped(later: BucketStatus, *, is_dropped: bool) -> None:
    made, _, _, dropped = standings_at()
    made.heard(BUCKET, current(100))
    made.heard(BUCKET, later)
    assert dropped == ([BUCKET] if is_dropped else [])


def test_many_small_steps_back_are_a_large_one() -> None:
    made, _, _, dropped = standings_at()
    for age_ms in (0, 600, 1_200):
        made.heard(BUCKET, current(age_ms))
    assert dropped == [BUCKET]


def test_a_recovery_drops_once_and_not_with_each_message_of_its_own() -> None:
    made, _, _, dropped = standings_at()
    made.heard(BUCKET, current(100))
    for age_ms in (9_000, 5_000, 200):
        made.heard(BUCKET, BucketStatus(NOW - age_ms, NOW - 50, 0))
    made.heard(BUCKET, current(0))
    assert dropped == [BUCKET]


def test_another_generation_drops_whoever_tells_of_it() -> None:
    tellers: list[Callable[[BucketStatuses], object]] = [
        lambda made: made.switched(BUCKET, 1),
        lambda made: made.read(BUCKET, 1, current(), made.mark(BUCKET)),
    ]
    for tell in tellers:
        made, _, _, dropped = standings_at()
        made.heard(BUCKET, current())
        tell(made)
        assert dropped == [BUCKET]
        assert made.age_ms(BUCKET) is None
        assert made.mark(BUCKET).generation == 1


def test_an_answer_by_the_wrong_generation_is_not_taken() -> None:
    made, *_ = standings_at()
    mark = made.mark(BUCKET)
    assert not made.read(BUCKET, 2, current(), mark)
    assert made.read(BUCKET, 2, current(), made.mark(BUCKET))
    overtaken = made.mark(BUCKET)
    made.switched(BUCKET, 3)
    assert made.read(BUCKET, 2, current(), overtaken), "it was right when it was asked"
    assert made.mark(BUCKET).generation == 3


def test_an_answer_that_was_overtaken_by_a_message_says_nothing() -> None:
    made, _, _, dropped = standings_at()
    made.heard(BUCKET, current(900))
    mark = made.mark(BUCKET)
    made.heard(BUCKET, current(10))
    assert made.read(BUCKET, 0, current(900), mark)
    assert made.age_ms(BUCKET) == 10
    assert dropped == []


def test_an_answer_makes_no_cached_facts_younger() -> None:
    made, _, _, _ = standings_at()
    made.heard(BUCKET, current(3_000))
    assert made.read(BUCKET, 0, current(100), made.mark(BUCKET))
    assert made.age_ms(BUCKET) == 3_000, "the changes in between were not heard"
    made.heard(BUCKET, current(100))
    assert made.age_ms(BUCKET) == 100


def test_an_answer_that_was_overtaken_still_tells_of_a_loss() -> None:
    made, _, _, dropped = standings_at()
    made.heard(BUCKET, current(900))
    mark = made.mark(BUCKET)
    made.heard(BUCKET, current(10))
    assert made.read(BUCKET, 0, BucketStatus(0, 0, 0), mark)
    assert dropped == [BUCKET]
    with pytest.raises(UnavailableError):
        made.age_ms(BUCKET)


def test_an_answer_that_was_long_on_its_way_is_no_loss() -> None:
    made, _, _, dropped = standings_at()
    made.heard(BUCKET, current(5_000))
    mark = made.mark(BUCKET)
    made.heard(BUCKET, current(0))
    made.read(BUCKET, 0, current(4_900), mark)
    assert dropped == []


def test_nothing_is_known_while_changes_may_be_missed() -> None:
    made, *_ = standings_at()
    made.heard(BUCKET, current())
    made.switched(BUCKET + 1, 4)
    made.close()
    made.heard(BUCKET, current())
    made.read(BUCKET, 0, current(), made.mark(BUCKET))
    assert made.age_ms(BUCKET) is None
    assert made.oldest_ms() is None
    assert made.mark(BUCKET + 1).generation == 4, "whoever asks by the wrong one is told"


# The definitions' versions


def test_definitions_are_refused_while_incomplete_or_older_than_known() -> None:
    refused: list[int] = []
    versions = Versions(refused.append)

    def read(complete: bytes | None, version: bytes | None) -> bool:
        return versions.read(3, [complete, version], versions.mark(3))

    assert not read(None, None)
    assert not read(None, b"0005")
    assert (refused, versions.refused) == ([3], {3})
    assert read(b"1", b"0005")
    assert versions.refused == set()
    assert not read(b"1", b"0004")
    assert not read(b"1", None)
    assert refused == [3, 3], "told when it began, not with each read"
    assert read(b"1", b"0006")
    with pytest.raises(UnavailableError, match="definitions are being rebuilt"):
        versions.check(3, [b"1", b"0005"], versions.mark(3))
    assert versions.read(TOKENS, [b"1", b"0001"], versions.mark(TOKENS)), "each part has a version of its own"


def test_an_answer_that_was_overtaken_is_not_taken_for_an_older_version() -> None:
    versions = Versions(lambda _part: None)
    early, late = versions.mark(3), versions.mark(3)
    assert versions.read(3, [b"1", b"0006"], late)
    assert versions.read(3, [b"1", b"0005"], early)
    assert versions.mark(3) == b"0006"
