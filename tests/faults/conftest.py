"""The fault tests' world, and the table at the end."""

from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest
import pytest_asyncio

from faults.table import Row, markdown
from faults.world import World, open_world

_ROWS = pytest.StashKey[list[Row]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", metavar="FILE", help="write the table of faults to FILE too, in Markdown")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: a fault that only `make faults` has time for")
    config.stash[_ROWS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if rows := config.stash[_ROWS]:
        terminalreporter.section("faults")
        terminalreporter.write_line(markdown(rows))
        if path := config.getoption("--table", None):
            Path(path).write_text(markdown(rows) + "\n", encoding="utf-8")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the end of the services' logs beside a failure."""
    report = yield
    world = getattr(item, "funcargs", {}).get("world")
    if report.failed and isinstance(world, World):
        report.sections += [(f"log of {name}", tail) for name, tail in world.log_tails().items()]
    return report


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> list[Row]:
    """The table's rows so far."""
    return request.config.stash[_ROWS]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    """A stack of these tests' own: they break it."""
    async with open_world() as opened:
        yield opened
