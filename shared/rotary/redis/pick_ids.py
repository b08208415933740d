"""Identities of picks."""

from functools import lru_cache
from os import urandom

from rotary.clock import system_clock

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Base32 in digits and letters that sort as the numbers do."""
_ANY_DIGIT = (_CROCKFORD * 8).encode()
"""Translates a random byte into a digit."""
_RANDOM_DIGITS = 16
_IDS_IN_ADVANCE = 512
_now_ms = system_clock()


class PickIds:
    """Makes ULIDs: ten digits of the millisecond and 80 random bits. The function adds the caller ID, to find a
    reservation by."""

    def __init__(self) -> None:
        self._digits = ""
        self._at = 0

    def next(self, count: int) -> list[str]:
        """So many new ones. Randomness is asked for in advance: a system call for each would be dear."""
        begin, size = self._at, _RANDOM_DIGITS
        end = begin + size * count
        if end > len(self._digits):
            self._digits = urandom(size * max(count, _IDS_IN_ADVANCE)).translate(_ANY_DIGIT).decode()
            begin, end = 0, size * count
        self._at = end
        prefix, digits = _digits_of(_now_ms()), self._digits
        if count == 1:
            return [prefix + digits[begin:end]]
        return [prefix + digits[at : at + size] for at in range(begin, end, size)]


@lru_cache(maxsize=4)
def _digits_of(milliseconds: int) -> str:
    return "".join(_CROCKFORD[milliseconds >> shift & 31] for shift in range(45, -1, -5))
