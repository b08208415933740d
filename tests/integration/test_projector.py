"""The projector, with Redis emptied or put back and Postgres away at any moment, on real servers."""

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from integration.definitions import (
    HookedWriter,
    incomplete,
    projecting,
    stored,
    until_complete,
    until_equal,
    version,
)
from integration.private_database import HASH, OTHER_HASH
from integration.private_redis import RedisSnapshot, names
from integration.tcp_proxy import TcpProxy
from rotary.definitions import TokenDefinition
from rotary.postgres import store
from rotary.postgres.connection import Connection
from rotary.redis import keys
from rotary.redis.definition_writer import DefinitionWriter, epoch_of
from rotary.redis.documents import PARTS, part_of
from running import until

TOKEN = TokenDefinition(100, 7, ("telesales_api_access",), 600, None)
PART = part_of(7)


async def many(connection: Connection) -> None:
    """2,006 groups of 200 customers."""
    await connection.execute("""
        INSERT INTO customers (id, name) SELECT 1000 + i, 'c' FROM generate_series(1, 200) AS i;
        INSERT INTO caller_ids (id, customer_id, number, carrier)
        SELECT 100000 + i, 1001 + i % 200, (100000 + i)::text, 'other' FROM generate_series(1, 2000) AS i;
        INSERT INTO caller_id_groups (id, customer_id, name, rotation_strategy)
        SELECT 100000 + i, 1001 + i % 200, 'g', 'random' FROM generate_series(1, 2002) AS i;
        INSERT INTO caller_id_group_members (group_id, caller_id_id)
        SELECT 100000 + i, 100000 + i FROM generate_series(1, 2000) AS i;""")


async def test_everything_is_projected_and_then_what_changes(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    async with projecting(database_url, DefinitionWriter(redis)):
        await until_equal(redis, connection)
        for statement in CHANGES:
            await connection.execute(statement)
            await until_equal(redis, connection)


async def test_no_plan_is_kept_that_was_made_while_tables_were_small(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    """It would read the tables that an import has filled from end to end, once for each group."""
    await connection.execute("""
        CREATE TABLE kept (plans bigint);
        CREATE FUNCTION note_kept() RETURNS trigger LANGUAGE plpgsql AS
          'BEGIN INSERT INTO kept SELECT sum(generic_plans) FROM pg_prepared_statements
           WHERE cardinality(parameter_types) > 0; RETURN NULL; END';
        CREATE TRIGGER note AFTER INSERT OR UPDATE ON projected_definitions
          FOR EACH STATEMENT EXECUTE FUNCTION note_kept();""")
    try:
        async with projecting(database_url, DefinitionWriter(redis)):
            for number in range(10):
                await connection.execute("UPDATE caller_id_groups SET name = $1 WHERE id = 3", f"name {number}")
                await until_equal(redis, connection)
        assert {row["plans"] for row in await connection.fetch("SELECT plans FROM kept")} == {0}
    finally:
        await connection.execute("DROP FUNCTION note_kept CASCADE; DROP TABLE kept")


CALLERS = "INSERT INTO caller_ids (id, customer_id, number, carrier)"
CHANGES = [
    f"{CALLERS} SELECT 1000 + i, 7, (1000 + i)::text, 'other' FROM generate_series(1, 2500) AS i",
    "UPDATE caller_ids SET customer_id = 8 WHERE id BETWEEN 1100 AND 2200",
    "DELETE FROM caller_ids WHERE id IN (18, 1001) OR id > 3000",
    "INSERT INTO caller_id_group_members VALUES (5, 19)",
    "UPDATE caller_ids SET status = 'disabled' WHERE id = 19",
    "UPDATE caller_id_groups SET id = 50 WHERE id = 4",
    "UPDATE caller_id_groups SET customer_id = 8 WHERE id = 50",
    """UPDATE customers SET policy = '{"unknown_caller_ids_per_day": 0}' WHERE id = 8""",
    "DELETE FROM caller_id_groups WHERE id = 3",
    "UPDATE api_tokens SET revoked_at = now()",
    "INSERT INTO customers (id, name) VALUES (9, 'x')",
    "DELETE FROM customers WHERE id = 7",
    "TRUNCATE customers CASCADE",
]


async def test_emptying_redis_amid_a_resync_leaves_no_group_missing(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    async def empty(sending: int) -> None:
        if sending == 3:
            assert len(await names(redis, "*:group:*")) > 200  # it is amid
            await redis.flushdb()

    await many(connection)
    writer = HookedWriter(redis, empty)
    async with projecting(database_url, writer):
        await until_complete(redis)
        assert sum(map(len, (await stored(redis)).groups.values())) == 2006
        await until_equal(redis, connection)


@pytest.mark.parametrize("back_at", [4, 5, 6])
async def test_a_redis_that_goes_back_amid_a_resync_is_not_complete_until_it_is(
    redis: Redis, connection: Connection, database_url: str, back_at: int
) -> None:
    snapshots: list[RedisSnapshot] = []

    async def go_back(sending: int) -> None:
        if sending == 2:
            snapshots.append(await RedisSnapshot.take(redis))
        if sending == back_at:
            await snapshots[0].restore(redis)

    await many(connection)
    async with projecting(database_url, HookedWriter(redis, go_back)):
        await until_complete(redis)
        assert snapshots
        await until_equal(redis, connection)


async def test_readers_go_on_reading_during_an_ordinary_resync(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    closed: set[str] = set()

    async def look(_: int) -> None:
        closed.update(await incomplete(redis))

    async with projecting(database_url, DefinitionWriter(redis)):
        await until_equal(redis, connection)
    await connection.execute("TRUNCATE projected_definitions")
    writer = HookedWriter(redis, look)
    async with projecting(database_url, writer):
        await until(lambda: _recorded(connection), 30, "it is projected again")
    assert writer.sendings > 0
    assert not closed


async def _recorded(connection: Connection) -> bool:
    return len(await store.read_projected(connection)) == len(PARTS)


async def test_a_consumer_that_starts_writes_what_changed_and_no_more(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    async with projecting(database_url, DefinitionWriter(redis)):
        await until_equal(redis, connection)
        await until(lambda: _is_read(connection), 30, "the feed is empty")
    await connection.execute("DELETE FROM caller_id_groups WHERE id = 5")
    writer = HookedWriter(redis)
    async with projecting(database_url, writer):
        await until_equal(redis, connection)
    assert writer.sendings == 1


async def snapshot_before_a_change(redis: Redis, connection: Connection) -> RedisSnapshot:
    """What Redis held before a token was revoked and a group deleted, which it has heard of since."""
    await until_equal(redis, connection)
    before = await RedisSnapshot.take(redis)
    await connection.execute("UPDATE api_tokens SET revoked_at = now(); DELETE FROM caller_id_groups WHERE id = 3")
    await until_equal(redis, connection)
    return before


async def _is_read(connection: Connection) -> bool:
    return await store.read_changes(connection) == []


async def test_a_redis_that_went_back_while_nobody_looked_is_found_by_what_postgres_remembers(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    async with projecting(database_url, DefinitionWriter(redis)):
        before = await snapshot_before_a_change(redis, connection)
        await until(lambda: _is_read(connection), 30, "the feed is empty")
    await before.restore(redis)
    async with projecting(database_url, DefinitionWriter(redis)):
        await until_equal(redis, connection)


async def test_an_older_snapshot_is_closed_while_postgres_is_away_and_whole_when_it_is_back(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    async with TcpProxy(database_url) as proxy, projecting(proxy.url, DefinitionWriter(redis)):
        before = await snapshot_before_a_change(redis, connection)
        await proxy.cut()
        await before.restore(redis)

        async def closed() -> bool:
            return {PART, keys.TOKEN_DEFINITIONS} <= await incomplete(redis)

        await until(closed, 10, "readers are told")
        await proxy.mend()
        await until_equal(redis, connection)


async def test_a_consumer_that_does_not_project_closes_an_older_snapshot_too(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    async with projecting(database_url, DefinitionWriter(redis)):
        await until_equal(redis, connection)
    before = await RedisSnapshot.take(redis)
    await DefinitionWriter(redis).put_token(version(2**40), HASH, None)
    watching = HookedWriter(redis)
    async with TcpProxy(database_url) as proxy:
        await proxy.cut()  # its Postgres was never there
        async with projecting(proxy.url, watching):

            async def has_looked() -> bool:
                return watching.looks >= 2

            async def closed() -> bool:
                return keys.TOKEN_DEFINITIONS in await incomplete(redis)

            await until(has_looked, 10, "it has seen what Redis has")
            assert not await closed()
            await before.restore(redis)
            await until(closed, 10, "readers are told")


async def test_one_that_projects_after_another_goes_on_where_that_stopped(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    second = HookedWriter(redis)
    async with projecting(database_url, second):  # it may be the first, too
        async with projecting(database_url, DefinitionWriter(redis)):
            await until_equal(redis, connection)
        await connection.execute("DELETE FROM caller_id_groups WHERE id = 3")
        await until_equal(redis, connection)


async def test_a_server_without_our_functions_gets_them(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    await redis.function_flush("SYNC")
    async with projecting(database_url, DefinitionWriter(redis)):
        await until_equal(redis, connection)


async def test_a_database_that_went_back_changes_nothing_until_the_operator_says_so(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    async with projecting(database_url, DefinitionWriter(redis)):
        await until_equal(redis, connection)
        # As if Redis had been given a state of this database a million transactions later.
        async with store.snapshot(connection):
            now = await store.read_version(connection)
        ahead = f"{now[:16]}{int(now[16:32], 16) + 1_000_000:016x}{now[32:]}"
        writing = DefinitionWriter(redis).round(ahead)
        await writing.begin([keys.TOKEN_DEFINITIONS])
        await writing.put_tokens({OTHER_HASH: TOKEN}, [])
        assert await writing.finish_resync({keys.TOKEN_DEFINITIONS: 2})
        before = await stored(redis)
        await connection.execute("UPDATE api_tokens SET expires_at = '2030-01-01Z'")

        async def said() -> bool:
            return any("run rotary-admin definitions resync" in str(entry.get("reason")) for entry in logged)

        with capture_logs() as logged:
            await until(said, 10, "it says what to do")
        assert await stored(redis) == before
        await store.request_resync(connection, epoch_of(ahead))
        await until_equal(redis, connection)


async def test_very_many_caller_ids_are_sent_in_several_round_trips(
    redis: Redis, connection: Connection, database_url: str
) -> None:
    writer = HookedWriter(redis)
    async with projecting(database_url, writer):
        await until_equal(redis, connection)
        before = writer.sendings
        await connection.execute(
            f"{CALLERS} SELECT 1000 + i, 7, (1000 + i)::text, 'other' FROM generate_series(1, 45000) i"
        )
        await until_equal(redis, connection)
    assert writer.sendings - before >= 3
