"""The OpenAPI 3.1 document, generated from the types that decode the requests and encode the responses."""

from datetime import UTC, datetime

import msgspec

from rotary.domain.rotation.outcomes import MAX_LEAD, MAX_PICKS, PickRequest
from rotary.http.bodies import Envelope, ErrorBody
from rotary.http.endpoints import PREFIX
from rotary.http.openapi import (
    COMMON_FAILURES,
    RATE,
    REQUEST_ID,
    REQUEST_ID_PARAMETER,
    RETRY,
    Failure,
    Json,
    document,
    failure,
    group_id_parameter,
    header_components,
    headers,
    optional_header,
    schemas_of,
)
from rotary.policy import DEFAULT_POLICY, MAX_PICK_TTL_SECONDS
from rotary_engine.http.schemas import INVALID, NOTHING_ELIGIBLE, InvalidBody, NoneEligible, Pick

_TAG = "Picks"
_EXPIRES = datetime(2026, 6, 6, 12, 0, 30, tzinfo=UTC)
_PICK = Pick(
    "01JD8Q4T1RZ6W8M3V5X7K9N2PB-18",
    3,
    18,
    "0900000010",
    "Sales Line 1",
    "viettel",
    "Trunk-Viettel-01",
    "sticky",
    _EXPIRES,
)
_REFUSAL = NoneEligible(NOTHING_ELIGIBLE, {"cooldown": 2, "quota_exceeded": 9, "disabled": 1}, _EXPIRES)
_INVALID = InvalidBody(INVALID, {"carier": ["Unknown field."]})
_REQUEST = {"lead_id": "L-991", "carrier": "viettel", "prefix": "028", "exclude": [19]}

_MEANINGS = {
    "PickRequest": {
        "lead_id": "The lead that is called. In a sticky group it keeps the number it was first called from.",
        "carrier": "Members of this carrier come first. A preference never overrides eligibility or a cap.",
        "prefix": "Next come members whose number begins like this, compared with the number as it is stored.",
        "exclude": "Ids of caller IDs that must not be picked.",
    },
    "Pick": {
        "id": "Put it into the call-placed event as `data.pick_id`: the reservation becomes the call.",
        "reason": "`sticky`: the number that the lead keeps. Else the strategy that chose.",
        "expires_at": (
            "When the reservation ends by itself, UTC. The policy's `pick_ttl_seconds` sets its length: by default "
            f"{DEFAULT_POLICY.pick_ttl_seconds} s, at most {MAX_PICK_TTL_SECONDS} s."
        ),
    },
    "NoneEligible": {
        "reasons": (
            "The members, counted by why they can't be picked: `cooldown`, `quota_exceeded` (calls and reservations "
            "have reached the daily cap), `hourly_cap`, `min_gap`, `disabled`, `excluded`."
        ),
        "next_eligible_at": "No member is eligible before this time, UTC, unless a definition changes. Null: unknown.",
    },
    "InvalidBody": {"errors": "The messages, by field. A field of a batch is named like `picks[2].exclude[0]`."},
}

_FAILURES = COMMON_FAILURES | {
    "Unauthorized": Failure("The token lacks the scope caller_id_pick.", "This action is unauthorized.", RATE),
    "Malformed": Failure("The body is not JSON.", "The body is not valid JSON.", RATE),
    "MethodNotAllowed": Failure(
        "The path has another method.", "Method not allowed.", {"Allow": ("string", "The methods of the path.")}
    ),
    "TooSlow": Failure("The request did not arrive within 10 seconds.", "The request took too long to arrive."),
    "BodyTooLarge": Failure("The body is longer than 2 MiB.", "Request body too large."),
    "TooManyRequests": Failure(
        "Over the token's limit, or too many unknown tokens from your address.",
        "Too many requests. Retry after 7 seconds.",
        {**RATE, **RETRY},
    ),
    "Unavailable": Failure(
        "Nothing may be picked now: Redis is away, the projections are being rebuilt, or reservations may be missing "
        "after a loss of data. The engine never guesses. Nothing was picked, unless Redis was lost while it answered: "
        "send the request again with the same Idempotency-Key.",
        "The projections are being rebuilt. Try again soon.",
        RETRY,
    ),
}
_STATUSES = {
    "400": "Malformed",
    "401": "Unauthenticated",
    "403": "Unauthorized",
    "404": "GroupNotFound",
    "405": "MethodNotAllowed",
    "408": "TooSlow",
    "413": "BodyTooLarge",
    "429": "TooManyRequests",
    "431": "HeadTooLarge",
    "500": "ServerError",
    "503": "Unavailable",
}
_WITHOUT_BODY = {"400", "408"}


def openapi() -> Json:
    """The document, ready to encode."""
    references, schemas = schemas_of(
        [PickRequest, Envelope[Pick], InvalidBody, ErrorBody, NoneEligible, Pick], _MEANINGS
    )
    request, one, invalid, _, refusal, pick = references
    success = [schemas.pop(one["$ref"].rpartition("/")[2]), _object("data", {"anyOf": [pick, refusal]})]
    return document(
        "Rotary engine",
        "Which number to show for this call, reserved in the same step.",
        "A pick reserves one call of a caller ID's daily cap. Place the call, and publish call-placed with "
        "`data.pick_id`; or give the pick back. No daily cap is passed by picks, whatever runs at the same time. "
        "Times are UTC, to the second.",
        {"name": _TAG, "description": "A reservation of one call of one caller ID."},
        {
            PREFIX + "/{id}/picks": {"post": _pick_operation(request, success, invalid)},
            PREFIX + "/{id}/picks/{pick_id}": {
                "delete": _delete("releasePick", "Give a pick back", _RELEASE, "PickId", invalid)
            },
            PREFIX + "/{id}/leads/{lead_id}": {
                "delete": _delete("forgetLead", "Forget a lead's number", _FORGET, "LeadId", invalid)
            },
        },
        {
            "schemas": schemas,
            "headers": header_components(RATE, REQUEST_ID, RETRY),
            "parameters": _parameters(),
            "responses": {name: failure(failed) for name, failed in _FAILURES.items()},
        },
    )


_RELEASE = (
    "The call was not placed: the reservation ends now. Has the same answer when it is repeated, when the pick has "
    "expired, and when the call was counted, which stays counted."
)
_FORGET = "The lead gets another number at its next pick in this group. Has the same answer when it is repeated."


def _pick_operation(request: Json, success: list[Json], invalid: Json) -> Json:
    batch = _object("picks", request, minItems=1, maxItems=MAX_PICKS)
    examples = {
        "one": {"summary": "One pick", "value": {"data": msgspec.to_builtins(_PICK)}},
        "many": {"summary": "A batch", "value": {"data": msgspec.to_builtins([_PICK, _REFUSAL])}},
    }
    conflict = [{"$ref": "#/components/schemas/NoneEligible"}, {"$ref": "#/components/schemas/ErrorBody"}]
    return {
        "operationId": "createPicks",
        "tags": [_TAG],
        "summary": "Pick a caller ID",
        "description": (
            f"One pick, or up to {MAX_PICKS} in a batch. A batch is answered in its order, each with a pick or with a "
            "refusal. Without a body: one pick without preferences. Send `Idempotency-Key` to make a repetition safe."
        ),
        "parameters": _references("GroupId", "IdempotencyKey", "RequestId"),
        "requestBody": {
            "content": {
                "application/json": {
                    "schema": {"anyOf": [request, batch]},
                    "examples": {"one": {"value": _REQUEST}, "many": {"value": {"picks": [_REQUEST, {}]}}},
                }
            }
        },
        "responses": {
            "201": {
                "description": "Picked and reserved.",
                "headers": headers({**RATE, **REQUEST_ID}),
                "content": {"application/json": {"schema": {"anyOf": success}, "examples": examples}},
            },
            "409": {
                "description": "No member of the group can be picked now, or the group is disabled.",
                "headers": headers({**RATE, **RETRY, **REQUEST_ID}),
                "content": {
                    "application/json": {"schema": {"anyOf": conflict}, "example": msgspec.to_builtins(_REFUSAL)}
                },
            },
            "422": _invalid(invalid),
            **_failures(_STATUSES),
        },
    }


def _object(name: str, items: Json, **limits: int) -> Json:
    """An object whose only field is a list."""
    return {
        "type": "object",
        "title": "Batch",
        "properties": {name: {"type": "array", "items": items, **limits}},
        "required": [name],
        "additionalProperties": False,
    }


def _delete(name: str, summary: str, description: str, parameter: str, invalid: Json) -> Json:
    return {
        "operationId": name,
        "tags": [_TAG],
        "summary": summary,
        "description": description,
        "parameters": _references("GroupId", parameter, "RequestId"),
        "responses": {
            "204": {"description": "Done.", "headers": headers({**RATE, **REQUEST_ID})},
            "422": _invalid(invalid),
            **_failures({status: name for status, name in _STATUSES.items() if status not in _WITHOUT_BODY}),
        },
    }


def _invalid(schema: Json) -> Json:
    return {
        "description": (
            "The request is not valid: `errors` names every field. Without `errors`: the idempotency key "
            "was used within 24 hours for another body."
        ),
        "headers": headers({**RATE, **REQUEST_ID}),
        "content": {
            "application/json": {
                "schema": {"anyOf": [schema, {"$ref": "#/components/schemas/ErrorBody"}]},
                "example": msgspec.to_builtins(_INVALID),
            }
        },
    }


def _failures(statuses: dict[str, str]) -> Json:
    return {status: {"$ref": f"#/components/responses/{name}"} for status, name in sorted(statuses.items())}


def _references(*names: str) -> list[Json]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _parameters() -> Json:
    return {
        "GroupId": group_id_parameter(),
        "PickId": _path_parameter("pick_id", "The pick's id.", 64, _PICK.id),
        "LeadId": _path_parameter("lead_id", "Your name for the lead, percent-encoded.", MAX_LEAD, "L-991"),
        "IdempotencyKey": {
            **optional_header(
                "Idempotency-Key",
                "A name of this request, unique for 24 hours. A repetition with the same body has the same answer, and "
                "picks nothing. With another body it is refused with 422.",
            ),
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        },
        "RequestId": REQUEST_ID_PARAMETER,
    }


def _path_parameter(name: str, description: str, longest: int, example: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1, "maxLength": longest},
        "example": example,
    }
