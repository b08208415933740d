"""One browser and one stack for all browser tests; windows are emptied between tests."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from browser.world import SECONDS, Visitors, World, open_world
from rotary_stack.binaries import find_or_install

ARGUMENTS: Final = (
    "--no-sandbox",  # which can't work for root, and in containers: this browser shows our own pages alone
    # A page lives for a second or two, in which compiling its scripts takes more than it saves.
    "--js-flags=--no-opt --no-sparkplug",
)
LOOP: Final = "session"
"""The browser talks to one event loop: all of these tests run in it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the tests of this folder in that loop."""
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.asyncio(loop_scope=LOOP), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope=LOOP)
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium without its user interface, which would cost more than the pages do."""
    chromium = await find_or_install("chromium-headless-shell", "chromium-headless-shell", print)
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        expect.set_options(timeout=SECONDS * 1000)
        yield started
        await started.close()


@pytest_asyncio.fixture(scope="session", loop_scope=LOOP)
async def world(stack: Mapping[str, str]) -> AsyncIterator[World]:
    """A customer whose people use the console."""
    async with open_world(stack) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope=LOOP)
async def _visitors(world: World, browser: Browser) -> Visitors:
    return Visitors(world, browser)


@pytest_asyncio.fixture(loop_scope=LOOP)
async def visitors(_visitors: Visitors) -> AsyncIterator[Visitors]:
    """Opens windows, which are closed or emptied after the test; a page that complained fails it."""
    yield _visitors
    await _visitors.close()
