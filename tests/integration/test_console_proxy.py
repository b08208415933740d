"""What the console passes on to rotary-campaigns, for whom, and in whose name."""

import asyncio
import json
from collections.abc import AsyncIterator
from hashlib import sha256

import aiohttp
import pytest
import pytest_asyncio

from integration.console_world import Browser, WholeWorld, console_world
from integration.inbox import open_inbox
from integration.private_database import opened
from rotary.management.fields import Role
from rotary_console.database import statement
from rotary_console.proxy import upstream
from rotary_console.proxy.rules import RULES

OWN = "/api/customers/7"
MANAGEMENT = f"{OWN}/management"
CAMPAIGNS = f"{OWN}/telesales/campaigns"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lasting_console(database_url: str, redis_url: str, broker_url: str) -> AsyncIterator[WholeWorld]:
    async with (
        opened(database_url) as connection,
        console_world(database_url, redis_url, broker_url, connection) as made,
    ):
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def world(lasting_console: WholeWorld, two_customers: None) -> WholeWorld:
    await lasting_console.begin_anew()
    return lasting_console


@pytest_asyncio.fixture(loop_scope="module")
async def admin(world: WholeWorld) -> Browser:
    return await world.signed_in("admin")


async def test_a_group_is_made_read_changed_and_deleted_through_the_console(admin: Browser) -> None:
    new = {"name": "new", "rotation_strategy": "weighted"}
    made = await admin.ask("POST", f"{MANAGEMENT}/caller-id-groups", new)
    assert made.status == 201, made.text
    path = made.headers["Location"]
    assert path.startswith(f"{MANAGEMENT}/caller-id-groups/")
    read = await admin.ask("GET", path)
    assert json.loads(read.text)["data"]["name"] == "new"
    again = await admin.ask("GET", path, If_None_Match=read.headers["ETag"])
    assert (again.status, again.text) == (304, "")
    changed = await admin.ask("PUT", path, {"name": "newer"}, If_Match=read.headers["ETag"])
    assert changed.status == 200
    lost = await admin.ask("PUT", path, {"name": "newest"}, If_Match=read.headers["ETag"])
    assert (lost.status, json.loads(lost.text)["message"]) == (412, "It has changed since it was read. Read it again.")
    assert (await admin.ask("DELETE", path)).status == 204


async def test_the_audit_log_names_the_user(world: WholeWorld) -> None:
    browser = await world.signed_in("admin", name="alice")
    await browser.done(201, "POST", f"{MANAGEMENT}/caller-id-groups", {"name": "a", "rotation_strategy": "random"})
    page = await browser.done(200, "GET", f"{MANAGEMENT}/audit-log?entity=group&per_page=1")
    assert page["data"][0]["actor"] == "user alice"
    assert page["data"][0]["action"] == "create"


async def test_a_read_token_opens_the_read_api_and_nothing_else(world: WholeWorld) -> None:
    browser = await world.signed_in("viewer")
    made = (await browser.done(201, "POST", f"{OWN}/read-token"))["data"]
    row = await world.connection.fetchrow(
        "SELECT scopes, expires_at - created_at AS life FROM api_tokens WHERE token_sha256 = $1",
        sha256(made["token"].encode()).digest(),
    )
    assert row is not None
    assert (row["scopes"], row["life"].total_seconds()) == (["caller_id_read"], 600)
    stranger = world.campaigns.stranger(made["token"])
    for path in ("/api/telesales/campaigns", "/api/management/caller-ids"):
        assert (await stranger.ask("GET", path)).status == 403


async def test_a_read_token_works_at_once_and_ends_with_the_session(world: WholeWorld) -> None:
    browser = await world.signed_in("viewer")
    token = (await browser.done(201, "POST", f"{OWN}/read-token"))["data"]["token"]
    stranger = world.campaigns.stranger(token)
    # Known: refused for its scope, and not as a stranger's. There is no projector here that would have written it.
    assert (await stranger.ask("GET", "/api/telesales/campaigns")).status == 403
    await browser.done(204, "DELETE", "/api/session")
    assert await world.connection.fetchval("SELECT count(*) FROM api_tokens WHERE name LIKE 'console:%'") == 0
    changed = await world.connection.fetchval(
        "SELECT count(*) FROM definition_changes WHERE token_sha256 = $1", _of(token)
    )
    assert changed == 2  # created, and deleted: the projector takes it out of Redis


def _of(token: str) -> bytes:
    return sha256(token.encode()).digest()


async def test_a_sessions_tokens_are_none_of_the_customers_own(world: WholeWorld, admin: Browser) -> None:
    await admin.done(201, "POST", f"{OWN}/read-token")
    listed = await admin.done(200, "GET", f"{MANAGEMENT}/tokens")
    assert [token["name"] for token in listed["data"]] == ["a"]
    for token_id in await world.connection.fetch("SELECT id FROM api_tokens WHERE owner_session_id IS NOT NULL"):
        path = f"{MANAGEMENT}/tokens/{token_id['id']}"
        body = {"overlap_seconds": 0}
        assert (await admin.ask("GET", path)).status == 404
        assert (await admin.ask("DELETE", path)).status == 404
        assert (await admin.ask("POST", f"{path}/rotate", body)).status == 404
    logged = await world.connection.fetchval("SELECT count(*) FROM audit_log WHERE entity = 'token' AND actor <> 'sql'")
    assert logged == 0


async def test_a_role_that_is_taken_takes_its_tokens(world: WholeWorld) -> None:
    browser = await world.signed_in("operator")
    await browser.done(201, "POST", f"{OWN}/read-token")
    await browser.done(200, "GET", CAMPAIGNS)
    await world.connection.execute("UPDATE user_roles SET disabled = true")
    assert await world.connection.fetchval("SELECT count(*) FROM api_tokens WHERE owner_session_id IS NOT NULL") == 0
    await browser.done(404, "GET", CAMPAIGNS)
    await browser.done(200, "GET", "/api/session")


async def test_tokens_are_removed_once_they_have_expired(world: WholeWorld) -> None:
    browser = await world.signed_in("viewer")
    await browser.done(201, "POST", f"{OWN}/read-token")
    await world.connection.execute(
        "UPDATE api_tokens SET expires_at = now() - interval '2 minutes' WHERE owner_session_id IS NOT NULL"
    )
    await world.connection.execute(statement("sweep_tokens"))
    assert await world.connection.fetchval("SELECT count(*) FROM api_tokens WHERE owner_session_id IS NOT NULL") == 0
    assert await world.connection.fetchval("SELECT count(*) FROM api_tokens") > 0


async def test_read_tokens_have_a_generous_limit(world: WholeWorld) -> None:
    browser = await world.signed_in("viewer")
    await browser.done(201, "POST", f"{OWN}/read-token")
    window = world.service.parts.bearers._windows.get(  # noqa: SLF001  # 120 rows would take a while
        str(await world.connection.fetchval("SELECT id FROM user_sessions"))
    )
    assert window is not None
    while window.hit(world.service.parts.bearers._clock()):  # noqa: SLF001
        pass
    refused = await browser.ask("POST", f"{OWN}/read-token")
    assert refused.status == 429
    assert int(refused.headers["Retry-After"]) > 0


ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")


async def test_every_route_is_refused_to_roles_below_its_own(world: WholeWorld) -> None:
    """Refused by the console exactly below the table's role; else rotary-campaigns has answered."""
    browsers = {role: await world.signed_in(role) for role in ROLES}
    stranger = world.browser()
    for pattern, methods in RULES.items():
        path = OWN + pattern.replace("{row_id}", "999")
        for method, needed in methods.items():
            for role, browser in browsers.items():
                got = await browser.ask(method, path, {} if method in {"POST", "PUT"} else None)
                is_refused = ROLES.index(role) < ROLES.index(needed)
                assert (got.status == 403) == is_refused, (method, pattern, role, got.text)
                assert ("X-RateLimit-Limit" in got.headers) != is_refused
            assert (await stranger.ask(method, path)).status == 401


async def test_another_customer_is_as_one_that_does_not_exist(world: WholeWorld) -> None:
    browser = await world.signed_in("admin", customer=7)
    for customer in ("8", "999", "0", "07", "x", "9223372036854775808"):
        got = await browser.ask("GET", f"/api/customers/{customer}/management/caller-ids")
        assert (got.status, got.text) == (404, '{"message":"Customer not found."}')
    assert (await browser.ask("GET", f"{MANAGEMENT}/caller-ids/28")).status == 404  # customer 8's


TRICKS = (
    f"{MANAGEMENT}/../../8/management/caller-ids",
    f"{MANAGEMENT}/%2e%2e/%2e%2e/8/management/caller-ids",
    f"{MANAGEMENT}/caller-ids/18%2fenable",
    f"{MANAGEMENT}/caller-ids/..%2ftokens",
    f"{MANAGEMENT}/caller-ids/18;/enable",
    f"{MANAGEMENT}/caller-ids/+18",
    f"{MANAGEMENT}/caller-ids/%31%38%00",
    f"{MANAGEMENT}/webhooks/%0d%0aX:y",
    f"{OWN}/openapi.json",
    f"{OWN}/docs",
)


@pytest.mark.parametrize("path", TRICKS)
async def test_a_path_that_is_no_route_is_not_passed_on(world: WholeWorld, admin: Browser, path: str) -> None:
    before = world.service.parts.upstream.outcomes.total()
    assert (await admin.ask("GET", path)).status in {404, 405}
    assert world.service.parts.upstream.outcomes.total() == before


async def test_a_cooldown_is_cleared_with_a_reason_that_the_audit_log_keeps(world: WholeWorld, broker_url: str) -> None:
    browser = await world.signed_in("operator", name="bob")
    path = f"{MANAGEMENT}/caller-ids/18/clear-cooldown"
    async with open_inbox(broker_url) as box:
        await browser.done(204, "POST", path, {"reason": "The carrier has lifted the label"})
        (event,) = await box.events(1)
        assert (event["type"], event["data"]) == ("cooldown-cleared", {"caller_id_id": 18})
        await browser.done(204, "POST", path)
    for reason in ("", "x" * 201, "a\nb", 7):
        assert list((await browser.done(422, "POST", path, {"reason": reason}))["errors"]) == ["reason"]
    page = await browser.done(200, "GET", f"{MANAGEMENT}/audit-log?entity=cooldown_clear")
    told = [(entry["actor"], entry["after"]["reason"]) for entry in page["data"]]
    assert told == [("user bob", None), ("user bob", "The carrier has lifted the label")]


async def test_a_file_is_imported_through_the_console_and_its_progress_is_seen(
    world: WholeWorld, admin: Browser
) -> None:
    head = "customer_id,number,carrier,display_name\n"
    rows = "".join(f"7,09{number:08},viettel,{'n' * 90}\n" for number in range(2_000))
    content = (head + rows).encode()
    assert len(content) > upstream.SMALL_BODY_BYTES
    made = await admin.ask("POST", f"{MANAGEMENT}/imports?dry_run=true", content, Content_Type="text/csv")
    assert made.status == 202, made.text
    events = await admin.ask("GET", made.headers["Location"], Accept="text/event-stream")
    assert events.headers["Content-Type"].startswith("text/event-stream")
    assert events.text.rstrip().rpartition("event: ")[2].startswith("finished")
    assert '"status":"succeeded"' in events.text or '"status":"failed"' in events.text


async def test_a_body_may_be_as_large_as_its_route_takes_and_no_larger(world: WholeWorld, admin: Browser) -> None:
    for path, size in ((f"{MANAGEMENT}/imports", 32 * 2**20 + 1), (f"{MANAGEMENT}/caller-ids", 70_000)):
        got = await admin.ask("POST", path, b"x" * size, Content_Type="text/csv")
        assert (got.status, got.text) == (413, '{"message":"Request body too large."}')

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    got_chunked = await _chunked(world, admin, f"{MANAGEMENT}/caller-ids", endless())
    assert got_chunked in {413, 0}  # 0: the connection was closed while the client still sent


async def _chunked(world: WholeWorld, browser: Browser, path: str, body: AsyncIterator[bytes]) -> int:
    headers = {
        "X-Rotary-Console": "1",
        "Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items()),
    }
    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(world.base + path, data=body, headers=headers) as response:
                return response.status
        except aiohttp.ClientError:
            return 0


async def test_a_body_that_does_not_arrive_is_not_waited_for(
    world: WholeWorld, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "PIECE_SECONDS", 0.3)

    async def stalls() -> AsyncIterator[bytes]:
        yield b"x" * 100_000
        await asyncio.sleep(60)

    assert await _chunked(world, admin, f"{MANAGEMENT}/imports", stalls()) in {408, 0}
    assert not world.service.parts.upstream._under_way  # noqa: SLF001
