"""Releases share a Redis: each finds its own functions there, whatever the other loaded before or after it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import product

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from rotary.errors import ConfigurationError
from rotary.redis import keys
from rotary.redis.connection import check_server, libraries, load_functions
from rotary.redis.positions import lease

TTL_MS = 60_000


@pytest.fixture(autouse=True)
async def _none_are_left(redis: Redis) -> AsyncIterator[None]:
    """Whoever uses the server next has to load this release's."""
    yield
    await redis.function_flush()


def former(texts: Sequence[str]) -> list[str]:
    """The libraries of the release that had its leases, as lease_1, in the library of facts."""
    [facts] = [text for text in texts if "name=rotary_facts_1" in text]
    [leases] = [text for text in texts if "name=rotary_leases_1" in text]
    moved = leases.partition("\n")[2].replace("share_1", "lease_1")
    return [facts + f"do\n{moved}\nend\n", *(text for text in texts if text not in (facts, leases))]


async def load_former(redis: Redis) -> None:
    for text in former(libraries()):
        await redis.function_load(text, replace=True)


async def ask(redis: Redis) -> list[str]:
    return await lease(redis, "new", TTL_MS, ["a"])


async def ask_former(redis: Redis) -> list[str]:
    held = await redis.fcall("lease_1", 1, keys.LEASES, "new", TTL_MS, "a")
    return [unit.decode() for unit in held]


Release = tuple[Callable[[Redis], Awaitable[None]], Callable[[Redis], Awaitable[list[str]]]]
RELEASES: dict[str, Release] = {"former": (load_former, ask_former), "this": (load_functions, ask)}


@pytest.mark.parametrize("order", [*product(RELEASES, repeat=3)], ids="-".join)
async def test_whoever_loads_its_functions_has_them_whatever_was_loaded_before(
    redis: Redis, order: Sequence[str]
) -> None:
    await redis.function_flush()
    for load, asks in map(RELEASES.__getitem__, order):
        await load(redis)
        assert await asks(redis) == ["a"]


async def test_two_releases_share_the_same_leases(redis: Redis) -> None:
    await load_former(redis)
    assert await redis.fcall("lease_1", 1, keys.LEASES, "old", TTL_MS, "a", "b") == [b"a", b"b"]
    assert await lease(redis, "new", TTL_MS, ["a", "b"]) == []
    assert await redis.fcall("lease_1", 1, keys.LEASES, "old", TTL_MS, "a", "b") == [b"a"]
    assert await lease(redis, "new", TTL_MS, ["a", "b"]) == ["b"]


async def test_a_former_release_whose_function_was_replaced_loads_its_own_and_goes_on(redis: Redis) -> None:
    await load_functions(redis)
    with pytest.raises(ResponseError, match="Function not found"):
        await redis.fcall("lease_1", 1, keys.LEASES, "old", TTL_MS, "a")
    await load_former(redis)
    assert await redis.fcall("lease_1", 1, keys.LEASES, "old", TTL_MS, "a") == [b"a"]


async def test_loading_again_never_takes_a_function_away(redis: Redis) -> None:
    def named(listed: object) -> object:
        return sorted(str(one) for one in listed) if isinstance(listed, list) else listed

    before = named(await redis.function_list())
    await load_functions(redis)
    assert named(await redis.function_list()) == before


async def test_a_server_that_would_evict_is_refused(redis: Redis) -> None:
    await check_server(redis)
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigurationError, match="maxmemory-policy allkeys-lru: set noeviction"):
            await check_server(redis)
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
