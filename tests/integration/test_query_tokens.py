"""Tokens and limits: at memory speed, and still forgotten at once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from integration.query_world import Site, World, group, hashed, member, site, world
from rotary.clock import system_clock
from rotary.definitions import SCOPE, TokenDefinition
from rotary_query.tokens import network
from running import until

LIST = "/api/caller-id-groups"
NOW = system_clock()


@pytest.fixture
async def filled(redis_url: str, customer: int) -> AsyncIterator[World]:
    async with world(redis_url, customer) as made:
        await made.put(group(3, member(18)))
        yield made


@pytest.fixture
async def served(filled: World) -> AsyncIterator[Site]:
    async with site(filled.url) as running:
        yield running


async def _reads(filled: World) -> int:
    stats = await filled.client.info("commandstats")
    return int(stats.get("cmdstat_get", {"calls": 0})["calls"])


async def test_a_revoked_token_is_refused_within_a_second(filled: World, served: Site) -> None:
    token = await filled.token()
    caller = served.caller(token)
    assert (await caller.get(LIST)).status == 200
    await filled.revoke(token)

    async def refused() -> bool:
        return (await caller.get(LIST)).status == 401

    await until(refused, 1, "the token is refused")


async def test_a_token_that_was_unknown_is_accepted_once_it_exists(filled: World, served: Site) -> None:
    caller = served.caller("rotary_later")
    assert (await caller.get(LIST)).status == 401
    token = TokenDefinition(1, filled.customer, (SCOPE,), None, None)
    await filled.documents.put_tokens({hashed("rotary_later"): token}, [])

    async def accepted() -> bool:
        return (await caller.get(LIST)).status == 200

    await until(accepted, 1, "the token is accepted")


async def test_an_expiry_needs_no_message(filled: World) -> None:
    shift = 0
    async with site(filled.url, clock=lambda: NOW() + shift) as running:
        caller = running.caller(await filled.token(expires_at=datetime.now(UTC) + timedelta(minutes=1)))
        assert (await caller.get(LIST)).status == 200
        shift = 61_000
        assert (await caller.get(LIST)).status == 401


async def test_known_and_unknown_tokens_are_looked_up_once(filled: World, served: Site) -> None:
    known, unknown = served.caller(await filled.token()), served.caller("nobody's")
    for caller in (known, unknown):
        await caller.get(LIST)
    before = await _reads(filled)
    for _ in range(5):
        assert ((await known.get(LIST)).status, (await unknown.get(LIST)).status) == (200, 401)
    # The watcher's own polls read with MGET.
    assert await _reads(filled) == before


async def test_over_the_limit_is_a_429_that_says_when(filled: World) -> None:
    shift = 0
    async with site(filled.url, clock=lambda: NOW() + shift) as running:
        caller, other = running.caller(await filled.token(limit=3)), running.caller(await filled.token(limit=3))
        remaining = [(await caller.get(path)).headers["X-RateLimit-Remaining"] for path in (LIST, LIST + "/9", LIST)]
        assert remaining == ["2", "1", "0"]
        refused = await caller.get(LIST + "/3/monitor")
        seconds = int(refused.headers["Retry-After"])
        assert refused.status == 429
        assert refused.text == f'{{"message":"Too many requests. Retry after {seconds} seconds."}}'
        assert 1 <= seconds <= 60
        assert refused.headers["X-RateLimit-Limit"] == "3"
        assert refused.headers["X-RateLimit-Remaining"] == "0"
        assert abs(int(refused.headers["X-RateLimit-Reset"]) - NOW() / 1000 - seconds) <= 2
        assert (await other.get(LIST)).status == 200, "a limit is its token's own"
        shift = seconds * 1000
        assert (await caller.get(LIST)).status == 200


async def test_no_limit_no_headers(filled: World, served: Site) -> None:
    response = await served.caller(await filled.token(limit=None)).get(LIST)
    assert [name for name in response.headers if name.startswith("X-RateLimit")] == []


async def test_forgetting_tokens_does_not_forgive_what_they_used(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token(limit=2))
    await caller.get(LIST)
    served.source.watcher._empty()  # noqa: SLF001  # as whenever Redis changes
    assert (await caller.get(LIST)).headers["X-RateLimit-Remaining"] == "0"
    assert (await caller.get(LIST)).status == 429


async def test_a_changed_limit_holds_at_once(filled: World, served: Site) -> None:
    token = await filled.token(limit=2)
    caller = served.caller(token)
    assert (await caller.get(LIST)).headers["X-RateLimit-Remaining"] == "1"
    await filled.documents.put_tokens({hashed(token): TokenDefinition(1, filled.customer, (SCOPE,), 10, None)}, [])

    async def raised() -> bool:
        return (await caller.get(LIST)).headers["X-RateLimit-Limit"] == "10"

    await until(raised, 1, "the limit is raised")


async def test_an_address_that_guesses_is_stopped_and_known_tokens_go_on(filled: World) -> None:
    async with site(filled.url, failed_attempts_per_minute=5) as running:
        known = running.caller(await filled.token())
        assert (await known.get(LIST)).status == 200
        statuses = [(await running.caller(f"guess-{number}").get(LIST)).status for number in range(8)]
        assert statuses == [401] * 5 + [429] * 3
        refused = await running.caller("guess-9").get(LIST)
        assert (
            refused.text == f'{{"message":"Too many requests. Retry after {refused.headers["Retry-After"]} seconds."}}'
        )
        before = await _reads(filled)
        await asyncio.gather(*(running.caller(f"more-{number}").get(LIST) for number in range(20)))
        assert await _reads(filled) == before, "Redis is not asked any more"
        assert (await running.caller(None).get(LIST)).status == 401, "no token is no guess"
        assert (await known.get(LIST)).status == 200


async def test_an_address_that_insists_is_stopped_and_its_neighbours_are_not(filled: World) -> None:
    async with site(filled.url, failed_attempts_per_minute=5) as running:
        revoked = running.caller("revoked long ago")
        assert [(await revoked.get(LIST)).status for _ in range(8)] == [401] * 5 + [429] * 3
        assert (await running.caller(await filled.token()).get(LIST)).status == 200


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002"),
        ("2001:db8:1:2::9", "2001:0db8:0001:0002"),
        ("fe80::1%eth0", "fe80:0000:0000:0000"),
        ("", ""),
    ],
)
def test_one_subscriber_is_one_address(address: str, counted_as: str) -> None:
    assert network(address) == counted_as
