"""Brings the database to what a file says: by natural keys, so that a second time finds nothing to do.

First everything is compared, and all mistakes are found; then what differs is written, many rows to a statement.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal, NamedTuple, TypeVar

import asyncpg
import msgspec
from msgspec import UNSET, Struct, UnsetType

from rotary.policy import Policy
from rotary.postgres.connection import Connection
from rotary.management.validation import Mistakes
from rotary_admin.context import statement
from rotary.management.definitions_file.schema import CallerIdEntry, CustomerEntry, GroupEntry, given, members_of
from rotary_admin.commands.member import Weights, changes_of
from rotary.management.definitions_file.read import Source
from rotary.management.rows import NAMES, Table, Values, insert, insert_many, update, update_many

T = TypeVar("T")

_AT_ONCE = 5_000
_KEYS: dict[Table, tuple[str, str]] = {
    "caller_ids": ("number", "carrier"),
    "caller_id_groups": ("name", "rotation_strategy"),
}
"""By which column a row is known, and which a new one needs."""

Advance = Callable[[int], None]
"""Told how many more caller IDs and members are done."""


class Edit(Struct, frozen=True):
    """One thing that an import does: `name` is what the row is known by, `fields` the columns that change."""

    action: Literal["create", "update", "add", "reweight", "remove"]
    what: str
    name: str
    fields: list[str] = []


class _Row(NamedTuple):
    """An entry beside the row it means, if there is one, and what it says differently."""

    name: str
    row_id: int | None
    values: Values


def _unheard(_rows: int) -> None:
    """Nobody watches."""


async def import_source(connection: Connection, source: Source, advance: Advance = _unheard) -> list[Edit]:
    """Writes what the file asks for; returns what that changed. Raises Failure for all that is ambiguous or missing."""
    work = _Import(connection, source, advance)
    for place, entry in enumerate(source.definitions.customers):
        await work.customer(f".customers[{place}]", entry)
    work.mistakes.refuse(source.file, source.locate)
    return work.edits


class _Import:
    def __init__(self, connection: Connection, source: Source, advance: Advance) -> None:
        self.edits: list[Edit] = []
        self.mistakes = Mistakes()
        self._connection = connection
        self._exact = source.exact_members
        self._advance = advance

    async def customer(self, where: str, entry: CustomerEntry) -> None:
        row_id, name = (None if value is UNSET else value for value in (entry.id, entry.name))
        rows = await self._connection.fetch(statement("find_customers"), row_id, name)
        if len(rows) > 1:
            self.mistakes.add(where, f"{len(rows)} customers are called {name}: give the id of the one you mean")
        elif not rows and name is None:
            told = f"there is no customer {row_id or 'without id and name'}: to create it, give its name"
            self.mistakes.add(where, told)
        else:
            await self._content(where, entry, rows[0] if rows else None)

    async def _content(self, where: str, entry: CustomerEntry, row: asyncpg.Record | None) -> None:
        customer_id = None if row is None else row["id"]
        stored = await self._stored_callers(customer_id, entry)
        groups = await self._fetch("groups", customer_id) if entry.groups else []
        caller_rows = await self._compare("caller_ids", f"{where}.caller_ids", entry.caller_ids, stored)
        group_rows = await self._compare("caller_id_groups", f"{where}.groups", entry.groups, groups)
        renamed = {row.row_id for row in caller_rows}
        ids = {stored_row["number"]: stored_row["id"] for stored_row in stored if stored_row["id"] not in renamed}
        self._check_members(where, entry.groups, ids.keys() | {caller.name for caller in caller_rows})
        if self.mistakes.count:
            return
        customer_id = await self._write_customer(entry, row)
        # Caller IDs first: members name them.
        ids |= await self._write("caller_ids", customer_id, caller_rows, counts=True)
        group_ids = await self._write("caller_id_groups", customer_id, group_rows, counts=False)
        await self._write_members(entry.groups, group_ids, ids)

    async def _fetch(self, name: str, customer_id: int | None, *arguments: object) -> list[asyncpg.Record]:
        """Rows of a customer; none of one that is yet to be created."""
        if customer_id is None:
            return []
        return await self._connection.fetch(statement(name), customer_id, *arguments)

    async def _stored_callers(self, customer_id: int | None, entry: CustomerEntry) -> list[asyncpg.Record]:
        """The customer's caller IDs that the file names, also as members alone."""
        numbers = {caller.number for caller in entry.caller_ids}
        numbers |= {member.number for group in entry.groups for member in members_of(group)}
        ids = [caller.id for caller in entry.caller_ids if caller.id is not UNSET]
        return await self._fetch("named_caller_ids", customer_id, list(numbers), ids)

    async def _compare(
        self, table: Table, where: str, entries: Sequence[CallerIdEntry | GroupEntry], stored: Sequence[asyncpg.Record]
    ) -> list[_Row]:
        """What each entry changes; mistakes are noted."""
        key = _KEYS[table][0]
        by_id = {row["id"]: row for row in stored}
        claimed = {entry.id for entry in entries}
        named = defaultdict[str, list[asyncpg.Record]](list)
        for known in stored:
            named[known[key]].append(known)
        strangers = [entry.id for entry in entries if entry.id is not UNSET and entry.id not in by_id]
        taken = {known["id"] for known in await self._connection.fetch(statement(f"taken_{table}"), strangers)}
        rows = []
        for place, entry in enumerate(entries):
            name: str = getattr(entry, key)
            same = [known for known in named[name] if entry.id is not UNSET or known["id"] not in claimed]
            row: asyncpg.Record | None = by_id.get(entry.id) if entry.id is not UNSET else same[0] if same else None
            values = given(entry, "members")
            changed = {column: value for column, value in values.items() if row is None or row[column] != value}
            rows.append(_Row(name, None if row is None else row["id"], changed))
            if told := _mistake(table, rows[-1], entry.id, same, taken):
                self.mistakes.add(f"{where}[{place}]", told)
        return rows

    def _check_members(self, where: str, groups: Sequence[GroupEntry], known: set[str]) -> None:
        for place, group in enumerate(groups):
            for row, member in enumerate(members_of(group)):
                if member.number not in known:
                    told = f"group {group.name}: its customer has no caller ID {member.number}"
                    self.mistakes.add(f"{where}.groups[{place}].members[{row}]", told)

    async def _write_customer(self, entry: CustomerEntry, row: asyncpg.Record | None) -> int:
        values = given(entry, "caller_ids", "groups")
        name = str(entry.id if entry.name is UNSET else entry.name)
        if row is None:
            self.edits.append(Edit("create", "customer", name))
            return await insert(self._connection, "customers", values)
        changed = {column: value for column, value in values.items() if _stored(row, column) != value}
        if changed:
            self.edits.append(Edit("update", "customer", name, list(changed)))
            await update(self._connection, "customers", row["id"], changed)
        row_id: int = row["id"]
        return row_id

    async def _write(self, table: Table, customer_id: int, rows: Sequence[_Row], *, counts: bool) -> dict[str, int]:
        """Creates and updates rows; returns the ids of all of them by name."""
        for row in rows:
            if row.row_id is None:
                self.edits.append(Edit("create", NAMES[table], row.name))
            elif row.values:
                self.edits.append(Edit("update", NAMES[table], row.name, list(row.values)))
        ids = {row.name: row.row_id for row in rows if row.row_id is not None}
        self._advance(len(ids) if counts else 0)
        # Updates first: one may give up the number that a new row takes.
        changed = {row.row_id: row.values for row in rows if row.row_id is not None and row.values}
        for some in _batched(changed.items()):
            await update_many(self._connection, table, dict(some))
        for new in _batched([row for row in rows if row.row_id is None]):
            values = [{"customer_id": customer_id, **row.values} for row in new]
            created = await insert_many(self._connection, table, values)
            ids |= {row.name: row_id for row, row_id in zip(new, created, strict=True)}
            self._advance(len(new) if counts else 0)
        return ids

    async def _write_members(
        self, groups: Sequence[GroupEntry], group_ids: Mapping[str, int], ids: Mapping[str, int]
    ) -> None:
        stated = [group for group in groups if group.members is not UNSET]
        present = defaultdict[int, dict[int, int]](dict)
        numbers: dict[int, str] = {row_id: number for number, row_id in ids.items()}
        rows = await self._connection.fetch(statement("members_of"), [group_ids[group.name] for group in stated])
        for row in rows:
            present[row["group_id"]][row["caller_id_id"]] = row["weight"]
            numbers.setdefault(row["caller_id_id"], row["number"])
        written, removed = list[tuple[int, int, int | None]](), list[tuple[int, int]]()
        for group in stated:
            group_id = group_ids[group.name]
            wanted: Weights = {
                ids[member.number]: None if member.weight is UNSET else member.weight for member in members_of(group)
            }
            changes = changes_of(present[group_id], wanted, exact=self._exact)
            written += [(group_id, row, wanted[row]) for row in (*changes.added, *changes.reweighted)]
            removed += [(group_id, row) for row in changes.removed]
            done: list[tuple[Literal["add", "reweight", "remove"], list[int]]]
            done = [("add", changes.added), ("reweight", changes.reweighted), ("remove", changes.removed)]
            self.edits += [
                Edit(action, "member", f"{numbers[row]} of {group.name}") for action, some in done for row in some
            ]
        await self._execute("write_memberships", written)
        await self._execute("remove_memberships", removed)

    async def _execute(self, name: str, rows: Sequence[tuple[object, ...]]) -> None:
        for some in _batched(rows):
            await self._connection.execute(statement(name), *map(list, zip(*some, strict=True)))
            self._advance(len(some))


def _batched(rows: Iterable[T]) -> Iterator[list[T]]:
    """The rows, as many at a time as one statement takes."""
    rest = iter(rows)
    while some := list(islice(rest, _AT_ONCE)):
        yield some


def _mistake(
    table: Table, row: _Row, entry_id: int | UnsetType, same: Sequence[asyncpg.Record], taken: Collection[int]
) -> str | None:
    """Why an entry cannot be written: `same` are the stored rows of its name, `taken` the ids of others' rows."""
    what, needed = NAMES[table], _KEYS[table][1]
    if entry_id is UNSET and len(same) > 1:
        return f"{len(same)} {what}s of this customer are called {row.name}: give the id of the one you mean"
    if row.row_id is None and entry_id is not UNSET and same:
        return f"{what} {row.name} has the id {same[0]['id']} here, but {entry_id} in the file"
    if entry_id in taken:
        return f"that {what} id is taken, perhaps by another customer"
    if row.row_id is None and needed not in row.values:
        return f"there is no {what} {row.name}: to create it, give its {needed}"
    return None


def _stored(row: asyncpg.Record, column: str) -> object:
    if column == "policy" and row[column] is not None:
        return msgspec.json.decode(row[column], type=Policy)
    return row[column]
