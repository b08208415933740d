"""Runs rotary-dialer, and other programs, as processes."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from click.testing import CliRunner

from rotary_dialer.cli import cli

SOURCE = "/dialers/hcm-1"


class Done(NamedTuple):
    status: int
    out: str
    err: str


def environ(url: str) -> dict[str, str]:
    given = {"ROTARY_RABBITMQ_URL": url, "ROTARY_CUSTOMER": "7", "ROTARY_SOURCE": SOURCE}
    return os.environ | given


async def start(*command: str | Path, env: Mapping[str, str]) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, env=env, stdin=pipe, stdout=pipe, stderr=pipe)


async def run(*command: str | Path, env: Mapping[str, str], stdin: str | bytes = "") -> Done:
    process = await start(*command, env=env)
    out, err = await asyncio.wait_for(process.communicate(stdin if isinstance(stdin, bytes) else stdin.encode()), 60)
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def dialer(url: str, *arguments: str | Path, stdin: str | bytes = "") -> Done:
    return await run(sys.executable, "-m", "rotary_dialer", *arguments, env=environ(url), stdin=stdin)


async def dialer_here(url: str, *arguments: str | Path) -> Done:
    """The same in this process, for tests with many inputs: what a library logs is not in `err` then."""
    done = CliRunner().invoke(cli, [*map(str, arguments)], env=environ(url))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)
