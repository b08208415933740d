"""The format and the checksum of bearer tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotary.bearer import PREFIX, checksum, checksum_status, new_token


def test_new_tokens_have_a_valid_checksum_and_are_unique() -> None:
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert {checksum_status(token) for token in made} == {"valid"}
    assert {len(token) for token in made} == {40}


@given(position=st.integers(len(PREFIX), 39), letter=st.sampled_from("0123456789ABCXYZabcxyz"))
def test_a_changed_character_makes_the_checksum_invalid(position: int, letter: str) -> None:
    token = new_token()
    changed = token[:position] + letter + token[position + 1 :]
    assert checksum_status(changed) == ("valid" if changed == token else "invalid")


def test_the_checksum_algorithm_does_not_change() -> None:
    text = PREFIX + "0" * 30
    assert checksum(text) == "1SBKff"
    assert checksum_status(text + checksum(text)) == "valid"


@pytest.mark.parametrize(
    "token",
    [
        "rot_" + "a" * 43,  # as rotary-admin made them before
        "rot_" + "0" * 32,
        "rot_" + "a" * 35,
        "rot_" + "a" * 37,
        "rot_" + "a" * 35 + "-",
        "ROT_" + "a" * 36,
        "rotary_7_1",
        "",
    ],
)
def test_other_formats_have_no_checksum(token: str) -> None:
    assert checksum_status(token) == "absent"
