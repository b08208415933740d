"""Whatever a client may send, the live service answers as its OpenAPI document says (schemathesis)."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from integration.query_world import group, member, world
from openapi_spec_validator import validate
from running import free_port, program

from rotary_query.documentation import pages

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
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=os.environ, timeout=120, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "No issues found" in run.stdout, run.stdout
