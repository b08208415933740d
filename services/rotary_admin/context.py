"""Commands on the database: one connection and one transaction a command."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Concatenate, ParamSpec

import click
from msgspec import Struct

from rotary.errors import UnavailableError
from rotary.postgres.connection import Connection, answering, connect
from rotary.postgres.statements import statements
from rotary.runtime.settings import PostgresUrl, load

P = ParamSpec("P")


class PostgresSettings(Struct, frozen=True):
    """The one setting these commands need."""

    postgres_url: PostgresUrl


def postgres_url() -> str:
    """ROTARY_POSTGRES_URL. Raises ConfigurationError when it is missing or has the wrong form."""
    return load(PostgresSettings, os.environ).postgres_url


def statement(name: str) -> str:
    """The statement called `name` in this package's queries.sql."""
    return statements("rotary.management")[name]


def on_database(command: Callable[Concatenate[Connection, P], Awaitable[None]]) -> Callable[P, None]:
    """Makes a click callback of a coroutine function that takes a connection first.

    The command is one transaction: what it does is done when it returns, and not done at all when it raises.
    """

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def connected() -> None:
            connection = await connect(postgres_url())
            try:
                with answering(connection):
                    async with connection.transaction():
                        await command(connection, *args, **kwargs)
            finally:
                await connection.close(timeout=5)

        asyncio.run(connected())

    return run


async def connect_within(url: str, seconds: float) -> Connection:
    """Connects, waiting up to `seconds` for a server that is not up yet; each wait is a line on standard error."""
    deadline = time.monotonic() + seconds
    pause = 0.25
    while True:
        try:
            return await connect(url)
        except UnavailableError as error:
            if time.monotonic() + pause > deadline:
                raise
            click.echo(f"rotary-admin: waiting for PostgreSQL ({error.__cause__}); again in {pause} s", err=True)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)
