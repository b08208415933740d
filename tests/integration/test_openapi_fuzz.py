"""Whatever a client may send, the live services answer as their OpenAPI documents say (schemathesis)."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from integration.campaigns_world import campaigns_world
from integration.engine_world import engine_world
from integration.query_world import group, member, world
from pick_groups import group as picked_group
from pick_groups import member as picked_member
from rotary.http.docs import document_page
from rotary.http.openapi import Json
from rotary.postgres.connection import Connection
from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel
from rotary_campaigns.http.openapi import openapi as campaigns_openapi
from rotary_engine.http.openapi import openapi as engine_openapi
from rotary_query.http.openapi import openapi as query_openapi
from running import free_port, program

CASES = 10
"""Drawn for each operation and phase, besides the boundaries of every schema, which are all tried."""


@pytest.mark.parametrize(
    "openapi", [query_openapi, engine_openapi, campaigns_openapi], ids=["query", "engine", "campaigns"]
)
def test_the_document_is_valid(openapi: Callable[[], Json]) -> None:
    validate(json.loads(document_page(openapi()).plain.body))


@pytest.fixture
async def query(redis_url: str, customer: int) -> AsyncIterator[tuple[str, str]]:
    """The base URL of a query service in a process of its own, and a token."""
    async with world(redis_url, customer) as filled:
        await filled.put(group(3, member(18), member(19, "disabled")))
        bind = f"127.0.0.1:{free_port()}"
        async with program("rotary_query", redis_url=filled.url, query_bind=bind):
            yield f"http://{bind}", await filled.token(limit=1_000_000)


async def test_the_query_service_answers_as_documented(query: tuple[str, str], tmp_path: Path, thorough: int) -> None:
    # Which days may be asked for together, and which members a group has: no schema can say so.
    options = ("--exclude-checks", "positive_data_acceptance", "--warnings", "off")
    await assert_documented(*query, tmp_path, CASES * thorough, *options)


async def test_the_engine_answers_as_documented(redis_url: str, tmp_path: Path, thorough: int) -> None:
    async with engine_world(redis_url) as engine:
        members = [picked_member(18), picked_member(19, status="disabled"), picked_member(20, daily_cap=3)]
        await engine.picks.define(picked_group(members, sticky_enabled=True))
        bind = f"127.0.0.1:{free_port()}"
        async with program("rotary_engine", redis_url=engine.url, engine_bind=bind):
            token = await engine.token(limit=1_000_000)
            # A generated key may come twice with different bodies, which is refused: no schema can say so.
            options = ("--exclude-checks", "positive_data_acceptance", "--warnings", "off")
            await assert_documented(f"http://{bind}", token, tmp_path, CASES * thorough, *options)


async def test_the_campaigns_service_answers_as_documented(
    database_url: str, redis_url: str, broker_url: str, connection: Connection, tmp_path: Path, thorough: int
) -> None:
    async with channel(broker_url) as opened:
        await topology.declare(opened)
    async with campaigns_world(database_url, redis_url, broker_url, connection) as world:
        client = await world.client()
        # What a schema can't say: names and numbers are used once, groups must exist, times of a day have an order.
        # And If-Match that is missing is 428 (RFC 6585), which the tool does not know.
        options = ("--exclude-checks", "positive_data_acceptance,missing_required_header", "--warnings", "off")
        await assert_documented(world.base, client.token, tmp_path, CASES * thorough, *options)


async def assert_documented(base: str, token: str, directory: Path, cases: int, *options: str) -> None:
    """Runs schemathesis, which must find nothing."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{base}/openapi.json", "--checks", "all"]
    command += ["--header", f"Authorization: Bearer {token}", "--max-examples", str(cases), "--no-color"]
    command += ["--seed", "20260606", "--generation-database", "none", *options]
    run = await asyncio.create_subprocess_exec(
        *command, cwd=directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await asyncio.wait_for(run.communicate(), 300 * cases / CASES)
    assert run.returncode == 0, told.decode()
    assert b"No issues found" in told, told.decode()
