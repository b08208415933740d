"""How healthy a caller ID is: 100 with no signs, halved by each fresh spam label, healing with time."""

from collections.abc import Sequence
from math import floor

from rotary.domain.facts import QUARTER_MS, QUARTERS_A_DAY, DayCounts, Flag
from rotary.domain.quota import calls_between, days_read
from rotary.events import FlagKind
from rotary.policy import DAY_SECONDS, Policy


def health_score(counts: DayCounts, flags: Sequence[Flag], policy: Policy, now_ms: int) -> int:
    """An integer 0 to 100: floor(100 · 2^(-P) + 0.5). `flags` ascend, so that equal facts give equal bits.

    P = Σ severity[kind] · 2^(-age/half-life) + volume. Source: docs/meaning.md.
    """
    return score(calls_between(counts, *last_day(now_ms)), flags, policy, now_ms)


def score(recent_calls: int, flags: Sequence[Flag], policy: Policy, now_ms: int) -> int:
    """Likewise, of the calls between `last_day(now_ms)`."""
    penalty = 0.0
    for flag in flags:
        age_seconds = (now_ms - flag.at_ms) / 1000
        penalty += _severity(flag.kind, policy) * 2.0 ** (-age_seconds / policy.health_half_life_seconds)
    if recent_calls > policy.volume_calls:
        penalty += _volume(recent_calls, policy)
    return floor(100 * 2.0**-penalty + 0.5) if penalty else 100


def calls_last_day(counts: DayCounts, now_ms: int) -> int:
    """Calls in the quarter hours that began in the last 24 hours; those just ahead of the clock count too."""
    return calls_between(counts, *last_day(now_ms))


def last_day(now_ms: int) -> tuple[int, int]:
    """The quarter hours of `calls_last_day`, since 1970: the first one, the first after it."""
    return (now_ms - DAY_SECONDS * 1000) // QUARTER_MS + 1, days_read(now_ms).stop * QUARTERS_A_DAY


def _volume(calls: int, policy: Policy) -> float:
    return policy.volume_weight * min(calls / policy.volume_calls - 1, policy.volume_excess_limit)


def _severity(kind: FlagKind, policy: Policy) -> float:
    match kind:
        case "blocked":
            return policy.severity_blocked
        case "spam_label":
            return policy.severity_spam_label
        case "user_report":
            return policy.severity_user_report
        case "rejected":
            return policy.severity_rejected
