"""Publish, duplicate, crash, lost reply, replay, flush and rollback in any order: Redis agrees with the pure merge.

The machine keeps three things beside the server: the log (every event that was confirmed), the facts that the pure
merge makes of it, and a model of the fence in a dozen lines. Whenever the facts are to be believed, both must agree;
always, each fold must be accepted or refused exactly as the model says.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from copy import deepcopy
from random import Random
from typing import Any, TypeVar, cast

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError

from given import histories
from integration.private_redis import comparable, customers, expected, names, own, stored_tallies
from rotary.clock import system_clock
from rotary.domain.facts import DAY_MS, Facts, fold
from rotary.errors import UnavailableError
from rotary.events import Event
from rotary.redis import keys
from rotary.redis.connection import connect, load_functions
from rotary.redis.fold import FenceError, Folder, batch_of
from rotary.redis.state import StateStore

T = TypeVar("T")
Batches = Mapping[int, Sequence[Event]]

NOW = system_clock()()
DAYS = range(NOW // DAY_MS - 3, NOW // DAY_MS + 2)
CALLERS = (1, 18)


class Deaf(Pipeline):
    """The server runs the commands, and the answer is lost on the way."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # redis-py's own signature
        await super().execute(raise_on_error)
        raise RedisConnectionError("the answer was lost")


class Client(Redis):
    """A client that hears no answer while `is_deaf`."""

    is_deaf = False

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        kind = Deaf if self.is_deaf else Pipeline
        return kind(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class Fence:
    """The model: of each customer the generation, and the number of each consumer."""

    def __init__(self) -> None:
        self.stored: dict[int, tuple[str, dict[str, int]]] = {}

    def answer(self, customer: int, epoch: str, consumer: str, last: int) -> str | int:
        known, numbers = self.stored.get(customer, ("", {}))
        if known > epoch:
            return "EPOCH"
        if known < epoch:
            if last:
                return "LOST" if known else "EPOCH"
            numbers = {}
        if numbers.get(consumer, 0) < last:
            return "LOST"
        number = numbers.get(consumer, 0) + 1
        self.stored[customer] = (epoch, numbers | {consumer: number})
        return number


class Consumer:
    """One consumer: a real Folder, and the numbers that it should remember."""

    def __init__(self, client: Redis, name: str, epoch: str) -> None:
        self.name, self.epoch = name, epoch
        self.folder = Folder(client, name)
        self.begin(epoch)

    def begin(self, epoch: str) -> None:
        self.epoch = epoch
        self.numbers: dict[int, int] = {}
        self.folder.begin(epoch)


class Snapshot:
    """Everything on the server at one moment, and what the model thought of it."""

    def __init__(self, values: list[tuple[str, bytes, int]], fence: Fence) -> None:
        self.values, self.fence = values, fence


class FoldMachine(RuleBasedStateMachine):
    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.client = Client(connection_pool=connect(own(self.url)).connection_pool)
        self.run(self.client.flushdb())
        self.run(load_functions(self.client))
        self.customers = [next(customers) for _ in range(2)]
        self.log: dict[int, list[Event]] = {customer: [] for customer in self.customers}
        self.facts: dict[int, dict[int, Facts]] = {customer: {} for customer in self.customers}
        self.fence = Fence()
        self.snapshot = Snapshot([], deepcopy(self.fence))
        self.is_believed = True
        self.names = 0
        self.clock_ms = NOW
        epoch = self.begin_epoch("")
        self.consumers = [self.new_consumer(epoch) for _ in range(2)]

    def run(self, work: Awaitable[T]) -> T:
        return self.runner.run(_as_coroutine(work))

    def new_consumer(self, epoch: str) -> Consumer:
        self.names += 1
        return Consumer(self.client, f"consumer-{self.names}", epoch)

    def teardown(self) -> None:
        self.run(self.client.flushdb())
        self.run(self.client.connection_pool.aclose())
        self.runner.close()

    # What happens

    @rule(data=st.data(), which=st.integers(0, 1), both=st.booleans())
    def publish(self, data: st.DataObject, which: int, both: bool) -> None:
        """New events reach the log, and one consumer folds them."""
        batches = self.draw_events(data, both=both)
        self.fold(self.consumers[which], batches)

    @rule(seed=st.integers(0, 2**32), which=st.integers(0, 1))
    def duplicate(self, seed: int, which: int) -> None:
        """The broker delivers again, or a dialer publishes again, in another order."""
        random = Random(seed)
        again = {customer: random.choices(log, k=10) for customer, log in self.log.items() if log}
        self.fold(self.consumers[which], again)

    @rule(data=st.data(), which=st.integers(0, 1), had_folded=st.booleans())
    def crash(self, data: st.DataObject, which: int, had_folded: bool) -> None:
        """A consumer dies with a batch that it had or had not folded; the one that follows is given it again."""
        batches = self.draw_events(data, both=True)
        if had_folded:
            self.fold(self.consumers[which], batches)
        self.consumers[which] = self.new_consumer(self.consumers[which].epoch)
        self.fold(self.consumers[which], batches)

    @rule(data=st.data(), which=st.integers(0, 1))
    def lose_the_reply(self, data: st.DataObject, which: int) -> None:
        """The fold ran and nobody heard of it: the batch is folded again."""
        consumer, batches = self.consumers[which], self.draw_events(data, both=True)
        self.client.is_deaf = True
        with pytest.raises(UnavailableError, match="the answer was lost"):
            self.run(consumer.folder.fold({customer: batch_of(events) for customer, events in batches.items()}))
        self.client.is_deaf = False
        self.answers(consumer, batches)
        self.fold(consumer, batches)

    @rule(which=st.integers(0, 1), seed=st.integers(0, 2**32))
    def replay(self, which: int, seed: int) -> None:
        """Whatever the state, a consumer may begin again and fold the whole log."""
        self.recover(self.consumers[which], Random(seed))

    @rule()
    def take_a_snapshot(self) -> None:
        self.snapshot = Snapshot(self.run(self.dump()), deepcopy(self.fence))

    @rule()
    def restart_empty(self) -> None:
        self.run(self.client.flushdb())
        self.fence = Fence()
        self.is_believed = False

    @rule()
    def restart_from_the_snapshot(self) -> None:
        self.run(self.restore(self.snapshot))
        self.fence = deepcopy(self.snapshot.fence)
        self.is_believed = False

    @invariant()
    def the_facts_are_those_of_the_pure_merge(self) -> None:
        if not self.is_believed:
            return
        for customer, facts in self.facts.items():
            stored = self.run(stored_tallies(self.client, customer, CALLERS, DAYS))
            assert {caller: comparable(tally, DAYS) for caller, tally in stored.items()} == expected(
                facts, CALLERS, DAYS
            )

    @invariant()
    def the_fence_is_the_models(self) -> None:
        for customer in self.customers:
            epoch, numbers = self.fence.stored.get(customer, ("", {}))
            fields = {"epoch": epoch} | {name: str(number) for name, number in numbers.items()} if epoch else {}
            stored = cast("dict[bytes, bytes]", self.run(self.client.hgetall(keys.fence(customer))))
            assert {name.decode(): value.decode() for name, value in stored.items()} == fields

    # How

    def draw_events(self, data: st.DataObject, *, both: bool) -> Batches:
        """New events of one customer or both, confirmed: in the log and in the pure merge."""
        batches: dict[int, Sequence[Event]] = {}
        for customer in self.customers if both else self.customers[:1]:
            events = [self.renamed(event) for event in data.draw(histories(NOW, CALLERS, most=6, bursts=False))]
            self.log[customer] += events
            self.facts[customer] = fold(self.facts[customer], events)
            batches[customer] = events
        return batches

    def renamed(self, event: Event) -> Event:
        """The event under an id that was not there yet."""
        self.names += 1
        return msgspec.structs.replace(event, id=f"{event.id}-{self.names}")

    def begin_epoch(self, after: str) -> str:
        self.clock_ms += 1
        return self.run(StateStore(self.client).begin_epoch(self.clock_ms, after))

    def answers(self, consumer: Consumer, batches: Iterable[int]) -> dict[int, str | int]:
        """The model's answers, customer by customer, as the server gives them in one round trip."""
        return {
            customer: self.fence.answer(customer, consumer.epoch, consumer.name, consumer.numbers.get(customer, 0))
            for customer in batches
        }

    def fold(self, consumer: Consumer, batches: Batches) -> None:
        """Folds; where the fence is said to be broken it must say so, and then the consumer replays the log."""
        broken = None
        for customer, answer in self.answers(consumer, batches).items():
            if isinstance(answer, str):
                broken = (answer, customer)
                break
            consumer.numbers[customer] = answer
        folding = consumer.folder.fold({customer: batch_of(events) for customer, events in batches.items()})
        if broken is None:
            self.run(folding)
            return
        with pytest.raises(FenceError) as raised:
            self.run(folding)
        assert (raised.value.kind, raised.value.customer) == broken
        self.recover(consumer, Random(0))

    def recover(self, consumer: Consumer, random: Random) -> None:
        """Folds the whole log into a generation of its own.

        A server that went back to an earlier generation may have been folded into by a consumer of a later one: then
        only a generation later than both is accepted everywhere.
        """
        consumer.begin(self.begin_epoch(consumer.epoch))
        while not self.fold_the_log(consumer, random):
            consumer.begin(self.begin_epoch(consumer.epoch))
        self.is_believed = True

    def fold_the_log(self, consumer: Consumer, random: Random) -> bool:
        """The replay: everything, in any order, in batches; false where a fence is of a later generation."""
        parts = {customer: random.sample(log, len(log)) for customer, log in self.log.items()}
        while any(parts.values()):
            size = random.randint(1, 100)
            batches = {customer: batch_of(part[:size]) for customer, part in parts.items() if part}
            answers = self.answers(consumer, batches)
            if "EPOCH" in answers.values():
                with pytest.raises(FenceError, match="EPOCH"):
                    self.run(consumer.folder.fold(batches))
                return False
            consumer.numbers |= cast("dict[int, int]", answers)
            self.run(consumer.folder.fold(batches))
            parts = {customer: part[size:] for customer, part in parts.items()}
        return True

    async def dump(self) -> list[tuple[str, bytes, int]]:
        return [
            (name, cast("bytes", await self.client.dump(name)), max(await self.client.pexpiretime(name), 0))
            for name in await names(self.client)
        ]

    async def restore(self, snapshot: Snapshot) -> None:
        await self.client.flushdb()
        for name, value, expires in snapshot.values:
            await self.client.restore(name, expires, value, absttl=True)


async def _as_coroutine(work: Awaitable[T]) -> T:
    return await work


def test_it_agrees_with_the_pure_merge_whatever_happens(redis_url: str) -> None:
    machine = type("FoldMachine", (FoldMachine,), {"url": redis_url})
    run_state_machine_as_test(machine, settings=settings(max_examples=30, stateful_step_count=20, deadline=None))
