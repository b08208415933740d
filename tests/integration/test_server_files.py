"""What infra/server/secrets makes, given to real servers: who may log in, and that Rotary's programs can work."""

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiormq
import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from integration.dialer_admin import DialerAdmin, as_user
from integration.private_vhost import rabbitmqctl
from integration.redis_server import redis_server
from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel
from rotary.redis.connection import check_server, connect, load_functions
from rotary.redis.tickets import TicketStore
from rotary.tls import with_ca_file
from running import free_port

SERVER = Path(__file__).parents[2] / "infra/server"


@pytest.fixture(scope="module")
def server_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """infra/server of a checkout in which the script was run."""
    server = tmp_path_factory.mktemp("checkout") / "infra" / "server"
    shutil.copytree(SERVER, server, ignore=shutil.ignore_patterns("private"))
    subprocess.run([sys.executable, server / "secrets"], check=True, capture_output=True, timeout=60)
    return server


@pytest.fixture(scope="module")
def passwords(server_files: Path) -> Mapping[str, str]:
    return dict(line.split("=", 1) for line in (server_files.parents[1] / ".env").read_text().splitlines())


@pytest.fixture
async def own_redis(server_files: Path, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a Redis that runs with our configuration and users, as in docker-compose.yml."""
    port = free_port()
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(tmp_path),
        "aclfile": str(server_files / "private/redis-users.acl"),
    }
    argv = [part for name, value in options.items() for part in (f"--{name}", value)]
    async with redis_server(port, str(server_files / "redis.conf"), *argv):
        yield f"127.0.0.1:{port}/0"


async def test_redis_lets_rotary_in_by_its_password_and_to_its_work(
    own_redis: str, passwords: Mapping[str, str]
) -> None:
    async with connect(f"redis://rotary:{passwords['ROTARY_REDIS_PASSWORD']}@{own_redis}") as client:
        await check_server(client)
        await load_functions(client)
        tickets = TicketStore(client)
        await tickets.put("ticket", "token")
        assert await tickets.take(["ticket", "ticket"]) == ["token", None]
        with pytest.raises(NoPermissionError):
            await client.flushall()


@pytest.mark.parametrize("login", ["", "default:x@", ":x@", "rotary:x@", "rotary:ROTARY_REDIS_PASSWORD@"])
async def test_redis_lets_nobody_else_in(own_redis: str, login: str) -> None:
    async with Redis.from_url(f"redis://{login}{own_redis}") as stranger:
        with pytest.raises((AuthenticationError, RedisError)):
            await stranger.ping()


async def test_the_broker_lets_both_users_in_and_each_to_its_work(
    server_files: Path, passwords: Mapping[str, str], walled: Mapping[str, str], admin_of_walled: DialerAdmin
) -> None:
    """On the stack with management: the consumer's user declares what is Rotary's, the admin's makes dialers."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ROTARY_STACK_RABBITMQCTL", walled["ROTARY_STACK_RABBITMQCTL"])
        rabbitmqctl("import_definitions", str(server_files / "private/rabbitmq-definitions.json"))
    consumer = as_user(walled["ROTARY_RABBITMQ_URL"], "rotary-consumer", passwords["ROTARY_RABBITMQ_PASSWORD"])
    async with channel(with_ca_file(consumer, walled["ROTARY_CA_FILE"])) as opened:
        await topology.declare(opened)
    admin = as_user(walled["ROTARY_MANAGEMENT_URL"], "rotary-admin", passwords["ROTARY_MANAGEMENT_PASSWORD"])
    created = await admin_of_walled("dialer", "create", "by-admin", "--customer", 9, ROTARY_MANAGEMENT_URL=admin)
    assert created.exit_code == 0, created.stderr
    await admin_of_walled.done("dialer", "revoke", "by-admin", "--yes")
    administrator = as_user(walled["ROTARY_RABBITMQ_URL"], "rotary-admin", passwords["ROTARY_MANAGEMENT_PASSWORD"])
    async with await aiormq.connect(with_ca_file(administrator, walled["ROTARY_CA_FILE"])) as connection:
        reading = await connection.channel()
        with pytest.raises(aiormq.ChannelAccessRefused):
            await reading.basic_get(topology.PARKED)
