"""Connecting to Redis: no silent retries, and no server that would evict what must be kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from rotary.errors import ConfigurationError, UnavailableError
from rotary.tls import certificate_error

_AWAY = (RedisConnectionError, RedisTimeoutError, MasterDownError, ReadOnlyError, OutOfMemoryError, OSError)


def connect(url: str, timeout_seconds: float = 5.0, max_connections: int = 50) -> Redis:
    """A client that connects when first used. Replies are bytes; nothing is retried behind our back.

    A command whose reply was lost may have run: whoever sends it again must know that it may be repeated.
    """
    return Redis.from_url(
        url,
        protocol=3,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        max_connections=max_connections,
        retry=Retry(NoBackoff(), 0),
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )


class FunctionsMissingError(UnavailableError):
    """The server has lost our functions, or never had them: load them and try again."""

    def __init__(self) -> None:
        super().__init__("Redis lacks our functions")


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turns every error that says "not now" into UnavailableError; any other is a defect and passes."""
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
    """Raises UnavailableError for a pipeline's reply that says "not now", the reply itself for any other error."""
    match reply:
        case _ if isinstance(reply, _AWAY):
            raise UnavailableError("Redis is away", str(reply)) from reply
        case ResponseError() if str(reply).startswith(("MISCONF", "NOREPLICAS", "LOADING", "OOM", "READONLY")):
            raise UnavailableError("Redis refuses writes", str(reply)) from reply
        case ResponseError() if "Function not found" in str(reply):
            raise FunctionsMissingError from reply
        case Exception():
            raise reply
        case _:
            return


async def check_server(client: Redis) -> None:
    """Refuses a server that may evict: an evicted `seen` key would count its calls a second time.

    Raises ConfigurationError, or UnavailableError when the server does not answer.
    """
    with translate_errors():
        policy = (await client.info("memory"))["maxmemory_policy"]
    if policy != "noeviction":
        raise ConfigurationError(f"Redis has maxmemory-policy {policy}: set noeviction, or calls are counted twice")


async def load_functions(client: Redis) -> None:
    """Puts our libraries of Redis functions, this version's, on the server; harmless to repeat.

    A server that lacks them is a new one, hence checked. Each library replaces its former text in one step. The name of
    a function can be in one library only: a function that moves to another library needs another name, or two releases
    could not load theirs side by side. Raises as `check_server` does.
    """
    await check_server(client)
    for library in libraries():
        with translate_errors():
            await client.function_load(library, replace=True)


def libraries() -> list[str]:
    """The text of each library in `functions`: a file, or a folder of parts, joined in the order of their names."""
    entries = sorted((files("rotary.redis") / "functions").iterdir(), key=_name)
    return [_library(entry) for entry in entries]


def _library(entry: Traversable) -> str:
    if entry.is_file():
        return entry.read_text()
    return "\n".join(part.read_text() for part in sorted(entry.iterdir(), key=_name))


def _name(entry: Traversable) -> str:
    return entry.name
