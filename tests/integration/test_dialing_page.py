"""The page for dialer engineers: its Python runs, its requests are answered, and its names exist."""

import asyncio
import json
import re
import shlex
import textwrap
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import get_args

import pytest

import rotary.engine
from integration.dialer_runner import run
from integration.dialing import Dialing, dialing
from rotary.definitions import Carrier

PAGE = (Path(__file__).parents[2] / "docs" / "dialing.md").read_text(encoding="utf-8")
ASYNCHRONOUS, BLOCKING = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
async def dialer(services: Mapping[str, str]) -> AsyncIterator[Dialing]:
    """Whose group has one caller ID, for one call a day."""
    async with dialing(services) as made:
        yield made


class Dialed:
    """What the page's code does besides: the numbers it dials and the leads it postpones."""

    def __init__(self) -> None:
        self.numbers: list[tuple[str, str | None]] = []
        self.postponed: list[str] = []

    def dial(self, number: str, trunk: str | None) -> None:
        self.numbers.append((number, trunk))

    def postpone(self, lead: str, seconds: float | None) -> None:
        assert seconds is not None
        assert seconds > 0
        self.postponed.append(lead)


def code(block: str, dialer: Dialing, keyword: str) -> str:
    """The block as a function `example`, for this dialer."""
    values = {
        "https://engine.example.com": dialer.engine_url,
        "amqps://dialer7:secret@broker.example.com": dialer.stack["ROTARY_RABBITMQ_URL"],
        "customer_id=7": f"customer_id={dialer.customer}",
        "engine.pick(3,": f"engine.pick({dialer.group},",
        "engine.pick_many(3,": f"engine.pick_many({dialer.group},",
    }
    for written, ours in values.items():
        block = block.replace(written, ours)
    return f"{keyword} example():\n" + textwrap.indent(block, "    ")


async def test_the_asynchronous_example_picks_dials_and_publishes_and_postpones_when_nothing_is_left(
    dialer: Dialing,
) -> None:
    dialed = Dialed()

    async def dial(number: str, trunk: str | None) -> None:
        dialed.dial(number, trunk)

    async def postpone(lead: str, seconds: float | None) -> None:
        dialed.postpone(lead, seconds)

    scope: dict[str, object] = {"token": dialer.token, "dial": dial, "postpone": postpone}
    exec(code(ASYNCHRONOUS, dialer, "async def"), scope)
    await scope["example"]()  # type: ignore[operator]  # defined by the example
    await dialer.calls_are(1)
    await scope["example"]()  # type: ignore[operator]
    assert dialed.numbers == [("0287300001", "Trunk-1")]
    assert dialed.postponed == ["L-991"]


async def test_the_blocking_example_dials_what_it_gets_and_postpones_the_rest(dialer: Dialing) -> None:
    dialed = Dialed()
    scope: dict[str, object] = {"token": dialer.token, "dial": dialed.dial, "postpone": dialed.postpone}
    exec(code(BLOCKING, dialer, "def"), scope)
    await asyncio.to_thread(scope["example"])  # type: ignore[arg-type]  # defined by the example
    assert dialed.numbers == [("0287300001", "Trunk-1")]
    assert dialed.postponed == ["L-992"]


async def test_the_curl_command_gets_the_fields_that_are_shown(dialer: Dialing) -> None:
    found = re.search(r"^\$ (curl .*?)\n```\n+```json\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    command = found[1].replace("/3/picks", f"/{dialer.group}/picks")
    env = {"ROTARY_ENGINE_URL": dialer.engine_url, "TOKEN": dialer.token, "PATH": "/usr/bin:/bin"}
    picked = json.loads((await run("sh", "-c", command.replace("curl", "curl -fsS", 1), env=env)).out)
    assert list(picked["data"]) == list(json.loads(found[2])["data"])
    refused = json.loads((await run("sh", "-c", command, env=env)).out)
    [shown] = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL) if "reasons" in text]
    assert list(refused) == list(shown)
    assert shlex.split(command)


def test_the_page_names_what_exists() -> None:
    exceptions = re.findall(r"^\| `(\w+)`(?:, `(\w+)`)? \| ", PAGE.split("## Python")[1], re.MULTILINE)
    named = {name for row in exceptions for name in row if name and name[0].isupper()}
    raised = {name for name in rotary.engine.__all__ if name.endswith("Error")} | {"NothingEligible", "GroupDisabled"}
    not_listed = {"EngineError", "AccessRefusedError", "ConfigurationError", "EngineClosedError"}
    assert named == raised - not_listed
    assert all(f"`{carrier}`" in PAGE for carrier in get_args(Carrier))
