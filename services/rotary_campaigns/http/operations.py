"""What the table of operations is made of: one entry says how a request is decoded, answered and documented."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Literal

from msgspec import Struct

from rotary.auth.grant import Grant
from rotary.http.operations import Operations
from rotary.management.pages import PageRequest
from rotary.management.rows import Target
from rotary.postgres.connection import Connection
from rotary_campaigns.parts import Parts

Precondition = Literal["none", "optional", "required"]
"""Whether a request may, or must, say in If-Match which version it changes."""
MAX_BODY_BYTES = 65_536


class Call(Struct, frozen=True):
    """A request that is admitted and decoded. `row_id` is the id in its path, 0 where there is none.

    Any: an operation's handler knows the types of its own body and query.
    """

    grant: Grant
    connection: Connection
    parts: Parts
    row_id: int
    body: Any
    query: Any
    if_match: frozenset[str] | None
    """The tags of If-Match; None for any version."""
    now_ms: int

    @property
    def customer_id(self) -> int:
        return self.grant.customer_id

    @property
    def target(self) -> Target:
        """The row that the path names, in a version that the client knows."""
        versions = None if self.if_match is None else frozenset(map(version_of, self.if_match))
        return Target(self.row_id, self.customer_id, versions)


class Reply(Struct, frozen=True):
    """The answer's `data`, and what goes into its headers."""

    data: object = None
    version: int | str | None = None
    """Of the row; it becomes part of the ETag. Of a text the ETag is the text itself."""
    location: str = ""
    then: Callable[[], Awaitable[object]] | None = None
    """Called when the change is committed. The answer waits for it; what it returns, if not None, is the `data`."""


Handler = Callable[[Call], Awaitable[Reply]]


class Operation(Struct, frozen=True, kw_only=True):
    """One method of a path. Any: types are data here."""

    method: str
    name: str
    summary: str
    description: str = ""
    handler: Handler
    body: Any = None
    is_body_optional: bool = False
    """Whether the body may be empty; the handler is then given None."""
    content_types: tuple[str, ...] = ()
    """Of a body that is no JSON, which the handler is given as RawBody."""
    query: type[Struct] | None = None
    answer: Any = None
    """The type of `data`; None for an answer without a body."""
    is_page: bool = False
    """The answer is a page of a list, which is not wrapped in `data`."""
    status: int = 200
    precondition: Precondition = "none"
    is_idempotent: bool = False
    shows_secret: bool = False
    """The answer has a secret, which is not kept for a repetition of the request."""
    failures: tuple[str, ...] = ()
    """Names of the failures that are this operation's own."""
    max_body_bytes: int = MAX_BODY_BYTES
    stream: Callable[[Call], AsyncIterator[bytes]] | None = None
    """What answers a client that prefers server-sent events."""

    @property
    def is_change(self) -> bool:
        return self.method != "GET"


# What operations of one sort have in common. One that differs names its own value, or is an Operation in full.
page = partial(Operation, method="GET", query=PageRequest, is_page=True)
read = partial(Operation, method="GET")
create = partial(Operation, method="POST", status=201, is_idempotent=True)
update = partial(Operation, method="PUT", precondition="required")
delete = partial(Operation, method="DELETE", status=204, precondition="optional")


class RawBody(Struct, frozen=True):
    """A body that is no JSON."""

    content_type: str
    content: bytes


class Resource(Operations[Operation], Struct, frozen=True):
    """A path, and its methods. `missing` is what a request for an id that does not exist is told."""

    kind: str
    pattern: str
    tag: str
    scope: str
    missing: str
    operations: tuple[Operation, ...]


class Section(Struct, frozen=True):
    """What the paths under one tag share; `path` is how they begin."""

    path: str
    tag: str
    scope: str
    missing: str

    def resource(self, kind: str, below: str, *operations: Operation) -> Resource:
        """The path that ends with `below`, and its methods."""
        return Resource(kind, self.path + below, self.tag, self.scope, self.missing, operations)


NO_VERSION = -1


def version_of(tag: str) -> int:
    """The version in an ETag; one that no row has for any other text."""
    number = tag.strip('"').partition("-")[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 19 else NO_VERSION
