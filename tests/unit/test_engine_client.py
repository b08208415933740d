"""What the engine's clients send, what an answer means, and when a request is sent again."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import get_args

import pytest

from engine_clients import PICKED
from rotary import definitions
from rotary.domain.rotation import outcomes
from rotary.engine import (
    BlockingEngine,
    Carrier,
    ConfigurationError,
    EngineClosedError,
    EngineError,
    EngineLimits,
    EngineUnavailableError,
    GroupDisabled,
    GroupNotFoundError,
    IdempotencyConflictError,
    InvalidRequestError,
    NothingEligible,
    PickRequest,
    RateLimitedError,
    UnauthenticatedError,
    UnauthorizedError,
    UnexpectedAnswerError,
    protocol,
)
from rotary.engine.attempts import Attempts
from rotary.engine.protocol import Answer
from rotary.errors import UnavailableError

NOTHING = {
    "message": "No caller ID is eligible.",
    "reasons": {"cooldown": 2, "quota_exceeded": 9},
    "next_eligible_at": "2026-06-06T17:00:00Z",
}
LIMITS = EngineLimits(deadline_seconds=5, attempt_seconds=2)


def answer(status: int, body: object = None, **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"Retry-After": headers.get("retry_after"), "X-Request-Id": headers.get("request_id")}
    return protocol.answer(status, content, (named | {"Date": headers.get("date")}).get)


def test_a_pick_sends_the_fields_that_are_given() -> None:
    request = protocol.pick(3, PickRequest("L-991", "viettel", "028", [19]), "call-4711")
    assert (request.method, request.path) == ("POST", "/api/caller-id-groups/3/picks")
    assert json.loads(request.body or b"") == {
        "lead_id": "L-991",
        "carrier": "viettel",
        "prefix": "028",
        "exclude": [19],
    }
    assert request.headers == {"Content-Type": "application/json", "Idempotency-Key": "call-4711"}
    assert json.loads(protocol.pick(3, PickRequest(), None).body or b"") == {}


def test_each_pick_has_an_idempotency_key_of_its_own() -> None:
    keys = {protocol.pick(3, PickRequest(), None).headers["Idempotency-Key"] for _ in range(100)}
    assert len(keys) == 100


def test_the_client_asks_for_what_the_engine_knows() -> None:
    assert PickRequest.__struct_fields__ == outcomes.PickRequest.__struct_fields__
    assert get_args(Carrier) == get_args(definitions.Carrier)


def test_ids_in_a_path_are_quoted() -> None:
    assert protocol.release(3, "01JD-18").path == "/api/caller-id-groups/3/picks/01JD-18"
    lead = protocol.forget_lead(3, "Nguyễn/An?").path
    assert lead == "/api/caller-id-groups/3/leads/Nguy%E1%BB%85n%2FAn%3F"
    assert protocol.forget_lead(3, "..").path.endswith("/leads/%2E%2E")


def test_a_201_is_a_pick() -> None:
    picked = protocol.pick(3, PickRequest(), None).read(answer(201, {"data": PICKED | {"added_later": 1}}))
    assert (picked.id, picked.caller_id_id, picked.number, picked.trunk_name) == (
        "01JD-18",
        18,
        "0900000010",
        "Trunk-Viettel-01",
    )
    assert picked.expires_at == datetime(2026, 6, 6, 12, 0, 30, tzinfo=UTC)


def test_a_409_with_reasons_says_when_to_come_again() -> None:
    with pytest.raises(NothingEligible, match=r"No caller ID is eligible. \(request r-1\)") as refused:
        protocol.pick(3, PickRequest(), None).read(answer(409, NOTHING, retry_after="3600", request_id="r-1"))
    assert refused.value.reasons == {"cooldown": 2, "quota_exceeded": 9}
    assert refused.value.next_eligible_at == datetime(2026, 6, 6, 17, tzinfo=UTC)
    assert refused.value.retry_after == 3600


@pytest.mark.parametrize(
    ("got", "error"),
    [
        (answer(409, {"message": "Group is disabled."}), GroupDisabled),
        (answer(401, {"message": "Unauthenticated."}), UnauthenticatedError),
        (answer(403, {"message": "This action is unauthorized."}), UnauthorizedError),
        (answer(404, {"message": "Pool not found."}), GroupNotFoundError),
        (answer(404, {"message": "Resource not found"}), UnexpectedAnswerError),
        (answer(400, {"message": "Bad request."}), InvalidRequestError),
        (answer(422, {"message": "Invalid.", "errors": {"prefix": ["Too long."]}}), InvalidRequestError),
        (answer(422, {"message": "This key was used for another body."}), IdempotencyConflictError),
        (answer(422, b"<html>"), UnexpectedAnswerError),
        (answer(429, {"message": "Too many requests."}, retry_after="7"), RateLimitedError),
        (answer(503, {"message": "Projections are being rebuilt."}), EngineUnavailableError),
        (answer(502, b"<html>"), EngineUnavailableError),
        (answer(200, b"<html>"), UnexpectedAnswerError),
        (answer(201, {"data": {"id": 1}}), UnexpectedAnswerError),
        (answer(409, b"<html>"), UnexpectedAnswerError),
        (answer(302, b""), UnexpectedAnswerError),
    ],
)
def test_each_other_answer_is_an_error_of_its_own(got: Answer, error: type[EngineError]) -> None:
    with pytest.raises(error) as raised:
        protocol.pick(3, PickRequest(), None).read(got)
    assert type(raised.value) is error
    assert raised.value.status == got.status


def test_an_invalid_field_is_named() -> None:
    body = {"message": "The given data was invalid.", "errors": {"carrier": ["Expected one of viettel, …"]}}
    with pytest.raises(InvalidRequestError) as invalid:
        protocol.pick(3, PickRequest(), None).read(answer(422, body, request_id="r-1"))
    assert str(invalid.value) == ("The given data was invalid. carrier: Expected one of viettel, … (request r-1)")
    assert (invalid.value.message, invalid.value.errors) == (body["message"], body["errors"])


def test_an_error_says_what_to_do() -> None:
    with pytest.raises(UnauthorizedError, match=r"--scope caller_id_pick`\. \(request r-1\)$"):
        protocol.release(3, "01JD-18").read(answer(403, {"message": "This action is unauthorized."}, request_id="r-1"))


def test_an_unavailable_engine_is_an_unavailable_server() -> None:
    error = EngineUnavailableError("Redis is away.")
    assert isinstance(error, UnavailableError)
    assert (error.what, str(error)) == ("Redis is away.", "Redis is away.")


def test_a_batch_has_an_outcome_for_each_request() -> None:
    request = protocol.pick_many(3, [PickRequest("a"), PickRequest("b")], None)
    assert json.loads(request.body or b"") == {"picks": [{"lead_id": "a"}, {"lead_id": "b"}]}
    picked, nothing = request.read(answer(201, {"data": [PICKED, NOTHING]}))
    assert not isinstance(picked, NothingEligible)
    assert isinstance(nothing, NothingEligible)
    assert nothing.reasons == {"cooldown": 2, "quota_exceeded": 9}
    with pytest.raises(UnexpectedAnswerError):
        request.read(answer(201, {"data": [PICKED]}))


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Sat, 06 Jun 2026 16:59:30 GMT", 30),
        ("Sat, 06 Jun 2026 17:00:30 GMT", 1),
        (None, None),
        ("yesterday", None),
    ],
)
def test_a_refusal_in_a_batch_waits_by_the_engines_clock(date: str | None, seconds: float | None) -> None:
    headers = {} if date is None else {"date": date}
    [nothing] = protocol.pick_many(3, [PickRequest()], None).read(answer(201, {"data": [NOTHING]}, **headers))
    assert isinstance(nothing, NothingEligible)
    assert nothing.retry_after == seconds


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_answer_that_may_change_is_tried_again_with_growing_delays(status: int) -> None:
    attempts = Attempts(LIMITS, 0)
    delays = [attempts.answered(answer(status), 0) for _ in range(4)]
    assert all(delay is not None and 0.05 * 2**n / 2 <= delay <= 0.05 * 2**n for n, delay in enumerate(delays))


@pytest.mark.parametrize("status", [200, 201, 204, 302, 400, 401, 403, 404, 409, 422])
def test_any_other_answer_is_final(status: int) -> None:
    assert Attempts(LIMITS, 0).answered(answer(status), 0) is None


def test_retry_after_is_waited_for_if_it_ends_before_the_deadline() -> None:
    attempts = Attempts(LIMITS, 0)
    delay = attempts.answered(answer(429, retry_after="3"), 1)
    assert delay is not None
    assert 3 < delay < 3.1
    with pytest.raises(RateLimitedError) as late:
        attempts.answered(answer(429, {"message": "Too many requests."}, retry_after="3"), 4)
    assert late.value.retry_after == 3


def test_a_retry_after_beyond_the_deadline_is_told_at_once() -> None:
    with pytest.raises(EngineUnavailableError) as closed:
        Attempts(LIMITS, 0).answered(answer(503, {"message": "Closed."}, retry_after="60"), 0.01)
    assert (closed.value.retry_after, str(closed.value)) == (60, "Closed.")


def test_a_lost_connection_is_replaced_at_once_and_then_with_delays_until_the_deadline() -> None:
    attempts = Attempts(LIMITS, 100)
    assert attempts.lost("reset", 100) == 0
    assert attempts.lost("reset", 101) > 0
    assert attempts.timeout(101) == 2
    assert attempts.timeout(104.5) == 0.5
    with pytest.raises(EngineUnavailableError, match="The engine did not answer within 5 s: reset"):
        attempts.lost("reset", 105)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "engine.example.com",
        "ftp://engine",
        "https://",
        "https://engine?x=1",
        "https://engine:99999",
        "https://[engine",
        "https://user:secret@engine",
    ],
)
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="URL is invalid"):
        BlockingEngine(url, "token")


@pytest.mark.parametrize("token", ["", "two words", "line\r\nX-Other: 1", "tökén"])
def test_an_invalid_token_is_refused(token: str) -> None:
    with pytest.raises(ConfigurationError, match="token is invalid"):
        BlockingEngine("https://engine", token)


@pytest.mark.parametrize("key", ["", "x" * 256, "line\nbreak", "khóa"])
def test_an_invalid_idempotency_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequestError, match="idempotency key is invalid"):
        protocol.pick(3, PickRequest(), key)


def test_an_id_of_a_path_is_not_empty() -> None:
    with pytest.raises(InvalidRequestError, match="pick_id is empty"):
        protocol.release(3, "")
    with pytest.raises(InvalidRequestError, match="lead_id is empty"):
        protocol.forget_lead(3, "")


@pytest.mark.parametrize(
    "send",
    [
        lambda text: protocol.pick(3, PickRequest(lead_id=text), None),
        lambda text: protocol.pick_many(3, [PickRequest(prefix=text)], None),
        lambda text: protocol.forget_lead(3, text),
    ],
)
def test_a_text_that_is_not_unicode_is_refused(send: Callable[[str], object]) -> None:
    with pytest.raises(InvalidRequestError, match="not valid Unicode"):
        send("L-\udcff")


@pytest.mark.parametrize("values", [{"deadline_seconds": 0}, {"attempt_seconds": -1}, {"connections": 0}])
def test_an_invalid_limit_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="out of range"):
        EngineLimits(**values)


def test_a_client_that_was_not_entered_sends_nothing() -> None:
    with pytest.raises(EngineClosedError):
        BlockingEngine("http://127.0.0.1:1", "token").pick(3)


def test_the_blocking_client_needs_msgspec_alone() -> None:
    """So it does where aiohttp is not installed; the asynchronous one then says what to install."""
    code = """
import sys
sys.modules["aiohttp"] = None
import rotary.engine
rotary.engine.BlockingEngine
assert not {"asyncio", "aio_pika", "aiormq", "yarl"} & set(sys.modules)
try:
    rotary.engine.Engine
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "rotary.engine.Engine needs aiohttp: pip install 'rotary[engine]'\n"
