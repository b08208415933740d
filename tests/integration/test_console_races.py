"""Requests to the console that overtake each other: whoever takes something away is not undone by one under way."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from integration.console_world import PASSWORD, ConsoleWorld, hash_of, lone_console
from rotary.postgres.connection import Connection
from running import until

CHANGED = "another horse battery"
STOLEN = "a thief's horse battery"


@pytest.fixture
async def world(database_url: str, redis_url: str, connection: Connection) -> AsyncIterator[ConsoleWorld]:
    async with lone_console(database_url, redis_url, connection) as made:
        yield made


@pytest.mark.parametrize("ended", [True, False], ids=["with its sessions", "alone"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "password", {"current": PASSWORD, "new": STOLEN}),
        ("DELETE", "totp", {"password": PASSWORD}),
    ],
)
async def test_a_password_that_was_changed_while_it_was_verified_confirms_nothing(
    world: ConsoleWorld, monkeypatch: pytest.MonkeyPatch, *, ended: bool, method: str, path: str, body: dict[str, str]
) -> None:
    """The owner changes it to get rid of a thief, whose own change is under way."""
    thief = await world.signed_in("viewer")
    await world.connection.execute("UPDATE users SET totp_secret = repeat('A', 32)")
    original = world.service.parts.hashing.verify

    async def overtaken(stored: str | None, password: str, client: str, *, is_known: bool) -> bool:
        is_right = await original(stored, password, client, is_known=is_known)
        await world.connection.execute("UPDATE users SET password_hash = $1", hash_of(CHANGED))
        if ended:
            await world.connection.execute("DELETE FROM user_sessions")
        return is_right

    monkeypatch.setattr(
        "rotary_console.sign_in.hashing.Hashing.verify", lambda _, *given, **named: overtaken(*given, **named)
    )
    await thief.done(401, method, f"/api/session/{path}", body)
    stored = await world.connection.fetchrow("SELECT password_hash, has_totp FROM users")
    assert stored is not None
    assert (stored["password_hash"], stored["has_totp"]) == (hash_of(CHANGED), True)


async def test_a_role_that_was_taken_does_not_come_back_with_a_change_under_way(world: ConsoleWorld) -> None:
    admin = await world.signed_in("admin")
    name = await world.user("operator")
    user_id = await world.connection.fetchval("SELECT id FROM users WHERE name = $1", name)

    async def waits() -> bool:
        blocked = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
        return bool(await world.connection.fetchval(blocked))

    async with asyncio.TaskGroup() as tasks:
        async with world.connection.transaction():
            await world.connection.execute("DELETE FROM user_roles WHERE user_id = $1", user_id)
            path = f"/api/customers/7/users/{user_id}"
            changing = tasks.create_task(admin.ask("PUT", path, {"disabled": False}))
            await until(waits, 5, "the change waits for the one before it")
        assert (await changing).status == 404
    assert await world.connection.fetchval("SELECT count(*) FROM user_roles WHERE user_id = $1", user_id) == 0
