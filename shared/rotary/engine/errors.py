"""What the engine's clients raise: refusals, which are answers, and errors."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar

from rotary.errors import RotaryError, UnavailableError


class EngineError(RotaryError):
    """The base class. `message` is the engine's own text; `status` and `request_id` are None if it did not answer.

    As a string it also says what to do, and names the request for whoever reads the engine's log.
    """

    hint: ClassVar[str] = ""

    def __init__(self, message: str, status: int | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.request_id = request_id

    def __str__(self) -> str:
        text = f"{self.message} {self.hint}".rstrip()
        return text if self.request_id is None else f"{text} (request {self.request_id})"


class PickRefused(EngineError):  # noqa: N818 - an answer of the engine
    """The base class of the engine's two ways to say no. Do not dial: skip the call, or wait."""


class NothingEligible(PickRefused):
    """No caller ID of the group can be picked now.

    `reasons` counts the members by why: `cooldown`, `quota_exceeded`, `hourly_cap`, `min_gap`, `disabled`, `excluded`.
    `next_eligible_at` is the earliest time at which one may be eligible again, unless a definition changes, a cooldown
    is cleared or a pick is released before. None: at no known time. `retry_after` is the same in seconds from the
    answer, by the engine's clock: use it to wait, because your clock may differ.
    """

    def __init__(
        self,
        message: str,
        reasons: Mapping[str, int],
        next_eligible_at: datetime | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, 409, request_id)
        self.reasons = reasons
        self.next_eligible_at = next_eligible_at
        self.retry_after = retry_after


class GroupDisabled(PickRefused):
    """The group's status is `disabled`: nothing is picked from it."""


class GroupNotFoundError(EngineError):
    """The token's customer has no such group."""

    hint = "The token's customer has no group with this id."


class AccessRefusedError(EngineError):
    """The base class of UnauthenticatedError and UnauthorizedError. Trying again can't help."""


class UnauthenticatedError(AccessRefusedError):
    """The token is unknown, expired or revoked (401)."""

    hint = "The token is unknown, expired or revoked; `rotary-admin token list` shows the valid ones."


class UnauthorizedError(AccessRefusedError):
    """The token lacks the scope `caller_id_pick` (403)."""

    hint = "Create a token with `rotary-admin token create --scope caller_id_pick`."


class InvalidRequestError(EngineError):
    """A value of the request is invalid. `errors` has the messages by field, such as `picks[2].carrier`."""

    def __init__(
        self,
        message: str,
        status: int | None = None,
        request_id: str | None = None,
        errors: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(message, status, request_id)
        self.errors = errors or {}

    def __str__(self) -> str:
        fields = "".join(f" {field}: {' '.join(texts)}" for field, texts in self.errors.items())
        return super().__str__().replace(self.message, self.message + fields, 1)


class IdempotencyConflictError(InvalidRequestError):
    """This idempotency key was used within 24 hours for a request with other arguments."""

    hint = "Use a new key for each call attempt."


class RateLimitedError(EngineError):
    """The token is over its limit, and stays so beyond the deadline. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float | None, request_id: str | None) -> None:
        super().__init__(message, 429, request_id)
        self.retry_after = retry_after


class EngineUnavailableError(EngineError, UnavailableError):
    """The engine did not answer in time, or is closed because it can't know what is eligible (503).

    A pick may have been made all the same. Repeat the call with the same `idempotency_key` to get it, or let it
    expire. `retry_after` is in seconds, None if the engine gave no time.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        EngineError.__init__(self, message, status, request_id)
        self.public_message = message
        self.detail = ""
        self.what = message
        self.retry_after = retry_after


class UnexpectedAnswerError(EngineError):
    """The answer is not the engine's: the URL is probably that of another server."""


class EngineClosedError(EngineError):
    """The engine's client is used outside its `with` or `async with`."""
