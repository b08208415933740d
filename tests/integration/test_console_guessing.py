"""Guessing passwords at the console is slow, and nobody can lock out somebody else by it."""

import asyncio
from collections.abc import AsyncIterator

import pyotp
import pytest

from integration.console_world import PASSWORD, Browser, ConsoleWorld, costly_hash_of, lone_console
from rotary.postgres.connection import Connection
from rotary_console.sign_in import hashing, throttle
from rotary_console.sign_in.attempts import Credentials
from rotary_console.sign_in.hashing import MAX_WAITING_OF_CLIENT

WRONG = "wrong horse battery"
VICTIM, ATTACKER = "203.0.113.7", "198.51.100.66"


@pytest.fixture
async def world(database_url: str, redis_url: str, connection: Connection) -> AsyncIterator[ConsoleWorld]:
    async with lone_console(database_url, redis_url, connection) as made:
        yield made


async def fail(world: ConsoleWorld, name: str, network: str, times: int, *, wrong_code: bool = False) -> None:
    """So many failures, as if they had been tried just now."""
    await world.connection.execute(
        "INSERT INTO sign_in_attempts (account, network, wrong_code)"
        " SELECT sha256(convert_to($1, 'UTF8')), $2, $4 FROM generate_series(1, $3)",
        *(name, network, times, wrong_code),
    )


async def statuses(browser: Browser, name: str, password: str, times: int) -> list[int]:
    return [(await browser.sign_in(name, password)).status for _ in range(times)]


async def test_after_a_few_wrong_passwords_the_address_waits_for_this_account(world: ConsoleWorld) -> None:
    name, other = await world.user(), await world.user()
    attacker = world.browser(ATTACKER)
    assert await statuses(attacker, name, WRONG, throttle.MAX_BY_PAIR) == [401] * throttle.MAX_BY_PAIR
    refused = await attacker.sign_in(name, PASSWORD)
    assert refused.status == 429
    assert 0 < int(refused.headers["Retry-After"]) <= throttle.WINDOW_SECONDS
    assert refused.text == '{"message":"Too many attempts. Try again in 15 minutes."}'
    assert (await world.browser(VICTIM).sign_in(name)).status == 200
    assert (await attacker.sign_in(other)).status == 200


async def test_a_name_that_nobody_has_is_counted_alike(world: ConsoleWorld) -> None:
    name, attacker = await world.user(), world.browser(ATTACKER)
    tried = throttle.MAX_BY_PAIR + 1
    assert await statuses(attacker, name, WRONG, tried) == await statuses(attacker, "nobody-at-all", WRONG, tried)


async def test_attempts_at_the_same_time_all_count(world: ConsoleWorld) -> None:
    name = await world.user(password_hash=costly_hash_of(PASSWORD))
    browsers = [world.browser(ATTACKER) for _ in range(20)]
    got = await asyncio.gather(*(browser.sign_in(name, WRONG) for browser in browsers))
    assert sum(one.status == 401 for one in got) <= throttle.MAX_BY_PAIR
    assert {one.status for one in got} <= {401, 429, 503}


async def test_addresses_of_one_ipv6_network_count_as_one(world: ConsoleWorld) -> None:
    name = await world.user()
    for host in range(throttle.MAX_BY_PAIR):
        assert (await world.browser(f"2001:db8:1:2::{host:x}").sign_in(name, WRONG)).status == 401
    assert (await world.browser("2001:db8:1:2:ffff::1").sign_in(name)).status == 429
    assert (await world.browser("2001:db8:1:3::1").sign_in(name)).status == 200


async def test_an_address_that_tries_many_names_waits_for_all_of_them(world: ConsoleWorld) -> None:
    name = await world.user()
    for number in range(throttle.MAX_BY_NETWORK):
        await fail(world, f"name-{number}", ATTACKER, 1)
    assert (await world.browser(ATTACKER).sign_in(name)).status == 429
    assert (await world.browser(VICTIM).sign_in(name)).status == 200


async def test_a_browser_that_is_known_is_never_locked_out_by_others(world: ConsoleWorld) -> None:
    """Also by somebody at the same address."""
    name = await world.user()
    known = world.browser(VICTIM)
    assert (await known.sign_in(name)).status == 200
    await known.ask("DELETE", "/api/session")
    await fail(world, name, VICTIM, throttle.MAX_BY_NETWORK)
    await fail(world, name, ATTACKER, 10 * throttle.ATTACKED_AT)
    assert (await world.browser(VICTIM).sign_in(name)).status == 429
    assert (await known.sign_in(name)).status == 200


async def test_a_known_browser_may_not_guess_without_end(world: ConsoleWorld) -> None:
    name = await world.user()
    known = world.browser(VICTIM)
    await known.sign_in(name)
    tried = throttle.MAX_BY_DEVICE
    assert await statuses(known, name, WRONG, tried + 1) == [401] * tried + [429]
    assert (await world.browser(VICTIM).sign_in(name)).status == 200


async def test_a_browser_is_known_for_its_own_user_alone(world: ConsoleWorld) -> None:
    attacker = world.browser(ATTACKER)
    await attacker.sign_in(await world.user())
    victim = await world.user()
    tried = throttle.MAX_BY_PAIR
    assert await statuses(attacker, victim, WRONG, tried + 1) == [401] * tried + [429]


async def test_an_attacked_account_is_slow_for_unknown_browsers_and_open_to_its_owner(
    world: ConsoleWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "SLOW_SECONDS", 0.25)
    name = await world.user()
    for number in range(throttle.ATTACKED_AT):
        await fail(world, name, f"192.0.2.{number}", 1)
    attempt = await world.service.parts.sign_in.begin_attempt(Credentials(name, PASSWORD, "", "", VICTIM))
    assert attempt.delay == throttle.SLOW_SECONDS
    assert (await world.browser(VICTIM).sign_in(name)).status == 200
    bot = world.browser(ATTACKER)
    tried = throttle.MAX_BY_PAIR_OF_ATTACKED
    assert await statuses(bot, name, WRONG, tried + 1) == [401] * tried + [429]


async def test_codes_are_guessed_a_few_times_from_wherever(world: ConsoleWorld) -> None:
    secret = pyotp.random_base32(32)
    name = await world.user(totp_secret=secret)
    await fail(world, name, "192.0.2.1", throttle.MAX_WRONG_CODES - 1, wrong_code=True)
    assert (await world.browser().sign_in(name, PASSWORD, "000000")).status == 401
    assert (await world.browser().sign_in(name, PASSWORD, pyotp.TOTP(secret).now())).status == 429


async def test_success_forgives_this_browsers_failures_and_not_those_on_other_accounts(world: ConsoleWorld) -> None:
    """Else an account of one's own would reset the count."""
    own, victim = await world.user(), await world.user()
    attacker = world.browser(ATTACKER)
    await statuses(attacker, victim, WRONG, throttle.MAX_BY_PAIR)
    await statuses(attacker, own, WRONG, 2)
    assert (await attacker.sign_in(own)).status == 200
    assert (await attacker.sign_in(victim)).status == 429
    left = await world.connection.fetchval("SELECT count(*) FROM sign_in_attempts")
    assert left == throttle.MAX_BY_PAIR


async def test_failures_count_for_a_quarter_of_an_hour(world: ConsoleWorld) -> None:
    name = await world.user()
    await fail(world, name, VICTIM, throttle.MAX_BY_PAIR)
    assert (await world.browser(VICTIM).sign_in(name)).status == 429
    await world.connection.execute("UPDATE sign_in_attempts SET at = at - interval '16 minutes'")
    assert (await world.browser(VICTIM).sign_in(name)).status == 200


async def test_one_address_cannot_fill_the_queue_of_passwords(world: ConsoleWorld) -> None:
    costly = costly_hash_of(PASSWORD)
    names = [await world.user(password_hash=costly) for _ in range(4 * MAX_WAITING_OF_CLIENT)]
    attacker = [world.browser(ATTACKER).sign_in(name, WRONG) for name in names]
    got = await asyncio.gather(world.browser(VICTIM).sign_in(names[0]), *attacker)
    assert got[0].status == 200
    refused = [one for one in got if one.status == 503]
    assert refused
    assert all(one.headers["Retry-After"] for one in refused)
    counted = await world.connection.fetchval("SELECT count(*) FROM sign_in_attempts")
    assert counted == sum(one.status == 401 for one in got)  # what was not verified does not count


async def test_strangers_cannot_fill_the_queue_for_those_who_are_known(
    world: ConsoleWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "MAX_WAITING_OF_STRANGERS", 0)  # as if it were full of them
    name = await world.user()
    known = world.browser()
    assert (await known.sign_in(name)).status == 503
    user_id = await world.connection.fetchval("SELECT id FROM users")
    await world.connection.execute(
        "INSERT INTO user_devices (user_id, value_sha256) VALUES ($1, sha256('known'))", user_id
    )
    known.cookies["rotary_device"] = "known"
    assert (await known.sign_in(name)).status == 200


async def test_passwords_are_hashed_beside_the_event_loop(world: ConsoleWorld) -> None:
    name = await world.user(password_hash=costly_hash_of(PASSWORD))
    signing_in = asyncio.create_task(world.browser().sign_in(name))
    answered = 0
    while not signing_in.done():
        await world.browser().ask("GET", "/api/sign-in")
        answered += 1
    assert (await signing_in).status == 200
    assert answered > 3


async def test_somebody_who_is_signed_in_may_not_guess_the_password_without_end(world: ConsoleWorld) -> None:
    browser = await world.signed_in("viewer")
    body = {"current": WRONG, "new": "another horse battery"}
    tried = throttle.MAX_BY_DEVICE
    got = [(await browser.ask("PUT", "/api/session/password", body)).status for _ in range(tried + 1)]
    assert got == [422] * tried + [429]


async def test_a_forged_address_counts_as_the_proxys_word_has_it(world: ConsoleWorld) -> None:
    """Whatever a client puts before what the trusted proxy adds."""
    name = await world.user()
    browser = world.browser(ATTACKER)
    for number in range(throttle.MAX_BY_PAIR):
        body = {"name": name, "password": WRONG}
        forged = f"192.0.2.{number}, {ATTACKER}"
        assert (await browser.ask("POST", "/api/session", body, X_Forwarded_For=forged)).status == 401
    assert (await browser.sign_in(name)).status == 429
