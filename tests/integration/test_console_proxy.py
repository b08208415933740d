"""What the console passes on to rotary-campaigns, for whom, and in whose name."""

import json
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest

from integration.console_world import Browser, ConsoleWorld, console_world
from rotary.postgres.connection import Connection

OWN = "/api/customers/7"
MANAGEMENT = f"{OWN}/management"
CAMPAIGNS = f"{OWN}/telesales/campaigns"


@pytest.fixture
async def world(
    database_url: str, redis_url: str, broker_url: str, connection: Connection
) -> AsyncIterator[ConsoleWorld]:
    async with console_world(database_url, redis_url, broker_url, connection) as made:
        yield made


@pytest.fixture
async def admin(world: ConsoleWorld) -> Browser:
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


async def test_the_audit_log_names_the_user(world: ConsoleWorld) -> None:
    browser = await world.signed_in("admin", name="alice")
    await browser.done(201, "POST", f"{MANAGEMENT}/caller-id-groups", {"name": "a", "rotation_strategy": "random"})
    page = await browser.done(200, "GET", f"{MANAGEMENT}/audit-log?entity=group&per_page=1")
    assert page["data"][0]["actor"] == "user alice"
    assert page["data"][0]["action"] == "create"


async def test_a_read_token_opens_the_read_api_and_nothing_else(world: ConsoleWorld) -> None:
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
