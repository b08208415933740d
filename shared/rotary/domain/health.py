"""The health score: 100 without flags, halved by each fresh spam label. It recovers with time."""

from collections.abc import Sequence
from math import floor

from rotary.domain.facts import QUARTER_MS, QUARTERS_A_DAY, Flag
from rotary.domain.quota import days_read
from rotary.events import FlagKind
from rotary.policy import DAY_SECONDS, Policy

MOST_HALF_LIVES_AHEAD = 1000
"""A flag that is further ahead of a slow clock counts as this: a larger power of two is no number."""


def health_score(recent_calls: int, flags: Sequence[Flag], policy: Policy, now_ms: int) -> int:
    """An integer from 0 to 100: floor(100 · 2^(-P) + 0.5).

    P = Σ severity[kind] · 2^(-age/half-life) + volume. `recent_calls` counts the calls in `last_day(now_ms)`. `flags`
    ascend. The sum runs in that order, so equal facts give equal bits. Source: docs/meaning.md.
    """
    penalty = 0.0
    for flag in flags:
        half_lives = (now_ms - flag.at_ms) / 1000 / policy.health_half_life_seconds
        penalty += _severity(flag.kind, policy) * 2.0 ** min(-half_lives, MOST_HALF_LIVES_AHEAD)
    if recent_calls > policy.volume_calls:
        penalty += _volume(recent_calls, policy)
    return floor(100 * 2.0**-penalty + 0.5) if penalty else 100


def last_day(now_ms: int) -> tuple[int, int]:
    """The quarter hours that began in the last 24 hours, as (first, after the last), counted since 1970.

    The range ends with tomorrow, because event times may be slightly ahead of the clock.
    """
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
