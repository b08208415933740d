"""Bearer tokens as strings: `rot_`, 30 random letters and digits, and 6 more that are a checksum of what precedes them.

The checksum (CRC-32, as GitHub's tokens have it) is no secret. It tells a typing error, a damaged copy or a blind guess
from a token without a look-up. Strings of any other shape are older tokens, or come from another program: only a
look-up tells whether they are good.
"""

import re
import secrets
import string
from typing import Literal
from zlib import crc32

PREFIX = "rot_"
"""Identifies a leaked token as one of Rotary's."""
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH = 30  # 62^30 > 2^178
_CHECKSUM_LENGTH = 6  # 62^6 > 2^32
_SHAPE = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}")

Form = Literal["checked", "damaged", "unchecked"]
"""Of our shape with the right checksum, of our shape with a wrong one, or of another shape."""


def new_token() -> str:
    """A fresh bearer string."""
    text = PREFIX + "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM_LENGTH))
    return text + checksum(text)


def checksum(text: str) -> str:
    """The CRC-32 of a token's prefix and random part, as 6 base-62 digits."""
    number, digits = crc32(text.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def form(token: str) -> Form:
    """What the string alone says about a token."""
    if _SHAPE.fullmatch(token) is None:
        return "unchecked"
    return "checked" if checksum(token[:-_CHECKSUM_LENGTH]) == token[-_CHECKSUM_LENGTH:] else "damaged"
