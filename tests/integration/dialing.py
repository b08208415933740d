"""A customer on running services, for tests that dial as a dialer does: over HTTP and the broker alone."""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

import aiohttp
import asyncpg

from rotary.definitions import PICK_SCOPE, SCOPE
from rotary.publisher import Publisher
from running import until

VISIBLE_SECONDS = 30
"""A deadline. A committed row is visible within a second, on a machine that does nothing else."""
OPEN_SECONDS = 90
"""Likewise: an engine whose Redis lost data, as other tests want it, is closed for about a minute."""


class Dialing:
    """A customer with one group, and what its dialer knows."""

    def __init__(self, stack: Mapping[str, str], customer: int, group: int, callers: Sequence[int]) -> None:
        self.stack = stack
        self.customer = customer
        self.group = group
        self.callers = callers
        self.token = token_hex(16)
        self.reader = token_hex(16)
        """A token that may read and not pick."""

    @property
    def engine_url(self) -> str:
        return self.stack["ROTARY_ENGINE_URL"]

    def publisher(self) -> Publisher:
        """A publisher of the customer's events."""
        return Publisher(self.stack["ROTARY_RABBITMQ_URL"], customer_id=self.customer, source="/dialers/test")

    async def execute(self, query: str, *values: object) -> None:
        """Changes definitions with SQL."""
        connection = await asyncpg.connect(self.stack["ROTARY_POSTGRES_URL"])
        try:
            await connection.execute(query, *values)
        finally:
            await connection.close()

    async def monitor(self) -> dict[str, Any]:
        """What the read API shows of the group."""
        url = f"{self.stack['ROTARY_API_URL']}/api/caller-id-groups/{self.group}/monitor"
        async with aiohttp.ClientSession() as session, session.get(url, headers=_bearer(self.reader)) as response:
            return json.loads(await response.read())["data"] if response.status == 200 else {}

    async def calls_today(self) -> list[int]:
        """The calls of each caller ID, in the order of `callers`."""
        return [member["calls_today"] for member in (await self.monitor()).get("members", [])]

    async def calls_are(self, *calls: int) -> None:
        """Returns when the read API shows these numbers of calls."""

        async def shown() -> bool:
            return await self.calls_today() == list(calls)

        await until(shown, VISIBLE_SECONDS, f"the monitor shows {calls} calls")

    async def answers(self, status: int, body: object = None, seconds: float = VISIBLE_SECONDS) -> None:
        """Returns when the engine answers a request for a pick, which is released at once, with this status."""

        async def answered() -> bool:
            return await self._try(body) == status

        await until(answered, seconds, f"the engine answers {status}")

    async def _try(self, body: object) -> int:
        url = f"{self.engine_url}/api/caller-id-groups/{self.group}/picks"
        async with aiohttp.ClientSession(headers=_bearer(self.token)) as session:
            async with session.post(url, json=body or {}) as response:
                status, told = response.status, json.loads(await response.read())
            if status == 201:
                async with session.delete(f"{url}/{told['data']['id']}") as response:
                    assert response.status == 204
        return status


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def dialing(
    stack: Mapping[str, str], caps: Sequence[int] = (1,), strategy: str = "round_robin", *, is_sticky: bool = False
) -> AsyncIterator[Dialing]:
    """A new customer whose group has a caller ID for each daily cap. The engine picks from it when this returns."""
    connection = await asyncpg.connect(stack["ROTARY_POSTGRES_URL"])
    customer = await connection.fetchval("INSERT INTO customers (name) VALUES ('Dialing') RETURNING id")
    group = await connection.fetchval(
        "INSERT INTO caller_id_groups (customer_id, name, rotation_strategy, sticky_enabled)"
        " VALUES ($1, 'Dialing', $2, $3) RETURNING id",
        customer,
        strategy,
        is_sticky,
    )
    rows = await connection.fetch(
        "INSERT INTO caller_ids (customer_id, number, display_name, carrier, trunk_name, daily_cap)"
        " SELECT $1, '028' || (7300000 + n), 'Văn phòng \"A\"', 'viettel', 'Trunk-1', cap"
        " FROM unnest($2::integer[]) WITH ORDINALITY AS of (cap, n) ORDER BY n RETURNING id",
        customer,
        list(caps),
    )
    made = Dialing(stack, customer, group, sorted(row["id"] for row in rows))
    await connection.executemany(
        "INSERT INTO caller_id_group_members (group_id, caller_id_id) VALUES ($1, $2)",
        [(group, caller) for caller in made.callers],
    )
    await connection.executemany(
        "INSERT INTO api_tokens (customer_id, name, token_sha256, scopes, rate_limit_per_minute)"
        " VALUES ($1, 'test', $2, $3, NULL)",
        [
            (customer, hashlib.sha256(token.encode()).digest(), [scope])
            for token, scope in ((made.token, PICK_SCOPE), (made.reader, SCOPE))
        ],
    )
    try:
        await made.answers(201, seconds=OPEN_SECONDS)
        yield made
    finally:
        await connection.execute("DELETE FROM customers WHERE id = $1", customer)
        await connection.close()
