"""The engine's API: from a request to picks, releases and forgotten leads."""

from collections.abc import Coroutine, Mapping
from hashlib import blake2b
from time import perf_counter
from typing import Any

from aiohttp import web
from msgspec import UNSET
from multidict import istr

from rotary.auth.grant import Grant
from rotary.clock import Clock
from rotary.domain.rotation.outcomes import MAX_LEAD, NothingEligible, Outcome, Picked
from rotary.http import api
from rotary.http.api import Access
from rotary.http.errors import Refusal
from rotary.http.request_bodies import arrived_body, read_body
from rotary.http.responses import JSON, CachedResponse, ResponseTemplate, failure
from rotary.http.static_files import Static
from rotary.redis.pick_plans import PicksClosedError
from rotary.redis.picks import GroupDisabledError, IdempotencyConflictError, Picks
from rotary_engine.http.endpoints import ENDPOINTS, Kind, Route, routes
from rotary_engine.http.requests import InvalidBodyError, MalformedError, PicksBody, decode
from rotary_engine.http.schemas import encode_batch, encode_invalid, encode_pick, encode_refusal
from rotary_engine.statistics import Statistics

MAX_BODY_BYTES = 2**21
"""Room for 500 picks that use every field to its limit."""
MAX_KEY = 255
"""Characters of an idempotency key, as Stripe has it."""
MAX_PICK_ID = 64
IDEMPOTENCY_KEY = istr("Idempotency-Key")

_NO_STORE = {"Content-Type": JSON, "Cache-Control": "no-store"}
_CREATED = ResponseTemplate(201, _NO_STORE)
_CONFLICT = ResponseTemplate(409, _NO_STORE)
_INVALID = ResponseTemplate(422, _NO_STORE)
NO_CONTENT = CachedResponse(ResponseTemplate(204, {"Cache-Control": "no-store"}), None)
GROUP_DISABLED = failure(409, "Group is disabled.")
MALFORMED = failure(400, "The body is not valid JSON.")
KEY_REUSED = failure(422, "This idempotency key was used for a request with another body.")

RequestContext = api.RequestContext[Kind]


class Api(api.Api[Kind]):
    """Handles every request of the public port. `pages` are the answers that need no token."""

    max_body_bytes = MAX_BODY_BYTES
    reads_bodies = True

    def __init__(
        self,
        picks: Picks,
        statistics: Statistics,
        pages: Mapping[str, Static],
        access: Access,
        clock: Clock,
        *,
        access_log: bool = False,
    ) -> None:
        super().__init__("rotary_engine", ENDPOINTS, routes(), pages, access, clock, access_log=access_log)
        self._picks = picks
        self._statistics = statistics

    def answer(self, context: RequestContext, grant: Grant) -> Coroutine[Any, Any, CachedResponse]:
        """Picks, releases or forgets."""
        if context.route.kind == "picks":
            return self._pick(context.request, grant.customer_id, context.route.group_id)
        return self._undo(context.route, grant.customer_id)

    async def _undo(self, route: Route, customer: int) -> CachedResponse:
        if route.kind == "pick":
            _check_length("pick_id", route.name, MAX_PICK_ID)
            await self._picks.release(customer, route.name)
        else:
            _check_length("lead_id", route.name, MAX_LEAD)
            self._statistics.forgotten += await self._picks.forget_lead(customer, route.group_id, route.name)
        return NO_CONTENT

    def failure(self, error: Exception) -> CachedResponse:
        """The answer that an error deserves."""
        match error:
            case GroupDisabledError():
                return GROUP_DISABLED
            case PicksClosedError():
                self._statistics.closed[error.code] += 1
                seconds = max(1, -(-error.retry_after_ms // 1000))
                return failure(503, f"{error.public_message}. Try again soon.", {"Retry-After": str(seconds)})
            case IdempotencyConflictError():
                return KEY_REUSED
            case MalformedError():
                return MALFORMED
            case InvalidBodyError():
                return CachedResponse(_INVALID, encode_invalid(error.violations))
            case _:
                return super().failure(error)

    async def _pick(self, request: web.BaseRequest, customer: int, group_id: int) -> CachedResponse:
        began = perf_counter()
        body = arrived_body(request, MAX_BODY_BYTES)
        if body is None:
            body = await read_body(request, MAX_BODY_BYTES)
        asked = decode(body)
        key = request.headers.get(IDEMPOTENCY_KEY)
        idempotency = None if key is None else (_checked_key(key), blake2b(body, digest_size=16).digest())
        wanted = [asked] if asked.picks is UNSET else asked.picks
        outcomes = await self._picks.pick(customer, group_id, wanted, idempotency)
        self._statistics.picked(self._picks.strategy(customer, group_id), outcomes, perf_counter() - began)
        return self._answer(asked, outcomes)

    def _answer(self, asked: PicksBody, outcomes: list[Outcome]) -> CachedResponse:
        if asked.picks is not UNSET:
            return CachedResponse(_CREATED, encode_batch(outcomes))
        [outcome] = outcomes
        if isinstance(outcome, Picked):
            return CachedResponse(_CREATED, encode_pick(outcome))
        return self._nothing(outcome)

    def _nothing(self, nothing: NothingEligible) -> CachedResponse:
        body, next_ms = encode_refusal(nothing), nothing.next_eligible_at_ms
        if next_ms is None:
            return CachedResponse(_CONFLICT, body)
        seconds = max(1, -((self._picks.now_ms - next_ms) // 1000))
        return CachedResponse(ResponseTemplate(409, _NO_STORE | {"Retry-After": str(seconds)}), body)


def _checked_key(key: str) -> str:
    if not (1 <= len(key) <= MAX_KEY and key.isascii()):
        raise InvalidBodyError({IDEMPOTENCY_KEY: [f"Expected 1 to {MAX_KEY} ASCII characters."]})
    return key


def _check_length(name: str, text: str, longest: int) -> None:
    if len(text) > longest:
        raise Refusal(CachedResponse(_INVALID, encode_invalid({name: [f"Expected `str` of length <= {longest}."]})))
