"""Campaigns over HTTP: the five endpoints, their statuses and their refusals."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from integration.campaigns_world import CAMPAIGNS, CampaignsWorld, Client
from rotary.clock import system_clock
from rotary.definitions import MANAGE_SCOPE, PICK_SCOPE, SCOPE
from rotary_campaigns.service import serving
from rotary_campaigns.settings import CampaignsSettings
from running import free_port

DRAFT = {"name": "June", "dialer_mode": "preview"}
NO_GROUP = {
    "message": "The given data was invalid.",
    "errors": {"caller_id_group_id": ["A caller ID group is required to activate a campaign."]},
}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def client(shared_campaigns: CampaignsWorld) -> Client:
    return await shared_campaigns.client(SCOPE)


async def created(client: Client, **fields: Any) -> Any:
    return (await client.done(201, "POST", CAMPAIGNS, DRAFT | fields))["data"]


async def test_a_campaign_begins_as_a_draft_with_the_defaults_and_says_where_it_is(client: Client) -> None:
    got = await client.ask("POST", CAMPAIGNS, DRAFT)
    assert got.status == 201
    data = json.loads(got.text)["data"]
    assert got.headers["Location"] == f"{CAMPAIGNS}/{data['id']}"
    times = {"created_at": data["created_at"], "updated_at": data["updated_at"]}
    assert len(data["created_at"]) == len("2026-05-20T03:00:00Z")
    assert data == {
        "id": data["id"],
        "name": "June",
        "description": None,
        "dialer_mode": "preview",
        "caller_id_group_id": None,
        "ring_timeout_sec": 25,
        "preview_window_sec": 10,
        "priority": 100,
        "max_attempts": 5,
        "pdpl_enforce": True,
        "abandon_rate_limit_pct": 3.0,
        "time_window": None,
        "status": "draft",
        **times,
    }
    assert (await client.get(got.headers["Location"]))["data"] == data


async def test_a_draft_is_refused_with_422_until_it_has_a_group_and_then_activated(client: Client) -> None:
    path = f"{CAMPAIGNS}/{(await created(client))['id']}"
    assert await client.done(422, "PUT", f"{path}/status", {"status": "active"}) == NO_GROUP
    await client.done(200, "PUT", path, {"caller_id_group_id": 3})
    assert (await client.done(200, "PUT", f"{path}/status", {"status": "active"}))["data"]["status"] == "active"
    for status, code in (("active", 409), ("draft", 409), ("paused", 200), ("archived", 409), ("active", 200)):
        await client.done(code, "PUT", f"{path}/status", {"status": status})
    await client.done(200, "PUT", f"{path}/status", {"status": "archived"})
    refused = await client.done(409, "PUT", f"{path}/status", {"status": "active"})
    assert refused == {"message": "A campaign that is archived can't become active."}


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ("UPDATE caller_id_groups SET status = 'disabled' WHERE id = 5", "The caller ID group is disabled."),
        ("DELETE FROM caller_id_groups WHERE id = 5", "A caller ID group is required to activate a campaign."),
        ("UPDATE caller_id_groups SET customer_id = 8 WHERE id = 5", "The caller ID group does not exist."),
    ],
)
async def test_a_group_that_is_gone_disabled_or_another_customers_by_then_is_422(
    shared_campaigns: CampaignsWorld, client: Client, change: str, detail: str
) -> None:
    path = f"{CAMPAIGNS}/{(await created(client, caller_id_group_id=5))['id']}"
    await shared_campaigns.connection.execute(change)
    refused = await client.done(422, "PUT", f"{path}/status", {"status": "active"})
    assert refused["errors"] == {"caller_id_group_id": [detail]}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 151}, "name"),
        ({"name": None}, "name"),
        ({"description": "x" * 501}, "description"),
        ({"dialer_mode": "auto"}, "dialer_mode"),
        ({"caller_id_group_id": 6}, "caller_id_group_id"),  # another customer's
        ({"caller_id_group_id": 99}, "caller_id_group_id"),
        ({"caller_id_group_id": "3"}, "caller_id_group_id"),
        ({"ring_timeout_sec": 4}, "ring_timeout_sec"),
        ({"ring_timeout_sec": 121}, "ring_timeout_sec"),
        ({"preview_window_sec": 61}, "preview_window_sec"),
        ({"priority": 1001}, "priority"),
        ({"max_attempts": 21}, "max_attempts"),
        ({"pdpl_enforce": 1}, "pdpl_enforce"),
        ({"abandon_rate_limit_pct": 10.5}, "abandon_rate_limit_pct"),
        ({"time_window": {"mon": [{"from": "12:00", "to": "08:00"}]}}, "time_window.mon"),
        ({"time_window": {"mon": [{"from": "8:00", "to": "12:00"}]}}, "time_window.mon[0].from"),
        (
            {"time_window": {"sat": [{"from": "08:00", "to": "12:00"}, {"from": "11:00", "to": "13:00"}]}},
            "time_window.sat",
        ),
        ({"time_window": {"monday": []}}, "time_window.monday"),
        ({"colour": "red"}, "colour"),
        ({"status": "active"}, "status"),
        ({"id": 5}, "id"),
    ],
)
async def test_a_field_that_is_wrong_or_unknown_is_named(client: Client, fields: dict[str, Any], field: str) -> None:
    refused = await client.done(422, "POST", CAMPAIGNS, DRAFT | fields)
    assert refused["message"] == "The given data was invalid."
    assert list(refused["errors"]) == [field]


async def test_every_field_that_is_wrong_is_named_at_once(client: Client) -> None:
    refused = await client.done(422, "POST", CAMPAIGNS, {"priority": -1, "colour": "red", "max_attempts": "x"})
    assert refused["errors"].keys() == {"priority", "colour", "max_attempts", "name", "dialer_mode"}
    assert refused["errors"]["colour"] == ["Unknown field."]
    assert refused["errors"]["name"] == ["This field is required."]


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b'{"name": "\xff"}', b"[" * 60_000])
async def test_a_body_that_is_no_json_is_400(client: Client, body: bytes) -> None:
    assert await client.done(400, "POST", CAMPAIGNS, body) == {"message": "The body is not valid JSON."}


async def test_a_name_is_used_once_among_a_customers_campaigns(
    shared_campaigns: CampaignsWorld, client: Client
) -> None:
    await created(client)
    refused = await client.done(409, "POST", CAMPAIGNS, DRAFT)
    assert refused == {"message": "This customer already has a campaign with that name."}
    other = await created(client, name="July")
    await client.done(409, "PUT", f"{CAMPAIGNS}/{other['id']}", {"name": "June"})
    await created(await shared_campaigns.client(SCOPE, customer=8))


async def test_an_update_keeps_what_it_does_not_name(client: Client) -> None:
    window = {"mon": [{"from": "08:00", "to": "12:00"}, {"from": "13:00", "to": "17:30"}]}
    before = await created(client, description="x", caller_id_group_id=3, time_window=window)
    after = (await client.done(200, "PUT", f"{CAMPAIGNS}/{before['id']}", {"priority": 7}))["data"]
    assert after == before | {"priority": 7, "updated_at": after["updated_at"]}
    cleared = await client.done(200, "PUT", f"{CAMPAIGNS}/{before['id']}", {"time_window": None, "description": None})
    assert (cleared["data"]["time_window"], cleared["data"]["description"]) == (None, None)


async def test_a_running_campaign_keeps_a_group(client: Client) -> None:
    path = f"{CAMPAIGNS}/{(await created(client, caller_id_group_id=3))['id']}"
    await client.done(200, "PUT", f"{path}/status", {"status": "active"})
    refused = await client.done(422, "PUT", path, {"caller_id_group_id": None})
    assert list(refused["errors"]) == ["caller_id_group_id"]
    await client.done(200, "PUT", path, {"caller_id_group_id": 4})


async def test_the_list_has_pages_and_can_be_narrowed_to_a_status(client: Client) -> None:
    ids = [(await created(client, name=f"c{n}", caller_id_group_id=3))["id"] for n in range(3)]
    await client.done(200, "PUT", f"{CAMPAIGNS}/{ids[1]}/status", {"status": "active"})
    page = await client.get(f"{CAMPAIGNS}?page=2&per_page=2&unknown=1")
    assert list(page) == ["current_page", "data", "last_page", "per_page", "total"]
    assert [one["id"] for one in page.pop("data")] == ids[2:]
    assert page == {"current_page": 2, "last_page": 2, "per_page": 2, "total": 3}
    assert [one["id"] for one in (await client.get(f"{CAMPAIGNS}?status=active"))["data"]] == [ids[1]]
    assert [one["id"] for one in (await client.get(f"{CAMPAIGNS}?status=draft"))["data"]] == [ids[0], ids[2]]
    assert (await client.get(CAMPAIGNS))["per_page"] == 50


@pytest.mark.parametrize(
    "query", ["page=0", "page=x", "per_page=201", "per_page=0", "status=running", "page=", "page=%ff"]
)
async def test_a_query_that_is_wrong_is_422(client: Client, query: str) -> None:
    refused = await client.done(422, "GET", f"{CAMPAIGNS}?{query}")
    assert refused["message"] == "The given data was invalid."


async def test_another_customers_campaign_is_one_that_does_not_exist(
    shared_campaigns: CampaignsWorld, client: Client
) -> None:
    row_id = (await created(client))["id"]
    theirs = await shared_campaigns.client(SCOPE, customer=8)
    for path in (row_id, 999_999, "x", "0", 2**63, "%20"):
        assert await theirs.done(404, "GET", f"{CAMPAIGNS}/{path}") == {"message": "Campaign not found."}
    await theirs.done(404, "PUT", f"{CAMPAIGNS}/{row_id}", {"name": "mine"})
    await theirs.done(404, "PUT", f"{CAMPAIGNS}/{row_id}/status", {"status": "archived"})
    assert (await theirs.get(CAMPAIGNS))["data"] == []


async def test_who_has_no_token_or_not_the_scope_is_refused(shared_campaigns: CampaignsWorld) -> None:
    assert (await shared_campaigns.stranger(None).ask("GET", CAMPAIGNS)).status == 401
    assert (await shared_campaigns.stranger("nobody").ask("POST", CAMPAIGNS, DRAFT)).status == 401
    for scope in (MANAGE_SCOPE, PICK_SCOPE):
        client = await shared_campaigns.client(scope)
        assert await client.done(403, "GET", CAMPAIGNS) == {"message": "This action is unauthorized."}


async def test_a_token_that_postgres_has_revoked_changes_nothing(
    shared_campaigns: CampaignsWorld, client: Client
) -> None:
    await created(client)
    await shared_campaigns.connection.execute("UPDATE api_tokens SET revoked_at = now()")
    assert (await client.ask("POST", CAMPAIGNS, DRAFT | {"name": "late"})).status == 401


async def test_other_methods_and_other_paths_are_answered_in_json(client: Client) -> None:
    got = await client.ask("DELETE", f"{CAMPAIGNS}/1")
    assert (got.status, got.headers["Allow"]) == (405, "GET, PUT, HEAD, OPTIONS")
    assert (await client.ask("GET", f"{CAMPAIGNS}/1/status")).status == 405
    assert await client.done(404, "GET", "/api/telesales/nothing") == {"message": "Resource not found"}
    assert (await client.ask("OPTIONS", CAMPAIGNS)).headers["Allow"] == "GET, POST, HEAD, OPTIONS"
    assert (await client.ask("HEAD", CAMPAIGNS)).status == 200


async def test_campaigns_have_a_limit_of_120_requests_a_minute_beside_the_tokens_own(
    shared_campaigns: CampaignsWorld,
) -> None:
    client = await shared_campaigns.client(limit=600)
    got = await client.ask("GET", CAMPAIGNS)
    assert got.headers["X-RateLimit-Limit"] == "120"
    assert (await client.ask("GET", "/api/management/customer")).headers["X-RateLimit-Limit"] == "600"
    statuses = [(await client.ask("GET", CAMPAIGNS)).status for _ in range(120)]
    assert statuses.count(429) == 1
    assert (await client.ask("GET", "/api/management/customer")).status == 200
    slow = await shared_campaigns.client(SCOPE, limit=60)
    assert (await slow.ask("GET", CAMPAIGNS)).headers["X-RateLimit-Limit"] == "60"


async def test_a_request_that_is_sent_again_creates_nothing(shared_campaigns: CampaignsWorld, client: Client) -> None:
    first, again = [await client.ask("POST", CAMPAIGNS, DRAFT, Idempotency_Key="k") for _ in range(2)]
    assert (first.status, first.text) == (again.status, again.text) == (201, first.text)
    assert first.headers["Location"] == again.headers["Location"]
    assert first.headers["ETag"] == again.headers["ETag"]
    other = await client.ask("POST", CAMPAIGNS, DRAFT | {"name": "July"}, Idempotency_Key="k")
    assert (other.status, json.loads(other.text)["message"]) == (
        422,
        "This idempotency key was used for another request.",
    )
    assert await shared_campaigns.connection.fetchval("SELECT count(*) FROM campaigns") == 1


async def test_one_of_many_requests_at_once_with_one_key_creates(
    shared_campaigns: CampaignsWorld, client: Client
) -> None:
    got = await asyncio.gather(*(client.ask("POST", CAMPAIGNS, DRAFT, Idempotency_Key="k") for _ in range(8)))
    assert {(one.status, one.text) for one in got} == {(201, got[0].text)}
    assert await shared_campaigns.connection.fetchval("SELECT count(*) FROM campaigns") == 1


async def test_a_key_of_a_request_that_was_refused_can_be_used_again(client: Client) -> None:
    await client.done(422, "POST", CAMPAIGNS, DRAFT | {"caller_id_group_id": 99}, Idempotency_Key="k")
    await client.done(201, "POST", CAMPAIGNS, DRAFT, Idempotency_Key="k")
    await client.done(422, "POST", CAMPAIGNS, DRAFT, Idempotency_Key="x" * 256)


async def test_a_lost_update_is_412_and_never_silent(client: Client) -> None:
    path = f"{CAMPAIGNS}/{(await created(client))['id']}"
    etag = await client.etag(path)
    await client.done(200, "PUT", path, {"priority": 1}, If_Match=etag)
    refused = await client.done(412, "PUT", path, {"priority": 2}, If_Match=etag)
    assert refused == {"message": "It has changed since it was read. Read it again."}
    await client.done(412, "PUT", f"{path}/status", {"status": "archived"}, If_Match=etag)
    await client.done(412, "PUT", path, {"priority": 2}, If_Match="W/" + await client.etag(path))
    await client.done(412, "PUT", path, {"priority": 2}, If_Match='"nonsense"')
    await client.done(200, "PUT", path, {"priority": 2}, If_Match=f'"1-x", {await client.etag(path)}')
    await client.done(200, "PUT", path, {"priority": 3}, If_Match="*")
    assert (await client.get(path))["data"]["priority"] == 3


async def test_what_did_not_change_is_not_sent_again(client: Client) -> None:
    path = f"{CAMPAIGNS}/{(await created(client))['id']}"
    for one in (path, CAMPAIGNS):
        etag = await client.etag(one)
        assert (await client.ask("GET", one, If_None_Match=etag)).status == 304
    await client.done(200, "PUT", path, {"priority": 1})
    assert (await client.ask("GET", path, If_None_Match=etag)).status == 200


async def test_without_postgres_it_is_503_that_says_so_and_nothing_of_our_network(
    shared_campaigns: CampaignsWorld, client: Client, rabbitmq_url: str
) -> None:
    settings = CampaignsSettings(
        *(f"postgresql://rotary:secret@127.0.0.1:{free_port()}/rotary", shared_campaigns.redis_url, rabbitmq_url),
        campaigns_bind="127.0.0.1:0",
        ops_bind="127.0.0.1:0",
    )
    async with serving(settings, system_clock()) as service, aiohttp.ClientSession() as session:
        there = Client(session, f"http://127.0.0.1:{service.port}", client.token)
        for method, body in (("GET", None), ("POST", DRAFT)):
            got = await there.ask(method, CAMPAIGNS, body)
            assert (got.status, json.loads(got.text)) == (503, {"message": "PostgreSQL is away. Try again soon."})
            assert got.headers["Retry-After"] == "1"
        async with session.get(f"http://127.0.0.1:{service.ops[1]}/readyz") as answer:
            assert "PostgreSQL is away" in await answer.text()


async def test_who_changed_a_campaign_is_in_the_audit_log(shared_campaigns: CampaignsWorld) -> None:
    client = await shared_campaigns.client(name="the integrator")
    row_id = (await created(client, caller_id_group_id=3))["id"]
    await client.done(200, "PUT", f"{CAMPAIGNS}/{row_id}/status", {"status": "active"})
    entries = (await client.get(f"/api/management/audit-log?entity=campaign&entity_id={row_id}"))["data"][:2]
    assert [(one["action"], one["after"]["status"]) for one in entries] == [("update", "active"), ("create", "draft")]
    assert entries[0]["before"]["status"] == "draft"
    assert {one["actor"].partition(" (")[2] for one in entries} == {"the integrator)"}
