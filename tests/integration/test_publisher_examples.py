"""The examples in the publisher's docstrings run unchanged against the real broker."""

import asyncio
import doctest
import re
import textwrap
from types import ModuleType

import pytest

import rotary.publisher
from integration.inbox import open_inbox
from rotary.publisher import BlockingPublisher, Publisher, blocking, event_factory

_EXAMPLE_URL = "amqps://dialer7:secret@broker/"
_BLOCK = re.compile(r"(?:^    +.*\n)+", re.MULTILINE)


def example(docstring: str | None, url: str, *, asynchronous: bool) -> str:
    """The indented block of a docstring as a function `dial`, with the broker's URL instead of the example's."""
    code = textwrap.dedent(next(block for block in _BLOCK.findall(docstring or "") if _EXAMPLE_URL in block))
    head = "async def dial():\n" if asynchronous else "def dial():\n"
    return head + textwrap.indent(code.replace(_EXAMPLE_URL, url), "    ")


@pytest.mark.parametrize("module", [event_factory])
def test_the_interactive_examples_print_what_they_show(module: ModuleType) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0


async def test_the_asynchronous_example_publishes_its_call(broker_url: str) -> None:
    scope: dict[str, object] = {"Publisher": Publisher}
    exec(example(rotary.publisher.__doc__, broker_url, asynchronous=True), scope)
    async with open_inbox(broker_url) as inbox:
        await scope["dial"]()  # type: ignore[operator]  # defined by the example
        (event,) = await inbox.events(1)
    assert event["data"] == {"caller_id_id": 18, "group_id": 3, "lead_id": "L-991"}


async def test_the_blocking_example_publishes_its_call(broker_url: str) -> None:
    scope: dict[str, object] = {"BlockingPublisher": BlockingPublisher}
    docstring = textwrap.dedent("    " + (blocking.BlockingPublisher.__doc__ or ""))
    exec(example(docstring, broker_url, asynchronous=False), scope)
    async with open_inbox(broker_url) as inbox:
        await asyncio.to_thread(scope["dial"])  # type: ignore[arg-type]  # defined by the example
        (event,) = await inbox.events(1)
    assert event["data"] == {"caller_id_id": 18, "group_id": 3, "lead_id": "L-991"}
