"""Checks that the rows a change names exist."""

from collections.abc import Sequence

from rotary.management.errors import NotFoundError, named
from rotary.management.statements import statement
from rotary.postgres.connection import Connection

_MAX_NAMES = 10


async def require_customer(connection: Connection, customer_id: int) -> None:
    """Raises NotFoundError unless the customer exists. Its hint lists existing customers."""
    rows = await connection.fetch(statement("known_customers"), customer_id, _MAX_NAMES + 1)
    if customer_id not in {row["id"] for row in rows}:
        hint = named([f"{row['id']} ({row['name']})" for row in rows], "customers", _MAX_NAMES)
        raise NotFoundError("customer_id", f"customer {customer_id} does not exist", hint)


async def require_group(connection: Connection, group_id: int, owner: int | None = None) -> int:
    """The group's customer. Raises NotFoundError unless the group exists, and is `owner`'s if that is given.

    Its hint lists existing groups, unless there is an owner.
    """
    rows = await connection.fetch(statement("known_groups"), group_id, _MAX_NAMES + 1)
    owners: dict[int, int] = {row["id"]: row["customer_id"] for row in rows}
    if group_id not in owners or owner not in (None, owners[group_id]):
        known = [f"{row['id']} ({row['name']})" for row in rows] if owner is None else []
        hint = named(known, "groups", _MAX_NAMES) if owner is None else ""
        raise NotFoundError("group_id", f"group {group_id} does not exist", hint)
    return owners[group_id]


async def require_caller_ids(connection: Connection, customer_id: int, caller_ids: Sequence[int]) -> None:
    """Raises NotFoundError unless all are caller IDs of this customer. Its hint lists some that are."""
    await require_customer(connection, customer_id)
    rows = await connection.fetch(statement("known_caller_ids"), customer_id, list(caller_ids), _MAX_NAMES + 1)
    missing = sorted(set(caller_ids) - {row["id"] for row in rows})
    if missing:
        hint = named([f"{row['id']} ({row['number']})" for row in rows], "caller IDs", _MAX_NAMES)
        detail = f"customer {customer_id} has no caller ID {', '.join(map(str, missing))}"
        raise NotFoundError("caller_ids", detail, hint)
