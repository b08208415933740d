"""The OpenAPI 3.1 document, generated from the table of operations and the types that decode and encode."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from rotary.definitions import MANAGE_SCOPE, SCOPE
from rotary.events import Id
from rotary.http.bodies import Envelope, ErrorBody
from rotary.http.json_bodies import INVALID, InvalidBody
from rotary.http.openapi import (
    COMMON_FAILURES,
    RATE,
    REQUEST_ID,
    REQUEST_ID_PARAMETER,
    RETRY,
    Failure,
    Json,
    document,
    failure,
    header_components,
    headers,
    optional_header,
)
from rotary.management.idempotency import MAX_KEY
from rotary.management.pages import Page
from rotary_campaigns.http.operations import Operation, RawBody, Resource
from rotary_campaigns.http.resources import RESOURCES

ETAG = {"ETag": ("string", "The version of what was read. Send it in If-Match to change just this version.")}
LOCATION = {"Location": ("string", "The path of what was created.")}

_FAILURES = {name: failed for name, failed in COMMON_FAILURES.items() if name != "GroupNotFound"} | {
    "Unauthorized": Failure(
        f"The token lacks the scope: {SCOPE} for campaigns, {MANAGE_SCOPE} for all else.",
        "This action is unauthorized.",
        RATE,
    ),
    "Malformed": Failure("The request or its body can't be read.", "The body is not valid JSON.", RATE),
    "NotFound": Failure("You have none with this id.", "Campaign not found.", RATE),
    "MethodNotAllowed": Failure(
        "The path has other methods.", "Method not allowed.", {"Allow": ("string", "The methods of the path.")}
    ),
    "TooSlow": Failure("The request did not arrive within 10 seconds.", "The request took too long to arrive."),
    "Conflict": Failure(
        "It contradicts what is stored: a name or a number is taken, a status can't follow, a group is in use.",
        "A campaign that is archived can't become active.",
        RATE,
    ),
    "Stale": Failure(
        "It is not in the version that If-Match names.", "It has changed since it was read. Read it again.", RATE
    ),
    "BodyTooLarge": Failure("The body is too long.", "Request body too large."),
    "Unsupported": Failure("The content type is none of those listed.", "The content type is not supported.", RATE),
    "PreconditionRequired": Failure(
        "If-Match is missing.",
        "Send If-Match with the ETag that you read, or If-Match: * to overwrite whatever is there.",
        RATE,
    ),
    "TooManyRequests": Failure(
        "Over the token's limit, or too many unknown tokens from your address.",
        "Too many requests. Retry after 7 seconds.",
        {**RATE, **RETRY},
    ),
    "Unavailable": Failure(
        "PostgreSQL, Redis or RabbitMQ is away. Nothing was changed, unless PostgreSQL was lost while it answered: "
        "send the request again with the same Idempotency-Key.",
        "PostgreSQL is away. Try again soon.",
        RETRY,
    ),
}
_ALWAYS = {
    "400": "Malformed",
    "401": "Unauthenticated",
    "403": "Unauthorized",
    "405": "MethodNotAllowed",
    "408": "TooSlow",
    "413": "BodyTooLarge",
    "429": "TooManyRequests",
    "431": "HeadTooLarge",
    "500": "ServerError",
    "503": "Unavailable",
}
_OWN = {"Conflict": "409"}
_MEANINGS = {
    "page": "Which page of the list; the first is 1.",
    "per_page": "Entries on a page.",
    "status": "Only those with this status.",
    "carrier": "Only those of this carrier.",
    "group_id": "Only members of this group.",
    "search": "Only those whose number or name contains this text, in any letter case.",
    "entity": "Only changes of this kind of definition.",
    "entity_id": "Only changes of the one with this id; of members: of this group.",
    "actor": "Only changes by this actor.",
    "dry_run": "Change nothing, and tell what would change.",
}


def openapi() -> Json:
    """The document, ready to encode."""
    schemas = Schemas(_operations())
    paths: Json = {}
    for resource in RESOURCES.values():
        methods = {one.method.lower(): _operation(resource, one, schemas) for one in resource.operations}
        paths[resource.pattern] = methods
    tags = list(dict.fromkeys(resource.tag for resource in RESOURCES.values()))
    made = document(
        "Rotary campaigns and management",
        "Campaigns, and the definitions of caller IDs that they dial with.",
        "Every change is in the audit log. What is changed here is in the read API within a second. Times are UTC, to "
        "the second. Unknown fields of a body are refused; unknown query parameters are ignored.",
        {"name": tags[0], "description": ""},
        paths,
        {
            "schemas": schemas.components,
            "headers": header_components(RATE, REQUEST_ID, RETRY, ETAG, LOCATION),
            "parameters": _parameters(),
            "responses": {name: failure(failed) for name, failed in _FAILURES.items()},
        },
    )
    return made | {"tags": [{"name": tag} for tag in tags]}


class Schemas:
    """The schemas of all types that operations name, as components."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        types = [kind for operation in operations for kind in _types(operation)] + [InvalidBody, ErrorBody]
        references, self.components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
        self._references: dict[str, Json] = dict(zip(map(repr, types), references, strict=True))
        for schema in self.components.values():
            _mend(schema)
            if "properties" in schema:
                schema["additionalProperties"] = False

    def of(self, kind: Any) -> Json:
        """A reference to a type's schema, or a schema that has one. Any: types are data here."""
        return self._references[repr(kind)]


def _mend(schema: Any) -> None:
    """Writes Python's anchors as ECMA's regular expressions have them. Any: a schema has parts of all types."""
    if isinstance(schema, dict):
        if isinstance(pattern := schema.get("pattern"), str):
            schema["pattern"] = pattern.replace(r"\A", "^").replace(r"\Z", "$")
        for part in schema.values():
            _mend(part)
    elif isinstance(schema, list):
        for part in schema:
            _mend(part)


def _operations() -> Iterator[Operation]:
    for resource in RESOURCES.values():
        yield from resource.operations


def _types(operation: Operation) -> Iterator[Any]:
    if operation.body is not None and operation.body is not RawBody:
        yield operation.body
    if operation.answer is not None:
        yield _body_type(operation)


def _body_type(operation: Operation) -> Any:
    kind: Any = operation.answer
    return Page[kind] if operation.is_page else Envelope[kind]


def _operation(resource: Resource, operation: Operation, schemas: Schemas) -> Json:
    made: Json = {
        "operationId": operation.name,
        "tags": [resource.tag],
        "summary": operation.summary,
        "description": f"{operation.description} Scope: `{resource.scope}`.".strip(),
        "parameters": [*_path_parameters(resource), *_query_parameters(operation), *_header_parameters(operation)],
        "responses": dict(sorted(_responses(resource, operation, schemas).items())),
    }
    if operation.body is not None:
        made["requestBody"] = {"required": not operation.is_body_optional, "content": _content(operation, schemas)}
    return made


def _content(operation: Operation, schemas: Schemas) -> Json:
    if operation.content_types:
        return {kind: {"schema": {}} for kind in operation.content_types}
    return {"application/json": {"schema": schemas.of(operation.body)}}


def _responses(resource: Resource, operation: Operation, schemas: Schemas) -> Json:
    named = dict(_ALWAYS)
    if "{" in resource.pattern:
        named["404"] = "NotFound"
    if operation.precondition != "none":
        named["412"] = "Stale"
    if operation.precondition == "required":
        named["428"] = "PreconditionRequired"
    if operation.content_types:
        named["415"] = "Unsupported"
    named |= {_OWN[name]: name for name in operation.failures}
    responses: Json = {status: {"$ref": f"#/components/responses/{name}"} for status, name in named.items()}
    responses["422"] = _invalid(schemas)
    responses[str(operation.status)] = _success(operation, schemas)
    if operation.method == "GET":
        responses["304"] = {"description": "It is what If-None-Match names.", "headers": headers({**RATE, **ETAG})}
    return responses


def _success(operation: Operation, schemas: Schemas) -> Json:
    own = {**RATE, **REQUEST_ID}
    if operation.answer is None:
        return {"description": "Done.", "headers": headers(own)}
    located = LOCATION if operation.status in (201, 202) else {}
    content: Json = {"application/json": {"schema": schemas.of(_body_type(operation))}}
    if operation.stream is not None:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {"description": "Done.", "headers": headers({**own, **ETAG, **located}), "content": content}


def _invalid(schemas: Schemas) -> Json:
    example = InvalidBody(INVALID, {"caller_id_group_id": ["A caller ID group is required to activate a campaign."]})
    return {
        "description": "The request is not valid: `errors` names every field. Without `errors`: the idempotency key "
        "was used within 24 hours for another request.",
        "headers": headers({**RATE, **REQUEST_ID}),
        "content": {
            "application/json": {
                "schema": {"anyOf": [schemas.of(InvalidBody), schemas.of(ErrorBody)]},
                "example": msgspec.to_builtins(example),
            }
        },
    }


def _path_parameters(resource: Resource) -> list[Json]:
    names = [part.strip("{}") for part in resource.pattern.split("/") if part.startswith("{")]
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": "The id, in plain decimal.",
            "schema": msgspec.json.schema(Id) | {"format": "int64"},
        }
        for name in names
    ]


def _query_parameters(operation: Operation) -> list[Json]:
    return (
        []
        if operation.query is None
        else [_query_parameter(field) for field in msgspec.structs.fields(operation.query)]
    )


def _query_parameter(field: msgspec.structs.FieldInfo) -> Json:
    schema = msgspec.json.schema(field.type)
    if "anyOf" in schema:  # a parameter that is absent is null
        [schema] = [one for one in schema["anyOf"] if one != {"type": "null"}]
    elif "enum" in schema:
        schema = {"type": "string", "enum": [one for one in schema["enum"] if one is not None]}
    _mend(schema)
    if field.default not in (None, msgspec.NODEFAULT):
        schema |= {"default": field.default}
    return {"name": field.encode_name, "in": "query", "description": _MEANINGS[field.name], "schema": schema}


def _header_parameters(operation: Operation) -> list[Json]:
    names = ["RequestId"]
    if operation.precondition != "none":
        names.append("IfMatch" if operation.precondition == "optional" else "RequiredIfMatch")
    if operation.is_idempotent:
        names.append("IdempotencyKey")
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _parameters() -> Json:
    if_match = optional_header("If-Match", "The ETag that you read, or * for whatever is there.")
    return {
        "RequestId": REQUEST_ID_PARAMETER,
        "IfMatch": if_match,
        "RequiredIfMatch": if_match | {"required": True},
        "IdempotencyKey": {
            **optional_header(
                "Idempotency-Key",
                "A name of this request, unique for 24 hours. A repetition has the same answer and changes nothing. "
                "With another request the key is refused with 422.",
            ),
            "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
        },
    }
