"""`rotary-admin token` and `definitions` with Redis there and away, a consumer running and not, on real servers."""

import asyncio

import pytest
from click.testing import Result
from redis.asyncio import Redis

from integration.admin_runner import Admin
from integration.definitions import incomplete, projecting, stored, until_equal
from integration.private_database import HASH
from integration.private_redis import own
from integration.tcp_proxy import TcpProxy
from rotary.management import revocation
from rotary.postgres import store
from rotary.postgres.connection import Connection
from rotary.redis import keys
from rotary.redis.definition_writer import DefinitionWriter, epoch_of
from rotary_admin.commands import token


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    monkeypatch.setenv("ROTARY_REDIS_URL", own(redis_url))


async def admin(database_url: str, *arguments: object) -> Result:
    return await asyncio.to_thread(Admin(database_url), *arguments)


async def projected(redis: Redis, connection: Connection, database_url: str) -> None:
    """A consumer has run, and has ended."""
    async with projecting(database_url, DefinitionWriter(redis)):
        await until_equal(redis, connection)


async def test_a_token_is_refused_when_the_command_returns_though_no_consumer_runs(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    await projected(redis, connection, database_url)
    assert HASH in (await stored(redis)).tokens
    result = await admin(database_url, "token", "revoke", 100, "--yes")
    assert (result.exit_code, result.stdout) == (0, "revoked token 100: a\n")
    assert HASH not in (await stored(redis)).tokens
    assert await incomplete(redis) == set()
    assert await redis.exists(keys.token(HASH))  # a tombstone


async def test_a_token_is_refused_at_once_and_for_good_while_a_consumer_runs(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    async with projecting(database_url, DefinitionWriter(redis)):
        await until_equal(redis, connection)
        result = await admin(database_url, "token", "revoke", 100, "--yes")
        assert (result.exit_code, (await stored(redis)).tokens) == (0, {})
        await until_equal(redis, connection)
        assert (await stored(redis)).tokens == {}


async def test_a_revocation_that_redis_did_not_hear_of_says_so_and_can_be_repeated(
    redis: Redis, connection: Connection, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await projected(redis, connection, database_url)
    monkeypatch.setattr(revocation, "RETRY_SECONDS", 0.2)
    async with TcpProxy(own(redis_url)) as proxy:
        await proxy.cut()
        monkeypatch.setenv("ROTARY_REDIS_URL", proxy.url)
        result = await admin(database_url, "token", "revoke", 100, "--yes")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "token 100 is revoked in PostgreSQL, but the API still accepts it: Redis is away" in result.stderr
        assert "run this command again" in result.stderr
        assert HASH in (await stored(redis)).tokens
        assert await connection.fetchval("SELECT revoked_at IS NOT NULL FROM api_tokens")
        await proxy.mend()
        result = await admin(database_url, "token", "revoke", 100)
    assert (result.exit_code, result.stdout) == (0, "token 100 is already revoked\n")
    assert (await stored(redis)).tokens == {}


async def test_a_revocation_that_redis_takes_for_old_is_not_said_to_be_done(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    await projected(redis, connection, database_url)
    writer = DefinitionWriter(redis)
    token = (await stored(redis)).tokens[HASH]
    await writer.put_token("f" * 40, HASH, token)
    result = await admin(database_url, "token", "revoke", 100, "--yes")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the API still accepts it: Redis holds newer definitions" in result.stderr


async def test_a_token_revoked_without_a_redis_to_tell_is_not_touched(
    connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROTARY_REDIS_URL")
    result = await admin(database_url, "token", "revoke", 100, "--yes")
    assert result.exit_code == 2
    assert "ROTARY_REDIS_URL is not set" in result.stderr
    assert await connection.fetchval("SELECT revoked_at IS NULL FROM api_tokens")


async def test_a_new_token_works_soon_only_if_a_consumer_runs(
    redis: Redis, connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told() -> str:
        result = await admin(database_url, "token", "create", "--customer", 7, "--name", "t")
        assert result.exit_code == 0
        return result.stderr

    assert "No consumer is projecting definitions: the API accepts it once one runs" in await told()
    async with projecting(database_url, DefinitionWriter(redis)):
        await until_equal(redis, connection)
        assert "The API accepts it within a second" in await told()
    monkeypatch.setattr(token, "SILENT_MS", -1)
    assert "No consumer is projecting definitions" in await told()
    monkeypatch.delenv("ROTARY_REDIS_URL")
    assert "The API accepts it once a consumer has projected it" in await told()


async def test_after_a_restore_a_resync_replaces_what_redis_has(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    await projected(redis, connection, database_url)
    writing = DefinitionWriter(redis).round(f"{77:08x}" + "0" * 32)
    await writing.begin([keys.TOKEN_DEFINITIONS])
    await writing.put_tokens({}, [HASH])
    assert await writing.finish_resync({})
    async with projecting(database_url, DefinitionWriter(redis)):
        result = await admin(database_url, "definitions", "resync", "--yes")
        assert (result.exit_code, result.stdout) == (0, "requested; definitions now have epoch 78\n")
        await until_equal(redis, connection)
        assert HASH in (await stored(redis)).tokens
    async with store.snapshot(connection):
        assert epoch_of(await store.read_version(connection)) == 78
