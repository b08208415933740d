"""When a request is sent again, and when its error is final."""

from rotary.backoff import retry_delay
from rotary.engine.errors import EngineUnavailableError
from rotary.engine.limits import EngineLimits
from rotary.engine.protocol import Answer, failure


class Attempts:
    """The attempts of one call. Pass the current time of one clock, in seconds, to each method.

    Every request may be sent again: a pick carries an idempotency key, and to release or to forget twice is the same.
    """

    def __init__(self, limits: EngineLimits, now: float) -> None:
        self._limits = limits
        self._deadline = now + limits.deadline_seconds
        self._number = 0

    def timeout(self, now: float) -> float:
        """Seconds for the next attempt."""
        return max(0.001, min(self._limits.attempt_seconds, self._deadline - now))

    def answered(self, answer: Answer, now: float) -> float | None:
        """Seconds to wait before the next attempt, or None if the answer is final.

        Raises the answer's error if the wait that it asks for ends after the deadline.
        """
        if not (answer.status in {408, 429} or answer.status >= 500):
            return None
        delay = retry_delay(self._number) + (answer.retry_after or 0)
        self._number += 1
        if now + delay >= self._deadline:
            raise failure(answer)
        return delay

    def lost(self, reason: str, now: float) -> float:
        """Seconds to wait after an attempt without an answer. Raises EngineUnavailableError at the deadline."""
        # The server may have closed a connection that was idle: the first time another one is tried at once.
        delay = retry_delay(self._number) if self._number else 0.0
        self._number += 1
        if now + delay >= self._deadline:
            within = f"within {self._limits.deadline_seconds:g} s"
            raise EngineUnavailableError(f"The engine did not answer {within}: {reason}")
        return delay
