"""How guessing passwords is slowed down without letting anybody lock out somebody else.

Failures count for each pair of account and network (an IPv4 address or an IPv6 /64), and for each network. A browser
from which the user has signed in before is recognised by a cookie of its own (OWASP's device cookies). Its failures
count for it alone, so nothing that others do with the user's name, from any address, slows it down. Many failures on
one account make further attempts from unknown browsers slower, and fewer for each network; they never refuse the first
one.

A name that nobody has is counted like any other.
"""

from typing import Literal

from msgspec import Struct

WINDOW_SECONDS = 900
"""For how long a failure counts."""
MAX_BY_DEVICE = 10
MAX_BY_PAIR = 5
MAX_BY_PAIR_OF_ATTACKED = 2
"""Of an account that is being attacked, for unknown browsers."""
MAX_BY_NETWORK = 50
ATTACKED_AT = 100
"""So many failures by unknown browsers say that an account is being attacked."""
MAX_WRONG_CODES = 10
"""Of one account, by unknown browsers from wherever: only somebody who has the password comes so far."""
SLOW_SECONDS = 3.0


class Attempts(Struct, frozen=True):
    """The failures of the last WINDOW_SECONDS that count against an attempt, and the age of the oldest in seconds."""

    by_device: int = 0
    device_age: float | None = None
    by_pair: int = 0
    pair_age: float | None = None
    by_network: int = 0
    network_age: float | None = None
    by_account: int = 0
    wrong_codes: int = 0
    wrong_code_age: float | None = None


class Verdict(Struct, frozen=True):
    """Whether an attempt is made: `retry_after` of 0 is yes, after waiting for `delay` seconds."""

    retry_after: int = 0
    delay: float = 0.0


def judge(attempts: Attempts, device: Literal["known", "unknown"]) -> Verdict:
    """What to do with an attempt."""
    if device == "known":
        return _wait(attempts.device_age) if attempts.by_device >= MAX_BY_DEVICE else Verdict()
    if attempts.wrong_codes >= MAX_WRONG_CODES:
        return _wait(attempts.wrong_code_age)
    if attempts.by_network >= MAX_BY_NETWORK:
        return _wait(attempts.network_age)
    is_attacked = attempts.by_account >= ATTACKED_AT
    if attempts.by_pair >= (MAX_BY_PAIR_OF_ATTACKED if is_attacked else MAX_BY_PAIR):
        return _wait(attempts.pair_age)
    return Verdict(delay=SLOW_SECONDS if is_attacked else 0.0)


def _wait(oldest_seconds: float | None) -> Verdict:
    """Until the oldest failure counts no more."""
    left = WINDOW_SECONDS - (oldest_seconds or 0.0)
    return Verdict(retry_after=max(1, -int(-left // 1)))
