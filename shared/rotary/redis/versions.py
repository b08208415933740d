"""Checks that definitions in Redis are complete, and not older than what this process has read before."""

from collections.abc import Callable, Sequence

from rotary.errors import UnavailableError
from rotary.redis import keys
from rotary.redis.documents import DEFINITIONS_FIELDS, REBUILDING, is_complete
from rotary.redis.pipeline import pack

TOKENS = -1
"""The number of the tokens' part. The others are buckets."""
PARTS = (TOKENS, *range(keys.BUCKETS))


def key(part: int) -> str:
    """The key of the hash of a part."""
    return keys.TOKEN_DEFINITIONS if part == TOKENS else keys.definitions(part)


ASK = {part: pack("HMGET", key(part), *DEFINITIONS_FIELDS) for part in PARTS}
"""The commands that read the fields for `Versions.read`, by part."""


class Versions:
    """The highest version read, by part.

    Answers may arrive out of order, so each is compared with the version known at its request. `refuse` is called when
    a part is newly refused: its cached entries no longer match Redis.
    """

    def __init__(self, refuse: Callable[[int], None]) -> None:
        self._refuse = refuse
        self._highest: dict[int, bytes] = {}
        self.refused: set[int] = set()
        """The parts whose last read was incomplete or older than a former one."""

    def mark(self, part: int) -> bytes:
        """The mark to take before a request to Redis, and to pass to `read` with the answer."""
        return self._highest.get(part, b"")

    def read(self, part: int, fields: Sequence[bytes | None], mark: bytes) -> bool:
        """Takes the fields of a part. Returns whether its documents may be used."""
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
        """As `read`. Raises UnavailableError if the documents may not be used."""
        if not self.read(part, fields, mark):
            raise UnavailableError(REBUILDING)
