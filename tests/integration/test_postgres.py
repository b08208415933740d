"""The definitions' tables, their migrations, and what a server that is away looks like, on a real server."""

import asyncio
import re
import socket
from collections.abc import Iterator

import asyncpg
import msgspec
import pytest

from integration.private_database import HASH, opened, private_database
from rotary.errors import ConfigurationError, UnavailableError
from rotary.policy import Policy
from rotary.postgres import store
from rotary.postgres.connection import Connection, connect, translate_errors
from rotary.postgres.migrate import Migration, MigrationRefusedError, migrate, migrations


@pytest.fixture
async def connection(connection: Connection) -> Connection:
    """Of which the feed has been read to its end."""
    await connection.execute("DELETE FROM definition_changes")
    return connection


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
    f"{CALLER} (7, '+84901234567', 'other', 'Nguyễn, \"Ann\"', 1), (7, '113', 'other', NULL, 1)",
    f"{CALLER} (7, '{'9' * 20}', 'other', NULL, 1)",
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
    *(
        (f"{CALLER} (7, E'{number}', 'other', NULL, 1)", "caller_ids_number_is_digits")
        for number in (
            "12",
            "9" * 21,
            "0901 234",
            "+",
            "++84901",
            "8.49E+11",
            "0901\\n",
            "0901\\ncore stop now",
            "٠٩٠١٢",
        )
    ),
    (f"{CALLER} (7, '0901', 'other', E'a\\nb', 1)", "caller_ids_display_name_is_plain"),
    ("UPDATE caller_ids SET trunk_name = E'a\\x1b[2J'", "caller_ids_trunk_name_is_plain"),
    ("UPDATE caller_id_groups SET name = E'a\\u0085'", "caller_id_groups_name_is_plain"),
    ("UPDATE customers SET name = E'a\\tb'", "customers_name_is_plain"),
    ("UPDATE api_tokens SET name = E'a\\x7f'", "api_tokens_name_is_plain"),
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
async def test_a_row_that_means_something_is_taken(connection: Connection, statement: str) -> None:
    await connection.execute(statement)


@pytest.mark.parametrize(("statement", "constraint"), REFUSED)
async def test_a_row_without_meaning_is_refused_by_name(
    connection: Connection, statement: str, constraint: str
) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await connection.execute(statement)
    assert refused.value.constraint_name == constraint


async def test_what_a_row_leaves_out_has_its_default(connection: Connection) -> None:
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
    *('{"unknown_caller_ids_per_day": 0}', '{"unknown_caller_ids_per_day": 1000000}'),
    *('{"unknown_caller_ids_per_day": 1000001}', '{"unknown_caller_ids_per_day": 1.5}'),
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


async def test_numbers_from_before_the_rule_stay_until_they_are_written_again(bare_url: str) -> None:
    async with opened(bare_url) as connection:
        await migrate(connection, migrations()[:2])
        await connection.execute("INSERT INTO customers (id, name) VALUES (7, E'a\\tb')")
        await connection.execute(f"{CALLER} (7, 'ext. 12', 'other', E'a\\nb', 1), (7, '0901', 'other', NULL, 1)")
        await migrate(connection)
        odd = await connection.fetch("SELECT number FROM caller_ids WHERE number !~ '^[+]?[0-9]{3,20}$'")
        assert [row["number"] for row in odd] == ["ext. 12"]
        with pytest.raises(asyncpg.CheckViolationError, match=r"caller_ids_.*_is_"):
            await connection.execute("UPDATE caller_ids SET daily_cap = 2")
        await connection.execute("UPDATE caller_ids SET number = '0912', display_name = 'a b' WHERE number = 'ext. 12'")
        await connection.execute("ALTER TABLE caller_ids VALIDATE CONSTRAINT caller_ids_number_is_digits")


async def test_a_migration_that_fails_leaves_nothing_of_itself_and_no_lock(bare_url: str) -> None:
    broken = Migration(2, "0002_broken.sql", "CREATE TABLE half (); SELECT 1/0")
    mended = Migration(2, "0002_mended.sql", "CREATE TABLE half ()")
    async with opened(bare_url) as one, opened(bare_url) as other:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(one, [migrations()[0], broken])
        assert await asyncio.wait_for(migrate(other, [migrations()[0], mended]), 5) == ["0002_mended.sql"]


# Failures.


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UnavailableError, match=r"PostgreSQL is away: ."):
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


async def test_a_connection_that_is_cut_is_unavailable(database_url: str, connection: Connection) -> None:
    async with opened(database_url) as victim:
        await connection.execute("SELECT pg_terminate_backend($1)", victim.get_server_pid())
        for _ in range(2):
            with pytest.raises(UnavailableError, match=r"PostgreSQL is away: ."):
                await store.read_changes(victim)


async def test_a_snapshot_on_a_connection_that_is_cut_is_unavailable(database_url: str, connection: Connection) -> None:
    async def read_in_snapshot() -> None:
        async with store.snapshot(victim):
            await connection.execute("SELECT pg_terminate_backend($1)", victim_pid)
            await store.read_groups(victim, 7)

    async with opened(database_url) as victim:
        victim_pid = victim.get_server_pid()
        for _ in range(2):
            with pytest.raises(UnavailableError, match=r"PostgreSQL is away: ."):
                await read_in_snapshot()


async def test_a_defect_of_ours_is_not_taken_for_a_server_that_is_away(connection: Connection) -> None:
    with pytest.raises(asyncpg.UndefinedColumnError), translate_errors(connection):
        await connection.execute("SELECT nonsense")
