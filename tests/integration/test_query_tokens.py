"""Tokens and limits: at memory speed, and still forgotten at once."""

import asyncio
from datetime import UTC, datetime, timedelta

from integration.query_world import Site, World, hashed, site
from integration.tcp_proxy import TcpProxy
from rotary.bearer import new_token
from rotary.clock import system_clock
from rotary.definitions import SCOPE, TokenDefinition
from running import until

LIST = "/api/caller-id-groups"
NOW = system_clock()


async def _reads(filled: World) -> int:
    stats = await filled.client.info("commandstats")
    return int(stats.get("cmdstat_exec", {"calls": 0})["calls"])


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
    # Nobody else here reads in transactions.
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
        running.reader.rate_limits.store.server_ms = NOW() + shift
        assert (await caller.get(LIST)).status == 200


async def test_replicas_share_a_limit(filled: World) -> None:
    token = await filled.token(limit=12)
    async with site(filled.url) as one, site(filled.url) as two:
        callers = one.caller(token), two.caller(token)
        statuses = [(await caller.get(LIST)).status for _ in range(12) for caller in callers]
    assert statuses.count(200) <= 12
    assert statuses.count(200) >= 11, "a replica holds one at most"
    assert statuses.count(429) == 24 - statuses.count(200)


async def test_a_limit_is_used_up_by_a_burst_at_one_replica(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token(limit=600))
    statuses = [got.status for got in await asyncio.gather(*(caller.get(LIST) for _ in range(650)))]
    assert (statuses.count(200), statuses.count(429)) == (600, 50)


async def test_hot_requests_do_not_ask_redis(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token(limit=100_000))
    before = served.reader.rate_limits.calls
    statuses = [(await caller.get(LIST)).status for _ in range(500)]
    assert set(statuses) == {200}
    assert served.reader.rate_limits.calls - before <= 10


async def test_a_limit_that_cannot_be_asked_for_is_a_503(filled: World) -> None:
    token = await filled.token(limit=600)
    async with TcpProxy(filled.url) as proxy, site(proxy.url) as running:
        await proxy.cut()
        refused = await running.caller(token).get(LIST)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")


async def test_no_limit_no_headers(filled: World, served: Site) -> None:
    response = await served.caller(await filled.token(limit=None)).get(LIST)
    assert [name for name in response.headers if name.startswith("X-RateLimit")] == []


async def test_forgetting_tokens_does_not_forgive_what_they_used(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token(limit=2))
    await caller.get(LIST)
    served.reader.tokens.empty()  # as whenever Redis changes
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
        assert (await running.caller(None).get(LIST)).status == 401, "no token is no guess"
        assert (await known.get(LIST)).status == 200
        checked, unchecked = running.caller(await filled.token(text=new_token())), running.caller(await filled.token())
        assert (await checked.get(LIST)).status == 200, "a new token is not refused for others' guesses"
        assert (await unchecked.get(LIST)).status == 200, "nor is one without a checksum, if it is good"


async def test_a_damaged_token_is_refused_without_asking_redis_and_counts_against_nobody(filled: World) -> None:
    async with site(filled.url, failed_attempts_per_minute=3) as running:
        token = new_token()
        damaged = [token[:-1] + letter for letter in "0123456789" if letter != token[-1]]
        before = await _reads(filled)
        for text in damaged:
            refused = await running.caller(text).get(LIST)
            assert (refused.status, refused.text) == (401, '{"message":"Unauthenticated."}')
        assert await _reads(filled) == before
        assert (await running.caller(new_token()).get(LIST)).status == 401
        statuses = [(await running.caller(f"guess-{number}").get(LIST)).status for number in range(4)]
        assert statuses == [401, 401, 401, 429], "none of these counted"


async def test_a_flood_of_guesses_does_not_delay_good_tokens(filled: World) -> None:
    async with site(filled.url, failed_attempts_per_minute=5) as running:
        token, old = await filled.token(text=new_token()), await filled.token()
        assert (await running.caller(old).get(LIST)).status == 200
        tokens = running.reader.tokens
        guesses = [asyncio.create_task(tokens.find(f"{number:064x}", is_checked=False)) for number in range(5_000)]
        await asyncio.sleep(0)
        tokens.empty()
        for good in (token, old):  # one with a checksum, one that was good before
            found = await tokens.find(hashed(good), is_checked=good is token)
            assert found is not None
        assert not all(guess.done() for guess in guesses), "both overtook the guesses"
        await asyncio.gather(*guesses)


async def test_behind_a_trusted_proxy_each_client_is_one_address(filled: World) -> None:
    async with site(filled.url, failed_attempts_per_minute=2, trusted_proxies="127.0.0.0/8, ::1") as running:

        async def guess(number: int, forwarded: str) -> int:
            got = await running.caller(f"guess-{forwarded}-{number}").get(LIST, X_Forwarded_For=forwarded)
            return got.status

        assert [await guess(number, "198.51.100.7") for number in range(3)] == [401, 401, 429]
        assert await guess(3, "192.0.2.99, 198.51.100.7") == 429, "what a client invents does not help it"
        assert await guess(4, "198.51.100.8") == 401


async def test_an_address_that_insists_is_stopped_and_its_neighbours_are_not(filled: World) -> None:
    async with site(filled.url, failed_attempts_per_minute=5) as running:
        revoked = running.caller("revoked long ago")
        assert [(await revoked.get(LIST)).status for _ in range(8)] == [401] * 5 + [429] * 3
        assert (await running.caller(await filled.token()).get(LIST)).status == 200
