"""The bodies of the answers: these very types encode them and generate the OpenAPI document."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from rotary.definitions import Carrier
from rotary.domain.rotation.outcomes import NothingEligible, Outcome, Picked, Reason, Refusal
from rotary.events import Id, PickId, Timestamp

NOTHING_ELIGIBLE = "No caller ID is eligible."
INVALID = "The given data was invalid."

_Count = Annotated[int, Meta(ge=1)]


class Pick(Struct, frozen=True, gc=False):
    """A caller ID, reserved for one call until `expires_at`."""

    id: PickId
    group_id: Id
    caller_id_id: Id
    number: str
    display_name: Annotated[str, Meta(max_length=100)] | None
    carrier: Carrier
    trunk_name: str | None
    reason: Reason
    expires_at: Timestamp


class NoneEligible(Struct, frozen=True):
    """No member can be picked now."""

    message: str
    reasons: dict[Refusal, _Count]
    next_eligible_at: Timestamp | None


class InvalidBody(Struct, frozen=True):
    """What is wrong with a request, by field."""

    message: str
    errors: dict[str, list[str]]


_encode = msgspec.json.Encoder().encode


def encode_pick(picked: Picked) -> bytes:
    """The body of one pick."""
    return b'{"data":%b}' % _pick_json(picked)


def encode_refusal(nothing: NothingEligible) -> bytes:
    """The body of a pick that is refused."""
    return _encode(_refusal(nothing))


def encode_batch(outcomes: list[Outcome]) -> bytes:
    """The body of many picks and refusals."""
    return b'{"data":[%b]}' % b",".join(
        [_pick_json(one) if isinstance(one, Picked) else encode_refusal(one) for one in outcomes]
    )


def encode_invalid(errors: dict[str, list[str]]) -> bytes:
    """The body of a refused request."""
    return _encode(InvalidBody(INVALID, errors))


def _pick_json(picked: Picked) -> bytes:
    """As the encoder has it. A group's picks differ in the id, which needs no escapes, and in the time alone."""
    told = _told(
        picked.group_id,
        picked.caller_id_id,
        picked.number,
        picked.display_name,
        picked.carrier,
        picked.trunk_name,
        picked.reason,
    )
    return told % (picked.id.encode(), _second_json(picked.expires_at_ms // 1000))


@lru_cache(maxsize=8192)
def _told(  # by position, for the cache's sake
    group_id: int,
    caller_id_id: int,
    number: str,
    display_name: str | None,
    carrier: Carrier,
    trunk_name: str | None,
    reason: Reason,
) -> bytes:
    """The JSON of a pick, with places for its id and its time."""
    empty = Pick("", group_id, caller_id_id, number, display_name, carrier, trunk_name, reason, _second(0))
    begin, end = b'{"id":"', b'"expires_at":%b}' % _second_json(0)
    json = _encode(empty)
    assert json.startswith(begin)
    assert json.endswith(end)
    between = json[len(begin) : -len(end)].replace(b"%", b"%%")
    return b'{"id":"%%b%b"expires_at":%%b}' % between


def _refusal(nothing: NothingEligible) -> NoneEligible:
    next_ms = nothing.next_eligible_at_ms
    # Rounded up: whoever asks at that second is not too early.
    return NoneEligible(
        NOTHING_ELIGIBLE, {**nothing.reasons}, None if next_ms is None else _second(-(-next_ms // 1000))
    )


@lru_cache(maxsize=256)
def _second(since_1970: int) -> datetime:
    return datetime.fromtimestamp(since_1970, UTC)


@lru_cache(maxsize=256)
def _second_json(since_1970: int) -> bytes:
    return _encode(_second(since_1970))
