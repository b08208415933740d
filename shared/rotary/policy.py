"""All constants of the domain in one Struct. It is part of a definition, so that a customer can have its own."""

from typing import Annotated

from msgspec import Meta, Struct

DAY_SECONDS = 86_400
_Duration = Annotated[int, Meta(ge=1, le=30 * DAY_SECONDS)]
_Factor = Annotated[float, Meta(ge=0, le=1000)]


MAX_PICK_TTL_SECONDS = 60
"""The longest that a reservation may live. After Redis lost data nothing is picked for as long."""


class WarmUpStep(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Up to the day `before_day` since its activation, which is day 0, a caller ID has at most `cap` calls a day."""

    before_day: Annotated[int, Meta(ge=1, le=3_650)]
    cap: Annotated[int, Meta(ge=1)]


class Policy(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The rules of cooldown and health. `customers.policy` overrides any of the fields by name.

    Durations are in seconds, at most 30 days, the age up to which flags are accepted. Severities and `volume_weight`
    count halvings of health. docs/meaning.md has the formulas. `unknown_caller_ids_per_day` limits the caller IDs
    without a definition that get facts on one UTC day. Events of further ones are parked.

    Of the rotation engine: how long a pick reserves a call, how long a lead keeps its number after its last use, and
    the caps of caller IDs that are new, the lowest that applies.
    """

    cooldown_user_report_seconds: _Duration = 3_600
    cooldown_spam_label_seconds: _Duration = 6 * 3_600
    cooldown_blocked_seconds: _Duration = 24 * 3_600
    cooldown_window_seconds: _Duration = 7 * DAY_SECONDS
    cooldown_cap_seconds: _Duration = 7 * DAY_SECONDS
    severity_blocked: _Factor = 2.0
    severity_spam_label: _Factor = 1.0
    severity_user_report: _Factor = 1.0
    severity_rejected: _Factor = 0.25
    health_half_life_seconds: _Duration = 72 * 3_600
    volume_weight: _Factor = 0.5
    volume_calls: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    volume_excess_limit: _Factor = 2.0
    unknown_caller_ids_per_day: Annotated[int, Meta(ge=0, le=1_000_000)] = 1_000
    pick_ttl_seconds: Annotated[int, Meta(ge=1, le=MAX_PICK_TTL_SECONDS)] = 30
    sticky_days: Annotated[int, Meta(ge=1, le=3_650)] = 90
    warm_up: Annotated[tuple[WarmUpStep, ...], Meta(max_length=100)] = ()


DEFAULT_POLICY = Policy()
