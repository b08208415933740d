"""Which caller ID shows on the next call: a dialer's side of the six rotation strategies."""

from random import Random
from zlib import crc32

from rotary.definitions import RotationStrategy
from rotary.domain.monitor import MonitorMember


class Rotation:
    """Turns through one group. `weights` are the members' by caller ID, from the group's detail."""

    def __init__(self, strategy: RotationStrategy, weights: dict[int, int], chance: Random) -> None:
        self._strategy = strategy
        self._weights = weights
        self._chance = chance
        self._last = 0

    def next(self, eligible: list[MonitorMember], lead_id: str) -> MonitorMember:
        """One of `eligible`, which is not empty and ascends by caller ID."""
        member = self._chosen(eligible, lead_id)
        self._last = member.caller_id_id
        return member

    def _chosen(self, eligible: list[MonitorMember], lead_id: str) -> MonitorMember:
        match self._strategy:
            case "round_robin":
                return next((member for member in eligible if member.caller_id_id > self._last), eligible[0])
            case "least_used":
                return min(eligible, key=lambda member: member.calls_today)
            case "cap_based":
                return max(eligible, key=lambda member: 1 - member.calls_today / member.daily_cap)
            case "weighted":
                weights = [self._weights.get(member.caller_id_id, 1) for member in eligible]
                return self._chance.choices(eligible, weights)[0]
            case "sticky_lead":
                # Highest of a hash per member: when one drops out, only its own leads hear another number.
                return max(eligible, key=lambda member: crc32(f"{lead_id}/{member.caller_id_id}".encode()))
            case "random":
                return self._chance.choice(eligible)
