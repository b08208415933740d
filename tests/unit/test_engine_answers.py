"""Bodies of picks are put together from bytes that are kept: byte for byte what the types encode."""

from datetime import UTC, datetime
from typing import get_args

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from rotary.definitions import Carrier
from rotary.domain.rotation.outcomes import NothingEligible, Outcome, Picked, Reason, Refusal
from rotary.events import MAX_ID
from rotary.http.bodies import Envelope
from rotary_engine.http.schemas import NOTHING_ELIGIBLE, NoneEligible, Pick, encode_batch, encode_pick

SECONDS = st.integers(0, 2**32)
IDS = st.integers(1, MAX_ID)
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(['%d "', "%%b%s", '","expires_at":"', "số"])
PICKED = st.builds(
    Picked,
    st.from_regex(r"[0-9A-HJKMNP-TV-Z]{26}-[1-9][0-9]{0,18}", fullmatch=True),
    IDS,
    IDS,
    TEXTS,
    st.none() | TEXTS,
    st.sampled_from(get_args(Carrier)),
    st.none() | TEXTS,
    st.sampled_from(get_args(Reason)),
    SECONDS.map(lambda second: second * 1000),
)
NOTHING = st.builds(
    NothingEligible,
    st.dictionaries(st.sampled_from(get_args(Refusal)), st.integers(1, 10**6)),
    st.none() | SECONDS.map(lambda second: second * 1000),
)


def _shape(outcome: Outcome) -> Pick | NoneEligible:
    if isinstance(outcome, NothingEligible):
        at = outcome.next_eligible_at_ms
        return NoneEligible(NOTHING_ELIGIBLE, {**outcome.reasons}, None if at is None else _second(at))
    fields = msgspec.structs.asdict(outcome)
    expires_ms = fields.pop("expires_at_ms")
    return Pick(**fields, expires_at=_second(expires_ms))


def _second(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC)


@given(PICKED)
def test_a_pick_is_what_its_type_encodes(picked: Picked) -> None:
    assert encode_pick(picked) == msgspec.json.encode(Envelope(_shape(picked)))


@given(st.lists(PICKED | NOTHING, min_size=1, max_size=5))
def test_a_batch_is_what_its_types_encode(outcomes: list[Outcome]) -> None:
    assert encode_batch(outcomes) == msgspec.json.encode(Envelope([_shape(one) for one in outcomes]))
