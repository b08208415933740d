"""What the fold machine keeps beside the server: positions as they should be, readers, and a connection that fails."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from rotary.domain.facts import Facts, Flag
from rotary.errors import UnavailableError
from rotary.redis.pipeline import Pipeline

BEHIND, REPLACED = "BEHIND", "REPLACED"


class Model(Struct):
    """One bucket in one generation. `extra` are messages of which some pieces were folded and the last was not."""

    positions: dict[str, int] = {}
    at: dict[str, int] = {}
    back: set[str] = set()
    named: set[str] = set()
    extra: dict[str, set[int]] = {}

    def fold(self, log: str, begin: int | None, end: int, logs: Sequence[str]) -> str | None:
        if begin is not None and self.positions.get(log, -1) < begin:
            return self._went_back(log, logs)
        if self.positions.get(log, -1) < end:
            self.positions[log] = end
            self.named |= set(logs)
        return None

    def advance(self, log: str, begin: int | None, end: int, marker_ms: int, logs: Sequence[str]) -> str | None:
        if begin is not None and self.positions.get(log, -1) < begin:
            return self._went_back(log, logs)
        if self.positions.get(log, -1) <= end:
            self.positions[log], self.at[log] = end, marker_ms
            self.named |= set(logs)
            self.back.discard(log)
        return None

    def _went_back(self, log: str, logs: Sequence[str]) -> str:
        self.back.add(log)
        self.named |= set(logs)
        return BEHIND

    def complete_ms(self) -> int:
        ats = [self.at.get(log, 0) if log in self.positions else 0 for log in self.named]
        return min(ats, default=0)


class Reader:
    """One reader of one log into one generation. `reached` is what it knows of each bucket, `next` where it goes on."""

    def __init__(self, log: str, generation: int) -> None:
        self.log, self.generation = log, generation
        self.reached: dict[int, int | None] = {}
        self.next = 0


class Unreliable(Pipeline):
    """A connection on which some commands of a call get through, as `passes` says, and their answers may not.

    A server out of memory for a moment refuses one of them; a process that dies has sent some; a reply may be lost.
    """

    passes: Callable[[int, int], bool] | None = None
    is_deaf = False

    async def call(self, commands: Sequence[bytes]) -> list[object]:
        passes = self.passes or (lambda _at, _of: True)
        replies = await super().call([one for at, one in enumerate(commands) if passes(at, len(commands))])
        if self.is_deaf or len(replies) < len(commands):
            raise UnavailableError("Redis is away: the answer was lost")
        return replies


def between(least: Facts, found: Facts, most: Facts) -> None:
    """What is stored is at least this and at most that; no caller ID here has more flags than are kept."""
    assert set(least.calls) <= set(found.calls) <= set(most.calls)
    assert set(least.flags) <= set[Flag](found.flags) <= set(most.flags)
    assert (least.cleared_at_ms or 0) <= (found.cleared_at_ms or 0) <= (most.cleared_at_ms or 0)
