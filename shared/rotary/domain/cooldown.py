"""When a flagged caller ID may dial again, and when it rested."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from rotary.domain.facts import Flag
from rotary.events import FlagKind
from rotary.policy import Policy


def cooldown_until(flags: Sequence[Flag], cleared_at_ms: int | None, policy: Policy, now_ms: int) -> int | None:
    """The UTC millisecond at which the cooldown ends, or None without a cooldown now. `flags` ascend.

    until(f) = f.at + min(CAP, BASE[f.kind] · 2^(n-1)), with n the triggering flags in the window up to and including f.
    Only flags after the last clear count. Source: docs/meaning.md.
    """
    if not flags:
        return None
    triggering = [
        flag for flag in flags if flag.kind != "rejected" and (cleared_at_ms is None or flag.at_ms > cleared_at_ms)
    ]
    until, first, last = now_ms, 0, 0
    for flag in triggering:
        while triggering[first].at_ms <= flag.at_ms - policy.cooldown_window_seconds * 1000:
            first += 1
        # Flags of one moment all count for each other: their order means nothing.
        while last < len(triggering) and triggering[last].at_ms <= flag.at_ms:
            last += 1
        until = max(until, flag.at_ms + 1000 * _cooldown_seconds(flag.kind, last - first - 1, policy))
    return until if until > now_ms else None


def rests(flags: Sequence[Flag], clears: Sequence[int], policy: Policy) -> Iterator[tuple[int, int]]:
    """The cooldown that each triggering flag causes, as (from, until) in UTC milliseconds. `flags` and `clears` ascend.

    They overlap. At any moment t one of them contains t exactly if `cooldown_until` of the flags up to t, with the last
    clear up to t, is not None at t: a clear ends what the flags before it caused, and they no longer count for later
    ones.
    """
    triggering = [flag for flag in flags if flag.kind != "rejected"]
    times = [flag.at_ms for flag in triggering]
    for flag in triggering:
        upcoming = bisect_left(clears, flag.at_ms)
        begin = flag.at_ms - policy.cooldown_window_seconds * 1000
        if upcoming:
            begin = max(begin, clears[upcoming - 1])
        earlier = bisect_right(times, flag.at_ms) - bisect_right(times, begin) - 1
        until = flag.at_ms + 1000 * _cooldown_seconds(flag.kind, earlier, policy)
        yield flag.at_ms, min(until, clears[upcoming]) if upcoming < len(clears) else until


def _cooldown_seconds(kind: FlagKind, earlier: int, policy: Policy) -> int:
    # A shift is exact in Python, however many flags there are. The cap bounds it.
    return min(policy.cooldown_cap_seconds, _base_seconds(kind, policy) << earlier)


def _base_seconds(kind: FlagKind, policy: Policy) -> int:
    match kind:
        case "user_report":
            return policy.cooldown_user_report_seconds
        case "spam_label":
            return policy.cooldown_spam_label_seconds
        case "blocked":
            return policy.cooldown_blocked_seconds
        case "rejected":
            return 0
