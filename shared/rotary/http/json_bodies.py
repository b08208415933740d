"""JSON bodies of requests: decoded as a type, or refused with every field that is wrong."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from rotary.http.errors import Refusal
from rotary.http.responses import JSON, CachedResponse, ResponseTemplate, failure
from rotary.management.errors import InvalidError, Violation
from rotary.management.validation import violations_of

INVALID = "The given data was invalid."
MALFORMED = failure(400, "The body is not valid JSON.")
_UNPROCESSABLE = ResponseTemplate(422, {"Content-Type": JSON, "Cache-Control": "no-store"})
_MALFORMED = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class InvalidBody(Struct, frozen=True):
    """What is wrong with a request, by field."""

    message: str
    errors: dict[str, list[str]]


def decode_body(content: bytes, kind: Any) -> object:
    """The body as a `kind`, a type as msgspec takes it (hence Any). Raises Refusal, or InvalidError with everything."""
    try:
        decoded: object = msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid(content, kind, str(error)) from None
    except _MALFORMED:
        raise Refusal(MALFORMED) from None
    return decoded


def _invalid(content: bytes, kind: Any, first: str) -> InvalidError:
    try:
        value = msgspec.json.decode(content)
    except _MALFORMED:
        raise Refusal(MALFORMED) from None
    found = [Violation(path.removeprefix("."), detail) for path, detail in violations_of(kind, value, strict=True)]
    return InvalidError(*(found or [Violation("", first)]))


def invalid(violations: Sequence[Violation]) -> CachedResponse:
    """422 that names every field that is wrong."""
    errors: dict[str, list[str]] = {}
    for violation in violations:
        errors.setdefault(violation.field, []).append(sentence(violation.detail))
    return CachedResponse(_UNPROCESSABLE, msgspec.json.encode(InvalidBody(INVALID, errors)))


def sentence(text: str) -> str:
    """The write model's words as an answer has them."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
