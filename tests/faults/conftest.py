"""The fault tests' world, and the table at the end."""

from collections.abc import AsyncIterator, Generator
from pathlib import Path
from random import randrange
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from faults.pick_table import PickRow, cells
from faults.table import Row, layout, markdown
from faults.world import World, open_world

NEMESIS_SECONDS = 300
_ROWS = pytest.StashKey[list[Row]]()
_PICK_ROWS = pytest.StashKey[list[PickRow]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", metavar="FILE", help="write the table of faults to FILE too, in Markdown")
    parser.addoption("--seed", type=int, metavar="N", help="draw the nemesis' faults as a run before that printed N")
    parser.addoption(
        "--nemesis-seconds", type=int, default=NEMESIS_SECONDS, metavar="N", help="how long the nemesis goes on"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: a fault that only `make faults` has time for")
    config.stash[_ROWS] = []
    config.stash[_PICK_ROWS] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Sends the rows of a pytest-xdist worker to the process that prints the table."""
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["faults"] = msgspec.json.encode(session.config.stash[_ROWS]).decode()
        output["pick faults"] = msgspec.json.encode(session.config.stash[_PICK_ROWS]).decode()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # an untyped class of pytest-xdist
    """Receives them."""
    output = getattr(node, "workeroutput", {})
    node.config.stash[_ROWS] += msgspec.json.decode(output.get("faults", "[]"), type=list[Row])
    node.config.stash[_PICK_ROWS] += msgspec.json.decode(output.get("pick faults", "[]"), type=list[PickRow])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tables = [markdown(found)] if (found := config.stash[_ROWS]) else []
    if pick_rows := config.stash[_PICK_ROWS]:
        tables.append(layout(cells(pick_rows)))
    if tables:
        terminalreporter.section("faults")
        terminalreporter.write_line("\n\n".join(tables))
        if path := config.getoption("--table", None):
            Path(path).write_text("\n\n".join(tables) + "\n", encoding="utf-8")


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


@pytest.fixture
def pick_rows(request: pytest.FixtureRequest) -> list[PickRow]:
    """The rows of the engine's table so far."""
    return request.config.stash[_PICK_ROWS]


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Of the nemesis: the one that was given, or a new one, which is printed."""
    given = request.config.getoption("--seed")
    seed = randrange(2**31) if given is None else int(given)
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    assert reporter is not None
    reporter.write_line(f"\nnemesis: make faults ARGS='-k nemesis --seed {seed}' repeats it")
    return seed


@pytest.fixture
def nemesis_seconds(request: pytest.FixtureRequest) -> int:
    """How long the nemesis goes on."""
    return int(request.config.getoption("--nemesis-seconds"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    """A stack of a file's own, in which nothing has happened yet; a test leaves it whole for the next one."""
    async with open_world() as opened:
        yield opened
