"""The part of the OpenAPI document that describes event streams and their tickets."""

from collections.abc import Mapping
from datetime import UTC, datetime
from zlib import crc32

import msgspec

from rotary.http.bodies import Envelope
from rotary.http.openapi import RATE, REQUEST_ID, Failure, Json, headers
from rotary.redis.tickets import TICKET_SECONDS
from rotary_query.http.schemas import StreamDelta, StreamSnapshot, StreamStale, StreamTicket

STREAM_TYPES = (StreamSnapshot, StreamDelta, StreamStale)

STREAM_DESCRIPTION = (
    "With `Accept: text/event-stream` the same snapshot arrives as server-sent events named `snapshot`: one at "
    "once, then one whenever the body changes, at most ten a second. The id of an event is the body's ETag.\n\n"
    "With `Accept: text/event-stream; deltas=1`, or with `?deltas=1`, the first event is a `snapshot` "
    "(`StreamSnapshot`), and those that follow are named `delta` (`StreamDelta`) and have only the members that "
    "changed. The id of an event is its `seq`. A client whose last `seq` is `from` replaces or adds the `members`, "
    "takes away those that are `removed`, if it has them, keeps the order by `caller_id_id`, and is at `seq`. If `from` "
    "is not its last `seq`, or its `checksum` differs, it opens the stream again without Last-Event-ID and gets a "
    "snapshot.\n\n"
    "An event named `stale` (`StreamStale`) says that what you see is not current. It comes once for each reason, and "
    "again right after each event with such facts. The last event counts: a `snapshot` or a `delta` that no "
    "`stale` follows is current; it comes even if nothing changed.\n\n"
    "A browser's EventSource sends no headers: give it `?ticket=` with a ticket from `createStreamTicket`."
)
STREAM_MEANINGS: dict[str, dict[str, str]] = {
    "StreamSnapshot": {
        "seq": "The number of this rendering. It grows; where it begins has no meaning.",
        "checksum": (
            "The exclusive or of the CRC-32 (IEEE) of each member's JSON in UTF-8, exactly as it was sent: compact, "
            "with the fields in their order, as `JSON.stringify` writes it."
        ),
    },
    "StreamDelta": {
        "seq": "The number of the rendering that the client has afterwards.",
        "from": "The rendering that the client must have.",
        "checksum": "Of all members that the client has afterwards.",
        "members": "Those that are new or have changed, whole.",
        "removed": "The `caller_id_id` of those that are no members any more.",
    },
    "StreamStale": {
        "since": "Up to when the facts are complete.",
        "lag_seconds": "The age of the facts, when it is known.",
    },
    "StreamTicket": {
        "ticket": "Its text may stand in a URL as it is.",
        "expires_at": f"{TICKET_SECONDS} seconds after it was created.",
    },
}

_BEFORE, _AFTER = (
    '{"caller_id_id":18,"number":"+84901234018","carrier":"viettel","status":"eligible","health_score":82,'
    f'"calls_today":{calls},"daily_cap":200,"cooldown_until":null}}'
    for calls in (57, 58)
)
_COUNTS = '"group_name":"Hanoi sales","total_members":1,"eligible_now":1,"in_cooldown":0,"disabled":0'
_BODY = f'{{"data":{{"group_id":3,{_COUNTS},"members":[{_BEFORE}]}}}}'
STREAM_EXAMPLES: Json = {
    "snapshots": {
        "summary": "Accept: text/event-stream",
        "value": f'event: snapshot\nid: "9c1f2a…"\ndata: {_BODY}\n\n',
    },
    "deltas": {
        "summary": "Accept: text/event-stream; deltas=1",
        "value": (
            f'event: snapshot\nid: 41\ndata: {{"seq":41,"checksum":{crc32(_BEFORE.encode())},{_BODY[1:]}\n\n'
            f'event: delta\nid: 42\ndata: {{"seq":42,"from":41,"checksum":{crc32(_AFTER.encode())},'
            f'{_COUNTS},"members":[{_AFTER}],"removed":[]}}\n\n'
        ),
    },
    "stale": {
        "summary": "What was sent last is not current",
        "value": 'event: stale\ndata: {"since":"2026-05-20T03:00:00Z","reason":"Redis is away"}\n\n',
    },
}

DELTAS_PARAMETER: Json = {
    "name": "deltas",
    "in": "query",
    "required": False,
    "description": (
        "`1` asks for a stream of deltas, as `Accept: text/event-stream; deltas=1` does, unless `Accept` permits JSON "
        "alone."
    ),
    "schema": {"type": "string"},
}
TICKET_SCHEME: Json = {
    "type": "apiKey",
    "in": "query",
    "name": "ticket",
    "description": "A ticket, in place of the token. It opens one event stream, and nothing else.",
}
TICKET_FAILURES = {
    "TicketMethodNotAllowed": Failure(
        "Not one of POST, OPTIONS.", "Method not allowed.", {"Allow": ("string", "POST, OPTIONS")}
    )
}
_TICKET = StreamTicket("q5lJ0mC3b1u8Wm2c7n0yqk6Tz4u9YpXhR1sVdEoGfLA", datetime(2026, 5, 20, 3, 1, 0, tzinfo=UTC))


def ticket_operation(schema: Json, statuses: Mapping[str, str]) -> Json:
    """The operation that creates a ticket, with failures by status, as other operations have them."""
    named = {**statuses, "405": "TicketMethodNotAllowed"}
    return {
        "operationId": "createStreamTicket",
        "tags": ["Caller ID groups"],
        "summary": "A ticket for one event stream",
        "description": (
            f"It stands for your token in the URL of one stream, `…/monitor?ticket=…`, for {TICKET_SECONDS} seconds. "
            "Any group that the token may read will do. The first request for a stream that names it uses it up, "
            "whatever the answer; afterwards it is 401. If the token is revoked, so are its tickets. The body of the "
            "request is ignored."
        ),
        "parameters": [{"$ref": "#/components/parameters/RequestId"}],
        "responses": {
            "201": {
                "description": "Created. It is shown once.",
                "headers": headers({**RATE, **REQUEST_ID}),
                "content": {"application/json": {"schema": schema, "example": msgspec.to_builtins(Envelope(_TICKET))}},
            },
            **{status: {"$ref": f"#/components/responses/{named[status]}"} for status in sorted(named)},
        },
    }
