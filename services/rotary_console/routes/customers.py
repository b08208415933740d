"""What the console does itself for a customer: tokens for browsers, and the customer's users."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from rotary.events import Timestamp
from rotary.http.endpoints import group_id
from rotary.http.responses import failure
from rotary.management import users as model
from rotary.management.errors import ConflictError, NotFoundError, Violation
from rotary.management.fields import DisplayName, NewUser, Role, UserName
from rotary.management.passwords import check_password, generate_password
from rotary_console.database import statement
from rotary_console.http.operations import Answer, Call, Endpoint, Operation, data

CUSTOMER = "/api/customers/{id}"
_NO_USER = failure(404, "User not found.")
_OWN_ROLE = failure(409, "You can't change your own role.")
_TAKEN = (
    "This user name is taken. If it is the same person, whoever runs this installation can give the user a role here."
)


class ReadTokenShown(Struct, frozen=True):
    """A token for the read API, and when it expires."""

    token: str
    expires_at: Timestamp


class NewCustomerUser(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user to create, with a role. Without a password a random one is made, and shown once."""

    name: UserName
    display_name: DisplayName | None = None
    role: Role
    password: Annotated[str, Meta(max_length=1000)] | None = None


class RoleChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What changes: the role, which null takes away, and whether it is disabled."""

    role: Role | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET


class CustomerUser(Struct, frozen=True):
    """A user, as the administrators of one customer see it. `disabled` is the role; `account_disabled` is all of it."""

    id: int
    name: str
    display_name: str | None
    role: Role
    disabled: bool
    account_disabled: bool
    has_totp: bool
    last_sign_in_at: Timestamp | None


class NewUserShown(CustomerUser, frozen=True):
    """A new user. `password` is one that was made here; it is shown this once."""

    password: str | None


async def make_read_token(call: Call) -> Answer:
    """A token that reads for ten minutes; the query service accepts it at once."""
    bearer = await call.parts.bearers.for_browser(call.user, call.customer_id)
    return data(ReadTokenShown(bearer.token, bearer.expires_at.replace(microsecond=0)), 201)


async def list_users(call: Call) -> Answer:
    """Everybody who has a role for the customer."""
    async with call.parts.database.reading() as connection:
        return data([_shown(user) for user in await model.list_users(connection, call.customer_id)])


async def create_user(call: Call) -> Answer:
    """A new user with a role for this customer. A name that exists is refused, whoever has it."""
    body: NewCustomerUser = call.body
    password = generate_password() if body.password is None else body.password
    check_password(password, body.name)
    made = await call.parts.hashing.hash(password, f"user {call.user.user_id}")
    async with call.parts.database.changing(call.user.actor) as connection:
        try:
            created = await model.create_user(connection, NewUser(name=body.name, display_name=body.display_name), made)
        except ConflictError:
            raise ConflictError(Violation("name", _TAKEN)) from None
        await model.set_role(connection, created.id, call.customer_id, body.role)
        user = await model.read_user(connection, created.id, call.customer_id)
    shown_once = password if body.password is None else None
    return data(NewUserShown(**structs.asdict(_shown(user)), password=shown_once), 201)


async def change_user(call: Call) -> Answer:
    """Changes a user's role for this customer, and nothing of what the user is elsewhere."""
    body, user_id = call.body, group_id(call.name)
    if user_id == call.user.user_id:
        return _OWN_ROLE
    async with call.parts.database.changing(call.user.actor) as connection:
        # What another administrator takes away at the same moment is not given back by what was read before.
        await connection.execute(statement("lock_role"), user_id, call.customer_id)
        try:
            user = await model.read_user(connection, user_id, call.customer_id)
        except NotFoundError:
            return _NO_USER
        [had] = user.roles
        role = had.role if body.role is UNSET else body.role
        disabled = had.disabled if body.disabled is UNSET else body.disabled
        await model.set_role(connection, user_id, call.customer_id, role, disabled=disabled)
        if role is None:
            return data(None)
        return data(_shown(await model.read_user(connection, user_id, call.customer_id)))


def _shown(user: model.User) -> CustomerUser:
    [role] = user.roles
    return CustomerUser(
        user.id,
        user.name,
        user.display_name,
        role.role,
        role.disabled,
        user.disabled_at is not None,
        user.has_totp,
        _second(user.last_sign_in_at),
    )


def _second(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(microsecond=0)


ENDPOINTS = (
    Endpoint(f"{CUSTOMER}/read-token", (Operation(method="POST", handler=make_read_token),)),
    Endpoint(
        f"{CUSTOMER}/users",
        (
            Operation(method="GET", handler=list_users, role="admin"),
            Operation(method="POST", handler=create_user, role="admin", body=NewCustomerUser),
        ),
    ),
    Endpoint(
        f"{CUSTOMER}/users/{{user_id}}", (Operation(method="PUT", handler=change_user, role="admin", body=RoleChange),)
    ),
)
