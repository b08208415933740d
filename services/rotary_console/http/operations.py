"""What the table of endpoints is made of: one entry says who may ask, how the body is decoded, and who answers."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

import msgspec
from aiohttp import web
from msgspec import Struct

from rotary.http.bodies import Envelope
from rotary.http.operations import Operations
from rotary.http.responses import JSON, CachedResponse, ResponseTemplate
from rotary.management.fields import Role
from rotary_console.parts import Parts
from rotary_console.sign_in.sessions import Session

MAX_BODY_BYTES = 65_536
Who = Literal["anybody", "user", "role"]
"""Anybody; whoever is signed in; whoever has a role for the customer in the path."""
Answer: TypeAlias = CachedResponse | web.StreamResponse
"""A stream has been sent already."""
_encode = msgspec.json.Encoder().encode


class Call(Struct):
    """A request that is admitted and decoded.

    `customer_id` is the one in the path, and `name` the text in it; 0 and "" where there is none. `cookies` are the
    Set-Cookie headers of the answer. Any: a handler knows the type of its body.
    """

    request: web.BaseRequest
    request_id: bytes
    parts: Parts
    now_ms: int
    network: str
    cookies: list[str]
    headers: dict[str, str]
    """Of every answer, for one that is sent piece by piece."""
    pattern: str = ""
    session: Session | None = None
    customer_id: int = 0
    name: str = ""
    body: Any = None

    @property
    def user(self) -> Session:
        """The session of somebody who is signed in."""
        assert self.session is not None
        return self.session


Handler = Callable[[Call], Awaitable[Answer]]


class Operation(Struct, frozen=True, kw_only=True):
    """One method of a path. `body` is the type of the body, None where there is none. Any: types are data here."""

    method: str
    handler: Handler
    who: Who = "role"
    role: Role = "viewer"
    """The least that may ask, where a role is needed."""
    body: Any = None
    passes_body: bool = False
    """Whether the handler reads the body itself, up to `max_body_bytes`."""
    max_body_bytes: int = MAX_BODY_BYTES


class Endpoint(Operations[Operation], Struct, frozen=True):
    """A path. `{id}` in its pattern is a customer's id, and any other name in braces a text."""

    pattern: str
    operations: tuple[Operation, ...]


_NO_STORE = {"Content-Type": JSON, "Cache-Control": "no-store"}
_TEMPLATES = {status: ResponseTemplate(status, _NO_STORE) for status in (200, 201, 401)}
NOTHING = CachedResponse(ResponseTemplate(204, {"Cache-Control": "no-store"}), None)


def data(body: object, status: int = 200) -> CachedResponse:
    """A success with its `data`."""
    return CachedResponse(_TEMPLATES[status], _encode(Envelope(body)))


def bare(body: object, status: int) -> CachedResponse:
    """An answer of another shape."""
    return CachedResponse(_TEMPLATES[status], _encode(body))


def redirect(location: str) -> CachedResponse:
    """303, to a place of ours."""
    return CachedResponse(ResponseTemplate(303, {"Location": location, "Cache-Control": "no-store"}), b"")
