"""Reading a request: its body, its query and its conditions. Everything that is wrong is told, by field."""

import re
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from rotary.http.errors import Refusal
from rotary.http.json_bodies import decode_body
from rotary.http.request_bodies import BODY_SECONDS, read_body
from rotary.management.errors import InvalidError, Violation
from rotary.management.idempotency import MAX_KEY
from rotary.management.validation import violations_of
from rotary_campaigns.http.errors import PRECONDITION_REQUIRED, UNSUPPORTED
from rotary_campaigns.http.operations import MAX_BODY_BYTES, Operation, RawBody

S = TypeVar("S", bound=Struct)
IDEMPOTENCY_KEY = "Idempotency-Key"
FILE_SECONDS = 120.0
"""How long a file may take to arrive: 32 MiB over 2 Mbit/s."""
_KEY = re.compile(rf"[\x20-\x7e]{{1,{MAX_KEY}}}")
_TAG = re.compile(r'[\s,]*(W/)?("[^"]*")\s*(?:,|$)')


async def read_request(request: web.BaseRequest, operation: Operation) -> tuple[bytes, object]:
    """The body's bytes, and what they say. Raises Refusal and InvalidError."""
    if operation.body is None:
        return b"", None
    seconds = FILE_SECONDS if operation.max_body_bytes > MAX_BODY_BYTES else BODY_SECONDS
    content = await read_body(request, operation.max_body_bytes, seconds)
    if operation.content_types:
        kind = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
        if kind not in operation.content_types:
            raise Refusal(UNSUPPORTED)
        return content, RawBody(kind, content)
    if not content and operation.is_body_optional:
        return content, None
    return content, decode_body(content, operation.body)


def read_query(request: web.BaseRequest, kind: type[S]) -> S:
    """The query's parameters as a `kind`; unknown ones are ignored, and of one that comes twice the last counts."""
    known = set(kind.__struct_fields__)
    query = request.raw_path.partition("?")[2]
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise InvalidError(Violation("", "The query is not valid.")) from None
    values: Mapping[str, str] = {name: value for name, value in pairs if name in known}
    try:
        decoded = msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError:
        found = [Violation(path.removeprefix("."), detail) for path, detail in violations_of(kind, values)]
        raise InvalidError(*found) from None
    if nulls := [name for name in values if getattr(decoded, name) is None]:  # the text "null", which is no value here
        raise InvalidError(*(Violation(name, "Expected a value.") for name in nulls))
    return decoded


def read_key(request: web.BaseRequest) -> str | None:
    """The idempotency key, if there is one. Raises InvalidError."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidError(Violation(IDEMPOTENCY_KEY, f"Expected 1 to {MAX_KEY} printable ASCII characters."))
    return key


def read_if_match(request: web.BaseRequest, operation: Operation) -> frozenset[str] | None:
    """The tags of If-Match; None if any version will do. Weak tags match nothing, as RFC 9110 has it.

    Raises Refusal where a condition is required and there is none.
    """
    if operation.precondition == "none":
        return None
    lines = request.headers.getall(hdrs.IF_MATCH, ())
    if not lines:
        if operation.precondition == "required":
            raise Refusal(PRECONDITION_REQUIRED)
        return None
    if any(line.strip() == "*" for line in lines):
        return None
    return frozenset(tag for line in lines for weak, tag in _TAG.findall(line) if not weak)
