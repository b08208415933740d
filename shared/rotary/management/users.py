"""Users of the console, and their roles. Passwords come as argon2 hashes: `passwords` makes them."""

from datetime import datetime

import asyncpg
import msgspec
from msgspec import Struct

from rotary.management.constraints import translate_refusals
from rotary.management.errors import NotFoundError
from rotary.management.fields import NewUser, Role
from rotary.management.lookups import require_customer
from rotary.management.statements import statement
from rotary.postgres.connection import Connection, translate_errors


class UserRole(Struct, frozen=True):
    """What a user may do for a customer. A disabled role counts as none."""

    customer_id: int
    role: Role
    disabled: bool


class User(Struct, frozen=True):
    """A stored user, without secrets. `is_linked`: bound to an account of the sign-in provider."""

    id: int
    name: str
    display_name: str | None
    language: str
    disabled_at: datetime | None
    created_at: datetime
    last_sign_in_at: datetime | None
    has_totp: bool
    has_password: bool
    is_linked: bool
    roles: list[UserRole]


async def list_users(connection: Connection, customer_id: int | None = None) -> list[User]:
    """All users, or those with a role for a customer, with that role alone; ascending by id."""
    return await _find(connection, customer_id=customer_id)


async def read_user(connection: Connection, user_id: int, customer_id: int | None = None) -> User:
    """One user. Raises NotFoundError, also for one without a role for the customer, if that is given."""
    if found := await _find(connection, user_id=user_id, customer_id=customer_id):
        return found[0]
    raise NotFoundError("id", f"user {user_id} does not exist")


async def find_user(connection: Connection, name: str) -> User:
    """The user with this name. Raises NotFoundError, whose hint lists users."""
    if found := await _find(connection, name=name.lower()):
        return found[0]
    known = [user.name for user in await list_users(connection)]
    hint = f"the users are {', '.join(known[:10])}{', …' if len(known) > 10 else ''}" if known else "there are none yet"
    raise NotFoundError("name", f"user {name} does not exist", hint)


async def create_user(connection: Connection, user: NewUser, password_hash: str | None) -> User:
    """Creates a user without a role. Raises ConflictError for a name that is taken."""
    with translate_errors(connection), translate_refusals():
        user_id = await connection.fetchval(statement("create_user"), user.name, user.display_name, password_hash)
    return await read_user(connection, user_id)


async def set_password(
    connection: Connection, user_id: int, password_hash: str, *, kept_session: int | None = None
) -> None:
    """Changes a password. Every session of the user ends but `kept_session`, and its browsers are known no more."""
    with translate_errors(connection):
        await connection.execute(statement("set_password"), user_id, password_hash)
        await connection.execute(statement("end_sessions"), user_id, kept_session)
        await connection.execute(statement("forget_devices"), user_id)


async def set_totp(connection: Connection, user_id: int, secret: str | None, step: int | None = None) -> None:
    """Sets, or removes, the secret of one-time codes. `step` is that of the code by which the user confirmed it."""
    with translate_errors(connection):
        await connection.execute(statement("set_totp"), user_id, secret, step)


async def set_disabled(connection: Connection, user_id: int, *, disabled: bool) -> None:
    """Disables an account, which ends its sessions, or enables it."""
    with translate_errors(connection):
        await connection.execute(statement("set_disabled"), user_id, disabled)


async def set_role(
    connection: Connection, user_id: int, customer_id: int, role: Role | None, *, disabled: bool | None = None
) -> None:
    """Gives a user a role for a customer, or takes it. `disabled` of None keeps what is stored.

    Raises NotFoundError for the customer.
    """
    await require_customer(connection, customer_id)
    with translate_errors(connection), translate_refusals():
        if role is None:
            await connection.execute(statement("remove_role"), user_id, customer_id)
        else:
            await connection.execute(statement("set_role"), user_id, customer_id, role, disabled)


async def _find(
    connection: Connection, *, user_id: int | None = None, customer_id: int | None = None, name: str | None = None
) -> list[User]:
    with translate_errors(connection):
        rows = await connection.fetch(statement("find_users"), user_id, customer_id, name)
    return [_user(row) for row in rows]


def _user(row: asyncpg.Record) -> User:
    fields = dict(row.items())
    roles = msgspec.json.decode(fields.pop("roles"), type=list[UserRole])
    return User(**fields, roles=roles)
