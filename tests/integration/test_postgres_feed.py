"""The change feed and the reads of the projector, on a real server."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime

import msgspec
import pytest
from structlog.testing import capture_logs

from integration.private_database import HASH, OTHER_HASH, in_transaction, opened
from rotary.definitions import CustomerDefinition, GroupDefinition, MemberDefinition, TokenDefinition, summary
from rotary.policy import DEFAULT_POLICY, Policy
from rotary.postgres import store
from rotary.postgres.connection import Connection
from rotary.postgres.statements import statement as named
from rotary.postgres.store import Change
from rotary.runtime.program import cancel_and_wait


@pytest.fixture
async def connection(connection: Connection) -> Connection:
    """Of which the feed has been read to its end."""
    await connection.execute("DELETE FROM definition_changes")
    return connection


# The change feed.

GROUP_WITH_ID = "INSERT INTO caller_id_groups (id, customer_id, name, rotation_strategy) VALUES"
CALLER = "INSERT INTO caller_ids (id, customer_id, number, carrier) VALUES"
MEMBER = "INSERT INTO caller_id_group_members VALUES"
Key = int | str | tuple[int, ...] | None
CHANGES: list[tuple[str, set[tuple[str, int | None, Key]]]] = [
    ("INSERT INTO customers (id, name) VALUES (9, 'x')", {("customer", 9, None)}),
    ("UPDATE customers SET timezone = 'UTC' WHERE id = 7", {("customer", 7, None)}),
    ("UPDATE customers SET timezone = timezone", set()),
    ("DELETE FROM customers WHERE id = 8", {("customer", 8, None), ("group", 8, 6), ("caller_ids", 8, (28,))}),
    (
        "DELETE FROM customers WHERE id = 7",
        {
            *(("customer", 7, None), ("group", 7, 3), ("group", 7, 4), ("group", 7, 5), ("token", 7, HASH)),
            ("caller_ids", 7, (18, 19, 20)),
        },
    ),
    (
        f"{GROUP_WITH_ID} (10, 7, 'x', 'random'), (11, 8, 'x', 'random')",
        {("group", 7, 10), ("group", 8, 11)},
    ),
    ("UPDATE caller_id_groups SET name = 'three'", {("group", 7, 4), ("group", 7, 5), ("group", 8, 6)}),
    ("UPDATE caller_id_groups SET customer_id = 8 WHERE id = 5", {("group", 7, 5), ("group", 8, 5)}),
    ("UPDATE caller_id_groups SET id = 50 WHERE id = 5", {("group", 7, 5), ("group", 7, 50)}),
    ("DELETE FROM caller_id_groups WHERE id IN (3, 5)", {("group", 7, 3), ("group", 7, 5)}),
    (
        f"{CALLER} (31, 7, '0931', 'other'), (30, 7, '0930', 'other'), (32, 8, '0932', 'other')",
        {("caller_ids", 7, (30, 31)), ("caller_ids", 8, (32,))},
    ),
    (
        "UPDATE caller_ids SET customer_id = 8 WHERE id = 20",
        {("nothing", 7, None), ("nothing", 8, None), ("caller_ids", 7, (20,)), ("caller_ids", 8, (20,))},
    ),
    ("UPDATE caller_ids SET status = 'disabled' WHERE id = 18", {("group", 7, 3), ("group", 7, 4)}),
    ("UPDATE caller_ids SET status = 'disabled' WHERE id = 20", {("nothing", 7, None)}),
    ("UPDATE caller_ids SET daily_cap = 200", set()),
    ("DELETE FROM caller_ids WHERE id = 18", {("group", 7, 3), ("group", 7, 4), ("caller_ids", 7, (18,))}),
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


async def seen(connection: Connection) -> set[tuple[str, int | None, Key]]:
    return {(change.entity, change.customer_id, change.key) for change in await store.read_changes(connection)}


@pytest.mark.parametrize(("statement", "expected"), CHANGES)
async def test_a_statement_leaves_what_the_projector_has_to_write(
    connection: Connection, statement: str, expected: set[tuple[str, int | None, Key]]
) -> None:
    await connection.execute(statement)
    assert await seen(connection) == expected


async def test_a_statement_over_many_rows_leaves_one_row_a_group(connection: Connection) -> None:
    await connection.execute(
        "INSERT INTO caller_ids (id, customer_id, number, carrier)"
        " SELECT 1000 + i, 7, (1000 + i)::text, 'other' FROM generate_series(1, 500) AS i"
    )
    await connection.execute("INSERT INTO caller_id_group_members SELECT 5, 1000 + i FROM generate_series(1, 500) AS i")
    assert [change.entity for change in await store.read_changes(connection)] == ["caller_ids", "group"]


async def test_many_caller_ids_leave_one_row_for_a_thousand_of_a_customer(connection: Connection) -> None:
    await connection.execute(
        "INSERT INTO caller_ids (id, customer_id, number, carrier)"
        " SELECT 1000 + i, 7 + i % 2, (1000 + i)::text, 'other' FROM generate_series(1, 4200) AS i"
    )
    changes = await store.read_changes(connection)
    sizes = sorted((change.customer_id, len(change.key)) for change in changes if isinstance(change.key, tuple))
    assert sizes == [(7, 100), (7, 1000), (7, 1000), (8, 100), (8, 1000), (8, 1000)]


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
    await store.record_projected(connection, {}, [first.id])
    assert await store.read_changes(connection) == [Change(third.id, "group", 7, 5)]


async def test_a_membership_that_commits_while_its_caller_id_changes_is_not_missed(
    connection: Connection, second: Connection
) -> None:
    async with AsyncExitStack() as stack:
        joining = await stack.enter_async_context(in_transaction(second))
        await joining.execute("INSERT INTO caller_id_group_members VALUES (5, 20)")
        async with connection.transaction():
            # Now the membership is not to be seen from here, and nobody else sees this change.
            await connection.execute("UPDATE caller_ids SET daily_cap = 5 WHERE id = 20")
            await stack.aclose()
            await second.execute("DELETE FROM definition_changes")  # the projector has written the membership
    assert await seen(connection) == {("group", 7, 5)}


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
    async with in_transaction(connection):
        await connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO rotary_guest")
        await connection.execute("SET LOCAL ROLE rotary_guest")
        await connection.execute("INSERT INTO caller_id_group_members VALUES (5, 19)")
        await connection.execute("RESET ROLE")
        assert await seen(connection) == {("group", 7, 5)}
        await connection.execute("DROP OWNED BY rotary_guest")


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
    expected = [
        CustomerDefinition(customer, policy, await store.read_groups(connection, customer), callers)
        for customer, policy, callers in (
            (7, DEFAULT_POLICY, [18, 19, 20]),
            (8, Policy(volume_calls=9), [28]),
            (9, DEFAULT_POLICY, []),
        )
    ]
    async with store.snapshot(connection):
        assert await store.customer_ids(connection) == [7, 8, 9]
        await second.execute("DELETE FROM customers")
        assert [customer async for customer in store.stream_customers(connection)] == expected
        assert [customer async for customer in store.stream_customers(connection, [9, 7])] == [expected[0], expected[2]]
    assert await store.customer_ids(connection) == []


async def test_a_resync_holds_one_customer_at_a_time(connection: Connection) -> None:
    await connection.execute("""
        INSERT INTO caller_id_groups (id, customer_id, name, rotation_strategy)
        SELECT 1000 + i, 7 + i % 2, 'g', 'random' FROM generate_series(1, 2000) AS i""")
    async with store.snapshot(connection):
        read = [(customer.id, len(customer.groups)) async for customer in store.stream_customers(connection)]
    assert read == [(7, 1003), (8, 1001)]


async def test_a_resync_reads_by_index_also_before_the_tables_first_analyze(connection: Connection) -> None:
    await connection.execute("""
        INSERT INTO caller_ids (id, customer_id, number, carrier)
        SELECT 100 + i, 7, (10000 + i)::text, 'other' FROM generate_series(1, 20000) AS i;
        INSERT INTO caller_id_groups (id, customer_id, name, rotation_strategy)
        SELECT 100 + i, 7, 'g', 'random' FROM generate_series(1, 2000) AS i;
        INSERT INTO caller_id_group_members (group_id, caller_id_id)
        SELECT 101 + i % 2000, 100 + i FROM generate_series(1, 20000) AS i""")
    query = named("stream_groups").removesuffix(";")
    async with store.snapshot(connection):
        plan = [row[0] for row in await connection.fetch(f"EXPLAIN {query}", None)]
    # Whoever empties the tables next would otherwise look for each member from end to end, if they were empty when
    # PostgreSQL counted them last: ten seconds and more.
    await connection.execute("ANALYZE caller_ids, caller_id_groups, caller_id_group_members")
    assert not [step for step in plan if "Seq Scan on caller_ids" in step], plan


async def test_others_have_the_loop_while_very_many_groups_are_read(connection: Connection) -> None:
    await connection.execute("""
        INSERT INTO caller_id_groups (id, customer_id, name, rotation_strategy)
        SELECT 1000 + i, 7, 'g', 'random' FROM generate_series(1, 300) AS i""")
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    try:
        await store.read_groups(connection, 7)
        assert turns >= 30
        turns = 0
        async with store.snapshot(connection), aclosing(store.stream_customers(connection, [7])) as customers:
            await anext(customers)
        assert turns >= 30
    finally:
        await cancel_and_wait(counting)


async def test_a_policy_that_cannot_be_read_is_the_default_and_is_logged(connection: Connection) -> None:
    async with in_transaction(connection):
        await connection.execute("ALTER TABLE customers DROP CONSTRAINT customers_policy_check")
        await connection.execute("""UPDATE customers SET policy = '{"volume_calls": "many"}' WHERE id = 8""")
        with capture_logs() as logged:
            groups = await store.read_groups(connection, 8)
        await connection.execute("UPDATE customers SET policy = NULL")
        await connection.execute(
            "ALTER TABLE customers ADD CONSTRAINT customers_policy_check"
            " CHECK (policy IS NULL OR rotary_policy_is_valid(policy))"
        )
    assert [group.policy for group in groups] == [DEFAULT_POLICY]
    assert [(entry["log_level"], entry["customer_id"]) for entry in logged] == [("warning", 8)]


async def test_one_connection_leads_until_it_closes(database_url: str, second: Connection) -> None:
    async with opened(database_url) as first:
        assert await store.try_lead(first)
        assert not await store.try_lead(second)
    async with asyncio.timeout(5):
        while not await store.try_lead(second):  # noqa: ASYNC110  the server tells nobody
            await asyncio.sleep(0.01)
