"""Groups to pick from, in a few words."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from histories import EPOCH
from rotary.definitions import GroupDefinition, MemberDefinition, RotationStrategy
from rotary.policy import DEFAULT_POLICY

GROUP = 3
TIMEZONE = "Asia/Ho_Chi_Minh"


def member(caller: int, **fields: Any) -> MemberDefinition:  # the struct's fields
    """An active caller ID."""
    one = MemberDefinition(caller, f"028{caller:07d}", f"Line {caller}", "viettel", "active", "trunk-1", 1_000, 1)
    return replace(one, **fields)


def group(
    members: Sequence[MemberDefinition], strategy: RotationStrategy = "round_robin", **fields: Any
) -> GroupDefinition:
    """The group 3, not sticky unless its strategy is."""
    one = GroupDefinition(
        GROUP, "Sales HCM", None, strategy, False, "active", EPOCH, TIMEZONE, DEFAULT_POLICY, tuple(members)
    )  # fmt: skip
    return replace(one, **fields)
