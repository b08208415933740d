"""From an error to its answer."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from rotary.errors import ConfigurationError
from rotary.http import errors as shared
from rotary.http.errors import UNAUTHENTICATED, Refusal
from rotary.http.responses import JSON, CachedResponse, ResponseTemplate, failure
from rotary.management.errors import (
    ConflictError,
    KeyReusedError,
    NotFoundError,
    RefusedError,
    StaleError,
    Violation,
)
from rotary.management.revocation import StillAcceptedError
from rotary.publisher import PublishError
from rotary_campaigns.database import TokenRevokedError

INVALID = "The given data was invalid."
MALFORMED = failure(400, "The body is not valid JSON.")
UNSUPPORTED = failure(415, "The content type is not supported.")
PRECONDITION_REQUIRED = failure(
    428, "Send If-Match with the ETag that you read, or If-Match: * to overwrite whatever is there."
)
STALE = failure(412, "It has changed since it was read. Read it again.")
BROKER_AWAY = failure(503, "RabbitMQ is away. Try again soon.", {"Retry-After": "1"})
REVOCATION_PENDING = failure(
    503,
    "The token is revoked, but the API may accept it for some seconds more. Revoke it again to be sure.",
    {"Retry-After": "1"},
)
_NO_STORE = {"Content-Type": JSON, "Cache-Control": "no-store"}
_UNPROCESSABLE = ResponseTemplate(422, _NO_STORE)
_OF_PATH = frozenset({"id", "group_id", "customer_id"})
"""Fields of a NotFoundError that the path names, or the token."""


class InvalidBody(Struct, frozen=True):
    """What is wrong with a request, by field."""

    message: str
    errors: dict[str, list[str]]


_FIXED: tuple[tuple[type[Exception], CachedResponse], ...] = (
    (TokenRevokedError, UNAUTHENTICATED),
    (StaleError, STALE),
    (StillAcceptedError, REVOCATION_PENDING),
    (PublishError, BROKER_AWAY),
    (ConfigurationError, BROKER_AWAY),
)


def answer_to(error: Exception, missing: str) -> CachedResponse:
    """The answer to an error. `missing` is what a request for what does not exist is told. SERVER_ERROR is a defect."""
    if isinstance(error, Refusal):
        return error.answer
    if isinstance(error, RefusedError) and not isinstance(error, StaleError):
        return _refusal(error, missing)
    return next((answer for kind, answer in _FIXED if isinstance(error, kind)), None) or shared.answer_to(error)


def _refusal(error: RefusedError, missing: str) -> CachedResponse:
    match error:
        case NotFoundError() if error.field in _OF_PATH:
            return failure(404, missing)
        case ConflictError():
            return failure(409, _sentence(error.detail))
        case KeyReusedError():
            return failure(422, _sentence(error.detail))
        case _:
            return invalid(error.violations)


def invalid(violations: Sequence[Violation]) -> CachedResponse:
    """422 that names every field that is wrong."""
    errors: dict[str, list[str]] = {}
    for violation in violations:
        errors.setdefault(violation.field, []).append(_sentence(violation.detail))
    return CachedResponse(_UNPROCESSABLE, msgspec.json.encode(InvalidBody(INVALID, errors)))


def _sentence(text: str) -> str:
    """The write model's words as an answer has them."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
