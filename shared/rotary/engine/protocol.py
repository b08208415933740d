"""Requests to the engine and what their answers mean, without any I/O: both clients send and read these."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from secrets import token_hex
from typing import Annotated, Generic, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Meta, Raw, Struct

from rotary.engine.errors import (
    EngineError,
    EngineUnavailableError,
    GroupDisabled,
    GroupNotFoundError,
    IdempotencyConflictError,
    InvalidRequestError,
    NothingEligible,
    RateLimitedError,
    UnauthenticatedError,
    UnauthorizedError,
    UnexpectedAnswerError,
)
from rotary.engine.picks import PickedCallerId, PickRequest
from rotary.errors import ConfigurationError

T = TypeVar("T")
_MAX_KEY = 255
_ERRORS: Mapping[int, type[EngineError]] = {
    400: InvalidRequestError,
    401: UnauthenticatedError,
    403: UnauthorizedError,
    413: InvalidRequestError,
    422: IdempotencyConflictError,  # the 422 that names no field
}
_NO_GROUP = "Pool not found."


class Answer(Struct, frozen=True):
    """What came back. `retry_after` is in seconds, `date` the engine's clock."""

    status: int
    body: bytes
    retry_after: float | None = None
    request_id: str | None = None
    date: datetime | None = None


class Request(Struct, Generic[T], frozen=True):
    """One request, the same for each attempt. `read` returns the answer's result, or raises."""

    method: str
    path: str
    read: Callable[[Answer], T]
    body: bytes | None = None
    headers: Mapping[str, str] = {}


class _Refusal(Struct):
    """The body of a 409, or a refused pick of a batch."""

    message: str
    reasons: dict[str, int] | None = None
    next_eligible_at: Annotated[datetime, Meta(tz=True)] | None = None


class _One(Struct):
    data: PickedCallerId


class _Many(Struct):
    data: list[Raw]


class _Failure(Struct):
    message: str = ""
    errors: dict[str, list[str]] = {}


class _Batch(Struct):
    picks: Sequence[PickRequest]


_encode = msgspec.json.Encoder().encode
_one = msgspec.json.Decoder(_One)
_many = msgspec.json.Decoder(_Many)
_picked = msgspec.json.Decoder(PickedCallerId)
_refusal = msgspec.json.Decoder(_Refusal)
_failure = msgspec.json.Decoder(_Failure)


def answer(status: int, body: bytes, header: Callable[[str], str | None]) -> Answer:
    """An answer with the headers that count. `header` returns one by its name."""
    wait = header("Retry-After") or ""
    seconds = float(wait) if wait.isascii() and wait.isdigit() else None
    return Answer(status, body, seconds, header("X-Request-Id"), _date(header("Date")))


def base_url(url: str) -> str:
    """The URL without a slash at its end. Raises ConfigurationError if it is not an address of HTTP."""
    if not _is_address(url):
        raise ConfigurationError("the engine's URL is invalid; expected https://host or https://host/path")
    return url.rstrip("/")


def common_headers(token: str) -> dict[str, str]:
    """What each request carries. Raises ConfigurationError if the token can't be one."""
    if not token or not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigurationError("the engine's token is invalid; expected what `rotary-admin token create` showed")
    return {"Authorization": f"Bearer {token}", "Accept": "application/json"}


def pick(group_id: int, request: PickRequest, idempotency_key: str | None) -> Request[PickedCallerId]:
    """One pick."""
    return Request("POST", _picks(group_id), _read_pick, _body(request), _json_headers(idempotency_key))


def pick_many(
    group_id: int, requests: Sequence[PickRequest], idempotency_key: str | None
) -> Request[list[PickedCallerId | NothingEligible]]:
    """Many picks, answered in order."""

    def read(answer: Answer) -> list[PickedCallerId | NothingEligible]:
        outcomes = _read_picks(answer)
        if len(outcomes) != len(requests):
            raise _unexpected(answer)
        return outcomes

    return Request("POST", _picks(group_id), read, _body(_Batch(requests)), _json_headers(idempotency_key))


def release(group_id: int, pick_id: str) -> Request[None]:
    """Gives a reservation back."""
    return Request("DELETE", f"{_picks(group_id)}/{_segment('pick_id', pick_id)}", _read_nothing)


def forget_lead(group_id: int, lead_id: str) -> Request[None]:
    """Ends a sticky binding."""
    return Request("DELETE", f"{_group(group_id)}/leads/{_segment('lead_id', lead_id)}", _read_nothing)


def failure(answer: Answer) -> EngineError:
    """The error that an answer other than a success or a refusal stands for."""
    told = _told(answer)
    message = told.message or f"The engine answered {answer.status}."
    if answer.status == 429:
        return RateLimitedError(message, answer.retry_after, answer.request_id)
    if answer.status >= 500 or answer.status == 408:
        return EngineUnavailableError(message, answer.status, answer.request_id, answer.retry_after)
    if answer.status == 404 and message == _NO_GROUP:
        return GroupNotFoundError(message, 404, answer.request_id)
    if answer.status == 422 and told.errors:
        return InvalidRequestError(message, 422, answer.request_id, told.errors)
    error = _ERRORS.get(answer.status)
    if error is None or not told.message:
        return _unexpected(answer)
    return error(message, answer.status, answer.request_id)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is no port
    except ValueError:
        return False
    # A login in the URL would be another Authorization than the token's.
    beside = parts.query or parts.fragment or parts.username or parts.password
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not beside


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return date if date.tzinfo else None


def _group(group_id: int) -> str:
    return f"/api/caller-id-groups/{int(group_id)}"


def _picks(group_id: int) -> str:
    return f"{_group(group_id)}/picks"


def _body(value: PickRequest | _Batch) -> bytes:
    try:
        return _encode(value)
    except UnicodeEncodeError:
        raise InvalidRequestError("lead_id or prefix is not valid Unicode") from None


def _segment(name: str, text: str) -> str:
    if not text:
        raise InvalidRequestError(f"{name} is empty")
    try:
        quoted = quote(text, safe="")
    except UnicodeEncodeError:
        raise InvalidRequestError(f"{name} is not valid Unicode") from None
    # A segment of dots alone would be resolved as a relative path on the way.
    return quoted.replace(".", "%2E") if quoted in {".", ".."} else quoted


def _json_headers(idempotency_key: str | None) -> dict[str, str]:
    key = token_hex(16) if idempotency_key is None else idempotency_key
    if not (0 < len(key) <= _MAX_KEY and key.isascii() and key.isprintable()):
        raise InvalidRequestError(f"the idempotency key is invalid; expected 1 to {_MAX_KEY} printable characters")
    return {"Content-Type": "application/json", "Idempotency-Key": key}


def _read_pick(answer: Answer) -> PickedCallerId:
    return _success(answer, _one).data


def _read_picks(answer: Answer) -> list[PickedCallerId | NothingEligible]:
    outcomes = _success(answer, _many).data
    try:
        return [_outcome(one, answer) for one in outcomes]
    except msgspec.MsgspecError:
        raise _unexpected(answer) from None


def _success(answer: Answer, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        if answer.status in {200, 201}:
            return decoder.decode(answer.body)
        if answer.status == 409:
            raise _refused(_refusal.decode(answer.body), answer)
    except msgspec.MsgspecError:
        raise _unexpected(answer) from None
    raise failure(answer)


def _outcome(raw: Raw, answer: Answer) -> PickedCallerId | NothingEligible:
    try:
        return _picked.decode(raw)
    except msgspec.ValidationError:
        return _nothing(_refusal.decode(raw), answer)


def _refused(refusal: _Refusal, answer: Answer) -> EngineError:
    if refusal.reasons is None:
        return GroupDisabled(refusal.message, 409, answer.request_id)
    return _nothing(refusal, answer)


def _nothing(refusal: _Refusal, answer: Answer) -> NothingEligible:
    after, next_at = answer.retry_after, refusal.next_eligible_at
    if after is None and next_at is not None and answer.date is not None:  # a batch has no Retry-After
        after = max(1.0, (next_at - answer.date).total_seconds())
    return NothingEligible(refusal.message, refusal.reasons or {}, next_at, after, answer.request_id)


def _read_nothing(answer: Answer) -> None:
    if answer.status not in {200, 204}:
        raise failure(answer)


def _told(answer: Answer) -> _Failure:
    try:
        return _failure.decode(answer.body)
    except msgspec.MsgspecError:
        return _Failure()


def _unexpected(answer: Answer) -> UnexpectedAnswerError:
    text = f"The answer {answer.status} is not the engine's. Check the URL: it is the engine's, without /api."
    return UnexpectedAnswerError(text, answer.status, answer.request_id)
