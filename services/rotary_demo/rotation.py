"""The six rotation strategies: which caller ID the dialer uses for the next call."""

from random import Random
from zlib import crc32

from rotary.definitions import RotationStrategy
from rotary.domain.monitor import MonitorMember


class Rotation:
    """Rotates over one group. `weights` maps caller ID to weight, from the group's detail."""

    def __init__(self, strategy: RotationStrategy, weights: dict[int, int], rng: Random) -> None:
        self._strategy = strategy
        self._weights = weights
        self._rng = rng
        self._last = 0

    def next(self, eligible: list[MonitorMember], lead_id: str) -> MonitorMember:
        """One of `eligible`, which must not be empty and is in ascending order of caller ID."""
        member = self._choose(eligible, lead_id)
        self._last = member.caller_id_id
        return member

    def _choose(self, eligible: list[MonitorMember], lead_id: str) -> MonitorMember:
        match self._strategy:
            case "round_robin":
                return next((member for member in eligible if member.caller_id_id > self._last), eligible[0])
            case "least_used":
                return min(eligible, key=lambda member: member.calls_today)
            case "cap_based":
                return max(eligible, key=lambda member: 1 - member.calls_today / member.daily_cap)
            case "weighted":
                weights = [self._weights.get(member.caller_id_id, 1) for member in eligible]
                return self._rng.choices(eligible, weights)[0]
            case "sticky_lead":
                # Rendezvous hashing: when a member drops out, only its own leads get another number.
                return max(eligible, key=lambda member: crc32(f"{lead_id}/{member.caller_id_id}".encode()))
            case "random":
                return self._rng.choice(eligible)
