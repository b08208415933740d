"""Applies a definitions file: compares it with the database by natural keys, and writes the difference.

Everything is compared first, so that all mistakes are reported together; then the rows that differ are written, many
per statement. Applying the same file again changes nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal, NamedTuple, TypeVar

import asyncpg
import msgspec
from msgspec import UNSET, Struct, UnsetType

from rotary.management.carriers import suggest_carrier
from rotary.management.definitions_file.mistakes import Mistakes
from rotary.management.definitions_file.read import Source
from rotary.management.definitions_file.schema import CallerIdEntry, CustomerEntry, GroupEntry, members_of
from rotary.management.fields import given
from rotary.management.members import (
    Weights,
    changes_between,
    read_memberships,
    remove_memberships,
    write_memberships,
)
from rotary.management.rows import NAMES, Table, Values, insert, insert_many, update, update_many
from rotary.management.statements import statement
from rotary.policy import Policy
from rotary.postgres.connection import Connection

T = TypeVar("T")

_BATCH_ROWS = 5_000
_MANY_EDITS = 1_000
_KEYS: dict[Table, tuple[str, str | None]] = {
    "caller_ids": ("number", None),
    "caller_id_groups": ("name", "rotation_strategy"),
}
"""The column that identifies a row, and the column that a new row needs, if there is one."""

Advance = Callable[[int], None]
"""Called with the number of caller IDs and members that have been processed since the last call."""


class Edit(Struct, frozen=True):
    """One change. `name` is the natural key of the row, `fields` are the columns that change."""

    action: Literal["create", "update", "add", "reweight", "remove"]
    what: str
    name: str
    fields: list[str] = []


class _Row(NamedTuple):
    """An entry and the stored row it refers to, if any, with the values that differ."""

    name: str
    row_id: int | None
    values: Values


def _ignore(_rows: int) -> None:
    """No progress is shown."""


async def apply_source(connection: Connection, source: Source, advance: Advance = _ignore) -> list[Edit]:
    """Writes what the file says and returns what that changed.

    Raises InvalidFileError with everything that contradicts the database, such as an id that another customer has.
    Earlier customers may have been written by then: roll back the transaction.
    """
    work = _Application(connection, source, advance)
    for index, entry in enumerate(source.definitions.customers):
        await work.customer(f".customers[{index}]", entry)
    work.mistakes.raise_if_any(source.file, source.locate)
    return work.edits


async def count_anew(connection: Connection, edits: Sequence[Edit]) -> None:
    """Has PostgreSQL count the rows of the tables again if many were written: call it last before the commit.

    By itself it does so within minutes, and until then plans for as few rows as there were: each group of the import
    would have all members read. What another session is counting already is left to that one.
    """
    if len(edits) > _MANY_EDITS:
        await connection.execute(statement("count_anew"))


class _Application:
    def __init__(self, connection: Connection, source: Source, advance: Advance) -> None:
        self.edits: list[Edit] = []
        self.mistakes = Mistakes()
        self._connection = connection
        self._exact = source.exact_members
        self._owner = source.owner
        self._advance = advance

    async def customer(self, path: str, entry: CustomerEntry) -> None:
        row_id = None if entry.id is UNSET else entry.id
        name = None if entry.name is UNSET else entry.name
        if self._owner is not None:
            if not await self._is_owner(row_id, name):
                self.mistakes.add(path, "the file names another customer")
                return
            row_id = self._owner
        rows = await self._connection.fetch(statement("find_customers"), row_id, name)
        if len(rows) > 1:
            self.mistakes.add(path, f"{len(rows)} customers are called {name}: specify the id")
        elif not rows and name is None:
            which = "a customer needs an id or a name" if row_id is None else f"customer {row_id} does not exist"
            self.mistakes.add(path, f"{which}: to create one, specify its name")
        else:
            await self._content(path, entry, rows[0] if rows else None)

    async def _is_owner(self, row_id: int | None, name: str | None) -> bool:
        if row_id is not None or name is None:
            return row_id in (None, self._owner)
        (row,) = await self._connection.fetch(statement("find_customers"), self._owner, None)
        return bool(row["name"] == name)

    async def _content(self, path: str, entry: CustomerEntry, row: asyncpg.Record | None) -> None:
        customer_id = None if row is None else row["id"]
        stored = await self._stored_callers(customer_id, entry)
        groups = await self._fetch("groups", customer_id) if entry.groups else []
        caller_rows = await self._compare("caller_ids", f"{path}.caller_ids", entry.caller_ids, stored)
        group_rows = await self._compare("caller_id_groups", f"{path}.groups", entry.groups, groups)
        renamed = {row.row_id for row in caller_rows}
        ids = {stored_row["number"]: stored_row["id"] for stored_row in stored if stored_row["id"] not in renamed}
        self._check_members(path, entry.groups, ids.keys() | {caller.name for caller in caller_rows})
        if self.mistakes.count:
            return  # The later customers are still compared.
        customer_id = await self._write_customer(entry, row)
        # Caller IDs first: members refer to them.
        ids |= await self._write("caller_ids", customer_id, caller_rows, counts=True)
        group_ids = await self._write("caller_id_groups", customer_id, group_rows, counts=False)
        await self._write_members(entry.groups, group_ids, ids)

    async def _fetch(self, name: str, customer_id: int | None, *arguments: object) -> list[asyncpg.Record]:
        """Rows of a customer; none if it does not exist yet."""
        if customer_id is None:
            return []
        return await self._connection.fetch(statement(name), customer_id, *arguments)

    async def _stored_callers(self, customer_id: int | None, entry: CustomerEntry) -> list[asyncpg.Record]:
        """The customer's caller IDs that the file names, as caller IDs or only as members."""
        numbers = {caller.number for caller in entry.caller_ids}
        numbers |= {member.number for group in entry.groups for member in members_of(group)}
        ids = [caller.id for caller in entry.caller_ids if caller.id is not UNSET]
        return await self._fetch("named_caller_ids", customer_id, list(numbers), ids)

    async def _compare(
        self, table: Table, path: str, entries: Sequence[CallerIdEntry | GroupEntry], stored: Sequence[asyncpg.Record]
    ) -> list[_Row]:
        """What each entry changes. Adds mistakes."""
        key = _KEYS[table][0]
        by_id = {row["id"]: row for row in stored}
        claimed = {entry.id for entry in entries}
        named = defaultdict[str, list[asyncpg.Record]](list)
        for known in stored:
            named[known[key]].append(known)
        unknown_ids = [entry.id for entry in entries if entry.id is not UNSET and entry.id not in by_id]
        if self._owner is not None and unknown_ids:
            self._refuse_unknown_ids(path, table, entries, by_id)
            unknown_ids = []
        taken = {known["id"] for known in await self._connection.fetch(statement(f"taken_{table}"), unknown_ids)}
        rows = []
        for index, entry in enumerate(entries):
            name: str = getattr(entry, key)
            namesakes = [known for known in named[name] if entry.id is not UNSET or known["id"] not in claimed]
            first = namesakes[0] if namesakes else None
            row: asyncpg.Record | None = first if entry.id is UNSET else by_id.get(entry.id)
            values = given(entry, "members")
            changed = {column: value for column, value in values.items() if row is None or row[column] != value}
            if row is None and table == "caller_ids" and "carrier" not in changed:
                changed["carrier"] = suggest_carrier(name)
            rows.append(_Row(name, None if row is None else row["id"], changed))
            if detail := _mistake(table, rows[-1], entry.id, namesakes, taken):
                self.mistakes.add(f"{path}[{index}]", detail)
        return rows

    def _refuse_unknown_ids(
        self, path: str, table: Table, entries: Sequence[CallerIdEntry | GroupEntry], known: Mapping[int, object]
    ) -> None:
        """A customer names only ids that it has: whether another one is taken is not its business."""
        for index, entry in enumerate(entries):
            if entry.id is not UNSET and entry.id not in known:
                detail = f"{NAMES[table]} {entry.id} does not exist: leave out the id to create one"
                self.mistakes.add(f"{path}[{index}]", detail)

    def _check_members(self, path: str, groups: Sequence[GroupEntry], known: set[str]) -> None:
        for index, group in enumerate(groups):
            for row, member in enumerate(members_of(group)):
                if member.number not in known:
                    detail = f"group {group.name}: its customer has no caller ID {member.number}"
                    self.mistakes.add(f"{path}.groups[{index}].members[{row}]", detail)

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
        """Creates and updates rows. Returns the ids of all, by name."""
        for row in rows:
            if row.row_id is None:
                self.edits.append(Edit("create", NAMES[table], row.name))
            elif row.values:
                self.edits.append(Edit("update", NAMES[table], row.name, list(row.values)))
        ids = {row.name: row.row_id for row in rows if row.row_id is not None}
        self._advance(len(ids) if counts else 0)
        # Updates first: one may release the number that a new row takes.
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
        for member in await read_memberships(self._connection, [group_ids[group.name] for group in stated]):
            present[member.group_id][member.caller_id] = member.weight
            numbers.setdefault(member.caller_id, member.number)
        written, removed = list[tuple[int, int, int | None]](), list[tuple[int, int]]()
        for group in stated:
            group_id = group_ids[group.name]
            wanted: Weights = {
                ids[member.number]: None if member.weight is UNSET else member.weight for member in members_of(group)
            }
            changes = changes_between(present[group_id], wanted, exact=self._exact)
            written += [(group_id, row, wanted[row]) for row in (*changes.added, *changes.reweighted)]
            removed += [(group_id, row) for row in changes.removed]
            done: list[tuple[Literal["add", "reweight", "remove"], list[int]]]
            done = [("add", changes.added), ("reweight", changes.reweighted), ("remove", changes.removed)]
            self.edits += [
                Edit(action, "member", f"{numbers[row]} of {group.name}") for action, some in done for row in some
            ]
        for rows in _batched(written):
            await write_memberships(self._connection, rows)
            self._advance(len(rows))
        for pairs in _batched(removed):
            await remove_memberships(self._connection, pairs)
            self._advance(len(pairs))


def _batched(rows: Iterable[T]) -> Iterator[list[T]]:
    """The rows in batches of what one statement takes."""
    rest = iter(rows)
    while some := list(islice(rest, _BATCH_ROWS)):
        yield some


def _mistake(
    table: Table, row: _Row, entry_id: int | UnsetType, namesakes: Sequence[asyncpg.Record], taken: Collection[int]
) -> str | None:
    """Why an entry cannot be applied. `namesakes` are stored rows of its name, `taken` the ids of others' rows."""
    what, needed = NAMES[table], _KEYS[table][1]
    if entry_id is UNSET and len(namesakes) > 1:
        return f"{len(namesakes)} {what}s of this customer are called {row.name}: specify the id"
    if row.row_id is None and entry_id is not UNSET and namesakes:
        return f"{what} {row.name} has the id {namesakes[0]['id']} in the database, but {entry_id} in the file"
    if entry_id in taken:
        return f"that {what} id is taken, perhaps by another customer"
    if row.row_id is None and needed is not None and needed not in row.values:
        return f"{what} {row.name} does not exist: to create it, specify its {needed}"
    return None


def _stored(row: asyncpg.Record, column: str) -> object:
    if column == "policy" and row[column] is not None:
        return msgspec.json.decode(row[column], type=Policy)
    return row[column]
