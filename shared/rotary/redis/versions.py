"""Whether the definitions that Redis holds are whole, and none older than what this process has already read."""

from collections.abc import Callable, Sequence

from rotary.errors import UnavailableError
from rotary.redis import keys
from rotary.redis.documents import DEFINITIONS_FIELDS, REBUILDING, is_complete
from rotary.redis.pipeline import pack

TOKENS = -1
"""Stands for the tokens where the others are buckets."""
PARTS = (TOKENS, *range(keys.BUCKETS))


def key(part: int) -> str:
    """The hash that says so of a bucket, or of the tokens."""
    return keys.TOKEN_DEFINITIONS if part == TOKENS else keys.definitions(part)


ASK = {part: pack("HMGET", key(part), *DEFINITIONS_FIELDS) for part in PARTS}
"""What asks for the fields that `Versions.read` takes in, by part."""


class Versions:
    """The highest version read, by bucket and for the tokens.

    Answers overtake each other: what one says is compared with what was known when it was asked for. `refuse` is called
    with a part that becomes refused: what is mirrored of it is no longer what Redis holds.
    """

    def __init__(self, refuse: Callable[[int], None]) -> None:
        self._refuse = refuse
        self._highest: dict[int, bytes] = {}
        self.refused: set[int] = set()
        """The parts that were incomplete, or older than known, when last read."""

    def mark(self, part: int) -> bytes:
        """To be taken before Redis is asked, and given to `read` with the answer."""
        return self._highest.get(part, b"")

    def read(self, part: int, fields: Sequence[bytes | None], mark: bytes) -> bool:
        """Takes in the fields of a part; whether its documents may be believed."""
        complete, newest = fields
        accepted = is_complete(complete, newest, mark)
        if accepted:
            self._highest[part] = max(newest or b"", self._highest.get(part, b""))
            self.refused.discard(part)
        elif part not in self.refused:
            self.refused.add(part)
            self._refuse(part)
        return accepted

    def check(self, part: int, fields: Sequence[bytes | None], mark: bytes) -> None:
        """Likewise. Raises UnavailableError if they may not."""
        if not self.read(part, fields, mark):
            raise UnavailableError(REBUILDING)
