"""History in the OpenAPI document."""

from datetime import date

import msgspec

from rotary.domain.history import HISTORY_DAYS
from rotary.events import Id
from rotary.http.bodies import Envelope
from rotary.http.openapi import RATE, REQUEST_ID, Json, headers
from rotary_query.http.history import (
    CALLER,
    FROM,
    INVALID,
    TO,
    FlagCountsItem,
    HistoryBody,
    HistoryDayItem,
    HistoryMember,
    InvalidBody,
)

HISTORY_TYPE = Envelope[HistoryBody]
HISTORY = HistoryBody(
    3,
    "Asia/Ho_Chi_Minh",
    date(2026, 5, 18),
    date(2026, 5, 19),
    [
        HistoryDayItem(date(2026, 5, 18), 208, FlagCountsItem(1, 0, 0, 2), 21_600, 91, final=False),
        HistoryDayItem(date(2026, 5, 19), 187, FlagCountsItem(0, 0, 1, 3), 3_600, 88, final=False),
    ],
    [
        HistoryMember(18, "+84901234018", 204, FlagCountsItem(0, 0, 0, 4), 0, 92),
        HistoryMember(19, "0281234019", 191, FlagCountsItem(1, 0, 1, 1), 25_200, 84),
    ],
)
HISTORY_SUMMARY = "What a group's numbers did on past days"
HISTORY_DESCRIPTION = (
    "Calendar days of the customer's time zone, at most 35 and until yesterday. A group's day is the sum over its "
    f"present members. With `{CALLER}` the answer is about that member alone. A day is there within minutes of "
    "midnight. Late events correct it: calls for 48 hours, flags for 30 days. A day that is not known is left out, and "
    "a figure that is not known is null, never a number that is too low. History answers 503 while its database is "
    "away or not configured; the rest of the API goes on."
)
_CALLS = "Calls placed on the day. Final 48 hours after its end."
_FLAGS = "Flags raised on the day, by kind. Null when more than 63 of a kind have come since it began."
_RESTING = (
    "Seconds of the day in cooldown; of a group, the sum over its members. By the policy that was in force when the "
    "day ended."
)
HISTORY_MEANINGS = {
    "HistoryBody": {
        FROM: "The first day that was asked for.",
        TO: "The last day that was asked for.",
        "days": "The days that are known, ascending.",
        "members": "Members of the group, ascending by `caller_id_id`, with the sums of these days.",
    },
    "HistoryDayItem": {
        "calls": _CALLS,
        "flags": _FLAGS,
        "resting_seconds": _RESTING,
        "health": "Health at the end of the day; of a group, the mean of its members, rounded.",
        "final": "Whether nothing can change the day any more: 30 days after its end.",
    },
    "HistoryMember": {
        "calls": "Calls placed on these days.",
        "flags": "Flags raised on these days.",
        "resting_seconds": "Seconds in cooldown on these days.",
        "health": "Health at the end of the last of these days.",
    },
}
HISTORY_SCHEMAS = [InvalidBody]
HISTORY_PARAMETERS = {
    "From": {
        "name": FROM,
        "in": "query",
        "description": f"The first day. By default {HISTORY_DAYS - 1} days before `{TO}`.",
        "schema": {"type": "string", "format": "date"},
        "example": "2026-05-18",
    },
    "To": {
        "name": TO,
        "in": "query",
        "description": f"The last day, at most {HISTORY_DAYS - 1} days after `{FROM}`. By default yesterday.",
        "schema": {"type": "string", "format": "date"},
        "example": "2026-05-19",
    },
    "CallerIdId": {
        "name": CALLER,
        "in": "query",
        "description": "One member of the group.",
        "schema": msgspec.json.schema(Id) | {"format": "int64"},
        "example": 18,
    },
}


def invalid_parameters() -> Json:
    """The response to parameters that are wrong."""
    example = InvalidBody(INVALID, {FROM: ["Must not be after `to`."]})
    return {
        "description": "A parameter is wrong: `errors` has the messages by its name.",
        "headers": headers({**RATE, **REQUEST_ID}),
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/InvalidBody"},
                "example": msgspec.to_builtins(example),
            }
        },
    }
