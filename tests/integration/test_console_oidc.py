"""Signing in through a provider, against a real one that is small: what works, and what a liar does not get."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from yarl import URL

from integration.console_world import Browser, ConsoleWorld, lone_console
from integration.oidc_provider import CLIENT_ID, CLIENT_SECRET, Account, Provider, oidc_provider, query_of
from rotary.postgres.connection import Connection
from rotary_console.sign_in import oidc

EMAIL = "an@example.com"
NO_ACCOUNT, REFUSED, EXPIRED, UNAVAILABLE = (
    f"/#/sign-in?error=sso_{code}" for code in ("no_account", "refused", "expired", "unavailable")
)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with oidc_provider() as made:
        yield made


@pytest.fixture
async def world(
    database_url: str, redis_url: str, connection: Connection, provider: Provider
) -> AsyncIterator[ConsoleWorld]:
    settings = {
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": CLIENT_SECRET,
        "oidc_name": "Company SSO",
    }
    async with lone_console(database_url, redis_url, connection, **settings) as made:
        yield made


async def go(browser: Browser) -> str:
    """To the provider; the address that it sends the browser back to."""
    started = await browser.ask("GET", "/oidc/start")
    assert started.status == 303, started.text
    location = started.headers["Location"]
    async with (
        aiohttp.ClientSession() as session,
        session.get(URL(location, encoded=True), allow_redirects=False) as response,
    ):
        assert response.status == 302
        return response.headers["Location"]


async def come_back(browser: Browser, location: str, **changes: str | None) -> str:
    """Where the console sends the browser that comes back."""
    query = {name: value for name, value in (query_of(location) | changes).items() if value is not None}
    # As a browser does after a redirection from another site: no header of ours, and the site named.
    headers = {"X_Rotary_Console": None, "Origin": None, "Sec_Fetch_Site": "cross-site"}
    path = f"{urlsplit(location).path}?{urlencode(query)}"
    got = await browser.ask("GET", path, **headers)
    assert got.status == 303, got.text
    return got.headers["Location"]


async def signs_in(world: ConsoleWorld) -> tuple[Browser, str]:
    """A new browser, and where it ends."""
    browser = world.browser()
    return browser, await come_back(browser, await go(browser))


async def test_the_sign_in_page_is_told_of_the_provider(world: ConsoleWorld) -> None:
    told = await world.browser().done(200, "GET", "/api/sign-in")
    assert told == {"data": {"oidc": {"name": "Company SSO", "url": "/oidc/start"}}}


async def test_whoever_is_named_by_a_verified_address_is_signed_in_and_bound(
    world: ConsoleWorld, provider: Provider
) -> None:
    await world.user("operator", name=EMAIL, password_hash=None)
    browser, end = await signs_in(world)
    assert end == "/"
    session = await browser.done(200, "GET", "/api/session")
    assert session["data"]["user"]["name"] == EMAIL
    assert [one["role"] for one in session["data"]["customers"]] == ["operator"]
    # From now on the subject counts: the address may change, or somebody else may get it.
    provider.account = Account("sub-1", {"email": "other@example.com", "email_verified": True})
    assert (await signs_in(world))[1] == "/"
    provider.account = Account("sub-2", {"email": EMAIL, "email_verified": True})
    assert (await signs_in(world))[1] == NO_ACCOUNT
    logged = await world.connection.fetchrow("SELECT * FROM audit_log WHERE entity = 'user' AND actor <> 'sql'")
    assert logged is not None
    assert (logged["actor"], json.loads(logged["after"])["oidc_subject"]) == ("sign-in provider", "sub-1")


async def test_whoever_made_the_account_before_its_owner_came_is_locked_out(world: ConsoleWorld) -> None:
    name = await world.user("admin", name=EMAIL, totp_secret="JBSWY3DPEHPK3PXP")
    await world.connection.execute("UPDATE users SET totp_secret = NULL")
    maker = world.browser()
    assert (await maker.sign_in(name)).status == 200
    owner, end = await signs_in(world)
    assert end == "/"
    await maker.done(401, "GET", "/api/session")
    assert (await maker.sign_in(name)).status == 401
    await owner.done(200, "GET", "/api/session")


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"email": EMAIL},
        {"email": EMAIL, "email_verified": False},
        {"email": EMAIL, "email_verified": "false"},
        {"email": "somebody@example.com", "email_verified": True},
    ],
)
async def test_nobody_is_found_by_an_address_that_is_not_verified(
    world: ConsoleWorld, provider: Provider, claims: dict[str, Any]
) -> None:
    await world.user(name=EMAIL)
    provider.account = Account("sub-1", claims)
    browser, end = await signs_in(world)
    assert end == NO_ACCOUNT
    assert "rotary_session" not in browser.cookies
    assert await world.connection.fetchval("SELECT oidc_subject FROM users") is None


async def test_an_address_that_only_looks_like_a_users_in_lower_case_is_another(
    world: ConsoleWorld, provider: Provider
) -> None:
    await world.user(name="kim@example.com")
    provider.account = Account("sub-1", {"email": "\N{KELVIN SIGN}im@example.com", "email_verified": True})
    assert (await signs_in(world))[1] == NO_ACCOUNT


async def test_a_disabled_user_is_not_signed_in(world: ConsoleWorld) -> None:
    await world.user(name=EMAIL)
    assert (await signs_in(world))[1] == "/"
    await world.connection.execute("UPDATE users SET disabled_at = now()")
    assert (await signs_in(world))[1] == NO_ACCOUNT


async def test_an_address_may_come_from_user_info(world: ConsoleWorld, provider: Provider) -> None:
    await world.user(name=EMAIL)
    provider.account = Account("sub-1", {}, {"email": EMAIL.upper(), "email_verified": "true"})
    assert (await signs_in(world))[1] == "/"
    await world.connection.execute("UPDATE users SET oidc_issuer = NULL, oidc_subject = NULL")
    provider.account = Account("sub-1", {}, {"sub": "sub-9", "email": EMAIL, "email_verified": True})
    assert (await signs_in(world))[1] == REFUSED


async def test_a_sign_in_ends_in_the_browser_in_which_it_began_and_once(world: ConsoleWorld) -> None:
    await world.user(name=EMAIL)
    browser, other = world.browser(), world.browser()
    location = await go(browser)
    assert await come_back(other, location) == EXPIRED
    await go(other)
    assert await come_back(other, location) == EXPIRED
    assert await come_back(browser, location, state="x") == EXPIRED
    assert await come_back(browser, location) == EXPIRED  # the former attempt has used up the cookie
    location = await go(browser)
    cookies = dict(browser.cookies)
    assert await come_back(browser, location) == "/"
    browser.cookies = cookies
    assert await come_back(browser, location) == REFUSED  # the code is used


async def test_the_session_cookie_is_strict_and_that_of_the_way_back_lax(world: ConsoleWorld) -> None:
    await world.user(name=EMAIL)
    browser = world.browser()
    location = await go(browser)
    assert [line for line in browser.set_cookies if "rotary_oidc" in line and "; SameSite=Lax; Max-Age=600" in line]
    await come_back(browser, location)
    assert [line for line in browser.set_cookies if "rotary_session" in line and "; SameSite=Strict" in line]
    assert "rotary_oidc" not in browser.cookies


@pytest.mark.parametrize(
    "forge",
    [
        {"iss": "https://evil.example"},
        {"aud": "another client"},
        {"aud": [CLIENT_ID, "another"]},
        {"aud": [CLIENT_ID, "another"], "azp": "another"},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"iat": None},
        {"sub": None},
        {"sub": 7},
        {"nonce": "of another sign-in"},
        {"nonce": None},
    ],
)
async def test_a_token_that_is_not_for_this_sign_in_is_refused(
    world: ConsoleWorld, provider: Provider, forge: dict[str, Any]
) -> None:
    await world.user(name=EMAIL)
    provider.forge = forge
    browser, end = await signs_in(world)
    assert end == REFUSED
    assert "rotary_session" not in browser.cookies


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
async def test_a_token_that_the_provider_has_not_signed_is_refused(
    world: ConsoleWorld, provider: Provider, algorithm: str
) -> None:
    await world.user(name=EMAIL)
    provider.algorithm = algorithm
    assert (await signs_in(world))[1] == REFUSED


async def test_a_key_of_somebody_else_is_refused(world: ConsoleWorld, provider: Provider) -> None:
    await world.user(name=EMAIL)
    provider.key = generate_private_key(SECP256R1())
    assert (await signs_in(world))[1] == REFUSED
    provider.name = "unknown"
    assert (await signs_in(world))[1] == REFUSED


async def test_a_new_key_of_the_provider_is_found(
    world: ConsoleWorld, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.user(name=EMAIL)
    assert (await signs_in(world))[1] == "/"
    provider.key, provider.name = generate_private_key(SECP256R1()), "key-2"
    provider.published = {"key-2": provider.key}
    assert (await signs_in(world))[1] == REFUSED  # asked a moment ago: an unknown name costs the provider nothing
    assert provider.asked_for_keys == 1
    monkeypatch.setattr(oidc, "KEYS_AGAIN_SECONDS", 0.0)
    assert (await signs_in(world))[1] == "/"


async def test_an_answer_that_can_not_be_read_is_no_defect(world: ConsoleWorld) -> None:
    browser = world.browser()
    location = await go(browser)
    assert await come_back(browser, location, **{f"more{number}": "1" for number in range(30)}) == EXPIRED


async def test_a_refusal_of_the_provider_is_told(world: ConsoleWorld) -> None:
    browser = world.browser()
    location = await go(browser)
    assert await come_back(browser, location, code=None, error="access_denied") == REFUSED
    location = await go(browser)
    assert await come_back(browser, location, iss="https://evil.example") == REFUSED
    location = await go(browser)
    assert await come_back(browser, location, code="made up") == REFUSED


@pytest.mark.parametrize(
    "discovered",
    [{"issuer": "https://evil.example"}, {"token_endpoint": None}, {"jwks_uri": "http://127.0.0.1:9/keys"}],
)
async def test_a_provider_that_does_not_work_is_told(
    world: ConsoleWorld, provider: Provider, discovered: dict[str, Any]
) -> None:
    await world.user(name=EMAIL)
    provider.discovered = discovered
    browser = world.browser()
    started = await browser.ask("GET", "/oidc/start")
    end = started.headers["Location"]
    if end.startswith(provider.issuer):
        end = await come_back(browser, await go(browser))
    assert end == UNAVAILABLE


async def test_a_provider_that_is_down_is_told(world: ConsoleWorld, provider: Provider) -> None:
    provider.is_down = True
    for _ in range(3):
        assert (await world.browser().ask("GET", "/oidc/start")).headers["Location"] == UNAVAILABLE
    assert provider.discoveries == 1  # nobody can make us ask it all the time


async def test_a_secret_may_be_sent_in_the_form(world: ConsoleWorld, provider: Provider) -> None:
    await world.user(name=EMAIL)
    provider.discovered = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert (await signs_in(world))[1] == "/"


async def test_without_a_provider_there_is_no_way_to_one(
    database_url: str, redis_url: str, connection: Connection
) -> None:
    async with lone_console(database_url, redis_url, connection) as plain:
        assert await plain.browser().done(200, "GET", "/api/sign-in") == {"data": {"oidc": None}}
        for path in ("/oidc/start", "/oidc/callback?code=x&state=y"):
            assert (await plain.browser().ask("GET", path)).status == 404
