"""A customer's policy: its defaults, and which overrides are refused."""

import msgspec
import pytest

from rotary.policy import DEFAULT_POLICY, Policy


@pytest.mark.parametrize(
    "overrides",
    [
        {"cooldown_blocked_hours": 1},
        {"cooldown_blocked_seconds": 0},
        {"cooldown_blocked_seconds": 30 * 86_400 + 1},
        {"cooldown_blocked_seconds": 1.5},
        {"cooldown_blocked_seconds": "3600"},
        {"severity_blocked": -0.1},
        {"severity_blocked": float("nan")},
        {"health_half_life_seconds": 0},
        {"volume_calls": 0},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(overrides: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(overrides, Policy)


def test_a_policy_overrides_any_subset_by_name() -> None:
    policy = msgspec.json.decode(b'{"cooldown_blocked_seconds": 60, "severity_blocked": 3}', type=Policy)
    assert policy == Policy(cooldown_blocked_seconds=60, severity_blocked=3.0)
    assert msgspec.json.decode(b"{}", type=Policy) == DEFAULT_POLICY


def test_the_default_policy_is_the_documented_one() -> None:
    hour, day = 3600, 86_400
    assert msgspec.structs.asdict(DEFAULT_POLICY) == {
        "cooldown_user_report_seconds": hour,
        "cooldown_spam_label_seconds": 6 * hour,
        "cooldown_blocked_seconds": 24 * hour,
        "cooldown_window_seconds": 7 * day,
        "cooldown_cap_seconds": 7 * day,
        "severity_blocked": 2.0,
        "severity_spam_label": 1.0,
        "severity_user_report": 1.0,
        "severity_rejected": 0.25,
        "health_half_life_seconds": 72 * hour,
        "volume_weight": 0.5,
        "volume_calls": 100,
        "volume_excess_limit": 2.0,
        "unknown_caller_ids_per_day": 1000,
        "pick_ttl_seconds": 30,
        "sticky_days": 90,
        "warm_up": (),
    }
