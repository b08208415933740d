"""Ids that a command is given: refused when they name nothing, with what there is."""

from collections.abc import Sequence

from rotary.postgres.connection import Connection
from rotary_admin.context import statement
from rotary.runtime.cli import Failure

_LISTED = 10


async def require_customer(connection: Connection, customer_id: int) -> None:
    """Raises Failure when there is no such customer; it lists those that there are."""
    rows = await connection.fetch(statement("known_customers"), customer_id, _LISTED + 1)
    if customer_id not in {row["id"] for row in rows}:
        there = _listed([f"{row['id']} ({row['name']})" for row in rows], "customers")
        raise Failure(f"there is no customer {customer_id}; {there}")


async def require_group(connection: Connection, group_id: int) -> int:
    """The group's customer. Raises Failure when there is no such group; it lists some that there are."""
    rows = await connection.fetch(statement("known_groups"), group_id, _LISTED + 1)
    owners: dict[int, int] = {row["id"]: row["customer_id"] for row in rows}
    if group_id not in owners:
        there = _listed([f"{row['id']} ({row['name']})" for row in rows], "groups")
        raise Failure(f"there is no group {group_id}; {there}")
    return owners[group_id]


async def require_caller_ids(connection: Connection, customer_id: int, caller_ids: Sequence[int]) -> None:
    """Raises Failure when any of them is not this customer's; it lists the customer's."""
    await require_customer(connection, customer_id)
    rows = await connection.fetch(statement("known_caller_ids"), customer_id, list(caller_ids), _LISTED + 1)
    missing = sorted(set(caller_ids) - {row["id"] for row in rows})
    if missing:
        own = _listed([f"{row['id']} ({row['number']})" for row in rows], "caller IDs")
        raise Failure(f"customer {customer_id} has no caller ID {', '.join(map(str, missing))}; {own}")


def _listed(names: Sequence[str], what: str) -> str:
    if not names:
        return f"there are no {what} yet"
    return f"the {what} are {', '.join(names[:_LISTED])}{', …' if len(names) > _LISTED else ''}"
