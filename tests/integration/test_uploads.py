"""Files that are uploaded: they may take their time, and hold only so much memory."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from integration.campaigns_world import CAMPAIGNS, MANAGEMENT, CampaignsWorld, Client, campaigns_world
from rotary.management.imports import forget_old_imports
from rotary.postgres.connection import Connection
from rotary_campaigns.http import requests
from rotary_campaigns.http.uploads import MAX_OF_CUSTOMER, MAX_UPLOADS
from running import until

IMPORTS = f"{MANAGEMENT}/imports?dry_run=true"
CSV = b"number\n0981234567\n"


class Upload:
    """A request whose body does not end before `rest` is set."""

    def __init__(self, campaigns: CampaignsWorld, client: Client, path: str, kind: str, first: bytes) -> None:
        self.rest = asyncio.Event()
        self._first = first
        self.status = asyncio.create_task(self._send(campaigns.base + path, client.token, kind))

    async def _send(self, url: str, token: str, kind: str) -> int:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=self._body(), headers=headers) as response,
        ):
            return response.status

    async def _body(self) -> AsyncIterator[bytes]:
        yield self._first
        await self.rest.wait()
        yield b"\n"


async def under_way(campaigns: CampaignsWorld, count: int) -> None:
    """Waits until the service counts so many uploads."""

    async def is_counted() -> bool:
        async with aiohttp.ClientSession() as session, session.get(campaigns.ops + "/metrics") as response:
            return f"rotary_campaigns_uploads {count}.0" in await response.text()

    await until(is_counted, 10, f"{count} uploads are under way")


async def test_a_file_may_take_longer_to_arrive_than_any_other_body(
    campaigns: CampaignsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.3)
    client = await campaigns.client()
    file = Upload(campaigns, client, IMPORTS, "text/csv", CSV)
    other = Upload(campaigns, client, CAMPAIGNS, "application/json", b'{"name": "c"')
    assert await other.status == 408  # the file is under way for as long by now
    assert not file.status.done()
    file.rest.set()
    assert await file.status == 202


async def test_a_customer_uploads_few_files_at_once_and_leaves_room_for_others(campaigns: CampaignsWorld) -> None:
    one, other = await campaigns.client(), await campaigns.client(customer=8)
    uploads = [Upload(campaigns, one, IMPORTS, "text/csv", CSV) for _ in range(MAX_OF_CUSTOMER)]
    await under_way(campaigns, MAX_OF_CUSTOMER)
    assert await Upload(campaigns, one, IMPORTS, "text/csv", CSV).status == 429
    assert (await one.ask("POST", IMPORTS, CSV, Content_Type="text/csv")).status == 202  # a small one holds nothing
    uploads += [Upload(campaigns, other, IMPORTS, "text/csv", CSV) for _ in range(MAX_UPLOADS - MAX_OF_CUSTOMER)]
    await under_way(campaigns, MAX_UPLOADS)
    assert await Upload(campaigns, other, IMPORTS, "text/csv", CSV).status == 429
    for upload in uploads:
        upload.rest.set()
    assert [await upload.status for upload in uploads] == [202] * MAX_UPLOADS
    again = Upload(campaigns, one, IMPORTS, "text/csv", CSV)
    again.rest.set()
    assert await again.status == 202


async def test_imports_are_kept_for_30_days(
    database_url: str, redis_url: str, rabbitmq_url: str, connection: Connection
) -> None:
    async with campaigns_world(database_url, redis_url, rabbitmq_url, connection):
        await connection.execute(
            "INSERT INTO imports (customer_id, actor, format, dry_run, status, finished_at)"
            " SELECT 7, 'x', 'csv', false, 'failed', now() - days * interval '1 day' FROM unnest(ARRAY[29, 31]) AS days"
        )
        await forget_old_imports(connection)
        assert await connection.fetchval("SELECT count(*) FROM imports") == 1
