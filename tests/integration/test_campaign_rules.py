"""The database keeps the rules of campaigns and the audit trail, whoever writes: here it is plain SQL."""

import json
from itertools import product
from typing import get_args

import asyncpg
import pytest

from rotary.domain.campaigns import CampaignStatus, GroupState, refusal
from rotary.postgres.connection import Connection

STATUSES: tuple[CampaignStatus, ...] = get_args(CampaignStatus)
PATHS: dict[CampaignStatus, tuple[CampaignStatus, ...]] = {
    "draft": (),
    "active": ("active",),
    "paused": ("active", "paused"),
    "archived": ("archived",),
}
REASONS = {
    "campaigns_status_transition": "transition",
    "campaigns_running_has_group": "no_group",
    "campaigns_group_is_usable": "group_disabled",
}


async def campaign(connection: Connection, *, group: int | None = 3, status: CampaignStatus = "draft") -> int:
    """A campaign of customer 7 that came to this status by possible steps."""
    row_id: int = await connection.fetchval(
        "INSERT INTO campaigns (customer_id, name, dialer_mode, caller_id_group_id)"
        " VALUES (7, 'c' || random(), 'preview', $1) RETURNING id",
        group,
    )
    for step in PATHS[status]:
        await set_status(connection, row_id, step)
    return row_id


async def set_status(connection: Connection, row_id: int, status: str) -> None:
    await connection.execute("UPDATE campaigns SET status = $2 WHERE id = $1", row_id, status)


async def broken(connection: Connection, statement: str, *values: object) -> str:
    """The name of the constraint that a statement breaks; empty if it breaks none. Nothing stays."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement, *values)
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except asyncpg.IntegrityConstraintViolationError as error:
        return error.constraint_name or "?"
    finally:
        await transaction.rollback()
    return ""


@pytest.mark.parametrize(("current", "wanted"), [*product(STATUSES, STATUSES)])
@pytest.mark.parametrize("group", ["usable", "disabled"])
async def test_sql_has_the_same_state_machine_as_the_domain(
    connection: Connection, current: CampaignStatus, wanted: CampaignStatus, group: GroupState
) -> None:
    row_id = await campaign(connection, status=current, group=3)
    await connection.execute(
        "UPDATE caller_id_groups SET status = $1 WHERE id = 3", "active" if group == "usable" else "disabled"
    )
    found = await broken(connection, "UPDATE campaigns SET status = $2 WHERE id = $1", row_id, wanted)
    expected = None if current == wanted else refusal(current, wanted, group)  # a statement that changes nothing passes
    assert (REASONS[found] if found else None) == expected


async def test_sql_can_neither_begin_a_campaign_running_nor_run_it_without_a_group(connection: Connection) -> None:
    insert = (
        "INSERT INTO campaigns (customer_id, name, dialer_mode, caller_id_group_id, status) VALUES (7, 'x', $1, $2, $3)"
    )
    assert await broken(connection, insert, "manual", 3, "active") == "campaigns_status_transition"
    assert await broken(connection, insert, "manual", 6, "draft") == "campaigns_group_is_usable"  # another customer's
    assert await broken(connection, insert, "manual", 99, "draft") == "campaigns_group_is_usable"
    draft, active = await campaign(connection, group=None), await campaign(connection, status="active")
    update = "UPDATE campaigns SET status = 'active' WHERE id = $1"
    assert await broken(connection, update, draft) == "campaigns_running_has_group"
    update = "UPDATE campaigns SET caller_id_group_id = $2 WHERE id = $1"
    assert await broken(connection, update, active, None) == "campaigns_running_has_group"
    assert await broken(connection, update, active, 6) == "campaigns_group_is_usable"
    assert await broken(connection, update, active, 4) == ""


@pytest.mark.parametrize(
    ("status", "held"), [("draft", False), ("active", True), ("paused", True), ("archived", False)]
)
async def test_a_group_that_a_running_campaign_uses_can_be_neither_deleted_nor_moved(
    connection: Connection, status: CampaignStatus, *, held: bool
) -> None:
    row_id = await campaign(connection, group=5, status=status)
    delete, move = (
        "DELETE FROM caller_id_groups WHERE id = 5",
        "UPDATE caller_id_groups SET customer_id = 8 WHERE id = 5",
    )
    constraints = {"campaigns_group_in_use", "campaigns_running_has_group"} if held else {""}
    assert await broken(connection, delete) in constraints
    assert await broken(connection, move) in constraints
    if not held:
        await connection.execute(delete)
        assert await connection.fetchval("SELECT caller_id_group_id FROM campaigns WHERE id = $1", row_id) is None


async def test_a_customer_is_deleted_with_its_running_campaigns(connection: Connection) -> None:
    await campaign(connection, status="active")
    await connection.execute("DELETE FROM customers WHERE id = 7")
    assert await connection.fetchval("SELECT count(*) FROM campaigns") == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("name", ""),
        ("name", "a\nb"),
        ("name", "x" * 151),
        ("description", "x" * 501),
        ("dialer_mode", "auto"),
        ("ring_timeout_sec", 4),
        ("preview_window_sec", 61),
        ("priority", 1001),
        ("max_attempts", 0),
        ("abandon_rate_limit_pct", 10.1),
        ("abandon_rate_limit_pct", float("nan")),
        ("time_window", "[]"),
        ("time_window", '{"monday": []}'),
        ("time_window", '{"mon": [{"from": "12:00", "to": "08:00"}]}'),
        ("time_window", '{"mon": [{"from": "08:00", "to": "12:00"}, {"from": "11:00", "to": "13:00"}]}'),
        ("time_window", '{"mon": [{"from": "08:00", "to": "12:00", "x": 1}]}'),
        ("time_window", '{"mon": [1]}'),
        ("status", "running"),
    ],
)
async def test_every_field_of_a_campaign_is_checked_by_its_table(
    connection: Connection, column: str, value: object
) -> None:
    row_id = await campaign(connection)
    assert await broken(connection, f"UPDATE campaigns SET {column} = $2 WHERE id = $1", row_id, value)


async def test_a_time_window_whose_spans_touch_is_stored(connection: Connection) -> None:
    row_id = await campaign(connection)
    week = '{"mon": [{"from": "08:00", "to": "12:00"}, {"from": "12:00", "to": "17:00"}], "sun": []}'
    assert not await broken(connection, "UPDATE campaigns SET time_window = $2 WHERE id = $1", row_id, week)


async def test_a_change_raises_the_version_of_its_row_and_nothing_else_does(connection: Connection) -> None:
    for table in ("customers", "api_tokens", "caller_ids", "caller_id_groups"):
        assert await connection.fetchval(f"SELECT max(version) FROM {table}") == 1
        await connection.execute(
            f"UPDATE {table} SET name = name" if table != "caller_ids" else "UPDATE caller_ids SET number = number"
        )
        await connection.execute(f"UPDATE {table} SET version = 9")
        assert await connection.fetchval(f"SELECT max(version) FROM {table}") == 1
        column = "carrier = 'landline'" if table == "caller_ids" else "name = 'renamed'"
        await connection.execute(f"UPDATE {table} SET {column}")
        assert await connection.fetchval(f"SELECT min(version) FROM {table}") == 2


async def test_a_webhooks_version_rises_with_its_secret_and_not_with_nothing(connection: Connection) -> None:
    await connection.execute(
        "INSERT INTO webhooks (customer_id, url, events, secret)"
        " VALUES (7, 'https://example.com/', '{group.exhausted}', 'sixteen letters.')"
    )
    await connection.execute("UPDATE webhooks SET status = status")
    assert await connection.fetchval("SELECT version FROM webhooks") == 1
    await connection.execute("UPDATE webhooks SET secret = 'sixteen letters!'")
    assert await connection.fetchval("SELECT version FROM webhooks") == 2


@pytest.mark.parametrize("status", STATUSES)
async def test_a_statement_that_changes_nothing_of_a_campaign_leaves_no_trace(
    connection: Connection, status: CampaignStatus
) -> None:
    row_id = await campaign(connection, status=status)
    read = "SELECT version, updated_at FROM campaigns WHERE id = $1"
    before, since = await connection.fetchrow(read, row_id), await last(connection)
    await connection.execute("UPDATE campaigns SET name = name, updated_at = now() + interval '1 day'")
    assert await connection.fetchrow(read, row_id) == before
    assert await trail(connection, since) == []
    await connection.execute("UPDATE campaigns SET priority = 1")
    assert [row[4] for row in await trail(connection, since)] == ["update"]


async def trail(connection: Connection, since: int) -> list[tuple[object, ...]]:
    rows = await connection.fetch(
        "SELECT actor, customer_id, entity, entity_id, action, before, after FROM audit_log WHERE id > $1 ORDER BY id",
        since,
    )
    return [tuple(row) for row in rows]


async def last(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT coalesce(max(id), 0) FROM audit_log"))


async def test_every_change_by_sql_is_in_the_audit_log_with_before_and_after(connection: Connection) -> None:
    since = await last(connection)
    await connection.execute("UPDATE caller_ids SET daily_cap = 50 WHERE id IN (18, 19)")
    await connection.execute("UPDATE caller_ids SET daily_cap = 50 WHERE id = 18")  # changes nothing
    rows = await connection.fetch("SELECT * FROM audit_log WHERE id > $1 ORDER BY id", since)
    assert [(row["entity"], row["entity_id"], row["action"], row["customer_id"]) for row in rows] == [
        ("caller_id", 18, "update", 7),
        ("caller_id", 19, "update", 7),
    ]
    assert (rows[0]["actor"], rows[0]["database_user"]) == ("sql", await connection.fetchval("SELECT session_user"))
    assert [json.loads(rows[0][column])["daily_cap"] for column in ("before", "after")] == [200, 50]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("INSERT INTO customers (id, name) VALUES (9, 'x')", {("customer", 9, "create")}),
        ("UPDATE customers SET name = 'x' WHERE id = 7", {("customer", 7, "update")}),
        ("UPDATE api_tokens SET revoked_at = now()", {("token", 100, "update")}),
        (
            "INSERT INTO caller_id_group_members (group_id, caller_id_id) VALUES (5, 18), (5, 19)",
            {("member", 5, "create")},
        ),
        ("UPDATE caller_id_group_members SET weight = 3 WHERE group_id = 4", {("member", 4, "update")}),
        (
            "UPDATE caller_id_group_members SET group_id = 5 WHERE group_id = 4",
            {("member", 4, "delete"), ("member", 5, "create")},
        ),
        ("DELETE FROM caller_id_groups WHERE id = 4", {("group", 4, "delete"), ("member", 4, "delete")}),
        ("TRUNCATE caller_id_group_members", {("member", row, "truncate") for row in (3, 4, 6)}),
        (
            "INSERT INTO campaigns (id, customer_id, name, dialer_mode) VALUES (1, 7, 'x', 'manual')",
            {("campaign", 1, "create")},
        ),
    ],
)
async def test_no_table_and_no_kind_of_change_is_left_out_of_the_audit_log(
    connection: Connection, statement: str, expected: set[tuple[str, int | None, str]]
) -> None:
    since = await last(connection)
    await connection.execute(statement)
    assert {
        (entity, row_id, action) for _, _, entity, row_id, action, _, _ in await trail(connection, since)
    } == expected


async def test_what_a_truncation_took_is_in_the_audit_log_of_each_customer(connection: Connection) -> None:
    await campaign(connection)
    tables = {"customer": "customers", "caller_id": "caller_ids", "group": "caller_id_groups", "campaign": "campaigns"}
    stored = {
        entity: {
            row["row"] for row in await connection.fetch(f"SELECT to_jsonb(t) ->> 'name' AS row FROM {table} AS t")
        }
        for entity, table in tables.items()
    }
    since = await last(connection)
    await connection.execute("TRUNCATE customers CASCADE")
    taken = await connection.fetch(
        "SELECT entity, customer_id, before ->> 'name' AS name, after FROM audit_log"
        " WHERE id > $1 AND action = 'truncate'",
        since,
    )
    assert {row["customer_id"] for row in taken} == {7, 8}
    assert {row["after"] for row in taken} == {None}
    for entity, names in stored.items():
        assert {row["name"] for row in taken if row["entity"] == entity} == names


async def test_a_program_names_its_actor_for_one_transaction(connection: Connection) -> None:
    since = await last(connection)
    async with connection.transaction():
        await connection.execute("SELECT set_config('rotary.actor', 'token 100 (a)', true)")
        await connection.execute("UPDATE customers SET name = 'x' WHERE id = 7")
    await connection.execute("UPDATE customers SET name = 'y' WHERE id = 7")
    assert [row[0] for row in await trail(connection, since)] == ["token 100 (a)", "sql"]


async def test_no_secret_is_in_the_audit_log(connection: Connection) -> None:
    since = await last(connection)
    await connection.execute("INSERT INTO api_tokens (customer_id, name, token_sha256) VALUES (7, 'x', sha256('s'))")
    assert "token_sha256" not in str(await trail(connection, since))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'nobody'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "INSERT INTO audit_log (actor, database_user, entity, action) VALUES ('x', 'x', 'group', 'create')",
    ],
)
async def test_nobody_changes_the_audit_log_whatever_they_are_granted(connection: Connection, statement: str) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("GRANT ALL ON audit_log TO PUBLIC")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await connection.execute(statement)
    await transaction.rollback()


async def test_the_owner_of_the_tables_lacks_the_permission_to_change_the_audit_log(connection: Connection) -> None:
    owner = await connection.fetchval("SELECT tableowner FROM pg_tables WHERE tablename = 'audit_log'")
    granted = await connection.fetchval(
        "SELECT array_agg(acl.privilege_type ORDER BY acl.privilege_type) FROM pg_class, aclexplode(relacl) AS acl"
        " WHERE relname = 'audit_log' AND acl.grantee = $1::text::regrole",
        owner,
    )
    assert granted == ["INSERT", "REFERENCES", "SELECT", "TRIGGER"]
