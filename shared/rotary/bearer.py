"""The format of bearer tokens: `rot_`, 30 random letters and digits, and a checksum of 6 letters and digits.

The checksum is a CRC-32, as in GitHub's tokens, and no secret. It rejects a typing error, a damaged copy or a blind
guess without a look-up. Older tokens, and tokens made by other programs, have other formats and no checksum: only a
look-up can tell whether one is valid.
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
_FORMAT = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}")

ChecksumStatus = Literal["valid", "invalid", "absent"]
"""The checksum is right, it is wrong, or the token has another format."""


def new_token() -> str:
    """A new random token."""
    text = PREFIX + "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM_LENGTH))
    return text + checksum(text)


def checksum(text: str) -> str:
    """The CRC-32 of a token's prefix and random part, as 6 base-62 digits."""
    number, digits = crc32(text.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def checksum_status(token: str) -> ChecksumStatus:
    """Checks a token by its characters alone, without a look-up."""
    if _FORMAT.fullmatch(token) is None:
        return "absent"
    return "valid" if checksum(token[:-_CHECKSUM_LENGTH]) == token[-_CHECKSUM_LENGTH:] else "invalid"
