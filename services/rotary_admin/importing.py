"""Brings the database to what a file says: by natural keys, so that a second time finds nothing to do."""

from collections.abc import Mapping, Sequence
from typing import Literal

import asyncpg
import msgspec
from msgspec import UNSET, Struct, UnsetType

from rotary.policy import Policy
from rotary.postgres.connection import Connection
from rotary_admin.database import statement
from rotary_admin.document import CallerIdEntry, CustomerEntry, GroupEntry, given
from rotary_admin.members import apply_changes, member_changes
from rotary_admin.program import Failure
from rotary_admin.reading import Source, members_of
from rotary_admin.rows import NAMES, Table, Values, insert, update


class Edit(Struct, frozen=True):
    """One thing that an import does: `name` is what the row is known by, `fields` the columns that change."""

    action: Literal["create", "update", "add", "reweight", "remove"]
    what: str
    name: str
    fields: list[str] = []


async def import_source(connection: Connection, source: Source) -> list[Edit]:
    """Writes what the file asks for, returns what that changed. Raises Failure for what is ambiguous or incomplete."""
    work = _Import(connection, exact_members=source.exact_members)
    for entry in source.definitions.customers:
        await work.customer(entry)
    return work.edits


class _Import:
    def __init__(self, connection: Connection, *, exact_members: bool) -> None:
        self.edits: list[Edit] = []
        self._connection = connection
        self._exact = exact_members

    async def customer(self, entry: CustomerEntry) -> None:
        row_id, name = (None if value is UNSET else value for value in (entry.id, entry.name))
        rows = await self._connection.fetch(statement("find_customers"), row_id, name)
        if len(rows) > 1:
            raise Failure(f"{len(rows)} customers are called {name}: give the id of the one you mean")
        if not rows and name is None:
            raise Failure(f"there is no customer {row_id or 'without id and name'}: to create it, give its name")
        values = given(entry, "caller_ids", "groups")
        customer_id = await self._write("customers", values, rows[0] if rows else None, str(name or row_id))
        # Caller IDs first: members name them.
        ids = await self._caller_ids(customer_id, entry.caller_ids)
        known = await self._connection.fetch(statement("groups"), customer_id) if entry.groups else []
        for group in entry.groups:
            await self._members(customer_id, await self._group(customer_id, group, known), group, ids)

    async def _caller_ids(self, customer_id: int, entries: Sequence[CallerIdEntry]) -> dict[str, int]:
        """Writes the caller IDs; returns all of the customer's, number to id."""
        rows = await self._connection.fetch(statement("caller_ids"), customer_id, None, None)
        by_id, by_number = {row["id"]: row for row in rows}, {row["number"]: row for row in rows}
        ids = {row["number"]: row["id"] for row in rows}
        for entry in entries:
            row = _meant("caller_ids", entry.id, by_id, by_number.get(entry.number), entry.number)
            if row is None and entry.carrier is UNSET:
                raise Failure(f"there is no caller ID {entry.number}: to create it, give its carrier")
            if row is not None:
                ids.pop(row["number"], None)
            values = {"customer_id": customer_id} | given(entry)
            ids[entry.number] = await self._write("caller_ids", values, row, entry.number)
        return ids

    async def _group(self, customer_id: int, entry: GroupEntry, known: Sequence[asyncpg.Record]) -> int:
        named = [row for row in known if row["name"] == entry.name]
        if len(named) > 1 and entry.id is UNSET:
            raise Failure(f"{len(named)} groups of customer {customer_id} are called {entry.name}: give the id")
        by_id = {row["id"]: row for row in known}
        row = _meant("caller_id_groups", entry.id, by_id, named[0] if named else None, entry.name)
        if row is None and entry.rotation_strategy is UNSET:
            raise Failure(f"there is no group {entry.name}: to create it, give its rotation_strategy")
        values = {"customer_id": customer_id} | given(entry, "members")
        return await self._write("caller_id_groups", values, row, entry.name)

    async def _members(self, customer_id: int, group_id: int, group: GroupEntry, ids: Mapping[str, int]) -> None:
        if group.members is UNSET:
            return
        members = members_of(group)
        if unknown := [member.number for member in members if member.number not in ids]:
            raise Failure(f"group {group.name}: its customer has no caller ID {', '.join(unknown)}")
        wanted = {ids[member.number]: None if member.weight is UNSET else member.weight for member in members}
        changes = await member_changes(self._connection, customer_id, group_id, wanted, exact=self._exact)
        await apply_changes(self._connection, group_id, changes, wanted)
        numbers = {row_id: number for number, row_id in ids.items()}
        done: list[tuple[Literal["add", "reweight", "remove"], list[int]]]
        done = [("add", changes.added), ("reweight", changes.reweighted), ("remove", changes.removed)]
        self.edits += [
            Edit(action, "member", f"{numbers[row]} of {group.name}") for action, rows in done for row in rows
        ]

    async def _write(self, table: Table, values: Values, row: asyncpg.Record | None, name: str) -> int:
        if row is None:
            self.edits.append(Edit("create", NAMES[table], name))
            return await insert(self._connection, table, values)
        row_id: int = row["id"]
        changed = {column: value for column, value in values.items() if _stored(row, column) != value}
        if changed:
            self.edits.append(Edit("update", NAMES[table], name, list(changed)))
            await update(self._connection, table, row_id, changed)
        return row_id


def _meant(
    table: Table, row_id: int | UnsetType, by_id: Mapping[int, asyncpg.Record], same: asyncpg.Record | None, name: str
) -> asyncpg.Record | None:
    """The row an entry means: the one with its id where it gives one, else `same`, the one with its number or name."""
    if row_id is UNSET:
        return same
    if row_id not in by_id and same is not None:
        raise Failure(f"{NAMES[table]} {name} has the id {same['id']} here, but {row_id} in the file")
    return by_id.get(row_id)


def _stored(row: asyncpg.Record, column: str) -> object:
    if column == "policy" and row[column] is not None:
        return msgspec.json.decode(row[column], type=Policy)
    return row[column]
