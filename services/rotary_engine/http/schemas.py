"""The bodies of the answers: these very types encode them and generate the OpenAPI document."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from rotary.definitions import Carrier
from rotary.domain.rotation.outcomes import NothingEligible, Outcome, Picked, Reason, Refusal
from rotary.events import Id, PickId, Timestamp
from rotary.http.bodies import Envelope

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
    return _encode(Envelope(_pick(picked)))


def encode_refusal(nothing: NothingEligible) -> bytes:
    """The body of a pick that is refused."""
    return _encode(_refusal(nothing))


def encode_batch(outcomes: list[Outcome]) -> bytes:
    """The body of many picks and refusals."""
    return _encode(Envelope([_pick(one) if isinstance(one, Picked) else _refusal(one) for one in outcomes]))


def encode_invalid(errors: dict[str, list[str]]) -> bytes:
    """The body of a refused request."""
    return _encode(InvalidBody(INVALID, errors))


def _pick(picked: Picked) -> Pick:
    return Pick(
        picked.id,
        picked.group_id,
        picked.caller_id_id,
        picked.number,
        picked.display_name,
        picked.carrier,
        picked.trunk_name,
        picked.reason,
        _second(picked.expires_at_ms // 1000),
    )


def _refusal(nothing: NothingEligible) -> NoneEligible:
    next_ms = nothing.next_eligible_at_ms
    # Rounded up: whoever asks at that second is not too early.
    return NoneEligible(
        NOTHING_ELIGIBLE, {**nothing.reasons}, None if next_ms is None else _second(-(-next_ms // 1000))
    )


@lru_cache(maxsize=256)
def _second(since_1970: int) -> datetime:
    return datetime.fromtimestamp(since_1970, UTC)
