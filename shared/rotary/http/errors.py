"""Every failure a reader can meet, in one table. README.md lists those of the API."""

from rotary.errors import GroupNotFoundError, UnavailableError
from rotary.http.responses import CachedResponse, ResponseTemplate, failure

ALLOWED = "GET, HEAD, OPTIONS"

OPTIONS = CachedResponse(ResponseTemplate(204, {"Allow": ALLOWED}), None)
UNAUTHENTICATED = failure(401, "Unauthenticated.", {"WWW-Authenticate": "Bearer"})
UNAUTHORIZED = failure(403, "This action is unauthorized.")
GROUP_NOT_FOUND = failure(404, "Pool not found.")
RESOURCE_NOT_FOUND = failure(404, "Resource not found")
METHOD_NOT_ALLOWED = failure(405, "Method not allowed.", {"Allow": ALLOWED})
BODY_TOO_LARGE = failure(413, "Request body too large.")
HEAD_TOO_SLOW = failure(408, "The request took too long to arrive.")
BAD_REQUEST = failure(400, "Bad request.")
HEAD_TOO_LARGE = failure(431, "Request line or headers too large.")
SERVER_ERROR = failure(500, "Server error.")
TOO_MANY_CONNECTIONS = failure(503, "Too many connections are open.", {"Retry-After": "10"})
TOO_MANY_STREAMS = failure(503, "Too many streams are open.", {"Retry-After": "30"})


class Refusal(Exception):  # noqa: N818  # a refusal is an answer, not an error of ours
    """Ends the handling of a request with this answer."""

    def __init__(self, answer: CachedResponse) -> None:
        super().__init__(answer.status)
        self.answer = answer


def too_many_requests(retry_after_seconds: int) -> CachedResponse:
    """429 for a token over its limit, or an address that tries unknown tokens."""
    message = f"Too many requests. Retry after {retry_after_seconds} seconds."
    return failure(429, message, {"Retry-After": str(retry_after_seconds)})


def too_many_streams(whose: str) -> CachedResponse:
    """429 for a token or a customer with as many streams open as it may have."""
    return failure(429, f"Too many streams are open for this {whose}. Retry after 30 seconds.", {"Retry-After": "30"})


def answer_to(error: Exception) -> CachedResponse:
    """The answer that an error of the table deserves; anything else is a defect of ours."""
    match error:
        case Refusal():
            return error.answer
        case GroupNotFoundError():
            return GROUP_NOT_FOUND
        case UnavailableError():
            return failure(503, f"{error.public_message}. Try again soon.", {"Retry-After": "1"})
        case _:
            return SERVER_ERROR
