"""Reading the audit log. Only the tables' triggers write it."""

from datetime import datetime
from typing import Literal, get_args

import asyncpg
from msgspec import Raw, Struct

from rotary.events import Id
from rotary.management.fields import Search
from rotary.management.pages import Page, PageRequest, fetch_page, page
from rotary.postgres.connection import Connection

Entity = Literal[
    "customer",
    "token",
    "caller_id",
    "group",
    "member",
    "campaign",
    "webhook",
    "cooldown_clear",
    "user",
    "user_role",
    "dialer",
]
ENTITIES: tuple[Entity, ...] = get_args(Entity)
Action = Literal["create", "update", "delete", "truncate"]


class AuditEntry(Struct, frozen=True):
    """One change. `before` and `after` are the whole row, without secrets; null for one that did not exist.

    `actor` is what the program said of itself, or `sql`. `entity_id` of a member is its group.
    """

    id: int
    at: datetime
    actor: str
    database_user: str
    entity: Entity
    entity_id: int | None
    action: Action
    before: Raw | None
    after: Raw | None


class AuditFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which changes. `actor` is the whole text."""

    entity: Entity | None = None
    entity_id: Id | None = None
    actor: Search | None = None


async def find_changes(
    connection: Connection, customer_id: int, wanted: AuditFilter, request: PageRequest
) -> Page[AuditEntry]:
    """A page of the changes of a customer's definitions, newest first."""
    arguments = (wanted.entity, wanted.entity_id, wanted.actor)
    rows, total = await fetch_page(connection, "find_changes", request, customer_id, *arguments)
    return page([_entry(row) for row in rows], total, request)


def _entry(row: asyncpg.Record) -> AuditEntry:
    fields = dict(row.items())
    before, after = fields.pop("before"), fields.pop("after")
    return AuditEntry(**fields, before=_json(before), after=_json(after))


def _json(text: str | None) -> Raw | None:
    return None if text is None else Raw(text.encode())
