"""The client that docs/streams.md prints does what the page says."""

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from histories import flagged, placed
from integration.query_world import Site, World, group, member
from integration.test_query_stream import MONITOR
from rotary.clock import system_clock
from running import until

PAGE = Path(__file__).parents[2] / "docs/streams.md"
NOW = system_clock()
DRIVER = """
import { watch } from "./client.mjs";
for await (const monitor of watch(process.argv[2], process.argv[3])) console.log(JSON.stringify(monitor));
"""


async def test_the_printed_client_has_what_the_api_answers(filled: World, served: Site, tmp_path: Path) -> None:
    if (node := shutil.which("node")) is None:
        pytest.skip("needs node")
    (client,) = re.findall(
        r"^```js\n(.*?export async function\* watch.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "client.mjs").write_text(client)
    (tmp_path / "driver.mjs").write_text(DRIVER)
    token, odd = await filled.token(), 'Đội "1" \u2028 \\ 😀'
    await filled.put(group(3, *map(member, range(18, 518)), name=odd))
    argv = (node, str(tmp_path / "driver.mjs"), served.base + MONITOR, token)
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, limit=1 << 24)
    assert process.stdout is not None
    shown: dict[str, Any] = {}

    async def has_current() -> bool:
        nonlocal shown
        assert process.stdout is not None
        shown = json.loads(await asyncio.wait_for(process.stdout.readline(), 10))
        body = await served.caller(token).data(MONITOR)
        return bool(shown["stale"] is None and {name: shown[name] for name in body} == body)

    try:
        await until(has_current, 10, "it has the snapshot")
        assert shown["group_name"] == odd
        await filled.fold(placed("c1", NOW(), 18), flagged("f1", "spam_label", NOW(), 19))
        await until(has_current, 10, "it has what changed")
        await filled.put(group(3, member(17), *map(member, range(19, 400))))
        await until(has_current, 10, "members came and went")
        filled.log.hangs = True
        while shown["stale"] is None:
            shown = json.loads(await asyncio.wait_for(process.stdout.readline(), 10))
        assert shown["stale"]["reason"] == "The counts are behind the event broker"
        await filled.remove(3)
        assert await asyncio.wait_for(process.wait(), 10) == 0, "the stream ends with its group"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
