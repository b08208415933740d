"""Errors of authentication. `rotary.http.errors` maps each to its HTTP response."""

from rotary.errors import RotaryError


class TooManyAttemptsError(RotaryError):
    """A client address tried too many unknown tokens. `retry_after_seconds` is at least 1."""

    code = "too_many_requests"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"too many unknown tokens; retry after {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds

    def __reduce__(self) -> tuple[type["TooManyAttemptsError"], tuple[int]]:
        return type(self), (self.retry_after_seconds,)
