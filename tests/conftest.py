"""Fixtures for every test that touches a server. The servers are real: `make test` starts them with rotary-stack."""

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import hypothesis
import pytest
import structlog
from coverage import Coverage
from hypothesis import strategies
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

from integration.own_servers import own_servers
from integration.private_stack import private_stack

_SERVERS = pytest.StashKey[ExitStack]()
_FIRST_WORKER = "gw0"
_INTEGRATION = "tests/integration/test_"
_TOGETHER = {
    "services": (
        *(f"{_INTEGRATION}{name}" for name in ("console_end_to_end", "dialing", "publisher_trouble")),
        "tests/browser/",
    ),
    "walls": tuple(
        f"{_INTEGRATION}{name}" for name in ("admin_dialers", "console_customers", "server_files", "tls", "walls")
    ),
}
"""Beginnings of paths, by what those files share: a stack that takes as long to start as their tests take to run."""
_LONG = tuple(
    f"{_INTEGRATION}{name}"
    for name in (
        *("openapi_fuzz", "picks_machine"),
        # These mostly wait, so they go beside those that work.
        *("bad_address", "query_deltas", "query_stale", "query_losses", "query_freshness"),
        *("demo", "history", "admin_import", "stack"),
    )
)

# aiohttp reads all of the system's authorities when it is imported: an eighth of the time in which a program starts.
# Nothing here asks a server of the world; what speaks TLS has a certificate of its own authority.
os.environ |= {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
# Wherever a test runs schemathesis: what Hypothesis knows of Unicode takes it seconds to find out.
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(Path(__file__).parents[1] / ".hypothesis")

# Tests never assert on time.
hypothesis.settings.register_profile("rotary", deadline=None)
hypothesis.settings.load_profile("rotary")

_customers = count(1_000_000 + os.getpid() % 1000 * 1_000_000)


def _server(variable: str) -> str:
    if url := os.environ.get(variable):
        return url
    pytest.exit(f"{variable} is not set: run  make test  or  rotary-stack exec -- pytest", returncode=2)


@pytest.fixture(scope="session", autouse=True)
def _logs() -> None:
    """Sends what the product logs in this process to the standard library's logs, and never to standard output."""
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Registers the option that makes drawn tests draw more."""
    parser.addoption(
        "--thorough", type=int, default=1, metavar="N", help="draw N times as many API requests and histories of picks"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Gives every worker of pytest-xdist a part of the command's servers, except the first, which has what is left."""
    gc.disable()  # until all tests are collected: none of that is garbage
    if os.environ.get("PYTEST_XDIST_WORKER", _FIRST_WORKER) != _FIRST_WORKER:
        config.stash[_SERVERS] = ExitStack()
        os.environ.update(config.stash[_SERVERS].enter_context(own_servers()))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Finds out once what Hypothesis knows of Unicode, before each worker has to."""
    strategies.text().validate()


class _Together(LoadFileScheduling):  # type: ignore[misc]
    """Each file goes to one worker, as with `--dist loadfile`; files that share a stack all go to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        return next(
            (scope for scope, paths in _TOGETHER.items() if nodeid.startswith(paths)), str(super()._split_scope(nodeid))
        )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Files are given out in the order in which they were collected."""
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return _Together(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers begin with what takes longest, and end with unit tests: files that are short keep all of them busy."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _turn(item.nodeid))


def pytest_collection_finish() -> None:
    """The garbage collector leaves alone what is there now, which stays, and runs as seldom as in our programs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


def _turn(nodeid: str) -> int:
    beginnings = (*_TOGETHER["services"], "tests/faults/", *_LONG, *_TOGETHER["walls"], "tests/integration/")
    return next((turn for turn, path in enumerate(beginnings) if nodeid.startswith(path)), len(beginnings))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Ends a worker's part of the servers, and writes down what of the product it ran.

    Both before the worker reports that it has finished: pytest-xdist interrupts it five seconds later, and kills it ten
    seconds later.
    """
    if _SERVERS in session.config.stash:
        session.config.stash[_SERVERS].close()
    if measured := Coverage.current():
        measured.save()


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """A migrated database that all tests share: use your own rows."""
    return _server("ROTARY_POSTGRES_URL")


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A server that all tests share: use a customer of your own."""
    return _server("ROTARY_REDIS_URL")


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    """A broker that all tests share."""
    return _server("ROTARY_RABBITMQ_URL")


@pytest.fixture(scope="session")
def stack() -> Iterator[Mapping[str, str]]:
    """The variables of a stack with services of the tests' own: they may kill what runs in it."""
    with private_stack("--services", "--management") as variables:
        yield variables


@pytest.fixture
def thorough(pytestconfig: pytest.Config) -> int:
    """How many times as much to draw as usual."""
    factor: int = pytestconfig.getoption("thorough")
    return factor


@pytest.fixture
def customer() -> int:
    """A customer id that no other test uses."""
    return next(_customers)
