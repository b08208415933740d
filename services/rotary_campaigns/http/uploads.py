"""How many large bodies are held in memory at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rotary.http.errors import Refusal
from rotary.http.responses import failure

MAX_UPLOADS = 4
MAX_OF_CUSTOMER = 2
_TOO_MANY = failure(429, "Too many files are being uploaded. Retry after 10 seconds.", {"Retry-After": "10"})


class UploadLimit:
    """Counts uploads under way: a few of all, and fewer of one customer, so that none keeps the others out."""

    def __init__(self) -> None:
        self._of_customer: Counter[int] = Counter()

    @property
    def count(self) -> int:
        """How many are under way."""
        return self._of_customer.total()

    @contextmanager
    def taken(self, customer: int) -> Iterator[None]:
        """An upload while the block runs. Raises Refusal if there are too many."""
        under_way = self._of_customer
        if self.count >= MAX_UPLOADS or under_way[customer] >= MAX_OF_CUSTOMER:
            raise Refusal(_TOO_MANY)
        under_way[customer] += 1
        try:
            yield
        finally:
            under_way[customer] -= 1
            if not under_way[customer]:
                del under_way[customer]
