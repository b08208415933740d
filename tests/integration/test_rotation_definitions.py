"""What Postgres holds for the rotation engine alone: it travels in the documents, and in no answer of the read API."""

import asyncpg
import pytest

from rotary.policy import Policy, WarmUpStep
from rotary.postgres import store
from rotary.postgres.connection import Connection
from rotary.redis.documents import decode_group, encode_group
from rotary_query.http.schemas import encode_detail

SET = "UPDATE customers SET policy = '{}' WHERE id = 7"


async def test_limits_are_null_by_default_and_travel_in_the_document(connection: Connection) -> None:
    before = await store.read_groups(connection, 7)
    assert {(one.hourly_cap, one.min_gap_seconds, one.activated_ms) for some in before for one in some.members} == {
        (None, None, None)
    }
    await connection.execute(
        "UPDATE caller_ids SET hourly_cap = 20, min_gap_seconds = 5, activated_at = '2026-06-01T00:00:00.25Z'"
    )
    after = [decode_group(encode_group(some)) for some in await store.read_groups(connection, 7)]
    found = {(one.hourly_cap, one.min_gap_seconds, one.activated_ms) for some in after for one in some.members}
    assert found == {(20, 5, 1_780_272_000_250)}
    assert [encode_detail(some) for some in before] == [encode_detail(some) for some in after]


async def test_a_changed_limit_is_in_the_change_feed(connection: Connection) -> None:
    await connection.execute("DELETE FROM definition_changes")
    await connection.execute(
        "UPDATE caller_ids SET hourly_cap = 20 WHERE id = (SELECT caller_id_id FROM caller_id_group_members LIMIT 1)"
    )
    assert {change.entity for change in await store.read_changes(connection)} == {"group"}


@pytest.mark.parametrize("column", ["hourly_cap", "min_gap_seconds"])
async def test_a_limit_is_at_least_one(connection: Connection, column: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute(f"UPDATE caller_ids SET {column} = 0")


@pytest.mark.parametrize(
    ("policy", "read"),
    [
        ('{"pick_ttl_seconds": 60, "sticky_days": 1}', Policy(pick_ttl_seconds=60, sticky_days=1)),
        ('{"warm_up": []}', Policy()),
        ('{"warm_up": [[3, 20], [7, 50]]}', Policy(warm_up=(WarmUpStep(3, 20), WarmUpStep(7, 50)))),
        ('{"warm_up": [[3650, 2147483647]]}', Policy(warm_up=(WarmUpStep(3650, 2147483647),))),
    ],
)
async def test_a_policy_may_set_the_engines_rules(connection: Connection, policy: str, read: Policy) -> None:
    await connection.execute(SET.replace("{}", policy))
    assert await store.read_policy(connection, 7) == read


@pytest.mark.parametrize(
    "policy",
    [
        '{"pick_ttl_seconds": 61}',
        '{"pick_ttl_seconds": 0}',
        '{"pick_ttl_seconds": 1.5}',
        '{"sticky_days": 3651}',
        '{"warm_up": 3}',
        '{"warm_up": {"3": 20}}',
        '{"warm_up": [3, 20]}',
        '{"warm_up": [[3]]}',
        '{"warm_up": [[0, 20]]}',
        '{"warm_up": [[3, 0]]}',
        '{"warm_up": [[3, "20"]]}',
        '{"warm_up": [[3, 20, 1]]}',
        '{"warm_up": [[3.5, 20]]}',
    ],
)
async def test_a_policy_that_the_engine_could_not_read_is_refused(connection: Connection, policy: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute(SET.replace("{}", policy))
