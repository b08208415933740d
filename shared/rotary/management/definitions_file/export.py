"""Exports the database's definitions as a file that import reads. Ids are included: recorded calls refer to them."""

import csv
import io
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import asyncpg
import msgspec
import yaml

from rotary.management.definitions_file.read_csv import COLUMNS, formula_free
from rotary.management.definitions_file.schema import (
    CallerIdEntry,
    CustomerEntry,
    Definitions,
    GroupEntry,
    MemberEntry,
    members_of,
)
from rotary.management.fields import given
from rotary.management.members import read_memberships
from rotary.management.statements import statement
from rotary.policy import Policy
from rotary.postgres.connection import Connection


async def read_definitions(connection: Connection, customer_id: int | None) -> Definitions:
    """The definitions of all customers or of one, without tokens."""
    rows = await connection.fetch(statement("customers"), customer_id)
    return Definitions(customers=[await _customer(connection, row) for row in rows])


async def _customer(connection: Connection, row: asyncpg.Record) -> CustomerEntry:
    caller_ids = await connection.fetch(statement("caller_ids"), row["id"], None, None)
    groups = await connection.fetch(statement("groups"), row["id"])
    members = defaultdict[int, list[MemberEntry | str]](list)
    for member in await read_memberships(connection, [group["id"] for group in groups]):
        members[member.group_id].append(MemberEntry(number=member.number, weight=member.weight))
    return CustomerEntry(
        id=row["id"],
        name=row["name"],
        timezone=row["timezone"],
        policy=None if row["policy"] is None else msgspec.json.decode(row["policy"], type=Policy),
        caller_ids=[CallerIdEntry(**_columns(caller_id, CallerIdEntry)) for caller_id in caller_ids],
        groups=[GroupEntry(**_columns(group, GroupEntry), members=members[group["id"]]) for group in groups],
    )


def _columns(row: asyncpg.Record, kind: type[CallerIdEntry | GroupEntry]) -> dict[str, Any]:
    """The columns that are fields of `kind`. Any: asyncpg does not know the types of columns."""
    return {name: row[name] for name in kind.__struct_fields__ if name in row.keys()}  # noqa: SIM118  a Record's `in` looks at values


_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # Any: PyYAML may have been built without libyaml.


class _Quoted(str):
    __slots__ = ()


class _Dumper(_SafeDumper):  # type: ignore[misc]
    """Quotes phone numbers, so that no reader of YAML parses one as an integer."""


_Dumper.add_representer(
    _Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')
)


def to_yaml(definitions: Definitions) -> str:
    """YAML that import reads back as the same definitions."""
    content = _content(definitions)
    for customer in content["customers"]:
        members = (member for group in customer["groups"] for member in group["members"])
        for numbered in (*customer["caller_ids"], *members):
            numbered["number"] = _Quoted(numbered["number"])
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=200)
    return text


def to_json(definitions: Definitions) -> str:
    """JSON that import reads back as the same definitions."""
    return msgspec.json.format(msgspec.json.encode(_content(definitions)), indent=2).decode() + "\n"


def _content(definitions: Definitions) -> dict[str, Any]:
    """Mappings and lists, the ids first. Any: the values are of all types that YAML and JSON have."""
    customers = [
        _id_first(msgspec.to_builtins(customer))
        | {
            "caller_ids": [_id_first(msgspec.to_builtins(caller_id)) for caller_id in customer.caller_ids],
            "groups": [_id_first(msgspec.to_builtins(group)) for group in customer.groups],
        }
        for customer in definitions.customers
    ]
    return {"customers": customers}


def _id_first(fields: Mapping[str, object]) -> dict[str, Any]:
    return {"id": fields["id"], **fields}


def to_csv(definitions: Definitions) -> str:
    """CSV: one line per membership, and one per caller ID without any. Fields without a column are left out.

    No cell is a formula to a spreadsheet: an apostrophe, which import removes, marks those that would be.
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
        {"customer": customer.id} | given(caller, "id", "activated_at") | group
        for caller in customer.caller_ids
        for group in groups[caller.number] or [{}]
    ]
