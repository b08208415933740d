"""Readers, crashes, lost replies, pieces, losses and generations in any order: what Redis holds is the log, up to where
its position says.

The machine keeps beside the server what the logs hold and a model of the positions in some dozen lines. After every
step it compares: the facts are those of the events before the position, position and facts never part, no reader is
told that the facts are current when they are not. It drives the function that production runs, through its own code.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from random import Random
from typing import Any, TypeVar, cast

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from histories import DAY, MINUTE, cleared, facts_about, flagged, placed
from integration.fold_model import BEHIND, REPLACED, Model, Reader, Unreliable, between
from integration.private_redis import RedisSnapshot, names, own
from rotary.clock import system_clock
from rotary.domain.facts import Facts, merge, total
from rotary.errors import UnavailableError
from rotary.events import FLAG_KINDS, Event
from rotary.redis import keys
from rotary.redis.connection import connect, load_functions
from rotary.redis.facts import decode_past_flags
from rotary.redis.fold import GenerationReplacedError, PositionLostError, Span, batches_of, fold
from rotary.redis.positions import Positions, decode_bucket_status, decode_position, switch

T = TypeVar("T")
Log = list[tuple[int, list[Event]]]
"""Messages: a customer's events each; the offset is the index."""
LOGS = ("calls.0", "flags.0")
CUSTOMERS = (7, 8, 9)
BUCKETS = sorted({keys.bucket_of(customer) for customer in CUSTOMERS})
NOW = system_clock()()
WIDE = 25
"""Caller IDs that are flagged in one message: more than one call of the function takes."""


class FoldMachine(RuleBasedStateMachine):
    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.client = connect(own(self.url))
        self.pipeline = Unreliable(self.client)
        self.run(self.client.flushdb())
        self.run(load_functions(self.client))
        self.logs: dict[str, Log] = {log: [] for log in LOGS}
        self.models: dict[tuple[int, int], Model] = {}
        self.current: dict[int, int] = dict.fromkeys(BUCKETS, 0)
        self.generation = 0
        self.events = 0
        self.marker_ms = NOW
        self.readers: list[Reader] = []
        self.snapshot: Any = (self.run(RedisSnapshot.take(self.client)), deepcopy(self.models), dict(self.current))
        for log in (*LOGS, *LOGS):
            self.start(log, 0)

    def run(self, work: Awaitable[T]) -> T:
        return self.runner.run(_as_coroutine(work))

    def teardown(self) -> None:
        self.run(self.pipeline.close())
        self.run(self.client.flushdb())
        self.run(self.client.aclose())
        self.runner.close()

    def model(self, generation: int, bucket: int) -> Model:
        return self.models.setdefault((generation, bucket), Model())

    # What happens

    @rule(seed=st.integers(0, 2**32), count=st.integers(1, 6))
    def publish(self, seed: int, count: int) -> None:
        """Messages reach the logs; some are published twice."""
        random = Random(seed)
        for _ in range(count):
            log = self.logs[LOGS[random.randrange(2)]]
            if log and random.random() < 0.2:
                log.append(random.choice(log))
            else:
                log.append((random.choice(CUSTOMERS), self.some_events(random, is_calls=log is self.logs[LOGS[0]])))

    @rule(which=st.integers(0, 9), most=st.integers(1, 8), both=st.booleans(), mark=st.booleans())
    def read(self, which: int, most: int, both: bool, mark: bool) -> None:
        """A reader goes on from where it is, whatever has happened since it last did."""
        reader = self.readers[which % len(self.readers)]
        messages = self.take(reader, most)
        if self.fold(reader, messages, LOGS if both else (reader.log,)) and mark:
            self.advance(reader)

    @rule(which=st.integers(0, 9), most=st.integers(1, 8), lost=st.booleans())
    def fold_twice(self, which: int, most: int, lost: bool) -> None:
        """A reply is lost after the fold, and the reader, or who takes over, folds the same again."""
        reader = self.readers[which % len(self.readers)]
        before = dict(reader.reached)
        messages = self.take(reader, most)
        if self.fold(reader, messages, LOGS, is_deaf=lost):
            reader.reached = before
            self.fold(reader, messages, LOGS)

    @rule(which=st.integers(0, 9), seed=st.integers(0, 2**32), drop=st.booleans())
    def fold_in_part(self, which: int, seed: int, drop: bool) -> None:
        """Of a batch in pieces some are folded: those before a crash, or all but one that was refused."""
        random = Random(seed)
        self.logs[LOGS[1]].append((random.choice(CUSTOMERS), self.wide_events()))
        flags = [reader for reader in self.readers if reader.log == LOGS[1]]
        if not flags:
            return
        reader = flags[which % len(flags)]
        chosen = random.randrange(2)  # of three pieces or more
        passes = (lambda at, _of: at != chosen) if drop else (lambda at, _of: at <= chosen)
        self.fold_pieces(reader, passes)

    @rule(which=st.integers(0, 9))
    def crash(self, which: int) -> None:
        """A reader dies; another begins where Redis says."""
        self.attach(self.readers[which % len(self.readers)])

    @rule()
    def empty_redis(self) -> None:
        self.run(self.client.flushdb())
        self.models.clear()
        self.current = dict.fromkeys(BUCKETS, 0)

    @rule()
    def take_a_snapshot(self) -> None:
        self.snapshot = (self.run(RedisSnapshot.take(self.client)), deepcopy(self.models), dict(self.current))

    @rule()
    def go_back_to_the_snapshot(self) -> None:
        stored, models, current = self.snapshot
        self.run(stored.restore(self.client))
        self.models, self.current = deepcopy(models), dict(current)

    @rule()
    def begin_a_generation(self) -> None:
        """A rebuild: the logs are read into the next generation too."""
        if self.generation < 3:
            self.generation += 1
            for log in LOGS:
                self.start(log, self.generation)

    @rule(bucket=st.sampled_from(BUCKETS), exact=st.booleans(), catch_up=st.booleans())
    def switch_generation(self, bucket: int, exact: bool, catch_up: bool) -> None:
        """The next generation is switched to where it is complete, and only there."""
        new = self.generation
        for reader in [reader for reader in self.readers if reader.generation == new and catch_up]:
            self.attach(reader)
            if self.fold(reader, self.take(reader, 1_000), LOGS):
                self.advance(reader, self.run(Positions(self.pipeline).now_ms()))
        old = self.current[bucket]
        if not self.run(switch(self.client, bucket, new, exact=exact)):
            assert new > old, "what is read is switched to already"
            return
        self.current[bucket] = max(old, new)
        built, replaced = self.model(new, bucket), self.model(old, bucket)
        if new > old:
            assert all(log in built.positions for log in replaced.named)
            assert not exact or all(built.positions[log] >= replaced.positions.get(log, 0) for log in replaced.named)
            assert not built.back

    # What must hold

    @invariant()
    def facts_are_those_of_the_log_before_the_position(self) -> None:
        stored = self.run(self.read_everything())
        for generation in range(self.generation + 1):
            for customer in CUSTOMERS:
                model = self.model(generation, keys.bucket_of(customer))
                least = self.facts(customer, {log: set(range(model.positions.get(log, 0))) for log in LOGS})
                most = self.facts(
                    customer,
                    {log: set(range(model.positions.get(log, 0))) | model.extra.get(log, set()) for log in LOGS},
                )
                found = stored.get((generation, customer), {})
                for caller in {*least, *most, *found}:
                    between(least.get(caller, Facts()), found.get(caller, Facts()), most.get(caller, Facts()))

    @invariant()
    def positions_are_the_models(self) -> None:
        for (generation, bucket), model in self.models.items():
            stored = cast("dict[bytes, bytes]", self.run(self.client.hgetall(keys.position(bucket, generation))))
            for log in LOGS:
                assert decode_position(stored.get(log.encode())).next == model.positions.get(log)

    @invariant()
    def readers_are_told_what_is_so(self) -> None:
        for (generation, bucket), model in self.models.items():
            stored = self.run(self.client.hget(keys.position(bucket, generation), "read"))
            bucket_status = decode_bucket_status(cast("bytes | None", stored))
            assert (bucket_status.complete_ms, bucket_status.gap_ms) == (model.complete_ms(), 0)
            assert bool(bucket_status.back_ms) == bool(model.back)

    # How

    def some_events(self, random: Random, *, is_calls: bool) -> list[Event]:
        events: list[Event] = []
        for _ in range(random.choice([1, 1, 3])):
            self.events += 1
            name, caller, at_ms = f"e{self.events}", random.choice([1, 18]), NOW - random.randrange(2 * DAY)
            if is_calls:
                events.append(placed(name, at_ms, caller))
            elif random.random() < 0.2:
                events.append(cleared(name, at_ms, caller))
            else:
                events.append(flagged(name, random.choice(FLAG_KINDS), at_ms, caller))
        return events

    def wide_events(self) -> list[Event]:
        self.events += 1
        return [flagged(f"w{self.events}-{caller}", "blocked", NOW - MINUTE, caller) for caller in range(1, WIDE + 1)]

    def start(self, log: str, generation: int) -> None:
        self.readers.append(Reader(log, generation))
        self.attach(self.readers[-1])

    def attach(self, reader: Reader) -> None:
        stored = self.run(Positions(self.pipeline, reader.generation).read(reader.log))
        reader.reached = {bucket: stored[bucket].next for bucket in BUCKETS}
        reader.next = min(position or 0 for position in reader.reached.values())

    def take(self, reader: Reader, most: int) -> range:
        return range(reader.next, min(reader.next + most, len(self.logs[reader.log])))

    def fold(self, reader: Reader, offsets: range, logs: Sequence[str], *, is_deaf: bool = False) -> bool:
        """Folds messages as a reader does; must be refused exactly when the model says, and then begins anew."""
        if not offsets:
            return True
        spans, by_bucket = self.spans(reader, offsets)
        answers = {self.answer(reader, bucket, span, logs) for bucket, span in spans.items()}
        folding = self.folding(reader, by_bucket, spans, logs)
        self.pipeline.is_deaf = is_deaf
        if is_deaf:
            with pytest.raises(UnavailableError):
                self.run(folding)
        elif answers & {BEHIND, REPLACED}:
            with pytest.raises((PositionLostError, GenerationReplacedError)):
                self.run(folding)
        else:
            self.run(folding)
        self.pipeline.is_deaf = False
        if answers & {BEHIND, REPLACED}:
            self.attach(reader)
            return False
        for bucket in spans:
            reader.reached[bucket] = max(offsets.stop, reader.reached[bucket] or 0)
        reader.next = offsets.stop
        return True

    def fold_pieces(self, reader: Reader, passes: Callable[[int, int], bool]) -> None:
        """Some of the calls for one bucket get through; whoever reads on does so from what is stored."""
        offsets = self.take(reader, 1_000)
        spans, by_bucket = self.spans(reader, offsets)
        bucket = keys.bucket_of(self.logs[reader.log][-1][0])
        span, model = spans[bucket], self.model(reader.generation, bucket)
        if self.current[bucket] > reader.generation:
            return
        if span.begin is not None and model.positions.get(reader.log, -1) < span.begin:
            model.fold(reader.log, span.begin, offsets.stop, LOGS)
        else:
            model.extra.setdefault(reader.log, set()).update(offsets)
            model.named |= set(LOGS)
        self.pipeline.passes = passes
        with pytest.raises((UnavailableError, PositionLostError)):
            self.run(self.folding(reader, {bucket: by_bucket[bucket]}, {bucket: span}, LOGS))
        self.pipeline.passes = None
        self.attach(reader)

    def spans(self, reader: Reader, offsets: range) -> tuple[dict[int, Span], dict[int, list[tuple[int, Event]]]]:
        by_bucket: dict[int, list[tuple[int, Event]]] = {}
        for offset in offsets:
            customer, events = self.logs[reader.log][offset]
            by_bucket.setdefault(keys.bucket_of(customer), []).extend((customer, event) for event in events)
        self.marker_ms += 1
        return {
            bucket: Span(reader.log, reader.reached[bucket], offsets.stop, self.marker_ms, reader.reached[bucket])
            for bucket in by_bucket
        }, by_bucket

    def folding(
        self,
        reader: Reader,
        by_bucket: Mapping[int, Sequence[tuple[int, Event]]],
        spans: Mapping[int, Span],
        logs: Sequence[str],
    ) -> Awaitable[object]:
        batches = {bucket: batches_of(events) for bucket, events in by_bucket.items()}
        return fold(self.pipeline, batches, spans, ",".join(logs), reader.generation)

    def answer(self, reader: Reader, bucket: int, span: Span, logs: Sequence[str]) -> str | None:
        if self.current[bucket] > reader.generation:
            return REPLACED
        assert span.end is not None
        return self.model(reader.generation, bucket).fold(reader.log, span.begin, span.end, logs)

    def advance(self, reader: Reader, marker_ms: int | None = None) -> None:
        """The reader comes to a marker just where it is, and that was published just now."""
        self.marker_ms = max(self.marker_ms + 1, marker_ms or self.run(Positions(self.pipeline).now_ms()))
        end, continued = reader.next, [reader.reached.get(bucket) for bucket in range(keys.BUCKETS)]
        answers = {
            bucket: REPLACED
            if self.current[bucket] > reader.generation
            else self.model(reader.generation, bucket).advance(
                reader.log, reader.reached[bucket], end, self.marker_ms, LOGS
            )
            for bucket in BUCKETS
        }
        moved = self.run(
            Positions(self.pipeline, reader.generation).advance(
                reader.log, end, self.marker_ms, LOGS, continued, continued
            )
        )
        for failed, why in ((moved.behind, BEHIND), (moved.replaced, REPLACED)):
            assert set(failed) & set(BUCKETS) == {bucket for bucket, answer in answers.items() if answer == why}
        if set(answers.values()) - {None}:
            self.attach(reader)
        else:
            reader.reached = {bucket: max(end, offset or 0) for bucket, offset in reader.reached.items()}

    def facts(self, customer: int, offsets: Mapping[str, set[int]]) -> dict[int, Facts]:
        """What the pure merge makes of a customer's messages at these offsets."""
        events = [
            event
            for log, some in offsets.items()
            for offset in some
            for event in self.logs[log][offset][1]
            if self.logs[log][offset][0] == customer
        ]
        return {caller: facts_about(events, caller) for caller in {event.data.caller_id_id for event in events}}

    async def read_everything(self) -> dict[tuple[int, int], dict[int, Facts]]:
        """Every fact that Redis holds, with its identity, by generation and customer."""
        found: dict[tuple[int, int], dict[int, Facts]] = {}
        prefixes = {
            keys.facts_prefix(customer, generation): (generation, customer)
            for customer in CUSTOMERS
            for generation in range(self.generation + 1)
        }
        facts_only = [name for name in await names(self.client, "{b*:*") if not name.endswith(":flagged")]
        stored = await self.values_of(facts_only)
        for name, value in stored.items():
            kind, caller, *day = name.removeprefix(_prefix_of(name)).split(":")
            of = found.setdefault(prefixes[_prefix_of(name)], {})
            if kind == "seen":
                counts = stored[name.replace(":seen:", ":calls:")]
                assert total(counts) == len(value), "what was seen is what was counted"
                facts = Facts({(int(day[0]), int(member)): 0 for member in value})
            elif kind == "flags":
                facts = Facts({}, *decode_past_flags(value))
            else:
                continue
            of[int(caller)] = merge(of.get(int(caller), Facts()), facts)
        return found

    async def values_of(self, stored: Sequence[str]) -> dict[str, Any]:
        """The members of sets, and the bytes of everything else."""
        pipeline = self.client.pipeline(transaction=False)
        for name in stored:
            if ":seen:" in name:
                pipeline.smembers(name)
            else:
                pipeline.get(name)
        return dict(zip(stored, await pipeline.execute(), strict=True))


def _prefix_of(name: str) -> str:
    """{b17}2/7:seen:18:20000 → {b17}2/7:"""
    return name[: name.index(":") + 1]


async def _as_coroutine(work: Awaitable[T]) -> T:
    return await work


def test_position_and_facts_never_part_whatever_happens(redis_url: str) -> None:
    machine = type("FoldMachine", (FoldMachine,), {"url": redis_url})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=25, stateful_step_count=25, deadline=None, phases=(Phase.generate,))
    )
