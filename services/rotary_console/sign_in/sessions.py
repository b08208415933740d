"""Sessions: who a request's cookie belongs to, and when the cookie's value changes.

The value changes every ROTATE_SECONDS. Requests overtake each other, so the former value stays valid until its
successor has been used, and GRACE_SECONDS longer. A successor that was never used has been lost on its way: the former
value then gets another one.
"""

from datetime import datetime, timedelta
from typing import Literal

import asyncpg
import msgspec
from msgspec import Struct

from rotary.management.fields import Role
from rotary.postgres.connection import Connection
from rotary_console.database import Database, statement
from rotary_console.sign_in.cookies import hashed, new_value

ROTATE_SECONDS = 900
GRACE_SECONDS = 60
TOUCH_SECONDS = 60
"""How exactly is known when a session was used last."""

Action = Literal["nothing", "touch", "rotate"]
_ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")


class CustomerOfUser(Struct, frozen=True):
    """A customer, and what the user may do for it."""

    id: int
    name: str
    timezone: str
    role: Role


class Session(Struct, frozen=True):
    """A session that is alive, and its user as of now."""

    id: int
    user_id: int
    name: str
    display_name: str | None
    has_totp: bool
    language: str
    customers: list[CustomerOfUser]
    cookie: str = ""
    """The cookie's new value, if it has changed with this request."""

    @property
    def actor(self) -> str:
        """As the audit log names the user."""
        return f"user {self.name}"

    def role(self, customer_id: int) -> Role | None:
        """What the user may do for a customer."""
        return next((one.role for one in self.customers if one.id == customer_id), None)


def allows(role: Role, needed: Role) -> bool:
    """Whether a role may do what needs another."""
    return _ROLES.index(role) >= _ROLES.index(needed)


class Seen(Struct, frozen=True):
    """What is stored of a session, as a request with its cookie finds it."""

    is_current: bool
    """Whether the cookie has the current value, and not the former one."""
    has_former: bool
    is_former_ending: bool
    """Whether the current value has been used before."""
    rotated_ago: timedelta
    seen_ago: timedelta


def decide(seen: Seen) -> Action:
    """What a request does to its session."""
    if seen.rotated_ago >= timedelta(seconds=ROTATE_SECONDS) and seen.is_current:
        return "rotate"
    if not seen.is_current:
        # Within the time in which requests overtake each other another value would only lose to the one under way.
        is_lost = seen.rotated_ago >= timedelta(seconds=GRACE_SECONDS) and not seen.is_former_ending
        return "rotate" if is_lost else "nothing"
    is_confirming = seen.has_former and not seen.is_former_ending
    return "touch" if is_confirming or seen.seen_ago >= timedelta(seconds=TOUCH_SECONDS) else "nothing"


class Sessions:
    """Begins, finds and ends sessions. Every method raises UnavailableError when PostgreSQL is away."""

    def __init__(self, database: Database, idle_minutes: int, hours: int) -> None:
        self._database = database
        self.idle_minutes = idle_minutes
        self._hours = hours

    async def begin(self, connection: Connection, user_id: int, verified_hash: str | None) -> str | None:
        """A new session's cookie. None if the user is disabled, or has another password than the one verified."""
        value = new_value()
        arguments = (user_id, hashed(value), self._hours, verified_hash)
        if await connection.fetchval(statement("begin_session"), *arguments) is None:
            return None
        await connection.execute(statement("note_sign_in"), user_id)
        return value

    async def find(self, value: str) -> Session | None:
        """The session of a cookie, and its value's successor if it is time for one."""
        if not value:
            return None
        async with self._database.reading() as connection:
            row = await connection.fetchrow(statement("find_session"), hashed(value), self.idle_minutes)
            if row is None:
                return None
            return _session(row, await self._tend(connection, row, value))

    async def end(self, value: str) -> None:
        """Ends the session of a cookie, and with it the tokens that it uses."""
        if value:
            async with self._database.reading() as connection:
                await connection.execute(statement("end_session"), hashed(value))

    async def _tend(self, connection: Connection, row: asyncpg.Record, value: str) -> str:
        seen = Seen(
            row["is_current"],
            row["has_former"],
            row["former_until"] is not None,
            row["rotated_ago"],
            row["seen_ago"],
        )
        match decide(seen):
            case "rotate":
                return await self._rotate(connection, row, value)
            case "touch":
                await connection.execute(statement("touch_session"), row["id"], row["is_current"], GRACE_SECONDS)
            case "nothing":
                pass
        return ""

    async def _rotate(self, connection: Connection, row: asyncpg.Record, value: str) -> str:
        successor = new_value()
        rotated_at: datetime = row["now"] - row["rotated_ago"]
        arguments = (row["id"], hashed(value), hashed(successor), rotated_at)
        return successor if await connection.fetchval(statement("rotate_session"), *arguments) else ""


def _session(row: asyncpg.Record, cookie: str) -> Session:
    customers = msgspec.json.decode(row["customers"], type=list[CustomerOfUser])
    return Session(
        row["id"],
        row["user_id"],
        row["name"],
        row["display_name"],
        row["has_totp"],
        row["language"],
        customers,
        cookie,
    )
