"""Connects to Redis. The client retries nothing by itself, and a server that may evict keys is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from rotary.errors import ConfigurationError, UnavailableError
from rotary.tls import certificate_error

_AWAY = (RedisConnectionError, RedisTimeoutError, MasterDownError, ReadOnlyError, OutOfMemoryError, OSError)

_DRIVER = DriverInfo()
"""Without it, redis-py looks up its own version in the file system for every connection."""


def connect(url: str, timeout_seconds: float = 5.0, max_connections: int = 50) -> Redis:
    """A client that connects on first use. Replies are bytes, and nothing is retried.

    A command whose reply is lost may have run. Send it again only if it may run twice.
    """
    return Redis.from_url(
        url,
        protocol=3,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        max_connections=max_connections,
        retry=Retry(NoBackoff(), 0),
        driver_info=_DRIVER,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )


class FunctionsMissingError(UnavailableError):
    """The server does not have Rotary's functions. Load them with `load_functions` and try again."""

    def __init__(self) -> None:
        super().__init__("Redis lacks Rotary's functions")


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turns errors of a server that is away or refuses writes into UnavailableError. Other errors pass."""
    try:
        yield
    except _AWAY as error:
        if why := certificate_error(error):
            raise ConfigurationError(f"Redis at the address in ROTARY_REDIS_URL: {why}") from error
        raise UnavailableError("Redis is away", str(error)) from error
    except ResponseError as error:
        raise_if_unavailable(error)
        raise


def raise_if_unavailable(reply: object) -> None:
    """Raises UnavailableError for a reply of a server that is away or refuses writes. Raises any other error itself."""
    match reply:
        case _ if isinstance(reply, _AWAY):
            raise UnavailableError("Redis is away", str(reply)) from reply
        case ResponseError() if str(reply).startswith(("MISCONF", "NOREPLICAS", "LOADING", "OOM", "READONLY")):
            raise UnavailableError("Redis refuses writes", str(reply)) from reply
        case ResponseError() if is_function_missing(reply):
            raise FunctionsMissingError from reply
        case Exception():
            raise reply
        case _:
            return


def is_function_missing(reply: object) -> bool:
    """Whether a reply says that the server lacks the function. Redis has no error code for it, only this text."""
    return isinstance(reply, ResponseError) and "Function not found" in str(reply)


async def check_server(client: Redis) -> None:
    """Raises ConfigurationError for a server that may evict keys: without a `seen` key, its calls count twice.

    Raises UnavailableError when the server does not answer.
    """
    with translate_errors():
        policy = (await client.info("memory"))["maxmemory_policy"]
    if policy != "noeviction":
        raise ConfigurationError(f"Redis has maxmemory-policy {policy}: set noeviction, or calls are counted twice")


async def load_functions(client: Redis) -> None:
    """Loads this version's libraries of Redis functions. Repeating it changes nothing.

    A server without them is new, so it is checked first. Each library replaces its former text in one step.
    Redis allows a function's name in one library only. A function that moves to another library needs a new name, so
    that two releases can load their libraries side by side. Raises as `check_server` does.
    """
    await check_server(client)
    for library in libraries():
        with translate_errors():
            await client.function_load(library, replace=True)


@cache
def libraries() -> tuple[str, ...]:
    """The text of each library in `functions`. A library is a file, or a folder whose parts are joined by name."""
    entries = sorted((files("rotary.redis") / "functions").iterdir(), key=_name)
    return tuple(_library(entry) for entry in entries)


def _library(entry: Traversable) -> str:
    if entry.is_file():
        return entry.read_text()
    return "\n".join(part.read_text() for part in sorted(entry.iterdir(), key=_name))


def _name(entry: Traversable) -> str:
    return entry.name
