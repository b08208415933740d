"""What commands work with: their settings, and connections to the servers that these name."""

import asyncio
import getpass
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import wraps
from typing import Annotated, Concatenate, ParamSpec
from urllib.parse import unquote, urlsplit

import click
from aio_pika.abc import AbstractChannel
from msgspec import Meta, Struct
from redis.asyncio import Redis

from rotary.errors import UnavailableError
from rotary.management.actor import act_as
from rotary.postgres.connection import Connection, connect, translate_errors
from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel
from rotary.rabbitmq.management import Management, open_management
from rotary.redis.connection import connect as connect_redis
from rotary.runtime.settings import CaFile, PostgresUrl, RabbitUrl, RedisUrl, load

P = ParamSpec("P")

_FIRST_PAUSE_SECONDS = 0.25
_MAX_PAUSE_SECONDS = 5.0


class PostgresSettings(Struct, frozen=True):
    """For commands on the database."""

    postgres_url: PostgresUrl


class RedisSettings(Struct, frozen=True):
    """For commands on Redis."""

    redis_url: RedisUrl
    ca_file: CaFile = ""


class BrokerSettings(Struct, frozen=True):
    """For commands on the broker."""

    rabbitmq_url: RabbitUrl
    ca_file: CaFile = ""


class ProjectionSettings(Struct, frozen=True):
    """For commands on the database and on its projection in Redis."""

    postgres_url: PostgresUrl
    redis_url: RedisUrl
    ca_file: CaFile = ""


class ManagementSettings(Struct, frozen=True):
    """For commands on the broker's users. The virtual host is that of the broker's URL."""

    management_url: Annotated[str, Meta(pattern=r"^https?://.+", description="http://user:password@host:15672")]
    rabbitmq_url: RabbitUrl = "amqp:///"
    ca_file: CaFile = ""


def postgres_url() -> str:
    """ROTARY_POSTGRES_URL. Raises ConfigurationError if it is missing or invalid, as do all functions here."""
    return load(PostgresSettings, os.environ).postgres_url


def redis_url() -> str:
    """ROTARY_REDIS_URL."""
    return load(RedisSettings, os.environ).redis_url


def rabbitmq_url() -> str:
    """ROTARY_RABBITMQ_URL."""
    return load(BrokerSettings, os.environ).rabbitmq_url


def projection_settings() -> ProjectionSettings:
    """ROTARY_POSTGRES_URL and ROTARY_REDIS_URL."""
    return load(ProjectionSettings, os.environ)


@asynccontextmanager
async def database(url: str, wait_seconds: float = 0) -> AsyncIterator[Connection]:
    """A connection to PostgreSQL. Failures inside the block are UnavailableError if the server is away."""
    connection = await _connect(url, wait_seconds)
    try:
        with translate_errors(connection):
            await act_as(connection, actor(), whole_session=True)
            yield connection
    finally:
        await connection.close(timeout=5)


def actor() -> str:
    """Who uses the command line, as the audit log names them."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return f"rotary-admin ({user}@{socket.gethostname()})"


async def _connect(url: str, wait_seconds: float) -> Connection:
    """Connects, and retries for `wait_seconds` while the server is away, with a line on standard error per retry."""
    deadline = time.monotonic() + wait_seconds
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return await connect(url)
        except UnavailableError as error:
            if time.monotonic() + pause > deadline:
                raise
            click.echo(f"rotary-admin: {error.what}; retrying in {pause} s", err=True)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _MAX_PAUSE_SECONDS)


@asynccontextmanager
async def redis_client() -> AsyncIterator[Redis]:
    """A client of the server at ROTARY_REDIS_URL."""
    async with aclosing(connect_redis(redis_url())) as client:
        yield client


def with_database(command: Callable[Concatenate[Connection, P], Awaitable[None]]) -> Callable[P, None]:
    """Makes a click callback of a coroutine function whose first parameter is a connection.

    The command runs in one transaction, which is rolled back if it raises.
    """

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def connected() -> None:
            async with database(postgres_url()) as connection, connection.transaction():
                await command(connection, *args, **kwargs)

        asyncio.run(connected())

    return run


def with_broker(command: Callable[Concatenate[AbstractChannel, P], Awaitable[None]]) -> Callable[P, None]:
    """Makes a click callback of a coroutine function whose first parameter is a channel with confirms."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def connected() -> None:
            async with channel(rabbitmq_url(), confirms=True) as opened:
                await topology.declare(opened)
                await command(opened, *args, **kwargs)

        asyncio.run(connected())

    return run


def with_management(command: Callable[Concatenate[Management, P], Awaitable[None]]) -> Callable[P, None]:
    """Makes a click callback of a coroutine function whose first parameter is the broker's management API."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        settings = load(ManagementSettings, os.environ)
        vhost = unquote(urlsplit(settings.rabbitmq_url).path.removeprefix("/")) or "/"

        async def connected() -> None:
            async with open_management(settings.management_url, vhost, settings.ca_file) as management:
                await command(management, *args, **kwargs)

        asyncio.run(connected())

    return run
