"""Each typed error has one response. Any other error is a defect, and says nothing about itself."""

import pickle

import pytest

from rotary.auth.errors import TooManyAttemptsError
from rotary.errors import GroupNotFoundError, UnavailableError
from rotary.http.errors import answer_to

CASES: list[tuple[Exception, int, bytes, bytes]] = [
    (TooManyAttemptsError(7), 429, b"Too many requests. Retry after 7 seconds.", b"Retry-After: 7\r\n"),
    (GroupNotFoundError(), 404, b"Pool not found.", b""),
    (UnavailableError("Redis is away", "10.0.0.7: refused"), 503, b"Redis is away. Try again soon.", b"Retry-After: 1"),
    (KeyError("10.0.0.7"), 500, b"Server error.", b""),
]


@pytest.mark.parametrize(("error", "status", "message", "header"), CASES)
def test_each_error_has_its_response(error: Exception, status: int, message: bytes, header: bytes) -> None:
    answer = answer_to(error)
    assert (answer.status, answer.body) == (status, b'{"message":"%b"}' % message)
    assert header in answer.head


def test_a_refused_attempt_carries_its_code_and_its_wait() -> None:
    error = pickle.loads(pickle.dumps(TooManyAttemptsError(7)))
    assert (error.code, error.retry_after_seconds) == ("too_many_requests", 7)
