"""The README's curl lines about campaigns, run as they are printed, answer what is printed below them."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from integration.campaigns_world import campaigns_world
from rotary.postgres.connection import Connection

README = (Path(__file__).parents[2] / "README.md").read_text()


def _steps() -> list[tuple[str, str]]:
    """Each command of the section with what is printed below it, in order."""
    section = README.partition("\n## Campaigns\n")[2].partition("\n## ")[0]
    block = section.partition("```console\n")[2].partition("```")[0]
    steps = [part.partition("\n") for part in re.split(r"^\$ ", block, flags=re.MULTILINE) if part]
    return [(command, printed.strip()) for command, _, printed in steps]


def _pattern(printed: str) -> str:
    """What is printed, where … stands for anything, and a line break for one or for a space."""
    text = re.sub(r"(?<=,)\n", "", printed)
    return r"\s".join(re.escape(line) for line in text.split("\n")).replace("…", ".*")


async def test_the_curl_lines_about_campaigns_answer_what_is_printed(
    database_url: str, redis_url: str, rabbitmq_url: str, connection: Connection
) -> None:
    steps = _steps()
    assert len(steps) == 7
    async with campaigns_world(database_url, redis_url, rabbitmq_url, connection) as world:
        client = await world.client()
        environ = os.environ | {"TOKEN": client.token, "ROTARY_CAMPAIGNS_URL": world.base}
        for command, printed in steps:
            process = await asyncio.create_subprocess_exec(
                *("sh", "-c", command.replace("curl", "curl -sS", 1)),
                env=environ,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            answer, complaint = await process.communicate()
            assert (process.returncode, complaint) == (0, b"")
            assert re.fullmatch(_pattern(printed), answer.decode(), re.DOTALL), f"{command}\n{answer.decode()}"


@pytest.mark.parametrize("scope", ["telesales_api_access", "caller_id_pick", "manage_caller_ids"])
def test_every_scope_is_in_the_readmes_table(scope: str) -> None:
    assert re.search(rf"^\| `{scope}` \|", README, re.MULTILINE)
