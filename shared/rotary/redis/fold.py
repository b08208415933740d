"""Folding: from a customer's events to one call of the Redis function."""

from collections.abc import Iterable

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from rotary.domain.facts import DAY_MS, QUARTER_MS, QUARTERS_A_DAY, event_ms
from rotary.events import CallPlaced, CarrierFlag, CooldownCleared, Event, identity
from rotary.redis import keys
from rotary.redis.connection import load_functions, raise_if_unavailable, redis_answers

_encode = msgspec.msgpack.Encoder().encode

MOST_IDENTITIES = 4_000
"""In one entry of a batch: Lua can hand no more than about 8,000 arguments to a command."""
StoredFlag = tuple[int, str, str]
"""(time in ms, identity as hex digits, kind)."""


class Batch:
    """One customer's events on their way to the function, grouped by caller ID and UTC day, each identity once."""

    __slots__ = ("_calls", "_flags")

    def __init__(self) -> None:
        self._calls: dict[tuple[int, int], dict[int, int]] = {}
        self._flags: dict[int, tuple[list[int], list[StoredFlag]]] = {}

    def add(self, event: Event) -> None:
        """Takes one event."""
        self.add_at(event, event_ms(event))

    def add_at(self, event: Event, at_ms: int) -> None:
        """Takes one event whose own time is known to be `at_ms`, UTC milliseconds."""
        caller = event.data.caller_id_id
        if type(event) is CallPlaced:
            day = self._calls.get((caller, at_ms // DAY_MS))
            if day is None:
                day = self._calls[caller, at_ms // DAY_MS] = {}
            day.setdefault(identity(event.source, event.id), at_ms // QUARTER_MS % QUARTERS_A_DAY)
            return
        cleared, flags = self._flags.setdefault(caller, ([0], []))
        match event:
            case CarrierFlag():
                flags.append((at_ms, flag_identity(identity(event.source, event.id)), event.data.kind))
            case CooldownCleared():
                cleared.append(at_ms)

    def encode(self) -> bytes:
        """The function's last argument; 64-bit numbers are strings, because Lua's are doubles."""
        calls = [
            (str(caller), str(day), numbers[begin : begin + MOST_IDENTITIES], quarters[begin : begin + MOST_IDENTITIES])
            for (caller, day), seen in self._calls.items()
            for numbers, quarters in ((list(map(str, seen)), list(seen.values())),)
            for begin in range(0, len(numbers), MOST_IDENTITIES)
        ]
        flags = [(str(caller), max(cleared), flags) for caller, (cleared, flags) in self._flags.items()]
        return _encode((calls, flags))


def batch_of(events: Iterable[Event]) -> Batch:
    """A batch of one customer's events."""
    batch = Batch()
    for event in events:
        batch.add(event)
    return batch


def flag_identity(number: int) -> str:
    """16 hex digits that sort as the signed 64-bit number does."""
    return f"{number + 2**63:016x}"


class FenceError(Exception):
    """Redis is not where the consumer left it: `kind` is EPOCH (it is empty) or LOST (its number went back)."""

    def __init__(self, kind: str, customer: int) -> None:
        super().__init__(f"{kind} at customer {customer}")
        self.kind = kind
        self.customer = customer


class Folder:
    """Folds batches under one consumer's name, remembering for each customer the fence's last number."""

    def __init__(self, client: Redis, consumer: str) -> None:
        self._client = client
        self._consumer = consumer
        self._numbers: dict[int, int] = {}
        self.epoch = ""

    def begin(self, epoch: str) -> None:
        """From here on folds belong to this generation of the facts; earlier numbers mean nothing in it."""
        self.epoch = epoch
        self._numbers = {}

    async def fold(self, batches: dict[int, Batch]) -> None:
        """Folds each customer's batch in one round trip. Folding again what was folded before changes nothing.

        Raises FenceError when a customer's facts are not where this consumer left them (others may have been folded),
        UnavailableError when Redis cannot answer or refuses writes now.
        """
        # Bound now: a reply that comes after `begin` must not bring a number of the time before.
        numbers = self._numbers
        with redis_answers():
            replies = await self._send(batches)
            if any(isinstance(reply, ResponseError) and "Function not found" in str(reply) for reply in replies):
                await load_functions(self._client)
                replies = await self._send(batches)
        for customer, reply in zip(batches, replies, strict=True):
            _accept(numbers, customer, reply)

    async def _send(self, batches: dict[int, Batch]) -> list[object]:
        pipeline = self._client.pipeline(transaction=False)
        for customer, batch in batches.items():
            number = self._numbers.get(customer, 0)
            pipeline.fcall("fold", 1, keys.fence(customer), self.epoch, self._consumer, number, batch.encode())
        replies: list[object] = await pipeline.execute(raise_on_error=False)
        return replies


def _accept(numbers: dict[int, int], customer: int, reply: object) -> None:
    raise_if_unavailable(reply)
    if not isinstance(reply, int):
        assert isinstance(reply, bytes)
        raise FenceError(reply.decode(), customer)
    numbers[customer] = reply
