"""Packing what a cold read asks for."""

import pytest

from rotary.redis.facts import fact_keys
from rotary.redis.pipeline import pack
from rotary_query.cache.roundtrip import pack_fact_keys


@pytest.mark.parametrize("days", [(20_779, 20_780), (1, 10, 100)])
@pytest.mark.parametrize("generation", [0, 1, 12])
def test_fact_keys_are_packed_as_any_keys_are(days: tuple[int, ...], generation: int) -> None:
    callers = [1, 7, 10, 11, 20_779, 99_999_999, 100_000_000, 9_223_372_036_854_775_807]
    groups = [(1, callers), (7, [18]), (1, []), (1_000_000_000_000, callers), (7, [18, 19])]
    names = [name for customer, some in groups for name in fact_keys(customer, some, days, generation)]
    assert pack_fact_keys(groups, days, generation) == pack("MGET", *names)


def test_a_command_is_an_array_of_strings() -> None:
    assert pack("MGET", "a", "{7}:group:3") == b"*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$11\r\n{7}:group:3\r\n"
