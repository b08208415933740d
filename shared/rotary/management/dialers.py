"""Dialers' users on the broker. Each can publish one customer's events and nothing else."""

import re
import secrets
import string

import msgspec
from msgspec import Struct

from rotary.events import EVENT_TYPES, EXCHANGE
from rotary.management.errors import ConflictError, NotFoundError, Violation
from rotary.rabbitmq.management import Management, Permissions, UserLimits

PREFIX = "dialer-"
"""Every dialer's user has this prefix, so that nothing here can reach the operator's or the consumer's user."""
NAME = r"[a-z0-9][a-z0-9._-]{0,62}"
"""The pattern of a dialer's name: short enough for logs, and without characters that URLs quote."""
MAX_CONNECTIONS = 20
MAX_CHANNELS = 40
_PASSWORD_LETTERS = string.ascii_letters + string.digits  # No URL needs to quote them.
_PASSWORD_LENGTH = 43  # 62^43 > 2^256
_NOTHING = "^$"
_PERMISSIONS = Permissions(configure=_NOTHING, write=rf"^{re.escape(EXCHANGE)}$", read=_NOTHING)
_CUSTOMER_ID = re.compile(r"\\\.([1-9][0-9]*)(?:\\z|\$)$")


class Dialer(Struct, frozen=True):
    """One dialer as the broker has it: its user, its customer, its open connections and its limits (None: no limit)."""

    name: str
    user: str
    customer_id: int
    connections: int
    max_connections: int | None
    max_channels: int | None


class Access(Struct, frozen=True):
    """A dialer's login. The password is known when it is set and cannot be read again."""

    name: str
    user: str
    customer_id: int
    vhost: str
    password: str


def writable(customer_id: int) -> str:
    r"""The pattern of the routing keys that a customer's dialer may publish.

    It ends with `\z`, because `$` also matches before a line feed at the end.
    """
    return rf"^({'|'.join(EVENT_TYPES)})\.{customer_id}\z"


async def create_dialer(management: Management, name: str, customer_id: int, limits: UserLimits) -> Access:
    """Creates a dialer's user. Raises ConflictError for a name that is taken."""
    user = PREFIX + name
    if await management.has_user(user):
        raise ConflictError(Violation("name", f"the broker already has a user {user}"))
    password = _new_password()
    try:
        await management.put_user(user, password)
        # The order matters: without topic permissions a user may write every key, without permissions nothing.
        await management.limit(user, limits)
        await management.permit_topics(user, EXCHANGE, writable(customer_id), _NOTHING)
        await management.permit(user, _PERMISSIONS)
    except BaseException:
        await management.delete_user(user)
        raise
    return Access(name, user, customer_id, management.vhost, password)


async def list_dialers(management: Management, customer_id: int | None = None) -> list[Dialer]:
    """All dialers, or a customer's, as the broker enforces it; ascending by name."""
    limits = await management.limits()
    return [
        Dialer(
            name=user.removeprefix(PREFIX),
            user=user,
            customer_id=owner,
            connections=await management.connections(user),
            **msgspec.structs.asdict(limits.get(user, UserLimits())),
        )
        for user, owner in sorted((await _owners(management)).items())
        if customer_id in (None, owner)
    ]


async def find_dialer(management: Management, name: str, customer_id: int | None = None) -> tuple[str, int]:
    """A dialer's user, and its customer. Raises NotFoundError, also for one that is not `customer_id`'s."""
    user = PREFIX + name
    owner = (await _owners(management)).get(user)
    if owner is None or customer_id not in (None, owner):
        raise NotFoundError("name", f"dialer {name} does not exist")
    return user, owner


async def rotate_dialer(management: Management, name: str, customer_id: int | None = None) -> Access:
    """Sets a new password and closes the dialer's connections. Raises NotFoundError."""
    user, owner = await find_dialer(management, name, customer_id)
    password = _new_password()
    await management.put_user(user, password)
    await management.close_connections(user, "the password was changed")
    return Access(name, user, owner, management.vhost, password)


async def revoke_dialer(management: Management, name: str, customer_id: int | None = None) -> tuple[str, int]:
    """Deletes a dialer's user and closes its connections. Returns the user and its customer. Raises NotFoundError."""
    user, owner = await find_dialer(management, name, customer_id)
    # A new password first: otherwise the dialer could reconnect before its user is deleted.
    await management.put_user(user, _new_password())
    await management.close_connections(user, "the user was revoked")
    await management.delete_user(user)
    return user, owner


async def _owners(management: Management) -> dict[str, int]:
    """Each dialer's user and its customer, as the broker enforces it."""
    return {
        granted.user: int(customer[1])
        for granted in await management.topic_permissions()
        if granted.exchange == EXCHANGE and granted.user.startswith(PREFIX)
        if (customer := _CUSTOMER_ID.search(granted.write))
    }


def _new_password() -> str:
    return "".join(secrets.choice(_PASSWORD_LETTERS) for _ in range(_PASSWORD_LENGTH))
