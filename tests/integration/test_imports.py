"""Bulk imports over HTTP: all or nothing, errors by line, a dry run with the difference, progress as events."""

import asyncio
import json
from typing import Any

import aiohttp
import psutil
import pytest

from integration.campaigns_world import MANAGEMENT, CampaignsWorld, Client
from rotary.definitions import MANAGE_SCOPE
from rotary.management.imports import MAX_ATTEMPTS
from rotary.postgres.connection import Connection
from rotary_campaigns.imports.runner import ImportRunner
from rotary_campaigns.imports.worker import GIVEN_UP, run_import
from rotary_campaigns.routes import imports
from running import until

IMPORTS = f"{MANAGEMENT}/imports"
CSV = b"number,daily_cap,group,weight\n0981234567,,three,2\n+8418,7,three,\n"
YAML = b"""\
customers:
  - groups:
      - {name: three, members: ["+8418"]}
"""


@pytest.fixture
async def client(campaigns: CampaignsWorld) -> Client:
    return await campaigns.client(MANAGE_SCOPE, name="importer")


async def imported(client: Client, content: bytes, kind: str = "text/csv", query: str = "") -> Any:
    """The import when it is over. Any: JSON."""
    begun = (await client.done(202, "POST", IMPORTS + query, content, Content_Type=kind))["data"]
    path = f"{IMPORTS}/{begun['id']}"

    async def is_over() -> bool:
        return (await client.get(path))["data"]["finished_at"] is not None

    await until(is_over, 20, "the import is over")
    return (await client.get(path))["data"]


async def members(connection: Connection) -> list[tuple[int, int]]:
    rows = await connection.fetch(
        "SELECT caller_id_id, weight FROM caller_id_group_members WHERE group_id = 3 ORDER BY caller_id_id"
    )
    return [tuple(row) for row in rows]


async def test_a_file_is_applied_as_a_whole_and_tells_what_it_changed(
    campaigns: CampaignsWorld, client: Client
) -> None:
    done = await imported(client, CSV)
    assert (done["status"], done["rows_done"], done["rows_total"]) == ("succeeded", 4, 4)
    counts = {(one["action"], one["what"]): one["count"] for one in done["changes"]}
    assert counts == {("create", "caller ID"): 1, ("update", "caller ID"): 1, ("add", "member"): 1}
    changes = (await client.get(f"{IMPORTS}/{done['id']}/changes"))["data"]
    assert {"action": "update", "what": "caller ID", "name": "+8418", "fields": ["daily_cap"]} in changes
    assert (18, 1) in await members(campaigns.connection)
    entries = (await client.get(f"{MANAGEMENT}/audit-log?entity=caller_id&per_page=1"))["data"]
    assert entries[0]["actor"].startswith(f"import {done['id']} by token ")
    assert await campaigns.connection.fetchval("SELECT content FROM imports WHERE id = $1", done["id"]) is None


async def test_a_dry_run_tells_the_difference_and_changes_nothing(campaigns: CampaignsWorld, client: Client) -> None:
    before = await members(campaigns.connection)
    done = await imported(client, YAML, "application/yaml", "?dry_run=true")
    assert (done["status"], done["dry_run"]) == ("succeeded", True)
    [change] = (await client.get(f"{IMPORTS}/{done['id']}/changes"))["data"]
    assert (change["action"], change["name"]) == ("remove", "+8419 of three")
    assert await members(campaigns.connection) == before
    await imported(client, YAML, "application/yaml")
    assert await members(campaigns.connection) == [(18, 1)]


async def test_every_mistake_is_told_with_its_line_and_nothing_is_changed(
    campaigns: CampaignsWorld, client: Client
) -> None:
    content = b"number,carrier,daily_cap\n0981234567,viettel,1\n12,viettel,1\n0981234568,verizon,0\n"
    before = await campaigns.connection.fetchval("SELECT count(*) FROM caller_ids")
    failed = await imported(client, content)
    assert (failed["status"], failed["error_count"], failed["changes"]) == ("failed", 3, [])
    assert [(one["line"], one["field"]) for one in failed["errors"]] == [
        (3, "number"),
        (4, "carrier"),
        (4, "daily_cap"),
    ]
    assert await campaigns.connection.fetchval("SELECT count(*) FROM caller_ids") == before


async def test_a_file_about_another_customer_is_refused(client: Client) -> None:
    failed = await imported(client, b"customer,number\n8,0981234567\n")
    assert [(one["line"], one["message"]) for one in failed["errors"]] == [(2, "the file names another customer")]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'customers: [{caller_ids: [{number: "0981234567"}]}]', "application/yaml"),
        (b'{"customers": [{"caller_ids": [{"number": "0981234567"}]}]}', "application/json"),
        (b"number\n0981234567\n", "text/csv; charset=utf-8"),
    ],
)
async def test_a_file_may_be_csv_yaml_or_json(client: Client, content: bytes, kind: str) -> None:
    assert (await imported(client, content, kind))["status"] == "succeeded"


async def test_another_content_type_is_415(client: Client) -> None:
    await client.done(415, "POST", IMPORTS, b"x", Content_Type="application/octet-stream")


async def test_a_file_that_is_sent_again_with_its_key_is_imported_once(client: Client) -> None:
    first, again = [
        await client.done(202, "POST", IMPORTS, CSV, Content_Type="text/csv", Idempotency_Key="k") for _ in range(2)
    ]
    assert first == again


async def test_progress_is_told_as_events_until_the_import_is_over(
    campaigns: CampaignsWorld, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "LOOK_SECONDS", 0.01)
    # PostgreSQL does not count by itself, but when the import asks for it.
    await campaigns.connection.execute("ALTER TABLE caller_ids SET (autovacuum_enabled = off)")
    rows = "\n".join(f"09{n:08d},mobifone" for n in range(20_000))
    begun = (await client.done(202, "POST", IMPORTS, f"number,carrier\n{rows}".encode(), Content_Type="text/csv"))[
        "data"
    ]
    headers = {"Authorization": f"Bearer {client.token}", "Accept": "text/event-stream"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{campaigns.base}{IMPORTS}/{begun['id']}") as stream,
    ):
        assert stream.content_type == "text/event-stream"
        events = [block.split("\n") for block in (await stream.text()).split("\n\n") if block]
    kinds = [lines[0] for lines in events]
    assert (kinds[0], kinds[-1]) == ("event: progress", "event: finished")
    states = [json.loads(lines[1].removeprefix("data: ")) for lines in events]
    done = [state["rows_done"] for state in states]
    assert done == sorted(done)
    assert (states[-1]["status"], done[-1]) == ("succeeded", 20_000), states[-1]
    assert any(0 < rows < 20_000 for rows in done), done
    counted = await campaigns.connection.fetchval("SELECT reltuples FROM pg_class WHERE relname = 'caller_ids'")
    assert counted == await campaigns.connection.fetchval("SELECT count(*) FROM caller_ids")
    await campaigns.connection.execute("ALTER TABLE caller_ids RESET (autovacuum_enabled)")


async def test_an_import_whose_worker_died_is_applied_by_another(campaigns: CampaignsWorld, database_url: str) -> None:
    row_id = await campaigns.connection.fetchval(
        "INSERT INTO imports (customer_id, actor, format, dry_run, content, status, attempts)"
        " VALUES (7, 'x', 'csv', false, $1, 'running', 1) RETURNING id",
        CSV,
    )

    async def is_over() -> bool:
        return bool(
            await campaigns.connection.fetchval("SELECT status = 'succeeded' FROM imports WHERE id = $1", row_id)
        )

    await until(is_over, 20, "the import is over")


async def test_a_service_leaves_no_worker_behind_however_impatiently_it_is_ended(
    connection: Connection, database_url: str
) -> None:
    await connection.execute(
        "INSERT INTO imports (customer_id, actor, format, dry_run, content) VALUES (7, 'x', 'csv', false, $1)", CSV
    )
    running = asyncio.create_task(ImportRunner(database_url).run())

    async def has_begun() -> bool:
        return bool(workers())

    await until(has_begun, 20, "a worker has begun")
    [worker] = workers()
    worker.suspend()  # it does not even end when it is asked to
    while not running.done():
        running.cancel()
        await asyncio.sleep(0.01)
    assert not worker.is_running()


def workers() -> list[psutil.Process]:
    """The import workers of this process."""
    return [one for one in psutil.Process().children() if "rotary_campaigns.imports.worker" in one.cmdline()]


async def test_two_workers_apply_an_import_once(connection: Connection, database_url: str) -> None:
    row_id = await connection.fetchval(
        "INSERT INTO imports (customer_id, actor, format, dry_run, content)"
        " VALUES (7, 'x', 'csv', false, $1) RETURNING id",
        CSV,
    )
    await asyncio.gather(*(run_import(database_url, row_id) for _ in range(2)))
    row = await connection.fetchrow("SELECT status, attempts FROM imports WHERE id = $1", row_id)
    assert tuple(row or ()) == ("succeeded", 1)


async def test_an_import_that_ends_its_workers_is_given_up(connection: Connection, database_url: str) -> None:
    row_id = await connection.fetchval(
        "INSERT INTO imports (customer_id, actor, format, dry_run, content, status, attempts)"
        " VALUES (7, 'x', 'csv', false, $1, 'running', $2) RETURNING id",
        *(CSV, MAX_ATTEMPTS),
    )
    await run_import(database_url, row_id)
    row = await connection.fetchrow("SELECT status, errors::text FROM imports WHERE id = $1", row_id)
    assert row is not None
    assert row["status"] == "failed"
    assert GIVEN_UP in row["errors"]
