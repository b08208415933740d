"""Signing in to the console and out of it: sessions, cookies, passwords and one-time codes."""

from collections.abc import AsyncIterator

import pytest

from integration.console_world import PASSWORD, ConsoleWorld, console_world
from rotary import __version__
from rotary.postgres.connection import Connection

SESSION = "/api/session"
WRONG = {"message": "Wrong user name, password or code."}


@pytest.fixture
async def world(
    database_url: str, redis_url: str, broker_url: str, connection: Connection
) -> AsyncIterator[ConsoleWorld]:
    async with console_world(database_url, redis_url, broker_url, connection) as made:
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
