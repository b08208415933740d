"""What is passed on to rotary-campaigns, by the table of roles."""

from aiohttp import web

from rotary.http.endpoints import group_id
from rotary.http.errors import RESOURCE_NOT_FOUND, Refusal
from rotary_console.http.operations import MAX_BODY_BYTES, Answer, Call, Endpoint, Operation
from rotary_console.http.refusals import CAMPAIGNS_AWAY
from rotary_console.proxy.rules import LARGE_BODIES, RULES
from rotary_console.proxy.upstream import Forwarded
from rotary_console.routes.customers import CUSTOMER

_ROW = "{row_id}"
_TRIES = 2
"""The first token may have ended a moment ago."""


async def forward(call: Call) -> Answer:
    """Passes a request on, in the user's name."""
    pattern = call.pattern.removeprefix(CUSTOMER)
    if _ROW in pattern and not group_id(call.name):
        return RESOURCE_NOT_FOUND
    asked = Forwarded(
        call.request,
        call.request_id,
        call.user.user_id,
        f"/api{pattern.replace(_ROW, call.name)}",
        CUSTOMER.replace("{id}", str(call.customer_id)),
        LARGE_BODIES.get((call.request.method, pattern), MAX_BODY_BYTES),
        call.headers,
        call.cookies,
    )
    for _ in range(_TRIES):
        if (answer := await _forward_once(call, asked)) is not None:
            return answer
    raise Refusal(CAMPAIGNS_AWAY)


async def _forward_once(call: Call, asked: Forwarded) -> web.StreamResponse | None:
    bearers, upstream = call.parts.bearers, call.parts.upstream
    answer = await upstream.forward(asked, await bearers.for_campaigns(call.user, call.customer_id))
    if answer is None:
        bearers.forget(call.user, call.customer_id)
    return answer


ENDPOINTS = tuple(
    Endpoint(
        f"{CUSTOMER}{pattern}",
        tuple(
            Operation(
                method=method,
                handler=forward,
                role=role,
                passes_body=True,
                max_body_bytes=LARGE_BODIES.get((method, pattern), MAX_BODY_BYTES),
            )
            for method, role in methods.items()
        ),
    )
    for pattern, methods in RULES.items()
)
