"""The bodies of the API: these very types encode the answers and generate the OpenAPI document."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from rotary.definitions import (
    CARRIER_LABELS,
    Carrier,
    GroupDefinition,
    GroupSummary,
    MemberDefinition,
    RotationStrategy,
    Status,
    Weight,
    summary,
)
from rotary.domain.monitor import Monitor, MonitorMember
from rotary.events import Id, Timestamp
from rotary.http.bodies import Envelope


class GroupItem(Struct, frozen=True):
    """A group as the list shows it. `caller_ids_count` counts the members whose own status is active."""

    id: Id
    name: Annotated[str, Meta(max_length=150)]
    description: Annotated[str, Meta(max_length=500)] | None
    rotation_strategy: RotationStrategy
    sticky_enabled: bool
    status: Status
    caller_ids_count: Annotated[int, Meta(ge=0)]
    created_at: Timestamp


class CallerIdItem(Struct, frozen=True):
    """A caller ID as a member of a group; `number` is verbatim, E.164 or domestic."""

    id: Id
    number: str
    display_name: Annotated[str, Meta(max_length=100)] | None
    carrier: Carrier
    carrier_label: str
    status: Status
    trunk_name: str | None
    weight: Weight


class GroupDetail(GroupItem, frozen=True):
    """A group with every member, disabled ones too, ascending by id."""

    caller_ids: list[CallerIdItem]


Seq = Annotated[int, Meta(ge=1)]
Checksum = Annotated[int, Meta(ge=0, lt=2**32)]


class StreamSnapshot(Struct, frozen=True, forbid_unknown_fields=True):
    """The data of a `snapshot` in a stream of deltas."""

    seq: Seq
    checksum: Checksum
    data: Monitor


class StreamDelta(Struct, frozen=True, forbid_unknown_fields=True):
    """The data of a `delta`: what a client that is at `from` lacks."""

    seq: Seq
    from_: Seq = field(name="from")
    checksum: Checksum
    group_name: str
    total_members: int
    eligible_now: int
    in_cooldown: int
    disabled: int
    members: list[MonitorMember]
    removed: list[Id]


class StreamStale(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The data of a `stale`: what was shown last is not current."""

    since: Timestamp
    reason: str
    lag_seconds: int | None = None


class StreamTicket(Struct, frozen=True):
    """A ticket for one stream. It is valid until it is used, at most until `expires_at`."""

    ticket: str
    expires_at: Timestamp


_encode = msgspec.json.Encoder().encode


def encode_list(groups: tuple[GroupSummary, ...]) -> bytes:
    """The body of the list of groups."""
    return _encode(Envelope([_item(group) for group in groups]))


def encode_detail(group: GroupDefinition) -> bytes:
    """The body of one group with its members."""
    item = msgspec.structs.asdict(_item(summary(group)))
    return _encode(Envelope(GroupDetail(**item, caller_ids=[_caller_id(member) for member in group.members])))


def encode_monitor(snapshot: Monitor) -> bytes:
    """The body of a group's monitor."""
    return _encode(Envelope(snapshot))


def encode_ticket(ticket: StreamTicket) -> bytes:
    """The body of a new ticket."""
    return _encode(Envelope(ticket))


def _item(group: GroupSummary) -> GroupItem:
    return GroupItem(
        group.id,
        group.name,
        group.description,
        group.rotation_strategy,
        group.sticky_enabled,
        group.status,
        group.caller_ids_count,
        whole_second(group.created_at),
    )


def _caller_id(member: MemberDefinition) -> CallerIdItem:
    return CallerIdItem(
        member.id,
        member.number,
        member.display_name,
        member.carrier,
        CARRIER_LABELS[member.carrier],
        member.status,
        member.trunk_name,
        member.weight,
    )


def whole_second(moment: datetime) -> datetime:
    """The same moment in UTC, its fraction of a second cut off, as every time of the API."""
    return moment.astimezone(UTC).replace(microsecond=0)
