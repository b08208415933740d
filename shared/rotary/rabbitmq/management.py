"""A client of the part of RabbitMQ's HTTP management API that manages users, which AMQP can't do."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import Struct
from yarl import URL

from rotary.errors import ConfigurationError, RotaryError, UnavailableError
from rotary.tls import certificate_error, client_context

ANSWER_SECONDS = 10
_ADMINISTRATOR = "administrator"

T = TypeVar("T")


class Permissions(Struct, frozen=True):
    """What a user may do, each a regular expression over the names of queues and exchanges."""

    configure: str
    write: str
    read: str


class TopicPermission(Struct, frozen=True):
    """The routing keys that a user may write to and read from a topic exchange, as regular expressions.

    A user without one for an exchange may use every key.
    """

    user: str
    vhost: str
    exchange: str
    write: str
    read: str


class UserLimits(Struct, frozen=True, rename={"max_connections": "max-connections", "max_channels": "max-channels"}):
    """The connections and channels that a user may have open, over all virtual hosts. None is no limit."""

    max_connections: int | None = None
    max_channels: int | None = None


class _LimitsOf(Struct):
    user: str
    value: UserLimits


class _Me(Struct):
    name: str
    tags: list[str] | str  # one text, separated by commas, before RabbitMQ 3.9


class _Tracked(Struct):
    name: str


class _Refusal(Struct):
    error: str = ""
    reason: object = ""  # text, or an Erlang term as JSON


class Management:
    """One broker's users, and their permissions on one virtual host. Get one from `open_management`.

    Every call raises UnavailableError when the API does not answer, and RotaryError with the broker's message when the
    broker refuses it.
    """

    def __init__(self, session: aiohttp.ClientSession, url: URL, vhost: str) -> None:
        self._session = session
        self._url = url
        self.vhost = vhost

    async def check(self) -> None:
        """Raises ConfigurationError unless this is RabbitMQ, we administer it, and the virtual host exists."""
        me = await self._get(_Me, "whoami")
        if me is None:
            raise self._foreign()
        if _ADMINISTRATOR not in me.tags:
            raise ConfigurationError("ROTARY_MANAGEMENT_URL: its user lacks the tag administrator")
        if await self._call("GET", "vhosts", self.vhost) is None:
            raise ConfigurationError(f"RabbitMQ has no virtual host {self.vhost}, which ROTARY_RABBITMQ_URL names")

    async def has_user(self, name: str) -> bool:
        return await self._call("GET", "users", name) is not None

    async def put_user(self, name: str, password: str) -> None:
        """Creates a user without tags or permissions, or changes its password. Its connections stay open."""
        await self._call("PUT", "users", name, body={"password": password, "tags": ""})

    async def delete_user(self, name: str) -> None:
        """Deletes a user, if it exists. The broker then closes its connections."""
        await self._call("DELETE", "users", name)

    async def permit(self, user: str, permissions: Permissions) -> None:
        await self._call("PUT", "permissions", self.vhost, user, body=msgspec.structs.asdict(permissions))

    async def permit_topics(self, user: str, exchange: str, write: str, read: str) -> None:
        body = {"exchange": exchange, "write": write, "read": read}
        await self._call("PUT", "topic-permissions", self.vhost, user, body=body)

    async def topic_permissions(self) -> list[TopicPermission]:
        """The topic permissions of every user on this virtual host."""
        return await self._get(list[TopicPermission], "vhosts", self.vhost, "topic-permissions") or []

    async def limit(self, user: str, limits: UserLimits) -> None:
        """Sets the given limits and leaves the others. The broker refuses connections and channels beyond them."""
        for name, value in msgspec.to_builtins(limits).items():
            if value is None:
                continue
            if await self._call("PUT", "user-limits", user, name, body={"value": value}) is None:
                raise RotaryError("RabbitMQ cannot limit a user's connections and channels: it is older than 3.8.10")

    async def limits(self) -> dict[str, UserLimits]:
        """The limits by user, for users that have any. Empty for a broker that does not support limits."""
        return {of.user: of.value for of in await self._get(list[_LimitsOf], "user-limits") or ()}

    async def connections(self, user: str) -> int:
        """The number of open connections of a user, over all virtual hosts."""
        return len(await self._get(list[_Tracked], "connections", "username", user) or ())

    async def close_connections(self, user: str, reason: str) -> None:
        """Closes the connections of a user. The broker sends the reason to the clients."""
        await self._call("DELETE", "connections", "username", user, reason=reason)

    async def _get(self, kind: type[T], *path: str) -> T | None:
        body = await self._call("GET", *path)
        try:
            return None if body is None else msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError:
            raise self._foreign() from None

    async def _call(
        self, method: str, *path: str, body: Mapping[str, str | int] | None = None, reason: str = ""
    ) -> bytes | None:
        """The body of the answer; None for 404."""
        url = self._url.joinpath("api", *(quote(part, safe="") for part in path), encoded=True)
        headers = {"X-Reason": reason} if reason else {}
        try:
            async with self._session.request(method, url, json=body, headers=headers) as answer:
                return self._body(answer.status, await answer.read())
        except aiohttp.ClientConnectionError as error:
            if why := certificate_error(error):
                raise ConfigurationError(f"RabbitMQ's management API at {self._address}: {why}") from error
            raise self._away(str(error)) from error
        except TimeoutError as error:
            raise self._away("timeout") from error
        except aiohttp.ClientError as error:  # the answer is no HTTP
            raise self._foreign() from error

    def _body(self, status: int, body: bytes) -> bytes | None:
        if status < 300:
            return body
        try:
            refusal = msgspec.json.decode(body, type=_Refusal)
        except msgspec.DecodeError:
            if status >= 500:
                raise RotaryError(f"RabbitMQ's management API failed ({status}): see the broker's log") from None
            raise self._foreign() from None
        match status:
            case 404:
                return None
            case 401 | 403:
                raise ConfigurationError(
                    f"RabbitMQ refuses the user or password of ROTARY_MANAGEMENT_URL: {refusal.reason}"
                )
            case _:
                raise RotaryError(f"RabbitMQ's management API refuses ({status}): {refusal.reason or refusal.error}")

    @property
    def _address(self) -> str:
        return f"{self._url.host}:{self._url.port}"

    def _away(self, why: str) -> UnavailableError:
        return UnavailableError(
            "RabbitMQ's management API does not answer",
            f"{self._address}: {why}; if the broker runs, enable it there: rabbitmq-plugins enable rabbitmq_management",
        )

    def _foreign(self) -> ConfigurationError:
        return ConfigurationError(
            f"ROTARY_MANAGEMENT_URL: what answers at {self._address} is not RabbitMQ's management API (port 15672)"
        )


@asynccontextmanager
async def open_management(url: str, vhost: str, ca_file: str = "") -> AsyncIterator[Management]:
    """Opens a client of the API at `url`, `http://user:password@host:15672` or https.

    With https, the certificate authorities in `ca_file` are trusted. Raises UnavailableError when nothing answers, and
    ConfigurationError as `Management.check` does.
    """
    parsed = URL(url)
    login = aiohttp.encode_basic_auth(parsed.user or "guest", parsed.password or "guest", "utf-8")
    async with aiohttp.ClientSession(
        headers={"Authorization": login},
        connector=aiohttp.TCPConnector(ssl=client_context(ca_file)),
        timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
    ) as session:
        management = Management(session, parsed.with_user(None), vhost)
        await management.check()
        yield management
