"""Picks, batches, releases, confirmations, expiries, folds, flags, clears, changed definitions, midnights, and a Redis
that is emptied or restored, in any order: the atomic function answers what the model does, and no cap is passed.

Two engines take turns. The model holds what Redis must hold; the ledger holds what clients were promised, and forgets
nothing when Redis does.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from copy import deepcopy
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from histories import moment
from integration.picks_world import CUSTOMER, PicksWorld
from integration.private_redis import RedisSnapshot, own
from pick_groups import GROUP, group, member
from rotary.definitions import Carrier, GroupDefinition, RotationStrategy
from rotary.domain.facts import QUARTER_MS, Facts, event_ms, facts_of, merge
from rotary.domain.quota import today
from rotary.domain.rotation.model import Choice, Model
from rotary.domain.rotation.outcomes import NothingEligible, Outcome, Picked, PickRequest
from rotary.domain.rotation.plan import make_plan
from rotary.events import (
    FLAG_KINDS,
    CallPlaced,
    CallPlacedData,
    CarrierFlag,
    CarrierFlagData,
    CooldownCleared,
    CooldownClearedData,
    Event,
)
from rotary.policy import MAX_PICK_TTL_SECONDS, Policy, WarmUpStep
from rotary.redis.connection import connect, load_functions
from rotary.redis.fold import PositionLostError
from rotary.redis.picks import IdempotencyConflictError, Picks, PicksClosedError, open_picks

T = TypeVar("T")
CALLERS = range(1, 7)
GROUPS = (GROUP, GROUP + 1)
STRATEGIES: tuple[RotationStrategy, ...] = (
    "round_robin", "least_used", "cap_based", "weighted", "sticky_lead", "random",
)  # fmt: skip
CARRIERS: tuple[Carrier, ...] = ("viettel", "mobifone", "landline")
PREFIXES = (None, None, "028", "0281", "0247", "09", "5")
LEADS = (None, None, "a", "b", "c")
MINUTE, HOUR = 60_000, 3_600_000


class PicksMachine(RuleBasedStateMachine):
    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.client = connect(own(self.url))
        self.run(self.client.flushdb())
        self.run(load_functions(self.client))
        self.world = PicksWorld(self.client)
        self.world.engines.append(Picks(self.world.pipeline))
        self.run(open_picks(self.client))
        self.run(self.world.advance())
        self.log: list[Sequence[Event]] = []
        self.model, self.ledger = Model(), Model()
        self.facts: dict[int, Facts] = {}
        self.given: list[Picked] = []
        self.events = self.requests = 0
        self.groups: list[GroupDefinition] = []
        self.define(0)
        self.take_a_snapshot()

    def run(self, work: Awaitable[T]) -> T:
        return self.runner.run(_as_coroutine(work))

    def teardown(self) -> None:
        self.run(self.world.close())
        self.run(self.client.flushdb())
        self.run(self.client.aclose())
        self.runner.close()

    # What happens

    @rule(
        seed=st.integers(0, 2**32),
        group_id=st.sampled_from(GROUPS),
        number=st.sampled_from([1, 1, 1, 2, 5]),
        engine=st.integers(0, 1),
        lag_ms=st.sampled_from([0, 0, 0, 7_000]),
        repeat=st.booleans(),
    )
    def pick(self, seed: int, group_id: int, number: int, engine: int, lag_ms: int, repeat: bool) -> None:
        """A request of one pick or several; its answer is the model's, also when it is asked for again."""
        random = Random(seed)
        asked = [_request(random) for _ in range(number)]
        self.run(self.world.advance(lag_ms))
        self.requests += 1
        key = (f"key-{self.requests}", b"body") if repeat else None
        chosen = self.world.engines[engine]
        outcomes = self.run(chosen.pick(CUSTOMER, group_id, asked, key))
        self.compare(group_id, asked, outcomes, chosen.now_ms)
        if key:
            other = self.world.engines[1 - engine]
            assert self.run(other.pick(CUSTOMER, group_id, asked, key)) == outcomes
            with pytest.raises(IdempotencyConflictError):
                self.run(other.pick(CUSTOMER, group_id, asked, (key[0], b"another")))

    @rule(group_id=st.sampled_from(GROUPS), number=st.integers(5, 20), lag_ms=st.sampled_from([0, 1_000, 4_000]))
    def pick_many(self, group_id: int, number: int, lag_ms: int) -> None:
        """Whoever's turn it is, many times over; in between some are given back, and time passes."""
        for at in range(number):
            self.run(self.world.advance(lag_ms))
            outcomes = self.run(self.world.engine.pick(CUSTOMER, group_id, [PickRequest()]))
            self.compare(group_id, [PickRequest()], outcomes, self.world.engine.now_ms)
            if at % 3 == 1:
                self.release(at, 0)
            self.run(self.world.wait(1_700))

    @rule(which=st.integers(0, 100), engine=st.integers(0, 1))
    def release(self, which: int, engine: int) -> None:
        """Any pick, also one that was confirmed, has expired, or was released before."""
        if not self.given:
            return
        found = self.given[-1 - which % len(self.given)]
        was_live = self.run(self.world.engines[engine].release(CUSTOMER, found.id))
        assert was_live or found.id not in self.model.reservations
        assert was_live == self.model.release(found.id) or found.expires_at_ms <= self.world.complete_ms
        self.ledger.release(found.id)

    @precondition(lambda self: self.given)
    @rule(which=st.integers(0, 100), shift_ms=st.sampled_from([0, 0, -QUARTER_MS, -26 * HOUR, 2 * MINUTE]))
    def confirm(self, which: int, shift_ms: int) -> None:
        """A call with its pick: in time, late, a second time, or dated to another quarter hour or day."""
        found = self.given[-1 - which % len(self.given)]
        self.fold([self.some_call(found.caller_id_id, shift_ms, found.id)])

    @rule(seed=st.integers(0, 2**32))
    def call(self, seed: int) -> None:
        """Calls without a pick."""
        random = Random(seed)
        calls = [
            self.some_call(random.choice(CALLERS), random.choice([0, 0, -HOUR, -26 * HOUR]))
            for _ in range(random.choice([1, 1, 3]))
        ]
        self.fold(calls)

    @rule(seed=st.integers(0, 2**32))
    def flag_or_clear(self, seed: int) -> None:
        random = Random(seed)
        caller, now_ms = random.choice(CALLERS), self.now_ms()
        if random.random() < 0.4:
            data = CooldownClearedData(caller_id_id=caller)
            self.fold([CooldownCleared(**self.envelope(now_ms), data=data)])
        else:
            sign = CarrierFlagData(caller_id_id=caller, kind=random.choice(FLAG_KINDS))
            self.fold([CarrierFlag(**self.envelope(now_ms), data=sign)])

    @rule(lead=st.sampled_from(LEADS[2:]), group_id=st.sampled_from(GROUPS))
    def forget(self, lead: str, group_id: int) -> None:
        forgot = self.run(self.world.engine.forget_lead(CUSTOMER, group_id, lead))
        assert forgot == self.model.forget(group_id, lead)
        self.ledger.forget(group_id, lead)

    @rule(seed=st.integers(0, 2**32))
    def define(self, seed: int) -> None:
        """Members, caps, weights, limits, strategies, the zone and the policy become others."""
        random = Random(seed)
        timezone = random.choice(["Asia/Ho_Chi_Minh", "Asia/Ho_Chi_Minh", "Asia/Kathmandu", "America/New_York"])
        policy = Policy(
            pick_ttl_seconds=random.choice([30, 30, 10, 60]),
            warm_up=random.choice([(), (WarmUpStep(1, 2), WarmUpStep(3, 4))]),
        )
        self.groups = [_some_group(random, group_id, timezone, policy, self.now_ms()) for group_id in GROUPS]
        self.run(self.world.define(*self.groups))
        self.refresh(self.now_ms())

    @rule(milliseconds=st.sampled_from([1_000, 5_000, 31_000, 61_000, 16 * MINUTE, 3 * HOUR]))
    def wait(self, milliseconds: int) -> None:
        self.run(self.world.wait(milliseconds))

    @rule(before_ms=st.sampled_from([5_000, -1_000]))
    def wait_for_midnight(self, before_ms: int) -> None:
        """Almost, or just past it."""
        now_ms = self.now_ms()
        _, end = today(self.groups[0].timezone, now_ms // QUARTER_MS)
        if end * QUARTER_MS - before_ms > now_ms:
            self.run(self.world.wait(end * QUARTER_MS - before_ms - now_ms))

    @rule()
    def take_a_snapshot(self) -> None:
        stored = self.run(RedisSnapshot.take(self.client))
        self.snapshot: Any = (stored, deepcopy(self.model), len(self.log), self.ledger.number)

    @rule(hasty=st.booleans())
    def go_back_to_the_snapshot(self, hasty: bool) -> None:
        """Redis is restored. Picks made since are not in it: nothing is picked until they have expired."""
        stored, model, end, number = self.snapshot
        is_lost, self.model = self.ledger.number > number, deepcopy(model)
        self.run(stored.restore(self.client))
        if hasty and is_lost:
            self.must_be_closed()
        self.read_on_from(end, is_lost=is_lost)

    @rule()
    def empty_redis(self) -> None:
        self.run(self.client.flushdb())
        self.model = Model()
        self.snapshot = (RedisSnapshot({}), Model(), 0, -1)
        self.must_be_closed()
        self.read_on_from(0, is_lost=True)

    # How

    def compare(self, group_id: int, asked: list[PickRequest], outcomes: list[Outcome], now_ms: int) -> None:
        self.model.expire(min(self.world.complete_ms, now_ms))
        self.ledger.expire(min(self.world.complete_ms, now_ms))
        self.refresh(now_ms)
        for one, outcome in zip(asked, outcomes, strict=True):
            expected = self.model.choose(group_id, one, now_ms)
            if isinstance(outcome, NothingEligible):
                assert outcome == expected
                continue
            assert isinstance(expected, Choice), (outcome, expected)
            caller = outcome.caller_id_id
            assert caller in expected.callers, (outcome, expected)
            assert outcome.reason == expected.reason
            assert outcome.id not in {known.id for known in self.given}
            plan = self.ledger.groups[group_id].plan
            cap = next(known.cap for known in plan.members if known.id == caller)
            assert self.ledger.used(plan, caller) < cap, "no cap is passed, whatever Redis lost"
            expires_ms = self.model.take(group_id, one, expected, caller, outcome.id, now_ms)
            assert outcome.expires_at_ms == expires_ms
            self.ledger.take(group_id, one, expected, caller, outcome.id, now_ms)
            self.given.append(outcome)

    def refresh(self, now_ms: int) -> None:
        facts = {caller: known.caller_facts() for caller, known in self.facts.items()}
        for one in self.groups:
            plan = make_plan(one, facts, now_ms)
            self.model.plan(plan)
            self.ledger.plan(plan)

    def fold(self, events: Sequence[Event]) -> None:
        self.log.append(events)
        self.run(self.world.fold(*events))
        self.apply(events, self.model, self.ledger)

    def apply(self, events: Sequence[Event], *models: Model) -> None:
        for event in events:
            caller = event.data.caller_id_id
            if isinstance(event, CallPlaced):
                for model in models:
                    model.call(caller, event_ms(event), event.data.pick_id)
            else:
                self.facts[caller] = merge(self.facts.get(caller, Facts()), facts_of(event))

    def read_on_from(self, end: int, *, is_lost: bool) -> None:
        """The consumer finds Redis behind, and reads on from there; the projector writes the definitions."""
        if end < len(self.log):
            with pytest.raises(PositionLostError):
                self.run(self.world.fold())
        self.world.end = end
        self.run(load_functions(self.client))
        self.run(self.world.define(*self.groups))
        self.refresh(self.now_ms())
        for events in self.log[end:]:
            self.run(self.world.fold(*events))
            self.apply(events, self.model)
        for engine in self.world.engines:
            self.run(engine.notice())
        if is_lost:
            self.must_be_closed()
        self.run(self.world.wait(MAX_PICK_TTL_SECONDS * 1000 + 10_000))

    def must_be_closed(self) -> None:
        for engine in self.world.engines:
            with pytest.raises(PicksClosedError):
                self.run(engine.pick(CUSTOMER, GROUP, [PickRequest()]))

    def some_call(self, caller: int, shift_ms: int, pick_id: str | None = None) -> CallPlaced:
        data = CallPlacedData(caller_id_id=caller, pick_id=pick_id)
        return CallPlaced(**self.envelope(self.now_ms() + shift_ms), data=data)

    def envelope(self, at_ms: int) -> Any:  # the fields that every event has
        self.events += 1
        return {"specversion": "1.0", "id": f"e{self.events}", "source": "/d", "time": moment(at_ms)}

    def now_ms(self) -> int:
        return self.run(self.world.now_ms())


def _request(random: Random) -> PickRequest:
    return PickRequest(
        random.choice(LEADS),
        random.choice([None, None, None, *CARRIERS]),
        random.choice(PREFIXES),
        tuple(random.sample(CALLERS, random.choice([0, 0, 0, 1, 2]))),
    )


def _some_group(random: Random, group_id: int, timezone: str, policy: Policy, now_ms: int) -> GroupDefinition:
    members = [
        member(
            caller,
            number=random.choice(["0281", "0282", "0247", "0905"]) + f"{caller:06d}",
            carrier=CARRIERS[caller % 3],
            status=random.choice(["active"] * 7 + ["disabled"]),
            daily_cap=random.choice([2, 3, 5, 50]),
            weight=random.choice([1, 1, 2, 5]),
            hourly_cap=random.choice([None, None, 2, 4]),
            min_gap_seconds=random.choice([None, None, None, 3, 40]),
            activated_ms=random.choice([None, now_ms, now_ms - 50 * HOUR]),
        )
        for caller in sorted(random.sample(CALLERS, random.choice([1, 3, 5])))
    ]
    return group(
        members,
        random.choice(STRATEGIES),
        id=group_id,
        sticky_enabled=random.random() < 0.3,
        timezone=timezone,
        policy=policy,
    )


async def _as_coroutine(work: Awaitable[T]) -> T:
    return await work


def test_the_function_answers_what_the_model_does_whatever_happens(redis_url: str, thorough: int) -> None:
    machine = type("PicksMachine", (PicksMachine,), {"url": redis_url})
    drawn = settings(max_examples=25 * thorough, stateful_step_count=40, deadline=None, phases=(Phase.generate,))
    run_state_machine_as_test(machine, settings=drawn)
