"""Connections to PostgreSQL, and what their failures mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import asyncpg

from rotary.errors import ConfigurationError, UnavailableError

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30

_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
_AWAY = (
    OSError,  # TimeoutError is one
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)


async def connect(url: str) -> Connection:
    """Opens one connection, UTC, whose statements end after 30 seconds.

    Raises UnavailableError("postgres") when the server does not answer within 5 seconds or is not ready, and
    ConfigurationError when it answers that the user, the password or the database is wrong.
    """
    try:
        return await asyncpg.connect(
            url,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            server_settings={"application_name": "rotary", "timezone": "UTC"},
        )
    except _REFUSED as error:
        raise ConfigurationError(f"ROTARY_POSTGRES_URL does not open a database: {error}") from error
    except (ValueError, OverflowError):
        # Not told further: what was taken for a port may be the end of a password with an @ in it.
        raise ConfigurationError(
            "ROTARY_POSTGRES_URL cannot be read: give postgresql://user:password@host:port/database, "
            "with %XX for what is special in a password"
        ) from None
    except (*_AWAY, asyncpg.InterfaceError) as error:
        raise UnavailableError("postgres") from error


@contextmanager
def answering(connection: Connection) -> Iterator[None]:
    """Turns the failures of statements inside into UnavailableError: the server went, or its tables are not there yet.

    A statement that is wrong in itself raises what asyncpg raises.
    """
    try:
        yield
    except _AWAY as error:
        raise UnavailableError("postgres") from error
    except asyncpg.UndefinedTableError as error:
        raise UnavailableError("the tables in postgres (run rotary-admin migrate)") from error
    except asyncpg.InternalClientError as error:
        # What asyncpg raises when the server's farewell and our statement cross; the connection is of no more use.
        connection.terminate()
        raise UnavailableError("postgres") from error
    except asyncpg.InterfaceError as error:
        if not connection.is_closed():
            raise
        raise UnavailableError("postgres") from error
