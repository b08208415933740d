"""Whatever a client may send, the live service answers as its OpenAPI document says (schemathesis)."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from integration.query_world import group, member, world
from rotary_query.http.docs import pages
from running import free_port, program

CASES = "25"
"""Generated for each operation and phase."""


@pytest.fixture
async def live(redis_url: str, customer: int) -> AsyncIterator[tuple[str, str]]:
    """The base URL of a query service in a process of its own, and a token."""
    async with world(redis_url, customer) as filled:
        await filled.put(group(3, member(18), member(19, "disabled")))
        bind = f"127.0.0.1:{free_port()}"
        async with program("rotary_query", redis_url=filled.url, query_bind=bind):
            yield f"http://{bind}", await filled.token(limit=1_000_000)


def test_the_document_is_valid() -> None:
    validate(json.loads(pages()["openapi"].body))


async def test_whatever_is_sent_is_answered_as_documented(live: tuple[str, str], tmp_path: Path) -> None:
    base, token = live
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{base}/openapi.json", "--checks", "all"]
    command += [
        "--header",
        f"Authorization: Bearer {token}",
        "--max-examples",
        CASES,
        "--no-color",
        "--seed",
        "20260606",
    ]
    run = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await asyncio.wait_for(run.communicate(), 120)
    assert run.returncode == 0, told.decode()
    assert b"No issues found" in told, told.decode()
