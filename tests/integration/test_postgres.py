"""The definitions' tables, their migrations, the change feed and the reads, on a real server."""

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256

import asyncpg
import msgspec
import pytest

from integration.private_database import EMPTY, private_database
from rotary.definitions import GroupDefinition, MemberDefinition, TokenDefinition, summary
from rotary.errors import ConfigurationError, UnavailableError
from rotary.policy import DEFAULT_POLICY, Policy
from rotary.postgres import store
from rotary.postgres.connection import Connection, answering, connect
from rotary.postgres.migrate import Migration, MigrationRefusedError, migrate, migrations
from rotary.postgres.store import Change

HASH = sha256(b"rot_a").hexdigest()
OTHER_HASH = sha256(b"rot_b").hexdigest()

SEED = f"""
INSERT INTO customers (id, name) VALUES (7, 'Saigon'), (8, 'Hanoi');
INSERT INTO caller_ids (id, customer_id, number, carrier) VALUES
  (18, 7, '+8418', 'viettel'), (19, 7, '+8419', 'mobifone'), (20, 7, '+8420', 'other'), (28, 8, '+8428', 'viettel');
INSERT INTO caller_id_groups (id, customer_id, name, rotation_strategy) VALUES
  (3, 7, 'three', 'random'), (4, 7, 'four', 'random'), (5, 7, 'five', 'random'), (6, 8, 'six', 'random');
INSERT INTO caller_id_group_members (group_id, caller_id_id) VALUES (3, 18), (3, 19), (4, 18), (6, 28);
INSERT INTO api_tokens (id, customer_id, name, token_sha256) VALUES (100, 7, 'a', '\\x{HASH}');
"""


@pytest.fixture(scope="module")
def url(postgres_url: str) -> Iterator[str]:
    with private_database(postgres_url) as own:
        yield own


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Connection]:
    connection = await connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Connection]:
    """Two customers as in SEED, and a feed that has been read to its end."""
    async with opened(url) as own:
        await own.execute(EMPTY)
        await own.execute(SEED)
        await own.execute("DELETE FROM definition_changes")
        yield own


@pytest.fixture
async def second(url: str) -> AsyncIterator[Connection]:
    async with opened(url) as own:
        yield own


# Rows: what the database takes, and what it refuses.

LONG = {150: "n" * 150, 151: "n" * 151, 500: "d" * 500, 501: "d" * 501, 100: "e" * 100, 101: "e" * 101}
GROUP = "INSERT INTO caller_id_groups (customer_id, name, rotation_strategy, description) VALUES"
CALLER = "INSERT INTO caller_ids (customer_id, number, carrier, display_name, daily_cap) VALUES"
TOKEN = "INSERT INTO api_tokens (customer_id, name, token_sha256, rate_limit_per_minute, expires_at) VALUES"

TAKEN = [
    "INSERT INTO customers (name) VALUES ('x')",
    "INSERT INTO customers (name, timezone) VALUES ('x', 'Asia/Kathmandu'), ('y', 'UTC'), ('z', 'Pacific/Chatham')",
    f"{GROUP} (7, '{LONG[150]}', 'sticky_lead', '{LONG[500]}')",
    f"{GROUP} (7, 'same', 'weighted', NULL), (7, 'same', 'cap_based', '')",
    f"{CALLER} (7, '0901', 'vinaphone', '{LONG[100]}', 1)",
    f"{CALLER} (8, '+8418', 'vietnamobile', NULL, 200)",  # another customer's number
    f"{TOKEN} (7, 't', sha256('x'), NULL, '2027-01-01Z')",
    "INSERT INTO caller_id_group_members (group_id, caller_id_id, weight) VALUES (5, 18, 9)",
    "INSERT INTO caller_id_group_members VALUES (5, 18)",
    "UPDATE caller_id_group_members SET group_id = 5 WHERE group_id = 4",
    "UPDATE caller_ids SET customer_id = 8 WHERE id = 20",  # in no group
]

REFUSED = [
    ("INSERT INTO customers (id, name) VALUES (0, 'x')", "customers_id_check"),
    ("INSERT INTO customers (name) VALUES ('')", "customers_name_check"),
    (f"INSERT INTO customers (name) VALUES ('{LONG[151]}')", "customers_name_check"),
    *(
        (f"INSERT INTO customers (name, timezone) VALUES ('x', '{zone}')", "customers_timezone_check")
        for zone in ("", "ICT", "asia/ho_chi_minh", "Asia/Saigonn", "UTC+7", "+07:00", "localtime", "posix/UTC")
    ),
    ("UPDATE customers SET timezone = 'nowhere' WHERE id = 7", "customers_timezone_check"),
    (f"{GROUP} (7, '{LONG[151]}', 'random', NULL)", "caller_id_groups_name_check"),
    (f"{GROUP} (7, 'x', 'random', '{LONG[501]}')", "caller_id_groups_description_check"),
    (f"{GROUP} (7, 'x', 'fastest', NULL)", "caller_id_groups_rotation_strategy_check"),
    (f"{GROUP} (9, 'x', 'random', NULL)", "caller_id_groups_customer_id_fkey"),
    ("UPDATE caller_id_groups SET status = 'paused'", "caller_id_groups_status_check"),
    ("UPDATE caller_id_groups SET created_at = 'infinity'", "caller_id_groups_created_at_check"),
    (f"{CALLER} (7, '0901', 'verizon', NULL, 1)", "caller_ids_carrier_check"),
    (f"{CALLER} (7, '0901', 'other', '{LONG[101]}', 1)", "caller_ids_display_name_check"),
    (f"{CALLER} (7, '0901', 'other', NULL, 0)", "caller_ids_daily_cap_check"),
    (f"{CALLER} (7, '', 'other', NULL, 1)", "caller_ids_number_check"),
    (f"{CALLER} (7, '+8418', 'other', NULL, 1)", "caller_ids_customer_id_number_key"),
    ("UPDATE caller_ids SET status = 'cooldown'", "caller_ids_status_check"),
    (f"{TOKEN} (7, 't', '\\x00', NULL, NULL)", "api_tokens_token_sha256_check"),
    (f"{TOKEN} (7, 't', '\\x{HASH}', NULL, NULL)", "api_tokens_token_sha256_key"),
    (f"{TOKEN} (7, 't', sha256('x'), 0, NULL)", "api_tokens_rate_limit_per_minute_check"),
    (f"{TOKEN} (7, 't', sha256('x'), 1, 'infinity')", "api_tokens_expires_at_check"),
    ("UPDATE api_tokens SET scopes = '{a,NULL}'", "api_tokens_scopes_check"),
    ("UPDATE api_tokens SET scopes = '{{a},{b}}'", "api_tokens_scopes_check"),
    ("UPDATE caller_id_group_members SET weight = 0", "caller_id_group_members_weight_check"),
    ("INSERT INTO caller_id_group_members VALUES (3, 18)", "caller_id_group_members_pkey"),
    # A member's group and caller ID are one customer's, whichever of them is given, moved or claimed.
    ("INSERT INTO caller_id_group_members VALUES (3, 28)", "member_caller_id_of_one_customer"),
    ("INSERT INTO caller_id_group_members VALUES (3, 28, 1, 8)", "member_caller_id_of_one_customer"),
    ("INSERT INTO caller_id_group_members VALUES (99, 18)", "member_group_of_one_customer"),
    ("UPDATE caller_id_group_members SET group_id = 6 WHERE group_id = 4", "member_caller_id_of_one_customer"),
    ("UPDATE caller_ids SET customer_id = 8 WHERE id = 18", "member_caller_id_of_one_customer"),
    ("UPDATE caller_id_groups SET customer_id = 8 WHERE id = 3", "member_group_of_one_customer"),
]


@pytest.mark.parametrize("statement", TAKEN)
async def test_the_database_takes(connection: Connection, statement: str) -> None:
    await connection.execute(statement)


@pytest.mark.parametrize(("statement", "constraint"), REFUSED)
async def test_the_database_refuses(connection: Connection, statement: str, constraint: str) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await connection.execute(statement)
    assert refused.value.constraint_name == constraint


async def test_defaults(connection: Connection) -> None:
    await connection.execute("INSERT INTO customers (name) VALUES ('x')")
    row = await connection.fetchrow("""
        SELECT customer.timezone, customer.policy, caller.status, caller.daily_cap, caller.display_name,
               groups.status, groups.sticky_enabled, member.weight, token.scopes, token.rate_limit_per_minute,
               token.expires_at, token.revoked_at
        FROM customers AS customer, caller_ids AS caller, caller_id_groups AS groups, api_tokens AS token,
             caller_id_group_members AS member
        WHERE customer.name = 'x' LIMIT 1""")
    assert row is not None
    assert tuple(row) == (
        *("Asia/Ho_Chi_Minh", None, "active", 200, None),
        *("active", False, 1, ["telesales_api_access"], 600, None, None),
    )


POLICIES = [
    *(
        "{}",
        '{"cooldown_blocked_seconds": 7200}',
        '{"cooldown_blocked_seconds": 0}',
        '{"cooldown_cap_seconds": 2592000}',
    ),
    *('{"cooldown_cap_seconds": 2592001}', '{"cooldown_cap_seconds": 3600.0}', '{"cooldown_cap_seconds": 3600.5}'),
    *('{"cooldown_cap_seconds": "3600"}', '{"cooldown_cap_seconds": null}', '{"cooldown_cap_seconds": true}'),
    *('{"severity_blocked": 0}', '{"severity_blocked": 2.5}', '{"severity_blocked": -0.1}', '{"volume_weight": 1000}'),
    *('{"volume_weight": 1000.1}', '{"volume_calls": 1000000}', '{"volume_calls": 1000001}', '{"volume_calls": 0}'),
    *('{"cooldown_rejected_seconds": 60}', '{"": 1}', "[]", '"text"', "3", "true"),
    '{"severity_rejected": 1, "health_half_life_seconds": 60, "volume_excess_limit": 0, "cooldown_window_seconds": 9}',
    *(f'{{"{field.name}": 1}}' for field in msgspec.structs.fields(Policy)),
]


@pytest.mark.parametrize("policy", POLICIES)
async def test_the_database_takes_exactly_the_policies_that_the_readers_take(
    connection: Connection, policy: str
) -> None:
    # Read back as the database would give it: jsonb writes numbers in its own way.
    stored = await connection.fetchval("SELECT $1::jsonb::text", policy)
    try:
        msgspec.json.decode(stored, type=Policy)
        readable = True
    except msgspec.ValidationError:
        readable = False
    assert await connection.fetchval("SELECT rotary_policy_is_valid($1::jsonb)", policy) is readable
    update = connection.execute("UPDATE customers SET policy = $1 WHERE id = 7", policy)
    if readable:
        await update
    else:
        with pytest.raises(asyncpg.CheckViolationError):
            await update


@pytest.mark.parametrize(
    ("statement", "left"),
    [
        ("DELETE FROM caller_id_groups WHERE id = 3", {"caller_ids": 4, "caller_id_groups": 3, "members": 2}),
        ("DELETE FROM caller_ids WHERE id = 18", {"caller_ids": 3, "caller_id_groups": 4, "members": 2}),
        ("DELETE FROM customers WHERE id = 7", {"caller_ids": 1, "caller_id_groups": 1, "members": 1, "api_tokens": 0}),
    ],
)
async def test_deletes_take_along_what_hangs_on_them(
    connection: Connection, statement: str, left: dict[str, int]
) -> None:
    await connection.execute(statement)
    for table, count in left.items():
        name = table.replace("members", "caller_id_group_members")
        assert await connection.fetchval(f"SELECT count(*) FROM {name}") == count, table


# Migrations.


@pytest.fixture
def bare_url(postgres_url: str) -> Iterator[str]:
    with private_database(postgres_url, migrated=False) as own:
        yield own


async def test_migrating_twice_does_it_once(bare_url: str) -> None:
    async with opened(bare_url) as connection:
        assert await migrate(connection) == [migration.name for migration in migrations()]
        assert await migrate(connection) == []


async def test_two_that_migrate_at_once_take_turns(bare_url: str) -> None:
    async with opened(bare_url) as one, opened(bare_url) as other:
        applied = await asyncio.gather(migrate(one), migrate(other))
        assert sorted(applied, key=len) == [[], [migration.name for migration in migrations()]]
        assert await one.fetchval("SELECT count(*) FROM rotary_migrations") == len(migrations())


async def test_a_database_newer_than_the_program_is_refused(bare_url: str) -> None:
    async with opened(bare_url) as connection:
        await migrate(connection)
        with pytest.raises(MigrationRefusedError, match=r"newer than this version.*0002_change_feed\.sql"):
            await migrate(connection, migrations()[:1])


async def test_a_changed_file_is_refused_before_anything_is_applied(bare_url: str) -> None:
    first, *others = migrations()
    async with opened(bare_url) as connection:
        await migrate(connection, [first])
        changed = Migration(first.number, first.name, first.sql + "\n-- mended")
        with pytest.raises(MigrationRefusedError, match=r"0001_definitions\.sql is not the file that was applied"):
            await migrate(connection, [changed, *others])
        assert await connection.fetchval("SELECT to_regclass('definition_changes')") is None


async def test_a_migration_that_fails_leaves_nothing_of_itself_and_no_lock(bare_url: str) -> None:
    broken = Migration(2, "0002_broken.sql", "CREATE TABLE half (); SELECT 1/0")
    mended = Migration(2, "0002_mended.sql", "CREATE TABLE half ()")
    async with opened(bare_url) as one, opened(bare_url) as other:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(one, [migrations()[0], broken])
        assert await asyncio.wait_for(migrate(other, [migrations()[0], mended]), 5) == ["0002_mended.sql"]


# The change feed.

GROUP_WITH_ID = "INSERT INTO caller_id_groups (id, customer_id, name, rotation_strategy) VALUES"
MEMBER = "INSERT INTO caller_id_group_members VALUES"
CHANGES: list[tuple[str, set[tuple[str, int | None, int | str | None]]]] = [
    ("INSERT INTO customers (id, name) VALUES (9, 'x')", {("customer", 9, None)}),
    ("UPDATE customers SET timezone = 'UTC' WHERE id = 7", {("customer", 7, None)}),
    ("UPDATE customers SET timezone = timezone", set()),
    ("DELETE FROM customers WHERE id = 8", {("customer", 8, None), ("group", 8, 6)}),
    (
        "DELETE FROM customers WHERE id = 7",
        {("customer", 7, None), ("group", 7, 3), ("group", 7, 4), ("group", 7, 5), ("token", 7, HASH)},
    ),
    (
        f"{GROUP_WITH_ID} (10, 7, 'x', 'random'), (11, 8, 'x', 'random')",
        {("group", 7, 10), ("group", 8, 11)},
    ),
    ("UPDATE caller_id_groups SET name = 'three'", {("group", 7, 4), ("group", 7, 5), ("group", 8, 6)}),
    ("UPDATE caller_id_groups SET customer_id = 8 WHERE id = 5", {("group", 7, 5), ("group", 8, 5)}),
    ("UPDATE caller_id_groups SET id = 50 WHERE id = 5", {("group", 7, 5), ("group", 7, 50)}),
    ("DELETE FROM caller_id_groups WHERE id IN (3, 5)", {("group", 7, 3), ("group", 7, 5)}),
    ("INSERT INTO caller_ids (customer_id, number, carrier) VALUES (7, 'x', 'other')", set()),
    ("UPDATE caller_ids SET status = 'disabled' WHERE id = 18", {("group", 7, 3), ("group", 7, 4)}),
    ("UPDATE caller_ids SET status = 'disabled' WHERE id = 20", {("nothing", 7, None)}),
    ("UPDATE caller_ids SET daily_cap = 200", set()),
    ("DELETE FROM caller_ids WHERE id = 18", {("group", 7, 3), ("group", 7, 4)}),
    (f"{MEMBER} (5, 18), (5, 19), (4, 19)", {("group", 7, 5), ("group", 7, 4)}),
    (
        f"{MEMBER} (3, 18) ON CONFLICT (group_id, caller_id_id) DO UPDATE SET weight = 5",
        {("group", 7, 3)},
    ),
    ("UPDATE caller_id_group_members SET group_id = 5 WHERE group_id = 4", {("group", 7, 4), ("group", 7, 5)}),
    ("UPDATE caller_id_group_members SET weight = 2 WHERE group_id = 6", {("group", 8, 6)}),
    ("DELETE FROM caller_id_group_members WHERE caller_id_id = 18", {("group", 7, 3), ("group", 7, 4)}),
    ("DELETE FROM caller_id_group_members WHERE group_id = 5", set()),
    (
        f"INSERT INTO api_tokens (customer_id, name, token_sha256) VALUES (8, 'b', '\\x{OTHER_HASH}')",
        {("token", 8, OTHER_HASH)},
    ),
    ("UPDATE api_tokens SET revoked_at = now()", {("token", 7, HASH)}),
    (f"UPDATE api_tokens SET token_sha256 = '\\x{OTHER_HASH}'", {("token", 7, HASH), ("token", 7, OTHER_HASH)}),
    ("DELETE FROM api_tokens", {("token", 7, HASH)}),
    ("TRUNCATE api_tokens", {("everything", None, None)}),
    ("TRUNCATE caller_id_group_members", {("everything", None, None)}),
    ("TRUNCATE customers CASCADE", {("everything", None, None)}),
]


async def seen(connection: Connection) -> set[tuple[str, int | None, int | str | None]]:
    return {(change.entity, change.customer_id, change.key) for change in await store.read_changes(connection)}


@pytest.mark.parametrize(("statement", "expected"), CHANGES)
async def test_a_statement_leaves_what_the_projector_has_to_write(
    connection: Connection, statement: str, expected: set[tuple[str, int | None, int | str | None]]
) -> None:
    await connection.execute(statement)
    assert await seen(connection) == expected


async def test_a_statement_over_many_rows_leaves_one_row_a_group(connection: Connection) -> None:
    await connection.execute(
        "INSERT INTO caller_ids (id, customer_id, number, carrier)"
        " SELECT 1000 + i, 7, i::text, 'other' FROM generate_series(1, 500) AS i"
    )
    await connection.execute("INSERT INTO caller_id_group_members SELECT 5, 1000 + i FROM generate_series(1, 500) AS i")
    assert len(await store.read_changes(connection)) == 1


async def test_what_is_rolled_back_leaves_nothing(connection: Connection) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("DELETE FROM customers")
    await transaction.rollback()
    assert await seen(connection) == set()


async def test_changes_are_read_oldest_first_and_forgotten_by_row(connection: Connection) -> None:
    await connection.execute("UPDATE caller_ids SET daily_cap = 5 WHERE id = 18")
    await connection.execute("UPDATE caller_id_groups SET status = 'disabled' WHERE id = 5")
    first, second, third = await store.read_changes(connection)
    assert first.id == second.id < third.id
    assert await store.read_changes(connection, limit=1) == [first, second]
    await store.delete_changes(connection, [first.id])
    assert await store.read_changes(connection) == [Change(third.id, "group", 7, 5)]


async def test_a_membership_that_commits_while_its_caller_id_changes_is_not_missed(
    connection: Connection, second: Connection
) -> None:
    async with AsyncExitStack() as stack:
        joining = await stack.enter_async_context(opened_transaction(second))
        await joining.execute("INSERT INTO caller_id_group_members VALUES (5, 20)")
        async with connection.transaction():
            # Now the membership is not to be seen from here, and nobody else sees this change.
            await connection.execute("UPDATE caller_ids SET daily_cap = 5 WHERE id = 20")
            await stack.aclose()
            await second.execute("DELETE FROM definition_changes")  # the projector has written the membership
    assert await seen(connection) == {("group", 7, 5)}


@asynccontextmanager
async def opened_transaction(connection: Connection) -> AsyncIterator[Connection]:
    async with connection.transaction():
        yield connection


async def test_a_commit_wakes_the_listener(connection: Connection, second: Connection) -> None:
    heard = asyncio.Event()
    await store.listen(second, heard.set)
    async with connection.transaction():
        await connection.execute("UPDATE customers SET timezone = 'UTC' WHERE id = 7")
        await second.execute("SELECT 1")  # whatever was on its way has arrived
        assert not heard.is_set()
    await asyncio.wait_for(heard.wait(), 5)


async def test_who_writes_definitions_needs_no_rights_on_the_feed(connection: Connection) -> None:
    tables = "customers, api_tokens, caller_ids, caller_id_groups, caller_id_group_members"
    async with opened_transaction(connection):
        await connection.execute("CREATE ROLE rotary_test_writer")
        await connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO rotary_test_writer")
        await connection.execute("SET LOCAL ROLE rotary_test_writer")
        await connection.execute("INSERT INTO caller_id_group_members VALUES (5, 19)")
        await connection.execute("RESET ROLE")
        assert await seen(connection) == {("group", 7, 5)}
        await connection.execute("DROP OWNED BY rotary_test_writer")
        await connection.execute("DROP ROLE rotary_test_writer")


# Reads.


def caller(row_id: int, carrier: str = "viettel", weight: int = 1, **fields: object) -> MemberDefinition:
    own = {"display_name": None, "status": "active", "trunk_name": None, "daily_cap": 200} | fields
    return msgspec.convert(
        [
            row_id,
            f"+84{row_id}",
            own["display_name"],
            carrier,
            own["status"],
            own["trunk_name"],
            own["daily_cap"],
            weight,
        ],
        MemberDefinition,
    )


async def test_a_group_is_read_with_members_zone_and_policy(connection: Connection) -> None:
    await connection.execute("""
        UPDATE customers SET timezone = 'Asia/Kathmandu', policy = '{"volume_calls": 50}' WHERE id = 7;
        UPDATE caller_id_groups SET name = 'Nhóm 3', description = 'd', rotation_strategy = 'weighted',
          sticky_enabled = true, status = 'disabled', created_at = '2026-05-20T10:00:00+07' WHERE id = 3;
        UPDATE caller_ids SET display_name = 'Việt', status = 'disabled', trunk_name = 't', daily_cap = 5 WHERE id = 19;
        UPDATE caller_id_group_members SET weight = 4 WHERE caller_id_id = 19;""")
    assert await store.read_groups(connection, 7, [3, 6, 99]) == [
        GroupDefinition(
            id=3,
            name="Nhóm 3",
            description="d",
            rotation_strategy="weighted",
            sticky_enabled=True,
            status="disabled",
            created_at=datetime(2026, 5, 20, 3, tzinfo=UTC),
            timezone="Asia/Kathmandu",
            policy=Policy(volume_calls=50),
            members=(
                caller(18),
                caller(19, "mobifone", 4, display_name="Việt", status="disabled", trunk_name="t", daily_cap=5),
            ),
        )
    ]


async def test_all_groups_of_a_customer_ascend_and_an_empty_one_is_there(connection: Connection) -> None:
    groups = await store.read_groups(connection, 7, None)
    assert [(group.id, [member.id for member in group.members]) for group in groups] == [
        (3, [18, 19]),
        (4, [18]),
        (5, []),
    ]
    assert {group.policy for group in groups} == {DEFAULT_POLICY}
    assert await store.read_groups(connection, 7, []) == []
    assert await store.read_groups(connection, 99) == []


async def test_the_list_agrees_with_the_groups(connection: Connection) -> None:
    await connection.execute("UPDATE caller_ids SET status = 'disabled' WHERE id = 19")
    summaries = await store.read_group_summaries(connection, 7)
    assert summaries == [summary(group) for group in await store.read_groups(connection, 7)]
    assert [entry.caller_ids_count for entry in summaries] == [1, 1, 0]
    assert await store.read_group_summaries(connection, 99) == []


async def test_tokens_are_read_unless_revoked(connection: Connection) -> None:
    await connection.execute(f"""
        INSERT INTO api_tokens (id, customer_id, name, token_sha256, scopes, rate_limit_per_minute, expires_at)
        VALUES (2, 8, 'b', '\\x{OTHER_HASH}', '{{a,b}}', NULL, '2020-01-01Z')""")
    first = TokenDefinition(100, 7, ("telesales_api_access",), 600, None)
    expired = TokenDefinition(2, 8, ("a", "b"), None, datetime(2020, 1, 1, tzinfo=UTC))
    assert await store.read_tokens(connection, None) == {HASH: first, OTHER_HASH: expired}
    assert await store.read_tokens(connection, [OTHER_HASH, "00" * 32]) == {OTHER_HASH: expired}
    await connection.execute("UPDATE api_tokens SET revoked_at = now() WHERE id = 100")
    assert await store.read_tokens(connection) == {OTHER_HASH: expired}


async def test_a_resync_streams_every_customer_as_of_one_moment(connection: Connection, second: Connection) -> None:
    await connection.execute("INSERT INTO customers (id, name, policy) VALUES (9, 'no groups', '{}')")
    await connection.execute("""UPDATE customers SET policy = '{"volume_calls": 9}' WHERE id = 8""")
    expected = {customer: await store.read_groups(connection, customer) for customer in (7, 8, 9)}
    async with store.snapshot(connection):
        assert await store.customer_ids(connection) == [7, 8, 9]
        await second.execute("DELETE FROM customers")
        assert {customer: groups async for customer, groups in store.stream_customers(connection)} == expected
    assert await store.customer_ids(connection) == []


async def test_a_resync_holds_one_customer_at_a_time(connection: Connection) -> None:
    await connection.execute("""
        INSERT INTO caller_id_groups (id, customer_id, name, rotation_strategy)
        SELECT 1000 + i, 7 + i % 2, 'g', 'random' FROM generate_series(1, 2000) AS i""")
    async with store.snapshot(connection):
        read = [(customer, len(groups)) async for customer, groups in store.stream_customers(connection)]
    assert read == [(7, 1003), (8, 1001)]


async def test_a_policy_that_cannot_be_read_is_the_default_and_is_told(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened_transaction(connection):
        await connection.execute("ALTER TABLE customers DROP CONSTRAINT customers_policy_check")
        await connection.execute("""UPDATE customers SET policy = '{"volume_calls": "many"}' WHERE id = 8""")
        with caplog.at_level(logging.WARNING):
            groups = await store.read_groups(connection, 8)
        await connection.execute("UPDATE customers SET policy = NULL")
        await connection.execute(
            "ALTER TABLE customers ADD CONSTRAINT customers_policy_check"
            " CHECK (policy IS NULL OR rotary_policy_is_valid(policy))"
        )
    assert [group.policy for group in groups] == [DEFAULT_POLICY]
    assert [record.getMessage() for record in caplog.records if "customer 8" in record.getMessage()] != []


async def test_one_connection_leads_until_it_closes(url: str, second: Connection) -> None:
    async with opened(url) as first:
        assert await store.try_lead(first)
        assert not await store.try_lead(second)
    async with asyncio.timeout(5):
        while not await store.try_lead(second):  # noqa: ASYNC110  the server tells nobody
            await asyncio.sleep(0.01)


# Failures.


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UnavailableError, match="postgres"):
        await connect(f"postgresql://rotary@127.0.0.1:{port}/rotary")


async def test_a_database_that_does_not_exist_is_a_wrong_setting(postgres_url: str) -> None:
    absent = re.sub(r"/[^/]*$", "/rotary_test_absent", postgres_url)
    with pytest.raises(ConfigurationError, match=r"ROTARY_POSTGRES_URL .*rotary_test_absent"):
        await connect(absent)


@pytest.mark.parametrize("url", ["postgresql://u:p@ss:secret@host/db", "postgresql://127.0.0.1:99999/db"])
async def test_an_url_that_cannot_be_read_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await connect(url)
    assert "secret" not in str(refused.value)


async def test_a_database_without_tables_is_waited_for(bare_url: str) -> None:
    async with opened(bare_url) as connection:
        with pytest.raises(UnavailableError, match="rotary-admin migrate"):
            await store.read_changes(connection)


async def test_a_connection_that_is_cut_is_unavailable(url: str, connection: Connection) -> None:
    async with opened(url) as victim:
        await connection.execute("SELECT pg_terminate_backend($1)", victim.get_server_pid())
        with pytest.raises(UnavailableError):
            await store.read_changes(victim)
        with pytest.raises(UnavailableError):
            await store.customer_ids(victim)


async def test_a_defect_of_ours_is_not_taken_for_a_server_that_is_away(connection: Connection) -> None:
    with pytest.raises(asyncpg.UndefinedColumnError), answering(connection):
        await connection.execute("SELECT nonsense")
