"""Connections to PostgreSQL, and the translation of their failures into Rotary's errors."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeAlias, cast

import asyncpg

from rotary.errors import ConfigurationError, UnavailableError

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30
LOCK_SECONDS = 2
"""How long a statement of a pool's connection waits for a lock, so that whoever waits keeps few others waiting."""

_SETTINGS = {"application_name": "rotary", "timezone": "UTC"}
_INVALID_URL = (
    "ROTARY_POSTGRES_URL is invalid: expected postgresql://user:password@host:port/database, "
    "with special characters in the password as %XX"
)

_CONTENDED = (
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.SerializationError,
)
_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
_AWAY = (
    OSError,  # TimeoutError is one
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,  # a deadlock: the same again, later, goes through
)


class ContendedError(UnavailableError):
    """Another transaction changes the same rows, for too long or in another order. Nothing was changed.

    With `is_deadlock` the other one goes on, so the same transaction may succeed at once.
    """

    def __init__(self, error: asyncpg.PostgresError) -> None:
        super().__init__("Somebody else is changing the same", str(error))
        self.is_deadlock = isinstance(error, asyncpg.DeadlockDetectedError)


async def connect(url: str, **settings: str) -> Connection:
    """Opens one connection in UTC with a statement timeout of 30 seconds, and these settings of PostgreSQL's.

    Raises UnavailableError if the server does not answer within 5 seconds or is not ready, and ConfigurationError if
    it rejects the user, the password or the database.
    """
    try:
        return await asyncpg.connect(
            url,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            server_settings=_SETTINGS | settings,
        )
    except _REFUSED as error:
        raise ConfigurationError(f"ROTARY_POSTGRES_URL does not open a database: {error}") from error
    except (ValueError, OverflowError):
        # The cause is not shown: a password with an unescaped @ may have been parsed as the port.
        raise ConfigurationError(_INVALID_URL) from None
    except (*_AWAY, asyncpg.InterfaceError) as error:
        raise _unavailable(error) from error


Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


@asynccontextmanager
async def open_pool(url: str, size: int) -> AsyncIterator[Pool]:
    """A pool of up to `size` connections like those of `connect`, which are opened when they are needed.

    Their statements wait up to two seconds for a lock.

    Raises ConfigurationError for an invalid URL.
    """
    try:
        pool = asyncpg.create_pool(
            url,
            min_size=0,
            max_size=size,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            server_settings=_SETTINGS | {"lock_timeout": f"{LOCK_SECONDS}s"},
            max_inactive_connection_lifetime=60,
            reset=_keep,
        )
        await pool
    except (ValueError, OverflowError):
        raise ConfigurationError(_INVALID_URL) from None
    try:
        yield pool
    finally:
        pool.terminate()


async def _keep(_connection: object) -> None:
    """Nothing to undo when a connection goes back: what is set is set for a transaction, and nobody listens."""


@asynccontextmanager
async def acquired(pool: Pool) -> AsyncIterator[Connection]:
    """A connection of the pool. Raises UnavailableError if there is none within 5 seconds."""
    try:
        connection = await pool.acquire(timeout=CONNECT_SECONDS)
    except (*_AWAY, asyncpg.InterfaceError) as error:
        raise _unavailable(error) from error
    except _REFUSED as error:
        raise UnavailableError("PostgreSQL refuses the login", str(error)) from error
    try:
        yield cast("Connection", connection)
    finally:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            await pool.release(connection, timeout=CONNECT_SECONDS)


@contextmanager
def translate_errors(connection: Connection) -> Iterator[None]:
    """Raises UnavailableError for statements that fail because the server is away or its tables are missing, and
    ContendedError, which is one, for those that lose to another transaction.

    Any other error is a defect in the statement and passes unchanged.
    """
    try:
        yield
    except _CONTENDED as error:
        raise ContendedError(error) from error
    except _AWAY as error:
        raise _unavailable(error) from error
    except asyncpg.UndefinedTableError as error:
        raise UnavailableError("PostgreSQL has no Rotary tables: run rotary-admin migrate") from error
    except asyncpg.InternalClientError as error:
        # asyncpg raises this when the server closes the connection while a statement is being sent. The connection is
        # unusable afterwards.
        connection.terminate()
        raise _unavailable(error) from error
    except asyncpg.InterfaceError as error:
        if not connection.is_closed():
            raise
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> UnavailableError:
    return UnavailableError("PostgreSQL is away", str(error) or type(error).__name__)
