"""A database of the tests' own on the real Redis, so that emptying it empties nobody else's, and what to ask of it."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import cast
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from rotary.domain.facts import CallerFacts, Counts, DayCounts, Facts, pack_counts, unpack_counts
from rotary.redis import keys
from rotary.redis.connection import connect, libraries, load_functions
from rotary.redis.facts import decode_facts, fact_keys

OWN_DATABASE = 9
customers = count(1)
"""Customers of whom nothing is known yet."""

FactsMessage = tuple[str, list[tuple[str, list[tuple[str, int, list[int]]], list[tuple[str, msgspec.Raw]]]]]
"""facts, of each customer: its id, [(caller, day, [quarter, count, ...])], [(caller, the flags document)]."""


@asynccontextmanager
async def private_redis(url: str) -> AsyncIterator[Redis]:
    """An empty database with our functions."""
    async with connect(own(url)) as client:
        await client.flushdb()
        await _ensure_functions(client)
        yield client
        await client.flushdb()


async def _ensure_functions(client: Redis) -> None:
    """Loads our functions unless they are there: it would take longer than most of what tests ask of Redis."""
    stats = await client.function_stats()
    if stats[b"engines"][b"LUA"][b"libraries_count"] < len(libraries()):
        await load_functions(client)


def own(url: str) -> str:
    """The URL of our database on the server of `url`."""
    return urlsplit(url)._replace(path=f"/{OWN_DATABASE}").geturl()


async def stored_facts(
    client: Redis, customer: int, callers: Sequence[int], days: Sequence[int], generation: int = 0
) -> dict[int, CallerFacts]:
    """What Redis holds about the caller IDs, decoded as the query service does."""
    values = cast("list[bytes | None]", await client.mget(fact_keys(customer, callers, days, generation)))
    return decode_facts(callers, days, values)


async def names(client: Redis, pattern: str = "*") -> list[str]:
    """The keys like this."""
    return [name.decode() for name in cast("list[bytes]", await client.keys(pattern))]


class RedisSnapshot(Struct):
    """A database's keys as they were; restoring puts the server back to then, as a failover to a stale replica does."""

    dumps: dict[str, tuple[bytes, int]]
    """The value of each key, and when it expires (Unix milliseconds), 0 for never."""

    @classmethod
    async def take(cls, client: Redis) -> "RedisSnapshot":
        stored = await names(client)
        pipeline = client.pipeline(transaction=True)
        for name in stored:
            pipeline.dump(name)
            pipeline.pexpiretime(name)
        told = await pipeline.execute()
        values = zip(stored, told[::2], told[1::2], strict=True)
        return cls({name: (dump, max(expires_ms, 0)) for name, dump, expires_ms in values if dump is not None})

    async def restore(self, client: Redis) -> None:
        pipeline = client.pipeline(transaction=True)
        pipeline.flushdb()
        for name, (dump, expires_ms) in self.dumps.items():
            pipeline.restore(name, expires_ms, dump, absttl=True)
        await pipeline.execute()


def comparable(caller_facts: CallerFacts, days: Iterable[int]) -> CallerFacts:
    """The same caller_facts without zeros at the end of a day and days without calls, which mean nothing."""
    counts: DayCounts = {
        day: _without_zeros(row) for day in days if (row := caller_facts.calls.get(day, b"")).strip(b"\0")
    }
    return CallerFacts(counts, caller_facts.flags, caller_facts.cleared_at_ms)


def expected(facts: dict[int, Facts], callers: Sequence[int], days: Iterable[int]) -> dict[int, CallerFacts]:
    """The pure functions' word on it."""
    return {caller: comparable(facts.get(caller, Facts()).caller_facts(), days) for caller in callers}


def _without_zeros(counts: Counts) -> bytes:
    quarters = unpack_counts(counts)
    return pack_counts(quarters[: max(quarter for quarter, calls in enumerate(quarters) if calls) + 1])


@asynccontextmanager
async def heard(client: Redis) -> AsyncIterator["Changes"]:
    """Listens to the change channel from here on."""
    async with client.pubsub() as channel:
        await channel.subscribe(keys.CHANGES_CHANNEL)
        while (await channel.get_message(timeout=5) or {}).get("type") != "subscribe":
            pass
        yield Changes(client, channel)


class Changes:
    """What was announced, read up to a sentinel: an announcement that is not there cannot be waited for."""

    def __init__(self, client: Redis, channel: PubSub) -> None:
        self._client = client
        self._channel = channel

    async def facts(self) -> list[FactsMessage]:
        """What was told of facts since the last look."""
        return [
            msgspec.msgpack.decode(told, type=FactsMessage) for told in await self.messages() if is_of(told, "facts")
        ]

    async def messages(self) -> list[bytes]:
        """Everything that was told since the last look, undecoded."""
        await self._client.publish(keys.CHANGES_CHANNEL, _SENTINEL)
        messages: list[bytes] = []
        while (message := await self._next()) != _SENTINEL:
            messages.append(message)
        return messages

    async def _next(self) -> bytes:
        message = await self._channel.get_message(ignore_subscribe_messages=True, timeout=5)
        assert message is not None, "the sentinel is missing"
        return bytes(message["data"])


def is_of(message: bytes, kind: str) -> bool:
    """Whether a change is of this kind; what else is in it may be no text, though Lua calls it that."""
    return msgspec.msgpack.decode(msgspec.msgpack.decode(message, type=list[msgspec.Raw])[0], type=str) == kind


_SENTINEL = b"end"
