"""Requests that get in each other's way: every one is answered as if they had come one after the other."""

import asyncio
import json

import asyncpg

from integration.campaigns_world import CAMPAIGNS, MANAGEMENT, CampaignsWorld
from rotary.postgres.connection import Connection
from running import until


async def blocked(connection: Connection, count: int) -> None:
    """Waits until so many sessions of this database wait for a lock."""

    async def they_wait() -> bool:
        waiting = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(waiting >= count)

    await until(they_wait, 10, f"{count} sessions wait for a lock")


async def test_an_activation_and_the_end_of_its_group_at_once_are_both_answered(
    campaigns: CampaignsWorld, second: Connection
) -> None:
    client = await campaigns.client()
    new = {"name": "c", "dialer_mode": "manual", "caller_id_group_id": 3}
    row_id = (await client.done(201, "POST", CAMPAIGNS, new))["data"]["id"]
    # The activation locks the campaign, then the group; the deletion locks the group, then its campaigns. PostgreSQL
    # ends the one that has waited for a second: the activation, unless this machine is slow.
    transaction = second.transaction()
    await transaction.start()
    await second.execute("SELECT FROM caller_id_groups WHERE id = 3 FOR UPDATE")
    activation = asyncio.create_task(client.ask("PUT", f"{CAMPAIGNS}/{row_id}/status", {"status": "active"}))
    await blocked(campaigns.connection, 1)
    try:
        await second.execute("DELETE FROM caller_id_groups WHERE id = 3")
    except asyncpg.DeadlockDetectedError:
        await transaction.rollback()
        assert (await activation).status == 200
        return
    await transaction.commit()
    got = await activation
    assert got.status == 422, got.text
    assert json.loads(got.text)["errors"] == {
        "caller_id_group_id": ["A caller ID group is required to activate a campaign."]
    }


async def test_a_request_that_waits_for_a_lock_keeps_no_other_customer_waiting(
    campaigns: CampaignsWorld, second: Connection
) -> None:
    client, other = await campaigns.client(), await campaigns.client(customer=8)
    transaction = second.transaction()
    await transaction.start()
    await second.execute("SELECT FROM caller_ids WHERE customer_id = 7 FOR UPDATE")  # as an import does
    path = f"{MANAGEMENT}/caller-ids/18"
    # As many as there are connections.
    waiting = [asyncio.create_task(client.ask("PUT", path, {"daily_cap": 5}, If_Match="*")) for _ in range(8)]
    try:
        await blocked(campaigns.connection, 8)
        assert (await other.ask("GET", f"{MANAGEMENT}/customer")).status == 200
        for one in waiting:
            got = await one
            assert (got.status, got.headers["Retry-After"]) == (503, "1")
            assert json.loads(got.text) == {"message": "Somebody else is changing the same. Try again soon."}
    finally:
        await transaction.rollback()
    await client.done(200, "PUT", path, {"daily_cap": 5}, If_Match="*")
