"""Signing in to the console and out of it: sessions, cookies, passwords and one-time codes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pyotp
import pytest
from argon2 import PasswordHasher

from integration.console_world import PASSWORD, ConsoleWorld, hash_of, lone_console
from rotary import __version__
from rotary.postgres.connection import Connection

SESSION = "/api/session"
WRONG = {"message": "Wrong user name, password or code."}


@pytest.fixture
async def world(database_url: str, redis_url: str, connection: Connection) -> AsyncIterator[ConsoleWorld]:
    async with lone_console(database_url, redis_url, connection) as made:
        yield made


async def test_whoever_signs_in_is_told_who_they_are_and_what_they_may_do(world: ConsoleWorld) -> None:
    name = await world.user("operator", display_name="Lan")
    await world.connection.execute("INSERT INTO user_roles SELECT id, 8, 'viewer', true FROM users")
    browser = world.browser()
    body = await browser.done(200, "POST", SESSION, {"name": name.upper(), "password": PASSWORD})
    user = body["data"].pop("user")
    assert user == {"id": user["id"], "name": name, "display_name": "Lan", "has_totp": False, "language": "en"}
    assert body["data"] == {
        "customers": [{"id": 7, "name": "Saigon", "timezone": "Asia/Ho_Chi_Minh", "role": "operator"}],
        "query_url": "http://127.0.0.1:9",
        "campaigns_docs_url": None,
        "version": __version__,
    }
    assert (await browser.done(200, "GET", SESSION))["data"]["user"] == user
    await browser.done(204, "DELETE", SESSION)
    assert await browser.done(401, "GET", SESSION) == {"message": "You are not signed in."}
    await browser.done(204, "DELETE", SESSION)


@pytest.mark.parametrize(
    "columns",
    [{}, {"password_hash": None}, {"disabled_at": "now"}],
    ids=["wrong password", "no password", "disabled"],
)
async def test_everything_that_is_wrong_has_one_answer(world: ConsoleWorld, columns: dict[str, Any]) -> None:
    if "disabled_at" in columns:
        columns = {"disabled_at": await world.connection.fetchval("SELECT now()")}
    name = await world.user("viewer", **columns)
    browser = world.browser()
    stranger = await browser.sign_in("nobody-at-all")
    refused = await browser.sign_in(name, PASSWORD if columns else "wrong horse battery")
    assert (refused.status, refused.text) == (stranger.status, stranger.text)
    assert (refused.status, await browser.done(401, "POST", SESSION, {"name": name, "password": ""})) == (401, WRONG)
    told, others = dict(refused.headers), dict(stranger.headers)
    for name in ("X-Request-ID", "Date"):
        assert told.pop(name)
        assert others.pop(name)
    assert told == others
    assert browser.cookies == {}


async def test_for_whom_there_is_no_password_one_is_verified_all_the_same(
    world: ConsoleWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the time of the answer tells nothing."""
    verified: list[bool] = []
    original = world.service.parts.hashing.verify

    async def counted(stored: str | None, password: str, client: str, *, is_known: bool) -> bool:
        verified.append(stored is None)
        return await original(stored, password, client, is_known=is_known)

    # On the class: its instance is frozen into the service's parts.
    monkeypatch.setattr(
        "rotary_console.sign_in.hashing.Hashing.verify", lambda _, *given, **named: counted(*given, **named)
    )
    browser = world.browser()
    for name in ("nobody-at-all", await world.user(password_hash=None), await world.user()):
        assert (await browser.sign_in(name, "wrong horse battery")).status == 401
    assert verified == [True, True, False]


async def test_a_session_that_is_planted_is_never_the_one_that_signs_in(world: ConsoleWorld) -> None:
    name = await world.user("viewer")
    browser = world.browser()
    browser.cookies["rotary_session"] = "planted-by-an-attacker"
    assert (await browser.sign_in(name)).status == 200
    assert browser.cookies["rotary_session"] != "planted-by-an-attacker"
    attacker = world.browser()
    attacker.cookies["rotary_session"] = "planted-by-an-attacker"
    await attacker.done(401, "GET", SESSION)


async def test_signing_in_again_ends_the_browsers_former_session(world: ConsoleWorld) -> None:
    name = await world.user("viewer")
    browser = world.browser()
    await browser.sign_in(name)
    former = world.browser()
    former.cookies = dict(browser.cookies)
    await browser.sign_in(name)
    await browser.done(200, "GET", SESSION)
    await former.done(401, "GET", SESSION)


async def test_the_cookie_is_for_this_site_alone_and_no_script_sees_it(world: ConsoleWorld) -> None:
    browser = await world.signed_in("viewer")
    assert len(browser.set_cookies) == 2
    for line in browser.set_cookies:
        assert "; HttpOnly; SameSite=Strict" in line
        assert "; Path=/;" in line
        assert "Domain" not in line
    stored = await world.connection.fetchval("SELECT value_sha256 FROM user_sessions")
    assert browser.cookies["rotary_session"].encode() not in stored


async def _age(world: ConsoleWorld, column: str, interval: str) -> None:
    await world.connection.execute(f"UPDATE user_sessions SET {column} = {column} - interval '{interval}'")


async def test_the_cookies_value_changes_and_the_former_one_ends(world: ConsoleWorld) -> None:
    browser = await world.signed_in("viewer")
    former = world.browser()
    former.cookies = dict(browser.cookies)
    await _age(world, "rotated_at", "16 minutes")
    await browser.done(200, "GET", SESSION)
    assert browser.cookies["rotary_session"] != former.cookies["rotary_session"]
    await former.done(200, "GET", SESSION)  # a request that was overtaken
    assert former.set_cookies == []
    await browser.done(200, "GET", SESSION)  # the successor has arrived
    await _age(world, "former_until", "2 minutes")
    await former.done(401, "GET", SESSION)
    await browser.done(200, "GET", SESSION)


async def test_a_cookie_that_was_lost_on_its_way_is_sent_again(world: ConsoleWorld) -> None:
    browser = await world.signed_in("viewer")
    before = dict(browser.cookies)
    await _age(world, "rotated_at", "16 minutes")
    await browser.done(200, "GET", SESSION)
    browser.cookies = dict(before)  # the answer never came
    await _age(world, "rotated_at", "2 minutes")
    await browser.done(200, "GET", SESSION)
    assert browser.cookies["rotary_session"] != before["rotary_session"]
    await browser.done(200, "GET", SESSION)


async def test_requests_at_the_same_time_get_one_new_value(world: ConsoleWorld) -> None:
    browser = await world.signed_in("viewer")
    await _age(world, "rotated_at", "16 minutes")
    tabs = [world.browser() for _ in range(8)]
    for tab in tabs:
        tab.cookies = dict(browser.cookies)
    await asyncio.gather(*(tab.done(200, "GET", SESSION) for tab in tabs))
    assert sum(len(tab.set_cookies) for tab in tabs) == 1
    for tab in tabs:
        await tab.done(200, "GET", SESSION)


@pytest.mark.parametrize(("column", "interval"), [("seen_at", "61 minutes"), ("expires_at", "13 hours")])
async def test_a_session_ends_when_it_is_unused_or_old(world: ConsoleWorld, column: str, interval: str) -> None:
    browser = await world.signed_in("viewer")
    await _age(world, column, interval)
    await browser.done(401, "GET", SESSION)


async def test_a_disabled_user_is_signed_out_everywhere_at_once(world: ConsoleWorld) -> None:
    browser = await world.signed_in("admin")
    token = (await browser.done(201, "POST", "/api/customers/7/read-token"))["data"]["token"]
    await world.connection.execute("UPDATE users SET disabled_at = now()")
    await browser.done(401, "GET", SESSION)
    assert await world.connection.fetchval("SELECT count(*) FROM user_sessions") == 0
    left = await world.connection.fetchval("SELECT count(*) FROM api_tokens WHERE owner_session_id IS NOT NULL")
    assert (left, bool(token)) == (0, True)


async def test_whoever_changes_the_password_stays_and_every_other_session_ends(world: ConsoleWorld) -> None:
    browser = await world.signed_in("viewer")
    name = await world.connection.fetchval("SELECT name FROM users")
    elsewhere = world.browser()
    await elsewhere.sign_in(name)
    new = "another horse battery"
    for body, field in (
        ({"current": "wrong", "new": new}, "current"),
        ({"current": PASSWORD, "new": "short"}, "new"),
        ({"current": PASSWORD, "new": name * 3}, "new"),
    ):
        assert list((await browser.done(422, "PUT", f"{SESSION}/password", body))["errors"]) == [field]
    await browser.done(204, "PUT", f"{SESSION}/password", {"current": PASSWORD, "new": new})
    await browser.done(200, "GET", SESSION)
    await elsewhere.done(401, "GET", SESSION)
    assert (await elsewhere.sign_in(name)).status == 401
    assert (await elsewhere.sign_in(name, new)).status == 200
    entry = await world.connection.fetchrow("SELECT * FROM audit_log WHERE entity = 'user' ORDER BY id DESC LIMIT 1")
    assert entry is not None
    assert (entry["actor"], entry["action"]) == (f"user {name}", "update")
    assert "argon2" not in entry["before"] + entry["after"]


async def test_a_password_that_was_changed_while_it_was_verified_signs_nobody_in(
    world: ConsoleWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session would outlive the change, which ended all others."""
    name = await world.user("viewer")
    original = world.service.parts.hashing.verify

    async def overtaken(stored: str | None, password: str, client: str, *, is_known: bool) -> bool:
        is_right = await original(stored, password, client, is_known=is_known)
        await world.connection.execute("UPDATE users SET password_hash = $1", hash_of("another horse battery"))
        return is_right

    monkeypatch.setattr(
        "rotary_console.sign_in.hashing.Hashing.verify", lambda _, *given, **named: overtaken(*given, **named)
    )
    assert (await world.browser().sign_in(name)).status == 401
    assert await world.connection.fetchval("SELECT count(*) FROM user_sessions") == 0


async def test_a_code_is_asked_for_after_the_password_and_accepted_once(world: ConsoleWorld) -> None:
    secret = pyotp.random_base32(32)
    name = await world.user("viewer", totp_secret=secret)
    browser = world.browser()
    assert (await browser.sign_in(name, "wrong horse battery")).text == (await browser.sign_in("nobody")).text
    asked = await browser.done(401, "POST", SESSION, {"name": name, "password": PASSWORD})
    assert asked == {"message": "A one-time code is required.", "code_required": True}
    assert (await browser.sign_in(name, PASSWORD, "000000")).status == 401
    now = pyotp.TOTP(secret).now()
    at_once = await asyncio.gather(*(world.browser().sign_in(name, PASSWORD, now) for _ in range(4)))
    assert sorted(got.status for got in at_once) == [200, 401, 401, 401]
    assert (await browser.sign_in(name, PASSWORD, now)).status == 401


async def test_codes_are_turned_on_by_a_code_and_the_password_and_off_by_the_password(world: ConsoleWorld) -> None:
    browser = await world.signed_in("viewer")
    path = f"{SESSION}/totp"
    own = {"password": PASSWORD}
    await browser.done(409, "PUT", path, {"code": "000000", **own})
    secret = (await browser.done(200, "POST", path))["data"]["secret"]
    assert list((await browser.done(422, "PUT", path, {"code": "000000", **own}))["errors"]) == ["code"]
    stolen = {"code": pyotp.TOTP(secret).now(), "password": "wrong horse"}
    assert list((await browser.done(422, "PUT", path, stolen))["errors"]) == ["password"]
    other = await world.signed_in("viewer")
    await other.done(409, "PUT", path, {"code": pyotp.TOTP(secret).now(), **own})  # the secret is another session's
    await browser.done(204, "PUT", path, {"code": pyotp.TOTP(secret).now(), **own})
    assert (await browser.done(200, "GET", SESSION))["data"]["user"]["has_totp"] is True
    await browser.done(409, "POST", path)
    await browser.done(422, "DELETE", path, {"password": "wrong"})
    await browser.done(204, "DELETE", path, {"password": PASSWORD})
    assert (await browser.done(200, "GET", SESSION))["data"]["user"]["has_totp"] is False
    logged = await world.connection.fetch("SELECT before || after AS rows FROM audit_log WHERE entity = 'user'")
    assert secret not in str(logged)


async def test_the_language_is_kept(world: ConsoleWorld) -> None:
    browser = await world.signed_in("viewer")
    await browser.done(204, "PUT", f"{SESSION}/language", {"language": "vi"})
    await browser.done(422, "PUT", f"{SESSION}/language", {"language": "fr"})
    assert (await browser.done(200, "GET", SESSION))["data"]["user"]["language"] == "vi"


async def test_a_hash_of_former_parameters_is_replaced_at_sign_in(world: ConsoleWorld) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    name = await world.user("viewer", password_hash=weak)
    assert (await world.browser().sign_in(name)).status == 200
    stored = await world.connection.fetchval("SELECT password_hash FROM users")
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert (await world.browser().sign_in(name)).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 50_000, 400),
        (b"[]", 422),
        (b'{"name": "a"}', 422),
        (b'{"name": "a", "password": "b", "admin": true}', 422),
        (b'{"name": 7, "password": "b"}', 422),
        (b'{"name": "a\\u0000", "password": "b"}', 422),
        (b'{"name": "a", "password": "b\\u0000"}', 401),
        (b'{"name": "a\\ud800", "password": "b"}', 400),
        (b'{"name": "a", "password": "b\xff"}', 400),
        (b'{"name": "\xe1\xba\xad", "password": "\xe1\xba\xad", "code": "\xe1\xba\xad"}', 401),
        (b'{"name": "a", "password": "' + b"x" * 1001 + b'"}', 422),
        (b"x" * 70_000, 413),
    ],
)
async def test_a_body_that_says_nothing_is_refused_with_the_reason(
    world: ConsoleWorld, body: bytes, status: int
) -> None:
    told = await world.browser().done(status, "POST", SESSION, body)
    assert told["message"]


async def test_another_site_can_change_nothing(world: ConsoleWorld) -> None:
    browser = await world.signed_in("admin")
    for headers in (
        {"X_Rotary_Console": None},
        {"Origin": "https://evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
    ):
        for method, path in (("DELETE", SESSION), ("POST", SESSION), ("POST", "/api/customers/7/read-token")):
            assert (await browser.ask(method, path, **headers)).status == 403
    preflight = await browser.ask("OPTIONS", SESSION, Origin="https://evil.example")
    assert preflight.status == 204
    assert not [name for name in preflight.headers if name.startswith("Access-Control")]
    await browser.done(200, "GET", SESSION)


async def test_every_answer_says_what_a_browser_may_do_with_it(world: ConsoleWorld) -> None:
    browser = await world.signed_in("viewer")
    for method, path in (("GET", "/"), ("GET", SESSION), ("GET", "/nowhere"), ("PUT", "/"), ("GET", "/assets/no")):
        got = await browser.ask(method, path)
        assert "default-src 'none'" in got.headers["Content-Security-Policy"], path
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        assert "Python" not in got.headers.get("Server", "")


async def test_the_page_is_revalidated_by_its_etag(world: ConsoleWorld) -> None:
    browser = world.browser()
    page = await browser.ask("GET", "/", Accept_Encoding="identity")
    assert page.text.startswith("<!doctype html>")
    again = await browser.ask("GET", "/", Accept_Encoding="identity", If_None_Match=page.headers["ETag"])
    assert (again.status, again.text) == (304, "")
    assert (await browser.ask("HEAD", "/")).status == 200
    assert (await browser.ask("POST", "/")).status == 405


async def test_a_body_that_nobody_needs_does_no_harm(world: ConsoleWorld) -> None:
    browser = await world.signed_in("viewer")
    await browser.done(201, "POST", "/api/customers/7/read-token", {})
    await browser.done(413, "POST", "/api/customers/7/read-token", b"x" * 70_000)
    await browser.done(204, "DELETE", SESSION, {})


async def test_what_happens_is_measured_and_tells_no_names(world: ConsoleWorld) -> None:
    browser = await world.signed_in("viewer")
    name = await world.connection.fetchval("SELECT name FROM users")
    await world.browser().sign_in(name, "wrong horse battery")
    await browser.done(201, "POST", "/api/customers/7/read-token")
    async with aiohttp.ClientSession() as session, session.get(f"{world.ops}/metrics") as response:
        metrics = await response.text()
    for line in (
        'rotary_console_sign_ins_total{outcome="succeeded"} 1.0',
        'rotary_console_sign_ins_total{outcome="failed"} 1.0',
        'rotary_console_requests_total{route="/api/session",status="200"} 1.0',
        "rotary_console_tokens_total 1.0",
        "rotary_console_connections ",
    ):
        assert line in metrics
    assert name not in metrics


async def test_postgres_being_away_is_told(world: ConsoleWorld) -> None:
    browser = await world.signed_in("viewer")
    world.service.parts.database.pool.terminate()
    told = await browser.done(503, "GET", SESSION)
    assert told == {"message": "PostgreSQL is away. Try again soon."}
