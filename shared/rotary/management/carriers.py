"""The carrier that a number suggests. Numbers are ported, so this is a proposal for a new row and never read later."""

from functools import lru_cache

from rotary.definitions import Carrier

REGION = "VN"
"""Of domestic numbers: those of the carriers that a caller ID can have."""

_RANGE_DIGITS = 3
_CARRIERS: dict[str, Carrier] = {
    "viettel": "viettel",
    "mobifone": "mobifone",
    "vinaphone": "vinaphone",
    "vietnamobile": "vietnamobile",
}


def suggest_carrier(number: str) -> Carrier:
    """The carrier to which the number's range was given, `landline` for a fixed line, else `other`."""
    return _of_range(number[:-_RANGE_DIGITS] + "0" * _RANGE_DIGITS)


@lru_cache(maxsize=4_096)
def _of_range(number: str) -> Carrier:
    """Likewise for a number that ends with zeros: carriers are given whole ranges, and files hold many of each."""
    # All carriers of the world: 30 ms, which programs that never ask for one would spend at their start.
    import phonenumbers  # noqa: PLC0415 - see above
    from phonenumbers import carrier  # noqa: PLC0415 - see above

    try:
        parsed = phonenumbers.parse(number, REGION)
    except phonenumbers.NumberParseException:
        return "other"
    if phonenumbers.number_type(parsed) == phonenumbers.PhoneNumberType.FIXED_LINE:
        return "landline"
    return _CARRIERS.get(carrier.name_for_number(parsed, "en").lower(), "other")
