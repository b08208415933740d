"""Every failure of the public API: its status, its message, and the error that leads to it."""

from rotary.auth.errors import TooManyAttemptsError
from rotary.errors import GroupNotFoundError, UnavailableError
from rotary.http.responses import CachedResponse, ResponseTemplate, failure

ALLOWED = "GET, HEAD, OPTIONS"

UNAUTHENTICATED = failure(401, "Unauthenticated.", {"WWW-Authenticate": "Bearer"})
UNAUTHORIZED = failure(403, "This action is unauthorized.")
GROUP_NOT_FOUND = failure(404, "Pool not found.")
RESOURCE_NOT_FOUND = failure(404, "Resource not found")
BODY_TOO_LARGE = failure(413, "Request body too large.")
HEAD_TOO_SLOW = failure(408, "The request took too long to arrive.")
BODY_TOO_SLOW = HEAD_TOO_SLOW
BAD_REQUEST = failure(400, "Bad request.")
HEAD_TOO_LARGE = failure(431, "Request line or headers too large.")
SERVER_ERROR = failure(500, "Server error.")
TOO_MANY_CONNECTIONS = failure(503, "Too many connections are open.", {"Retry-After": "10"})
TOO_MANY_STREAMS = failure(503, "Too many streams are open.", {"Retry-After": "30"})


def options(allowed: str) -> CachedResponse:
    """The answer to OPTIONS: the methods of a path, separated by commas."""
    return CachedResponse(ResponseTemplate(204, {"Allow": allowed}), None)


def method_not_allowed(allowed: str) -> CachedResponse:
    """405 for a method that the path does not have."""
    return failure(405, "Method not allowed.", {"Allow": allowed})


class Refusal(Exception):  # noqa: N818  # a refusal is an answer, not an error of ours
    """Ends the handling of a request with this answer."""

    def __init__(self, answer: CachedResponse) -> None:
        super().__init__(answer.status)
        self.answer = answer


def too_many_requests(retry_after_seconds: int) -> CachedResponse:
    """429 for a token over its limit, or an address that tries unknown tokens."""
    message = f"Too many requests. Retry after {retry_after_seconds} seconds."
    return failure(429, message, {"Retry-After": str(retry_after_seconds)})


def too_many_streams(owner: str) -> CachedResponse:
    """429 for a token or a customer that has reached its limit of open streams."""
    return failure(429, f"Too many streams are open for this {owner}. Retry after 30 seconds.", {"Retry-After": "30"})


def answer_to(error: Exception) -> CachedResponse:
    """The response to an error. An error that is not listed here is a defect: SERVER_ERROR."""
    match error:
        case TooManyAttemptsError():
            return too_many_requests(error.retry_after_seconds)
        case GroupNotFoundError():
            return GROUP_NOT_FOUND
        case UnavailableError():
            return failure(503, f"{error.public_message}. Try again soon.", {"Retry-After": "1"})
        case _:
            return SERVER_ERROR
