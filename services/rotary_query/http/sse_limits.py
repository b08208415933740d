"""How many streams a token and a customer may have open in this process, so that none takes all there are."""

from collections import Counter

from rotary.auth.grant import Grant
from rotary.http.errors import too_many_streams
from rotary.http.responses import CachedResponse


class StreamLimits:
    """Counts open streams by token and by customer."""

    def __init__(self, per_token: int, per_customer: int) -> None:
        self._per_token = per_token
        self._per_customer = per_customer
        self._tokens: Counter[str] = Counter()
        self._customers: Counter[int] = Counter()

    def refusal(self, grant: Grant) -> CachedResponse | None:
        """The answer to a further stream that would exceed a limit."""
        if self._tokens[grant.sha256_hex] >= self._per_token:
            return too_many_streams("token")
        if self._customers[grant.customer_id] >= self._per_customer:
            return too_many_streams("customer")
        return None

    def opened(self, grant: Grant) -> None:
        """A stream was opened with this token."""
        self._tokens[grant.sha256_hex] += 1
        self._customers[grant.customer_id] += 1

    def closed(self, grant: Grant) -> None:
        """One was closed."""
        _take_one(self._tokens, grant.sha256_hex)
        _take_one(self._customers, grant.customer_id)


def _take_one(counts: Counter[str] | Counter[int], key: str | int) -> None:
    counts[key] -= 1  # type: ignore[index]  # each counter is given its own kind of key
    if not counts[key]:  # type: ignore[index]
        del counts[key]
