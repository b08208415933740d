"""The local stack on a machine with other users: its files are private, and its servers refuse everybody else."""

import asyncio
import os
import re
import stat
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import aiormq
import asyncpg
import pytest
import pytest_asyncio
from aiormq.exceptions import ProbableAuthenticationError as AuthenticationFailed
from pamqp.commands import Basic
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from integration.dialer_admin import as_user
from rotary.events import MAX_MESSAGE_BYTES
from rotary_stack.control.server import serve_control
from rotary_stack.servers.redis import SERVICE_USER
from rotary_stack.stack import Options, Stack
from rotary_stack.workspace import PREFIX, open_workspace, write_private

pytestmark = pytest.mark.asyncio(loop_scope="module")
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    """A stack with all servers and services, ready."""
    async with Stack.open(Options(services=True, management=True)) as opened, serve_control(opened):
        yield opened


@pytest.fixture
def variables(stack: Stack) -> Mapping[str, str]:
    """The variables of a command inside."""
    return stack.variables()


@pytest.fixture
def service_variables(stack: Stack) -> Mapping[str, str]:
    """The variables of the services."""
    return stack.service_variables()


def paths(directory: Path) -> Iterator[Path]:
    """Everything inside, except links, which have no mode of their own, and files that a server removes meanwhile."""
    return (path for path in directory.rglob("*") if not path.is_symlink() and path.exists())


def as_nobody(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    """Runs it as a user who owns nothing."""
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
    return subprocess.run(
        [*nobody, *map(str, command)], capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )


# Files.


async def test_nothing_in_the_workspace_is_readable_by_others(stack: Stack) -> None:
    shared = [str(path) for path in paths(stack.directory) if path.stat().st_mode & 0o077]
    assert shared == []
    assert stat.S_IMODE(stack.directory.stat().st_mode) in {0o700, 0o710}
    if os.geteuid() != 0:
        assert stat.S_IMODE(stack.directory.stat().st_mode) == 0o700


async def test_the_erlang_cookie_is_random_and_only_readable(stack: Stack) -> None:
    (cookie,) = stack.directory.rglob(".erlang.cookie")
    assert stat.S_IMODE(cookie.stat().st_mode) == 0o400
    assert len(cookie.read_text()) >= 43
    assert "ROTARY" not in cookie.read_text()


@only_root
async def test_another_user_reads_no_log_and_controls_nothing(stack: Stack) -> None:
    assert "denied" in as_nobody("cat", stack.directory / "rabbitmq.log").stderr
    assert "denied" in as_nobody("ls", stack.directory).stderr
    connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    assert "PermissionError" in as_nobody("/usr/bin/python3", "-c", connect, stack.socket).stderr


@only_root
async def test_the_directory_of_another_users_stack_is_left_alone() -> None:
    theirs = Path(tempfile.gettempdir()) / f"{PREFIX}somebody-elses"
    theirs.mkdir()
    lock = theirs / "lock"
    lock.touch()
    os.utime(lock, (time.time() - 120, time.time() - 120))
    os.chown(theirs, 65534, 65534)
    try:
        with open_workspace():
            assert lock.exists()
    finally:
        lock.unlink()
        theirs.rmdir()


# RabbitMQ.


async def test_a_guessed_cookie_runs_nothing(variables: Mapping[str, str], tmp_path: Path) -> None:
    """The same rabbitmqctl on the same node, with a guessed cookie: the node's name."""
    real = Path(variables["ROTARY_STACK_RABBITMQCTL"])
    guess = await asyncio.to_thread(_with_a_guessed_cookie, real, tmp_path)
    refused = await asyncio.to_thread(_evaluated, guess)
    assert refused.returncode != 0
    assert "uid=" not in refused.stdout + refused.stderr
    assert "uid=" in (await asyncio.to_thread(_evaluated, real)).stdout


def _with_a_guessed_cookie(rabbitmqctl: Path, home: Path) -> Path:
    script = rabbitmqctl.read_text()
    node = re.search(r"RABBITMQ_NODENAME=(\S+)", script)
    assert node is not None
    write_private(home / ".erlang.cookie", node[1].upper(), 0o400)
    write_private(home / "rabbitmqctl", re.sub(r"export HOME=\S+", f"export HOME={home}", script), 0o700)
    return home / "rabbitmqctl"


def _evaluated(rabbitmqctl: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(rabbitmqctl), "--quiet", "eval", "os:cmd(id)."]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("login", ["guest:guest", "rotary:rotary", "rotary-consumer:rotary"])
async def test_no_user_of_the_broker_has_a_known_password(variables: Mapping[str, str], login: str) -> None:
    with pytest.raises(AuthenticationFailed):
        await aiormq.connect(as_user(variables["ROTARY_RABBITMQ_URL"], *login.split(":")))


async def test_the_services_do_not_administer_the_broker(service_variables: Mapping[str, str]) -> None:
    login = urlsplit(service_variables["ROTARY_RABBITMQ_URL"])
    api = as_user(service_variables["ROTARY_MANAGEMENT_URL"], login.username or "", login.password or "")
    async with aiohttp.ClientSession() as session, session.get(f"{api}/api/overview") as answer:
        assert answer.status == 401
    async with await aiormq.connect(service_variables["ROTARY_RABBITMQ_URL"]) as connection:
        channel = await connection.channel()
        with pytest.raises(aiormq.ChannelAccessRefused):
            await channel.queue_declare("not-rotarys")


async def test_a_message_of_one_mebibyte_passes_and_one_more_byte_does_not(variables: Mapping[str, str]) -> None:
    async with await aiormq.connect(variables["ROTARY_RABBITMQ_URL"]) as connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.queue_declare("measured", exclusive=True)
        confirmed = await channel.basic_publish(b"1" * MAX_MESSAGE_BYTES, routing_key="measured")
        assert isinstance(confirmed, Basic.Ack)
        with pytest.raises(aiormq.ChannelPreconditionFailed, match="larger than"):
            await channel.basic_publish(b"1" * (MAX_MESSAGE_BYTES + 1), routing_key="measured")


async def test_the_broker_can_spread_customers_over_streams(variables: Mapping[str, str]) -> None:
    async with await aiormq.connect(variables["ROTARY_RABBITMQ_URL"]) as connection:
        channel = await connection.channel()
        await channel.exchange_declare("spreading", exchange_type="x-consistent-hash", auto_delete=True)


# PostgreSQL.


@pytest.mark.parametrize("user", ["rotary", "postgres", "rotary_guest"])
@pytest.mark.parametrize("password", ["", "rotary"])
async def test_postgres_refuses_every_user_without_the_password(
    variables: Mapping[str, str], user: str, password: str
) -> None:
    url = urlsplit(variables["ROTARY_POSTGRES_URL"])
    with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
        await asyncpg.connect(
            host=url.hostname, port=url.port, user=user, password=password, database="rotary", ssl=False
        )


async def test_the_only_rule_of_postgres_asks_for_a_password(stack: Stack) -> None:
    rules = (stack.directory / "postgres" / "pg_hba.conf").read_text().splitlines()
    assert rules == ["host all all 127.0.0.1/32 scram-sha-256"]
    assert not (stack.directory / "initdb-password").exists()


@pytest.mark.parametrize(
    "statement", ["COPY customers TO PROGRAM 'id'", "COPY customers FROM '/etc/passwd'", "CREATE ROLE mine SUPERUSER"]
)
async def test_even_its_owner_runs_no_programs_through_postgres(variables: Mapping[str, str], statement: str) -> None:
    connection = await asyncpg.connect(variables["ROTARY_POSTGRES_URL"], ssl=False)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


# Redis.


async def test_redis_answers_nobody_without_a_password(variables: Mapping[str, str]) -> None:
    url = urlsplit(variables["ROTARY_REDIS_URL"])
    async with Redis(host=url.hostname or "", port=url.port or 0) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.ping()


async def test_redis_refuses_nothing_that_the_services_need(stack: Stack) -> None:
    """They have loaded functions, projected and subscribed by now. Runs before the tests that make Redis refuse."""
    async with Redis.from_url(stack.variables()["ROTARY_REDIS_URL"]) as owner:
        log = await owner.acl_log()
    theirs = [entry["object"] for entry in log if entry["username"] == SERVICE_USER]
    assert theirs == []


REFUSED = (
    "CONFIG SET dir /tmp", "CONFIG GET *", "FLUSHALL", "FLUSHDB", "KEYS *", "DEBUG SLEEP 0", "SHUTDOWN", "SAVE",
    "ACL LIST", "MODULE LIST", "REPLICAOF NO ONE", "CLIENT LIST", "CLIENT KILL ID 1", "MONITOR", "EVAL return(1) 0",
    "SCRIPT FLUSH", "FUNCTION FLUSH", "FUNCTION DELETE rotary", "MIGRATE h 1 k 0 1", "SORT k", "SWAPDB 0 1",
)  # fmt: skip


@pytest.mark.parametrize("command", REFUSED)
async def test_the_services_may_not_administer_redis(service_variables: Mapping[str, str], command: str) -> None:
    async with Redis.from_url(service_variables["ROTARY_REDIS_URL"]) as client:
        with pytest.raises(NoPermissionError):
            await client.execute_command(*command.split())  # type: ignore[no-untyped-call]  # redis-py's gap


async def test_transactions_survive_a_restart_with_the_default_user_disabled(stack: Stack) -> None:
    """Redis loads its append-only file as that user, and skips what it has no permission for."""
    async with Redis.from_url(stack.service_variables()["ROTARY_REDIS_URL"]) as client:
        transaction = client.pipeline(transaction=True)
        transaction.set("kept:a", "1")
        transaction.set("kept:b", "2")
        await transaction.execute()
    await stack.restart("redis")
    async with Redis.from_url(stack.service_variables()["ROTARY_REDIS_URL"]) as client:
        assert await client.mget("kept:a", "kept:b") == [b"1", b"2"]


async def test_an_emptied_redis_still_asks_for_the_password(stack: Stack) -> None:
    """Last in this file: it takes the facts away."""
    await stack.restart("redis", empty=True)
    for url in (stack.variables()["ROTARY_REDIS_URL"], stack.service_variables()["ROTARY_REDIS_URL"]):
        async with Redis.from_url(url) as client:
            assert await client.ping()
    async with Redis.from_url(stack.service_variables()["ROTARY_REDIS_URL"]) as client:
        with pytest.raises(NoPermissionError):
            await client.flushall()
