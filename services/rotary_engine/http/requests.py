"""Request bodies: decoded in one step when they are right, and examined field by field when they are not."""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import FieldInfo, fields

from rotary.domain.rotation.outcomes import MAX_PICKS, PickRequest

Violations = dict[str, list[str]]
"""What is wrong, by field: `lead_id`, or `picks[2].exclude[0]`."""

MAX_VIOLATIONS = 100
"""Fields that an answer names: a body has room for hundreds of thousands of wrong ones."""
_UNKNOWN = "Unknown field."
_PATH = re.compile(r" - at `\$(.*)`$")


class PicksBody(PickRequest, frozen=True, forbid_unknown_fields=True):
    """One pick, all of whose fields are optional; or `picks` alone, up to 500 of them."""

    picks: Annotated[tuple[PickRequest, ...], Meta(min_length=1, max_length=MAX_PICKS)] | UnsetType = UNSET


class MalformedError(Exception):
    """The body is no JSON."""


class InvalidBodyError(Exception):
    """The body is JSON, but not what is asked for."""

    def __init__(self, violations: Violations) -> None:
        super().__init__(violations)
        self.violations = violations


_decode = msgspec.json.Decoder(PicksBody).decode
_decode_any = msgspec.json.Decoder().decode
_EMPTY = PicksBody()
_ONE_PICK = {field.name for field in fields(PickRequest)}
_KINDS: Mapping[str, FieldInfo] = {field.name: field for field in fields(PicksBody)}


def decode(body: bytes) -> PicksBody:
    """What a request asks for. No body asks for one pick without any wish.

    Raises MalformedError, and InvalidBodyError with every field that is wrong.
    """
    if not body:
        return _EMPTY
    try:
        asked = _decode(body)
    except msgspec.ValidationError as error:
        raise InvalidBodyError(_violations(body, str(error))) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise MalformedError from None
    if asked.picks is not UNSET and asked != PicksBody(picks=asked.picks):
        raise InvalidBodyError(_beside_picks(body))
    return asked


def _violations(body: bytes, first: str) -> Violations:
    """What is wrong, up to MAX_VIOLATIONS fields, where the decoder stops at the first."""
    try:
        value: object = _decode_any(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise MalformedError from None
    if not isinstance(value, dict):
        return {"": ["Expected an object."]}
    known = set(_KINDS) if "picks" in value else _ONE_PICK
    picks = value.get("picks")
    if not isinstance(picks, list):
        found = _of_object(value, "", known)
    else:
        found = _of_object({name: part for name, part in value.items() if name != "picks"}, "", known)
        if not 1 <= len(picks) <= MAX_PICKS:
            found["picks"] = [f"Expected 1 to {MAX_PICKS} picks."]
        for at, pick in enumerate(picks[:MAX_PICKS]):
            if len(found) >= MAX_VIOLATIONS:
                break
            found |= _of_object(pick, f"picks[{at}]", _ONE_PICK)
    return dict(islice(found.items(), MAX_VIOLATIONS)) or {"": [first]}


def _of_object(value: object, where: str, known: set[str]) -> Violations:
    if not isinstance(value, dict):
        return {where: ["Expected an object."]}
    found: Violations = {}
    for name, part in cast("dict[str, object]", value).items():
        if len(found) >= MAX_VIOLATIONS:
            break
        at = f"{where}.{name}" if where else name
        if name not in known:
            found[at] = [_UNKNOWN]
            continue
        try:
            msgspec.convert(part, _KINDS[name].type)
        except msgspec.ValidationError as error:
            message = str(error)
            inner = _PATH.search(message)
            text = message[: inner.start()] if inner else message
            found[at + (inner[1] if inner else "")] = [text.rstrip(".") + "."]
    return found


def _beside_picks(body: bytes) -> Violations:
    names = cast("dict[str, Any]", _decode_any(body))  # any JSON
    return {name: ["Not allowed beside picks."] for name in names if name != "picks"}
