"""Handlers that only call a function of the write model, and the replies in which all handlers show rows.

Any: the table of operations says which types an operation's body and query have.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from rotary.management.pages import Page
from rotary.management.rows import Target
from rotary.postgres.connection import Connection
from rotary_campaigns.http.operations import Call, Handler, Operation, Reply, Resource, Section
from rotary_campaigns.http.schemas import shown

T = TypeVar("T")


class Row(Protocol):
    """A stored row."""

    @property
    def id(self) -> int:
        """Its id."""

    @property
    def version(self) -> int:
        """Its version, which becomes part of the ETag."""


def page_reply(kind: type[Struct], page: Page[T]) -> Reply:
    """A page of rows."""
    return Reply(page.map(lambda row: shown(kind, row)))


def row_reply(kind: type[Struct], row: Row, **more: Any) -> Reply:
    """A row in its version; `more` are the fields that it does not hold."""
    return Reply(shown(kind, row, **more), row.version)


def new_row_reply(section: Section, kind: type[Struct], row: Row, **more: Any) -> Reply:
    """Like row_reply, with the path where the row can be read."""
    return Reply(shown(kind, row, **more), row.version, f"{section.path}/{row.id}")


def lists(kind: type[Struct], find: Callable[[Connection, int, Any], Awaitable[Page[T]]]) -> Handler:
    """Replies with a page of what a customer has."""

    async def handler(call: Call) -> Reply:
        return page_reply(kind, await find(call.connection, call.customer_id, call.query))

    return handler


def searches(kind: type[Struct], find: Callable[[Connection, int, Any, Any], Awaitable[Page[T]]]) -> Handler:
    """Replies with a page of what a customer has; the query is both the filter and the part of the list."""

    async def handler(call: Call) -> Reply:
        return page_reply(kind, await find(call.connection, call.customer_id, call.query, call.query))

    return handler


def creates(section: Section, kind: type[Struct], create: Callable[[Connection, int, Any], Awaitable[Row]]) -> Handler:
    """Creates a row from the body."""

    async def handler(call: Call) -> Reply:
        return new_row_reply(section, kind, await create(call.connection, call.customer_id, call.body))

    return handler


def reads(kind: type[Struct], read: Callable[[Connection, int, int], Awaitable[Row]]) -> Handler:
    """Replies with the row that the path names."""

    async def handler(call: Call) -> Reply:
        return row_reply(kind, await read(call.connection, call.row_id, call.customer_id))

    return handler


def updates(
    kind: type[Struct], update: Callable[[Connection, Target, Any], Awaitable[Row]], fields: Struct | None = None
) -> Handler:
    """Changes these fields of the row that the path names, or those that the body has."""

    async def handler(call: Call) -> Reply:
        return row_reply(kind, await update(call.connection, call.target, call.body if fields is None else fields))

    return handler


def deletes(delete: Callable[[Connection, Target], Awaitable[None]]) -> Handler:
    """Deletes the row that the path names."""

    async def handler(call: Call) -> Reply:
        await delete(call.connection, call.target)
        return Reply()

    return handler


def switches(
    section: Section, kind: str, below: str, noun: str, answer: type[Struct], *, enable: Handler, disable: Handler
) -> tuple[Resource, Resource]:
    """The paths that enable and disable the row that `below` names."""

    def switch(verb: str, handler: Handler) -> Resource:
        operation = Operation(
            method="POST",
            name=f"{verb}{answer.__name__}",
            summary=f"{verb.capitalize()} a {noun}",
            description="Has the same answer when it is repeated.",
            handler=handler,
            answer=answer,
            precondition="optional",
        )
        return section.resource(f"{kind}_{verb}", f"{below}/{verb}", operation)

    return switch("enable", enable), switch("disable", disable)
