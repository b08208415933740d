"""Fixtures for every test that touches a server. The servers are real: `make test` starts them with rotary-stack."""

import os
from contextlib import ExitStack
from itertools import count

import pytest
import structlog
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

from integration.private_stack import private_stack

_SERVERS = pytest.StashKey[ExitStack]()
_FIRST_WORKER = "gw0"
_BROWSER = "tests/browser/"

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


def pytest_configure(config: pytest.Config) -> None:
    """Gives every worker of pytest-xdist servers of its own, except the first, which uses those of the command."""
    if os.environ.get("PYTEST_XDIST_WORKER", _FIRST_WORKER) != _FIRST_WORKER:
        config.stash[_SERVERS] = ExitStack()
        os.environ.update(config.stash[_SERVERS].enter_context(private_stack()))


class _OneBrowser(LoadFileScheduling):  # type: ignore[misc]
    """Each file goes to one worker, as with `--dist loadfile`; the browser tests all go to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        return _BROWSER if nodeid.startswith(_BROWSER) else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Browser tests share a browser and a stack, which take longer to start than the tests take to run."""
    return _OneBrowser(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends a worker's servers."""
    if _SERVERS in config.stash:
        config.stash[_SERVERS].close()


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


@pytest.fixture
def customer() -> int:
    """A customer id that no other test uses."""
    return next(_customers)
