"""A stack with walls, for the tests of what a dialer cannot do and of TLS: started when the first of them asks."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from integration.admin_runner import DEFINITIONS
from integration.dialer_admin import DialerAdmin, as_user
from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel
from rotary.tls import with_ca_file
from rotary_admin.commands.dialer import Access

# Tells what it was given, then stays until its standard input ends, as it does with us, however we end.
_COMMAND = (
    sys.executable,
    "-c",
    "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()",
)


@pytest.fixture(scope="session")
def walled() -> Iterator[Mapping[str, str]]:
    """The variables of a stack of its own, whose RabbitMQ speaks TLS alone and answers its management API."""
    stack = (sys.executable, "-P", "-m", "rotary_stack", "exec", "--quiet", "--tls", "--management", "--", *_COMMAND)
    with subprocess.Popen(stack, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = process.stdout.readline()
        assert told, "the stack did not start"
        yield {name: value for name, value in json.loads(told).items() if name.startswith("ROTARY_")}
        process.communicate(timeout=60)
    assert process.returncode == os.EX_OK


@pytest.fixture(scope="session")
def owner(walled: Mapping[str, str]) -> str:
    """The URL of the user who owns what Rotary declares."""
    return with_ca_file(walled["ROTARY_RABBITMQ_URL"], walled["ROTARY_CA_FILE"])


@pytest.fixture(scope="session")
def admin_of_walled(walled: Mapping[str, str]) -> DialerAdmin:
    """With the example's customers 7 and 8, and 9 and 12."""
    admin = DialerAdmin(walled)
    asyncio.run(admin.done("import", DEFINITIONS))
    for customer in (9, 12):
        asyncio.run(admin.done("customer", "create", "--name", "Another", "--id", customer))
    return admin


@pytest.fixture(scope="session")
def access(admin_of_walled: DialerAdmin, owner: str) -> Iterator[Access]:
    """A dialer of customer 7, on a broker where everything is declared."""

    async def prepare() -> Access:
        async with channel(owner) as opened:
            await topology.declare(opened)
        return await admin_of_walled.create("walled")

    yield asyncio.run(prepare())
    asyncio.run(admin_of_walled.done("dialer", "revoke", "walled", "--yes"))


@pytest.fixture
def own(owner: str, access: Access) -> str:
    """The URL of that dialer."""
    return as_user(owner, access.user, access.password)
