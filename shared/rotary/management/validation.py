"""Validation of decoded input: every violation, with the field's path and the allowed values.

msgspec stops at the first violation. These functions continue, for whoever corrects a form or a file.
"""

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct, UnsetType

from rotary.management.errors import InvalidError, Violation
from rotary.management.fields import NOT_A_NUMBER, NOT_PLAIN, DisplayName, Name, Number, TrunkName

S = TypeVar("S", bound=Struct)

_DECIMAL = (
    "is a decimal number, as spreadsheets write long numbers, so digits or a leading 0 may be missing: "
    "format the column as text and enter the number again"
)


def decode_fields(kind: type[S], values: Mapping[str, object]) -> S:
    """The values as a `kind`. Text is converted to numbers and times. Raises InvalidError with every violation."""
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError:
        violations = [Violation(field.removeprefix("."), detail) for field, detail in violations_of(kind, values)]
        raise InvalidError(*violations) from None


def violations_of(kind: Any, value: object, path: str = "", *, strict: bool = False) -> Iterator[tuple[str, str]]:
    """(path, detail) of everything that keeps `value` from being a `kind`, a type as msgspec takes it (hence Any).

    `strict` is for what was JSON: text is no number, and a field that is unknown or missing is named by its path.
    """
    try:
        msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        inner = list(_inner_violations(kind, value, path, strict=strict))
        yield from inner or [(path, _detail(kind, value, str(error)))]


def _inner_violations(kind: Any, value: object, path: str, *, strict: bool) -> Iterator[tuple[str, str]]:
    for option in _options(kind):
        if isinstance(value, dict) and isinstance(option, type) and issubclass(option, Struct):
            yield from _field_violations(option, value, path, strict=strict)
        elif isinstance(value, list) and get_origin(_bare(option)) in (list, tuple):
            item = get_args(_bare(option))[0]
            for index, each in enumerate(value):
                yield from violations_of(item, each, f"{path}[{index}]", strict=strict)


def _field_violations(
    kind: type[Struct], value: dict[object, object], path: str, *, strict: bool
) -> Iterator[tuple[str, str]]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name in value:
        if name not in fields and strict:
            yield f"{path}.{name}", "Unknown field."
        elif name not in fields:
            yield path, f"Object contains unknown field `{name}`; expected one of {', '.join(fields)}"
    for name, field in fields.items():
        if name in value:
            yield from violations_of(field.type, value[name], f"{path}.{name}", strict=strict)
        elif field.required and strict:
            yield f"{path}.{name}", "This field is required."
        elif field.required:
            yield path, f"Object missing required field `{name}`"


def _detail(kind: Any, value: object, message: str) -> str:
    """msgspec's message, or a clearer one for a number or a name; with the allowed values of an enumeration."""
    options = list(_options(kind))
    if Number in options and isinstance(value, str):
        return f"{_shortened(value)} {_DECIMAL if _is_decimal(value.strip()) else NOT_A_NUMBER}"
    if any(option in (Name, DisplayName, TrunkName) for option in options) and "regex" in message:
        return f"{_shortened(value)} {NOT_PLAIN}"
    allowed = [choice for option in options if get_origin(option) is Literal for choice in get_args(option)]
    detail = message.partition(" - at `")[0]
    return f"{detail}; expected one of {', '.join(allowed)}" if allowed else detail


def _is_decimal(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return any(letter in text.lower() for letter in ".,en")


def _shortened(value: object) -> str:
    return ascii(value) if len(str(value)) <= 60 else f"{str(value)[:60]!a}…"


def _bare(kind: Any) -> Any:
    """The type without its annotations."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _options(kind: Any) -> Iterator[Any]:
    """The members of a union of types, without None and UNSET."""
    if get_origin(kind) in (Union, UnionType):
        for option in get_args(kind):
            yield from _options(option)
    elif get_origin(kind) is Annotated and get_origin(get_args(kind)[0]) in (Union, UnionType):
        yield from _options(get_args(kind)[0])
    elif kind not in (None, type(None), UnsetType):
        yield kind
