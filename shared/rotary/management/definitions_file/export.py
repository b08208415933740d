"""The database's definitions as a file that `import` reads back, ids included: facts are known by them."""

import csv
import io
from collections import defaultdict
from typing import Any

import asyncpg
import msgspec
import yaml

from rotary.policy import Policy
from rotary.postgres.connection import Connection
from rotary_admin.context import statement
from rotary.management.definitions_file.schema import CallerIdEntry, CustomerEntry, Definitions, GroupEntry, MemberEntry, given, members_of
from rotary.management.definitions_file.read_csv import COLUMNS, formula_free


async def read_definitions(connection: Connection, customer_id: int | None) -> Definitions:
    """All customers, or the one, with everything that is theirs but tokens."""
    rows = await connection.fetch(statement("customers"), customer_id)
    return Definitions(customers=[await _customer(connection, row) for row in rows])


async def _customer(connection: Connection, row: asyncpg.Record) -> CustomerEntry:
    members = defaultdict[int, list[MemberEntry | str]](list)
    for member in await connection.fetch(statement("members"), row["id"], None):
        members[member["group_id"]].append(MemberEntry(number=member["number"], weight=member["weight"]))
    callers = await connection.fetch(statement("caller_ids"), row["id"], None, None)
    groups = await connection.fetch(statement("groups"), row["id"])
    return CustomerEntry(
        id=row["id"],
        name=row["name"],
        timezone=row["timezone"],
        policy=None if row["policy"] is None else msgspec.json.decode(row["policy"], type=Policy),
        caller_ids=[_caller_id(caller) for caller in callers],
        groups=[_group(group, members[group["id"]]) for group in groups],
    )


def _caller_id(row: asyncpg.Record) -> CallerIdEntry:
    return CallerIdEntry(**{name: row[name] for name in CallerIdEntry.__struct_fields__})


def _group(row: asyncpg.Record, members: list[MemberEntry | str]) -> GroupEntry:
    own = (name for name in GroupEntry.__struct_fields__ if name not in ("customer_id", "members"))
    return GroupEntry(**{name: row[name] for name in own}, members=members)


_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # Any: PyYAML may have been built without libyaml


class _Quoted(str):
    __slots__ = ()


class _Dumper(_SafeDumper):  # type: ignore[misc]
    """Quotes numbers, so that no reader of YAML takes one for an integer."""


_Dumper.add_representer(
    _Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')
)


def to_yaml(definitions: Definitions) -> str:
    """The file that `import` makes the same definitions of."""
    content = msgspec.to_builtins(definitions)
    for customer in content["customers"]:
        for numbered in (
            *customer["caller_ids"],
            *(member for group in customer["groups"] for member in group["members"]),
        ):
            numbered["number"] = _Quoted(numbered["number"])
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=200)
    return text


def to_csv(definitions: Definitions) -> str:
    """One line a membership, and one for each caller ID without any; what CSV has no column for is left out.

    No cell is a formula to a spreadsheet: `import` takes back what is put before it.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for customer in definitions.customers:
        for row in _csv_rows(customer):
            writer.writerow({name: formula_free(name, cell) for name, cell in row.items()})
    return out.getvalue()


def _csv_rows(customer: CustomerEntry) -> list[dict[str, object]]:
    groups = defaultdict[str, list[dict[str, object]]](list)
    for group in customer.groups:
        for member in members_of(group):
            own: dict[str, object] = {"group": group.name, "rotation_strategy": group.rotation_strategy}
            groups[member.number].append(own | {"weight": member.weight})
    return [
        {"customer": customer.id} | given(caller, "id") | group
        for caller in customer.caller_ids
        for group in groups[caller.number] or [{}]
    ]
