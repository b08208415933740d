"""The delay between attempts of a client, shared by the publisher and the engine's clients."""

from random import SystemRandom

_FIRST_DELAY_SECONDS = 0.05
_MAX_DELAY_SECONDS = 2.0
_random = SystemRandom()


def retry_delay(attempt: int) -> float:
    """Seconds to wait after this attempt. The delay is random, so that many dialers do not retry at the same moment."""
    longest = min(_MAX_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2 ** min(attempt, 10))
    return _random.uniform(longest / 2, longest)
