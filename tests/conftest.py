"""Fixtures for every test that touches a server. The servers are real: `make test` starts them with rotary-stack."""

import os
from itertools import count

import pytest

_customers = count(1_000_000 + os.getpid() % 1000 * 1_000_000)


def _server(variable: str) -> str:
    if url := os.environ.get(variable):
        return url
    pytest.exit(f"{variable} is not set: run  make test  or  rotary-stack exec -- pytest", returncode=2)


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
