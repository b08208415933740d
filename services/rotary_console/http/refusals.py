"""Every failure of the console: its status, its message, and the error that leads to it."""

from rotary.http import errors as shared
from rotary.http.errors import Refusal
from rotary.http.json_bodies import invalid, sentence
from rotary.http.responses import CachedResponse, failure
from rotary.management.errors import ConflictError, NotFoundError, RefusedError

NOT_SIGNED_IN = failure(401, "You are not signed in.")
WRONG_CREDENTIALS = failure(401, "Wrong user name, password or code.")
NO_CUSTOMER = failure(404, "Customer not found.")
ROLE_TOO_LOW = failure(403, "Your role does not allow this.")
CLIENT_GONE = failure(503, "The connection is closed.")
"""Never received."""
CAMPAIGNS_AWAY = failure(503, "The campaigns service does not answer. Try again soon.", {"Retry-After": "2"})
CAMPAIGNS_BROKEN = failure(502, "The campaigns service broke off its answer.")
CAMPAIGNS_SLOW = failure(504, "The campaigns service takes too long to answer.", {"Retry-After": "10"})
TOO_MANY_AT_ONCE = failure(429, "Too many requests at once. Retry after 1 second.", {"Retry-After": "1"})
BROKER_UNUSABLE = failure(
    503, "RabbitMQ's management API can't be used. Ask whoever runs this installation.", {"Retry-After": "30"}
)


def answer_to(error: Exception) -> CachedResponse:
    """The answer to an error. SERVER_ERROR is a defect."""
    match error:
        case Refusal():
            return error.answer
        case NotFoundError():
            return failure(404, sentence(error.detail))
        case ConflictError():
            return failure(409, sentence(error.detail))
        case RefusedError():
            return invalid(error.violations)
        case _:
            return shared.answer_to(error)
