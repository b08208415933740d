"""What the OpenAPI 3.1 documents of our services have in common."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from rotary.events import Id

Json = dict[str, Any]  # a JSON document is whatever its own specification says
Headers = Mapping[str, tuple[str, str]]
"""Headers by name: type and meaning."""

RATE: Headers = {
    "X-RateLimit-Limit": ("integer", "Requests that this token may make in any 60 seconds. Absent if it has no limit."),
    "X-RateLimit-Remaining": ("integer", "Requests left now, as far as the replica that answers knows."),
    "X-RateLimit-Reset": ("integer", "Epoch second at which the oldest counted requests stop counting."),
}
REQUEST_ID: Headers = {
    "X-Request-Id": ("string", "Yours, if you sent one, else ours. Name it when you report a problem.")
}
RETRY: Headers = {"Retry-After": ("integer", "Seconds after which to try again.")}


class Failure(msgspec.Struct, frozen=True):
    """One answer that is no success: when it comes, an example of its message, its headers."""

    description: str
    message: str
    headers: Headers = {}


COMMON_FAILURES = {
    "Unauthenticated": Failure("No token, or one that is unknown, expired or revoked.", "Unauthenticated."),
    "GroupNotFound": Failure(
        "You have no such group, or the id is no positive 64-bit integer.", "Pool not found.", RATE
    ),
    "HeadTooLarge": Failure("Request line or headers too large.", "Request line or headers too large."),
    "ServerError": Failure("A defect of ours.", "Server error."),
}


def document(title: str, summary: str, description: str, tag: Json, paths: Json, components: Json) -> Json:
    """The document, ready to encode. Every operation needs a bearer token."""
    token = {"type": "http", "scheme": "bearer", "description": "An API token, as shown once at creation."}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version("rotary"),
            "summary": summary,
            "description": description,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [tag],
        "paths": paths,
        "components": {**components, "securitySchemes": {"token": token}},
    }


def failure(failed: Failure) -> Json:
    """The response of a failure; its headers but `Allow` must be among the components."""
    body = {"schema": {"$ref": "#/components/schemas/ErrorBody"}, "example": {"message": failed.message}}
    own = {name: header(*told) for name, told in failed.headers.items() if name == "Allow"}
    shared = {name: told for name, told in failed.headers.items() if name != "Allow"}
    return {
        "description": failed.description,
        "headers": own | headers({**shared, **REQUEST_ID}),
        "content": {"application/json": body},
    }


def headers(named: Headers) -> Json:
    """References to headers among the components."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in named}


def header(kind: str, description: str) -> Json:
    """A header."""
    return {"description": description, "schema": {"type": kind}}


def header_components(*some: Headers) -> Json:
    """Headers, as components."""
    return {name: header(*told) for one in some for name, told in one.items()}


def group_id_parameter() -> Json:
    """The group's id in a path."""
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The group's id, in plain decimal.",
        "schema": msgspec.json.schema(Id) | {"format": "int64"},
        "example": 3,
    }


def optional_header(name: str, description: str) -> Json:
    """A header that a client may send."""
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


REQUEST_ID_PARAMETER = optional_header(
    "X-Request-Id", "1 to 128 of letters, digits and ._~+/=:- to find the request by."
)


def schemas_of(types: Sequence[object], meanings: Mapping[str, Mapping[str, str]]) -> tuple[list[Json], Json]:
    """References to the schemas of these types, and all schemas, with what their fields mean. They are closed."""
    references, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    for schema in schemas.values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    for name, fields in meanings.items():
        for field, meaning in fields.items():
            schemas[name]["properties"][field]["description"] = meaning
    return [*references], schemas
