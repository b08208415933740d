"""What Redis holds: how many calls have been folded."""

from collections.abc import Sequence
from typing import cast

from redis.asyncio import Redis

from rotary.clock import system_clock
from rotary.domain.facts import total
from rotary.domain.quota import days_read
from rotary.redis import keys

_now = system_clock()


async def calls_stored(client: Redis, customer: int, callers: Sequence[int]) -> int:
    """The calls of these caller IDs today, yesterday and tomorrow (UTC)."""
    names = [keys.calls(customer, caller, day) for caller in callers for day in days_read(_now())]
    values = cast("list[bytes | None]", await client.mget(names))
    return sum(total(value) for value in values if value)
