"""The OpenAPI 3.1 document, generated from the very types that encode the answers."""

from datetime import UTC, datetime

import msgspec

from rotary.domain.monitor import Monitor, MonitorMember
from rotary.http.bodies import Envelope, ErrorBody
from rotary.http.endpoints import PREFIX
from rotary.http.errors import ALLOWED
from rotary.http.openapi import (
    COMMON_FAILURES,
    RATE,
    REQUEST_ID,
    REQUEST_ID_PARAMETER,
    RETRY,
    Failure,
    Headers,
    Json,
    document,
    failure,
    group_id_parameter,
    header_components,
    headers,
    optional_header,
    schemas_of,
)
from rotary.policy import DEFAULT_POLICY
from rotary_query.http.endpoints import TICKETS
from rotary_query.http.openapi_history import (
    HISTORY,
    HISTORY_DESCRIPTION,
    HISTORY_MEANINGS,
    HISTORY_PARAMETERS,
    HISTORY_SCHEMAS,
    HISTORY_SUMMARY,
    HISTORY_TYPE,
    invalid_parameters,
)
from rotary_query.http.openapi_streams import (
    DELTAS_PARAMETER,
    STREAM_DESCRIPTION,
    STREAM_EXAMPLES,
    STREAM_MEANINGS,
    STREAM_TYPES,
    TICKET_FAILURES,
    TICKET_SCHEME,
    ticket_operation,
)
from rotary_query.http.schemas import CallerIdItem, GroupDetail, GroupItem, StreamTicket

_AT = datetime(2026, 5, 20, 3, 0, 0, tzinfo=UTC)
_ITEM = GroupItem(3, "Hanoi sales", "Morning campaign", "cap_based", False, "active", 2, _AT)  # noqa: FBT003  # a field
_DETAIL = GroupDetail(
    **msgspec.structs.asdict(_ITEM),
    caller_ids=[
        CallerIdItem(18, "+84901234018", "Sales 18", "viettel", "Viettel", "active", "trunk-hn-1", 1),
        CallerIdItem(19, "0281234019", None, "landline", "Landline", "active", None, 2),
    ],
)
_MONITOR = Monitor(
    3,
    "Hanoi sales",
    total_members=2,
    eligible_now=1,
    in_cooldown=1,
    disabled=0,
    members=[
        MonitorMember(18, "+84901234018", "viettel", "eligible", 82, 57, 200, None),
        MonitorMember(19, "0281234019", "landline", "cooldown", 50, 120, 200, _AT),
    ],
)
_LIST_TYPE, _DETAIL_TYPE, _MONITOR_TYPE = Envelope[list[GroupItem]], Envelope[GroupDetail], Envelope[Monitor]

_HOURS, _DAYS = 3600, 86400
_STRATEGIES = (
    "How a dialer chooses among the eligible members. `round_robin`: each in turn. `least_used`: the one with the "
    "fewest calls today. `cap_based`: the one with the largest share of its daily cap left. `weighted`: in proportion "
    "to `weight`. `sticky_lead`: a lead keeps the number it was first called from; a new lead gets the least used. "
    "`random`: any, with equal chances. This API reports the strategy; the dialer applies it."
)
_COOLDOWN = (
    "When the cooldown ends; null unless `status` is `cooldown`. Only carriers' signs cause one: by default "
    f"{DEFAULT_POLICY.cooldown_user_report_seconds // _HOURS} hour after a `user_report`, "
    f"{DEFAULT_POLICY.cooldown_spam_label_seconds // _HOURS} hours after a `spam_label`, "
    f"{DEFAULT_POLICY.cooldown_blocked_seconds // _HOURS} hours after a `blocked`; twice as long for each further sign "
    f"within {DEFAULT_POLICY.cooldown_window_seconds // _DAYS} days, at most "
    f"{DEFAULT_POLICY.cooldown_cap_seconds // _DAYS} days. A `rejected` causes none."
)
_HEALTH = (
    "100 without a sign against the number. Each fresh `spam_label` or `user_report` halves it, a `blocked` quarters "
    f"it, a `rejected` takes about a sixth; the effect of a sign fades by half every "
    f"{DEFAULT_POLICY.health_half_life_seconds // _HOURS} hours. More than {DEFAULT_POLICY.volume_calls} calls in 24 "
    "hours lower it too. It does not decide `status`: a number with low health may dial."
)
_STATUS = (
    "Whether it may dial now; the first of these that holds. `disabled`: switched off by its owner. `cooldown`: it "
    "rests after a carrier's sign, until `cooldown_until`. `quota_exceeded`: `calls_today` has reached `daily_cap`. "
    "Else `eligible`."
)
_TODAY = (
    "Calls placed since midnight in the time zone of the customer that owns the number (Asia/Ho_Chi_Minh unless it "
    "chose another): not in UTC, and not in the reader's zone. Never cut off at `daily_cap`."
)
_MEANINGS = {
    "GroupItem": {
        "rotation_strategy": _STRATEGIES,
        "sticky_enabled": "A lead keeps the number it was first called from, whatever the strategy.",
        "status": "A `disabled` group is not to be dialed with. Its members keep their own statuses.",
        "caller_ids_count": "Members whose own status is `active`.",
    },
    "CallerIdItem": {
        "number": "As stored: E.164 or domestic.",
        "status": "The owner's switch. Whether it may dial right now is in the monitor.",
        "weight": "Its share of the calls when the strategy is `weighted`.",
    },
    "Monitor": {
        "total_members": "Eligible, in cooldown, disabled and over quota together; the last has no field of its own.",
    },
    "MonitorMember": {
        "status": _STATUS,
        "health_score": _HEALTH,
        "calls_today": _TODAY,
        "daily_cap": "Calls allowed a day.",
        "cooldown_until": _COOLDOWN,
    },
}
"""What a field means, where its name does not say it all."""
_MEANINGS |= STREAM_MEANINGS | HISTORY_MEANINGS
_MEANINGS["GroupDetail"] = _MEANINGS["GroupItem"]

_CACHE = {
    "ETag": ("string", "Strong validator of the body's bytes: send it back in If-None-Match."),
    "Cache-Control": ("string", "private, max-age=0, must-revalidate"),
}
_LAG = {"X-Projection-Lag": ("integer", "Age, in whole seconds, of the facts in this answer.")}

_FAILURES = (
    COMMON_FAILURES
    | TICKET_FAILURES
    | {
        "Unauthorized": Failure(
            "The token has neither the scope telesales_api_access nor caller_id_read.",
            "This action is unauthorized.",
            RATE,
        ),
        "MethodNotAllowed": Failure(f"Not one of {ALLOWED}.", "Method not allowed.", {"Allow": ("string", ALLOWED)}),
        "BodyTooLarge": Failure("A request to this API needs no body.", "Request body too large."),
        "TooManyRequests": Failure(
            "Over the token's limit, too many streams, or too many unknown tokens from your address.",
            "Too many requests. Retry after 7 seconds.",
            {**RATE, **RETRY},
        ),
        "Unavailable": Failure(
            "The projections are being rebuilt, or Redis is away.",
            "The projections are being rebuilt. Try again soon.",
            RETRY,
        ),
        "BadRequest": Failure("Not HTTP as we understand it.", "Bad request."),
    }
)
_STATUSES = {
    "400": "BadRequest",
    "401": "Unauthenticated",
    "403": "Unauthorized",
    "405": "MethodNotAllowed",
    "413": "BodyTooLarge",
    "429": "TooManyRequests",
    "431": "HeadTooLarge",
    "500": "ServerError",
    "503": "Unavailable",
}


def openapi() -> Json:
    """The document, ready to encode."""
    bodies, schemas = _schemas()
    made = document(
        "Rotary",
        "Which of a group's caller IDs may dial right now.",
        'Success is `{"data": …}`, failure `{"message": …}`. Times are UTC, to the second. '
        "A day begins at midnight in the customer's own time zone.",
        {"name": "Caller ID groups", "description": "A dialer rotates its calls over a group of caller IDs."},
        _paths(bodies),
        {
            "schemas": schemas,
            "headers": header_components(RATE, _CACHE, _LAG, REQUEST_ID, RETRY),
            "parameters": _parameters(),
            "responses": {
                **{name: failure(failed) for name, failed in _FAILURES.items()},
                "InvalidParameters": invalid_parameters(),
            },
        },
    )
    made["components"]["securitySchemes"]["ticket"] = TICKET_SCHEME
    return made


def _paths(bodies: list[Json]) -> Json:
    groups, detail, snapshot, ticket, history = bodies
    monitor_path = _operation(
        "monitorCallerIdGroup",
        "Which members may dial right now",
        STREAM_DESCRIPTION,
        _success(snapshot, Envelope(_MONITOR), _LAG),
        one_group=True,
    )
    monitor_path["parameters"] += [{"$ref": f"#/components/parameters/{name}"} for name in ("LastEventId", "Deltas")]
    monitor_path["security"] = [{"token": []}, {"ticket": []}]
    monitor_path["responses"]["200"]["content"]["text/event-stream"] = {
        "schema": {"type": "string", "description": "Server-sent events, whose data is JSON."},
        "examples": STREAM_EXAMPLES,
    }
    return {
        PREFIX: {
            "get": _operation(
                "listCallerIdGroups",
                "Your groups",
                "All of them, ascending by id. `caller_ids_count` counts the members whose own status is active.",
                _success(groups, Envelope([_ITEM])),
            )
        },
        PREFIX + "/{id}": {
            "get": _operation(
                "getCallerIdGroup",
                "One group with its members",
                "Every member, disabled ones too, ascending by id.",
                _success(detail, Envelope(_DETAIL)),
                one_group=True,
            )
        },
        PREFIX + "/{id}/monitor": {"get": monitor_path},
        TICKETS: {"post": ticket_operation(ticket, _STATUSES)},
        PREFIX + "/{id}/history": {"get": _history_operation(history)},
    }


def _history_operation(body: Json) -> Json:
    success = _success(body, Envelope(HISTORY))
    made = _operation("getCallerIdGroupHistory", HISTORY_SUMMARY, HISTORY_DESCRIPTION, success, one_group=True)
    made["parameters"][1:1] = [{"$ref": f"#/components/parameters/{name}"} for name in HISTORY_PARAMETERS]
    made["responses"]["422"] = {"$ref": "#/components/responses/InvalidParameters"}
    return made


def _operation(name: str, summary: str, description: str, success: Json, *, one_group: bool = False) -> Json:
    parameters = ["GroupId"] if one_group else []
    failures = dict(_STATUSES, **({"404": "GroupNotFound"} if one_group else {}))
    return {
        "operationId": name,
        "tags": ["Caller ID groups"],
        "summary": summary,
        "description": description,
        "parameters": [
            {"$ref": f"#/components/parameters/{parameter}"} for parameter in [*parameters, "IfNoneMatch", "RequestId"]
        ],
        "responses": {
            "200": success,
            "304": {
                "description": "You have these bytes already.",
                "headers": headers({**_CACHE, **RATE, **REQUEST_ID}),
            },
            **{status: {"$ref": f"#/components/responses/{failures[status]}"} for status in sorted(failures)},
        },
    }


def _success(schema: Json, example: object, more: Headers | None = None) -> Json:
    return {
        "description": "Success.",
        "headers": headers({**_CACHE, **RATE, **REQUEST_ID, **(more or {})}),
        "content": {"application/json": {"schema": schema, "example": msgspec.to_builtins(example)}},
    }


def _parameters() -> Json:
    return {
        "GroupId": group_id_parameter(),
        "IfNoneMatch": optional_header("If-None-Match", "ETags that you have: if one still holds, the answer is 304."),
        "RequestId": REQUEST_ID_PARAMETER,
        **HISTORY_PARAMETERS,
        "LastEventId": optional_header("Last-Event-ID", "On a stream: the last event you have; it is not sent again."),
        "Deltas": DELTAS_PARAMETER,
    }


def _schemas() -> tuple[list[Json], Json]:
    """The bodies of the endpoints, and the schemas that they refer to."""
    types = [_LIST_TYPE, _DETAIL_TYPE, _MONITOR_TYPE, Envelope[StreamTicket], HISTORY_TYPE]
    references, schemas = schemas_of([*types, ErrorBody, *STREAM_TYPES, *HISTORY_SCHEMAS], _MEANINGS)
    bodies = [schemas.pop(reference["$ref"].rpartition("/")[2]) for reference in references[: len(types)]]
    return [{**body, "title": "Body"} for body in bodies], schemas
