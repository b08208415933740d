"""Lists in pages."""

from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeVar

import asyncpg
from msgspec import Meta, Struct

from rotary.management.statements import statement
from rotary.postgres.connection import Connection, translate_errors

T = TypeVar("T")
U = TypeVar("U")
MAX_PER_PAGE = 200
MAX_PAGE = 1_000_000


PageNumber = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
PerPage = Annotated[int, Meta(ge=1, le=MAX_PER_PAGE)]


class PageRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a list. Pages count from 1."""

    page: PageNumber = 1
    per_page: PerPage = 50


class Page(Struct, Generic[T], frozen=True):
    """One page of a list; `total` counts all of its entries, and `last_page` is at least 1."""

    current_page: int
    data: list[T]
    last_page: int
    per_page: int
    total: int

    def map(self, change: Callable[[T], U]) -> "Page[U]":
        """The same page of other things."""
        return Page(self.current_page, [change(one) for one in self.data], self.last_page, self.per_page, self.total)


def page(rows: list[T], total: int, request: PageRequest) -> Page[T]:
    """These rows as the page that was asked for."""
    return Page(request.page, rows, max(1, -(-total // request.per_page)), request.per_page, total)


async def fetch_page(
    connection: Connection, name: str, request: PageRequest, *arguments: Any
) -> tuple[list[asyncpg.Record], int]:
    """The rows of a page of the statement called `name`, and the number of all of its rows.

    Any: a statement's parameters are of all types.
    """
    query = statement(name).rstrip(";")
    limit, offset = len(arguments) + 1, len(arguments) + 2
    with translate_errors(connection):
        total = await connection.fetchval(f"SELECT count(*) FROM ({query}) AS found", *arguments)  # noqa: S608
        rows = await connection.fetch(
            f"{query} LIMIT ${limit} OFFSET ${offset}",
            *arguments,
            request.per_page,
            (request.page - 1) * request.per_page,
        )
    return rows, total


def like(search: str | None) -> str | None:
    """A LIKE pattern for texts that contain `search`, whose own wildcards are literal."""
    if not search:
        return None
    for special in "\\%_":
        search = search.replace(special, f"\\{special}")
    return f"%{search}%"
