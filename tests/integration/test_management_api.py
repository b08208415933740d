"""Caller IDs, groups, members, tokens, customer and audit log over HTTP, as an admin UI uses them."""

import json
from typing import Any

import pytest
import pytest_asyncio

from integration.campaigns_world import CAMPAIGNS, MANAGEMENT, CampaignsWorld, Client
from integration.inbox import open_inbox
from rotary.definitions import MANAGE_SCOPE, SCOPE
from rotary_campaigns.http.resources import RESOURCES
from running import until

CALLER_IDS, GROUPS, TOKENS = (f"{MANAGEMENT}/{name}" for name in ("caller-ids", "caller-id-groups", "tokens"))
CUSTOMER, AUDIT = f"{MANAGEMENT}/customer", f"{MANAGEMENT}/audit-log"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def client(shared_campaigns: CampaignsWorld) -> Client:
    return await shared_campaigns.client(MANAGE_SCOPE)


async def test_a_caller_id_from_its_creation_to_its_end(client: Client) -> None:
    new = {"number": "0981234567", "display_name": "Sales", "daily_cap": 50, "hourly_cap": 9}
    created = (await client.done(201, "POST", CALLER_IDS, new))["data"]
    assert created == {
        "id": created["id"],
        "number": "0981234567",
        "display_name": "Sales",
        "carrier": "viettel",
        "status": "active",
        "trunk_name": None,
        "daily_cap": 50,
        "hourly_cap": 9,
        "min_gap_seconds": None,
        "activated_at": None,
        "groups": [],
    }
    path = f"{CALLER_IDS}/{created['id']}"
    updated = await client.change("PUT", path, {"carrier": "mobifone", "display_name": None})
    assert updated == created | {"carrier": "mobifone", "display_name": None}
    assert (await client.done(200, "POST", f"{path}/disable"))["data"]["status"] == "disabled"
    assert (await client.done(200, "POST", f"{path}/enable"))["data"]["status"] == "active"
    await client.done(204, "DELETE", path)
    assert await client.done(404, "GET", path) == {"message": "Caller ID not found."}


async def test_a_group_from_its_creation_to_its_end(client: Client) -> None:
    created = (await client.done(201, "POST", GROUPS, {"name": "new", "rotation_strategy": "weighted"}))["data"]
    path = f"{GROUPS}/{created['id']}"
    assert (await client.change("PUT", path, {"sticky_enabled": True})) == created | {"sticky_enabled": True}
    assert (await client.done(200, "POST", f"{path}/disable"))["data"]["status"] == "disabled"
    assert (await client.done(200, "POST", f"{path}/enable"))["data"]["status"] == "active"
    await client.done(204, "DELETE", path)
    assert await client.done(404, "GET", path) == {"message": "Pool not found."}


async def test_members_are_synced_with_weights_in_one_step(client: Client) -> None:
    path = f"{GROUPS}/3/members"
    wanted = {"members": [{"caller_id_id": 18, "weight": 5}, {"caller_id_id": 20}]}
    synced = await client.change("PUT", path, wanted)
    assert (synced["added"], synced["reweighted"], synced["removed"]) == ([20], [18], [19])
    members = (await client.get(path))["data"]
    assert [(one["caller_id_id"], one["number"], one["weight"]) for one in members] == [
        (18, "+8418", 5),
        (20, "+8420", 1),
    ]
    for bad, field in (
        ([{"caller_id_id": 28}], "caller_ids"),  # another customer's
        ([{"caller_id_id": 18}, {"caller_id_id": 18}], "members[1].caller_id_id"),
        ([{"caller_id_id": 18, "weight": 0}], "members[0].weight"),
    ):
        refused = await client.done(422, "PUT", path, {"members": bad}, If_Match="*")
        assert list(refused["errors"]) == [field]
    assert (await client.get(path))["data"] == members


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{CALLER_IDS}/18", {"daily_cap": 5}),
        (f"{GROUPS}/3", {"description": "x"}),
        (f"{GROUPS}/3/members", {"members": []}),
        (CUSTOMER, {"timezone": "UTC"}),
    ],
)
async def test_an_update_must_name_the_version_that_it_changes(client: Client, path: str, body: object) -> None:
    refused = await client.done(428, "PUT", path, body)
    assert "If-Match" in refused["message"]
    etag = await client.etag(path)
    got = await client.ask("PUT", path, body, If_Match=etag)
    assert got.status == 200
    assert (await client.ask("PUT", path, {}, If_Match=etag)).status in (412, 422)
    await client.done(412, "PUT", path, body, If_Match=etag)
    await client.done(200, "PUT", path, body, If_Match=got.headers["ETag"])


@pytest.mark.parametrize("path", [f"{CALLER_IDS}/18", f"{GROUPS}/4", f"{TOKENS}/100"])
async def test_what_has_changed_since_it_was_read_is_not_deleted(
    shared_campaigns: CampaignsWorld, client: Client, path: str
) -> None:
    etag = await client.etag(path)
    await shared_campaigns.connection.execute(
        "UPDATE caller_ids SET daily_cap = 9; UPDATE caller_id_groups SET name = 'x'; UPDATE api_tokens SET name = 'x'"
    )
    await client.done(412, "DELETE", path, If_Match=etag)
    await client.done(204, "DELETE", path, If_Match=await client.etag(path))


async def test_lists_are_searched_and_have_pages(client: Client) -> None:
    page = await client.get(f"{CALLER_IDS}?per_page=2&page=2")
    assert ([one["id"] for one in page["data"]], page["total"], page["last_page"]) == ([20], 3, 2)
    for query, ids in (
        ("search=%2B8419", [19]),
        ("carrier=viettel", [18]),
        ("group_id=3", [18, 19]),
        ("status=disabled", []),
        ("search=%25", []),
    ):
        assert [one["id"] for one in (await client.get(f"{CALLER_IDS}?{query}"))["data"]] == ids
    assert [one["id"] for one in (await client.get(f"{GROUPS}?search=F"))["data"]] == [4, 5]
    await client.done(422, "GET", f"{CALLER_IDS}?search=%00")
    await client.done(422, "GET", f"{CALLER_IDS}?group_id=99999999999999999999")


async def test_a_group_that_a_running_campaign_uses_is_not_deleted(shared_campaigns: CampaignsWorld) -> None:
    client = await shared_campaigns.client(SCOPE, MANAGE_SCOPE)
    new = {"name": "x", "dialer_mode": "manual", "caller_id_group_id": 3}
    campaign = (await client.done(201, "POST", CAMPAIGNS, new))["data"]
    await client.done(200, "PUT", f"{CAMPAIGNS}/{campaign['id']}/status", {"status": "active"})
    refused = await client.done(409, "DELETE", f"{GROUPS}/3")
    assert refused == {"message": "A campaign that is active or paused uses this group."}


async def test_a_token_is_shown_once_and_never_again(shared_campaigns: CampaignsWorld, client: Client) -> None:
    new = {"name": "board", "scopes": [SCOPE, MANAGE_SCOPE], "rate_limit_per_minute": None}
    got = await client.ask("POST", TOKENS, new, Idempotency_Key="k")
    assert got.status == 201
    created = json.loads(got.text)["data"]
    assert created["token"].startswith("rot_")
    assert created["scopes"] == [SCOPE, MANAGE_SCOPE]
    shown = (await client.get(f"{TOKENS}/{created['id']}"))["data"]
    assert shown == {name: value for name, value in created.items() if name != "token"}
    await client.done(409, "POST", TOKENS, new, Idempotency_Key="k")
    stored = str(await shared_campaigns.connection.fetch("SELECT * FROM idempotency_keys")) + str(
        await shared_campaigns.connection.fetch("SELECT * FROM audit_log")
    )
    assert created["token"] not in stored
    refused = await client.done(422, "POST", TOKENS, {"name": "x", "scopes": ["everything"]})
    assert list(refused["errors"]) == ["scopes[0]"]


async def test_a_rotated_token_is_replaced_with_an_overlap(client: Client) -> None:
    created = await client.done(201, "POST", f"{TOKENS}/100/rotate", {"overlap_seconds": 60})
    assert created["data"]["token"].startswith("rot_")
    assert created["data"]["name"] == "a"
    assert (await client.get(f"{TOKENS}/100"))["data"]["expires_at"] is not None


async def test_a_revoked_token_is_rejected_when_the_answer_comes(
    shared_campaigns: CampaignsWorld, client: Client
) -> None:
    victim = await shared_campaigns.client(SCOPE, name="victim")
    assert (await victim.ask("GET", CAMPAIGNS)).status == 200
    tokens = (await client.get(TOKENS))["data"]
    [row_id] = [one["id"] for one in tokens if one["name"] == "victim"]
    await client.done(204, "DELETE", f"{TOKENS}/{row_id}")

    async def rejected() -> bool:
        return (await victim.ask("GET", CAMPAIGNS)).status == 401

    await until(rejected, 2, "the revoked token is rejected")
    await client.done(204, "DELETE", f"{TOKENS}/{row_id}")


async def test_the_customers_zone_and_policy_are_changed(client: Client) -> None:
    assert (await client.get(CUSTOMER))["data"] == {
        "id": 7,
        "name": "Saigon",
        "timezone": "Asia/Ho_Chi_Minh",
        "policy": None,
    }
    changed = await client.change("PUT", CUSTOMER, {"timezone": "UTC", "policy": {"warm_up": [[7, 20]]}})
    assert (changed["timezone"], changed["policy"]) == ("UTC", {"warm_up": [[7, 20]]})
    for bad in ({"timezone": "UTC+7"}, {"policy": {"volume_calls": 0}}, {"policy": {"colour": 1}}):
        await client.done(422, "PUT", CUSTOMER, bad, If_Match="*")


async def test_a_cooldown_is_cleared_by_an_event_and_is_on_record(
    shared_campaigns: CampaignsWorld, client: Client, broker_url: str
) -> None:
    async with open_inbox(broker_url) as inbox:
        await client.done(204, "POST", f"{CALLER_IDS}/18/clear-cooldown")
        [event] = await inbox.events(1)
        assert (event["type"], event["data"]) == ("cooldown-cleared", {"caller_id_id": 18})
    await client.done(404, "POST", f"{CALLER_IDS}/28/clear-cooldown")
    [entry] = (await client.get(f"{AUDIT}?entity=cooldown_clear&per_page=1"))["data"]
    assert (entry["entity_id"], entry["action"]) == (18, "create")


async def test_every_change_by_the_api_is_in_the_audit_log_with_its_token(client: Client) -> None:
    await client.change("PUT", f"{CALLER_IDS}/18", {"daily_cap": 5})
    [entry] = (await client.get(f"{AUDIT}?per_page=1"))["data"]
    assert entry["actor"].endswith(" (tests)")
    assert (entry["entity"], entry["entity_id"], entry["action"]) == ("caller_id", 18, "update")
    assert (entry["before"]["daily_cap"], entry["after"]["daily_cap"]) == (200, 5)


def _requests() -> list[tuple[str, str, Any]]:
    return [
        (operation.method, resource.pattern, operation.body and {})
        for resource in RESOURCES.values()
        for operation in resource.operations
    ]


@pytest.mark.parametrize(("method", "pattern", "body"), _requests())
async def test_no_operation_works_without_its_scope_or_on_what_is_not_ones_own(
    shared_campaigns: CampaignsWorld, method: str, pattern: str, body: Any
) -> None:
    other = await shared_campaigns.client("caller_id_pick")
    assert (await other.ask(method, pattern.replace("{", "").replace("}", ""), body)).status == 403
    if "{" in pattern:
        theirs = await shared_campaigns.client(customer=8)
        mine = pattern.partition("{")[0] + "18" + pattern.partition("}")[2]
        missing = pattern.partition("{")[0] + "999999" + pattern.partition("}")[2]
        got, expected = [await theirs.ask(method, path, body, If_Match="*") for path in (mine, missing)]
        assert (got.status, got.text) == (expected.status, expected.text)
