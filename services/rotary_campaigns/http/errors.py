"""From an error to its answer."""

from rotary.errors import ConfigurationError
from rotary.http import errors as shared
from rotary.http.errors import UNAUTHENTICATED, Refusal
from rotary.http.json_bodies import invalid, sentence
from rotary.http.responses import CachedResponse, failure
from rotary.management.errors import (
    ConflictError,
    KeyReusedError,
    NotFoundError,
    RefusedError,
    StaleError,
)
from rotary.management.revocation import StillAcceptedError
from rotary.publisher import PublishError
from rotary_campaigns.database import TokenRevokedError

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
_OF_PATH = frozenset({"id", "group_id", "customer_id"})
"""Fields of a NotFoundError that the path names, or the token."""


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
            return failure(409, sentence(error.detail))
        case KeyReusedError():
            return failure(422, sentence(error.detail))
        case _:
            return invalid(error.violations)
