"""Answers straight from Redis: what holds whenever the mirror may not be believed."""

from rotary.errors import GroupNotFoundError
from rotary.redis.reader import Reader
from rotary_query.answers import Answer
from rotary_query.auth import Grant, grant
from rotary_query.limits import SlidingWindow
from rotary_query.routes import Kind, Route
from rotary_query.views import detail_answer, list_answer, monitor_answer


class DirectSource:
    """Two round trips an answer."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._folded_until_ms = 0
        self._windows: dict[str, SlidingWindow] = {}

    async def grant(self, sha256_hex: str) -> Grant | None:
        """What the token grants, if there is one with this hash."""
        token = await self._reader.token(sha256_hex)
        if token is None:
            return None
        limit = token.rate_limit_per_minute
        window = None if limit is None else self._windows.setdefault(sha256_hex, SlidingWindow(limit))
        return grant(sha256_hex, token, window)

    async def answer(self, route: Route, customer: int, now_ms: int) -> Answer:
        """The body of an API route. Raises GroupNotFoundError, UnavailableError."""
        if route.kind is Kind.GROUPS:
            return list_answer(await self._reader.groups(customer))
        group = await self._reader.group(customer, route.group_id)
        if group is None:
            raise GroupNotFoundError
        if route.kind is Kind.GROUP:
            return detail_answer(group)
        read = await self._reader.facts(customer, [member.id for member in group.members], now_ms)
        self._folded_until_ms = read.folded_until_ms
        return monitor_answer(group, read.facts, now_ms)

    def lag_line(self, now_ms: int) -> bytes:
        """How far the fold is behind the broker, in whole seconds."""
        return b"X-Projection-Lag: %d\r\n" % max(0, (now_ms - self._folded_until_ms) // 1000)
