"""Picking caller IDs: calls of the atomic function in functions/picks, merged into few round trips."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeVar, cast

import msgspec
from redis.asyncio import Redis

from rotary.domain.rotation.outcomes import Outcome, PickRequest
from rotary.errors import RotaryError, UnavailableError
from rotary.redis import keys
from rotary.redis.connection import raise_if_unavailable, translate_errors
from rotary.redis.pick_ids import PickIds
from rotary.redis.pick_messages import (
    PASSED_AT_ONCE,
    PREFERRING,
    Answer,
    Pick,
    Request,
    classes_of,
    decode_answers,
    decode_reply,
    encode,
    outcomes_in_full,
    outcomes_of,
    pick_of,
    stamp,
    weight_of,
)
from rotary.redis.pick_plans import Closure, PicksClosedError, Plans
from rotary.redis.pipeline import Pipeline, pack
from rotary.redis.positions import RECOVERY_LIMIT_MS

__all__ = ["Ended", "GroupDisabledError", "IdempotencyConflictError", "Picks", "PicksClosedError", "open_picks"]

PICKS_AT_ONCE = 100
"""Plain picks in one call of the function: a millisecond or two, during which Redis answers nobody else."""
CALLS_UNDER_WAY = 4
"""Calls of the function that a customer has under way from one engine: no more of them are before another's."""
WORTH_A_CALL = 24
"""Picks that are sent although a call for their group is under way. Fewer wait for its answer and share the next call:
a call alone costs Redis as much as six picks, and an engine that sends less often has more time for requests."""
KEPT_BUSY = 2
"""Calls of a group that are under way at once so that Redis need not wait for us: one that it is at, and the next."""
MAX_AGE_MS = RECOVERY_LIMIT_MS
"""How old the facts may be that are picked by."""
ATTEMPTS = 20

T = TypeVar("T")
_buckets = msgspec.msgpack.Decoder(list[tuple[int, int, int, int]])


class GroupDisabledError(RotaryError):
    """The group's status is `disabled`: the engine does not pick from it."""


class IdempotencyConflictError(RotaryError):
    """The idempotency key was used within 24 hours for a request with another body."""


class _StaleError(Exception):
    """The plan, or what we know of the group, is not current."""


_Answered = tuple[int, list[Answer]]
"""When the new reservations end, and the answers."""


class _Waiting:
    """A caller of `pick` on its way through the function: what it asks for, and how many plain picks take as long."""

    __slots__ = ("answered", "classes", "count", "requests", "weight")

    def __init__(
        self, picks: list[Pick], key: tuple[str, str] | None, classes: list[str], answered: asyncio.Future[_Answered]
    ) -> None:
        self.requests: Sequence[Request] = picks if key is None else [(picks, *key)]
        self.count = len(picks)
        self.weight = sum(map(weight_of, picks))
        self.classes = classes
        self.answered = answered


_weight_of = attrgetter("weight")
_count_of = attrgetter("count")
_Group = tuple[int, int, str]
"""A customer's group, and the digest of its definition as we know it."""
_Call = tuple[_Group, Sequence[_Waiting]]


class Ended(NamedTuple):
    """Reservations, counted by how they ended: turned into a call, by time, or given back."""

    confirmed: int
    expired: int
    released: int


class Picks:
    """Picks, releases and forgets for any number of customers over one connection. Share one in a process.

    Requests of one turn of the event loop share a round trip, those for one group a call of the function, unless there
    are many: then Redis picks for the first while the others ask.
    """

    def __init__(self, pipeline: Pipeline, *, offset_ms: int = 0, max_age_ms: int = MAX_AGE_MS) -> None:
        """`offset_ms` shifts Redis' clock, for rehearsals and tests. Facts older than `max_age_ms` close a bucket."""
        self._pipeline = pipeline
        self._offset_ms = offset_ms
        self._max_age_ms = max_age_ms
        self._seen: dict[int, int] = {}
        self._waiting: dict[_Group, list[_Waiting]] = {}
        self._is_flush_due = False
        self._under_way: Counter[int] = Counter()  # calls by customer
        self._calling: Counter[_Group] = Counter()
        self._sending: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ids = PickIds()
        self.plans = Plans(pipeline, offset_ms)
        self.now_ms = 0
        """Redis' clock as the last answer had it: by it the times of outcomes count."""
        self.stale = 0
        """How often a pick was refused because its plan was not current, and tried again."""
        self.ended = Ended(0, 0, 0)
        """How reservations ended so far, those of every engine, when `notice` last looked."""
        self.calls = self.picks = 0
        """Calls of the function, and the picks asked for in them."""

    def pick(
        self,
        customer: int,
        group_id: int,
        requests: Sequence[PickRequest],
        idempotency: tuple[str, bytes] | None = None,
    ) -> Coroutine[None, None, list[Outcome]]:
        """One outcome a request, in order. `idempotency` is the client's key and a hash of the request's body.

        Raises GroupNotFoundError, GroupDisabledError, IdempotencyConflictError, PicksClosedError, UnavailableError.
        After UnavailableError some may have been picked: repeat with the same idempotency key, or let them expire.
        """
        if len(requests) == 1:  # nearly always
            return self._outcomes(customer, group_id, requests, idempotency and stamp(group_id, 0, idempotency))
        return self._many(customer, group_id, requests, idempotency)

    async def _many(
        self, customer: int, group_id: int, requests: Sequence[PickRequest], idempotency: tuple[str, bytes] | None
    ) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for at, some in enumerate(_calls(requests, _weight)):
            key = idempotency and stamp(group_id, at, idempotency)
            outcomes += await self._outcomes(customer, group_id, some, key)
        return outcomes

    def strategy(self, customer: int, group_id: int) -> str:
        """The strategy of a group that was picked from, as this process last read it."""
        known = self.plans.known(customer, group_id)
        return known.definition.rotation_strategy if known else "unknown"

    async def release(self, customer: int, pick_id: str) -> bool:
        """Gives a reservation back; whether there was one. A pick that was confirmed or has expired stays so."""
        name, _, caller = pick_id.rpartition("-")
        if not (caller.isascii() and caller.isdigit()):
            return False
        return bool(await self._one(pack("FCALL", "release_1", 1, keys.picks(customer), caller, name)))

    async def forget_lead(self, customer: int, group_id: int, lead_id: str) -> bool:
        """Forgets which caller ID a lead keeps in a group; whether it kept one."""
        return bool(await self._one(pack("UNLINK", f"{keys.facts_prefix(customer)}lead:{group_id}:{lead_id}")))

    async def notice(self) -> None:
        """Looks at every bucket, so that a loss of data is noticed when it happens and not when somebody picks.

        Call it every second.
        """
        seen = [self._seen.get(bucket, 0) for bucket in range(keys.BUCKETS)]
        names = [_any_of(bucket) for bucket in range(keys.BUCKETS)]
        payload = encode((self._offset_ms, seen))
        reply = await self._one(pack("FCALL", "notice_1", len(names), *names, payload))
        buckets = _buckets.decode(cast("bytes", reply))
        for bucket, (number, *_) in enumerate(buckets):
            self._saw(bucket, number)
        self.ended = Ended(*(sum(one[at] for one in buckets) for at in (1, 2, 3)))

    async def close(self) -> None:
        """Ends what is under way."""
        waiting, self._waiting = self._waiting, {}
        for some in waiting.values():
            _fail(some, UnavailableError("The engine is stopping"))
        await asyncio.sleep(0)  # one that has not begun would tell nobody that it is cancelled
        for task in [*self._sending]:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self.plans.close()

    async def _one(self, command: bytes) -> object:
        [reply] = await self._pipeline.call([command])
        raise_if_unavailable(reply)
        return reply

    async def _outcomes(
        self, customer: int, group_id: int, requests: Sequence[PickRequest], key: tuple[str, str] | None
    ) -> list[Outcome]:
        ids = self._ids.next(len(requests))
        known = self.plans.known(customer, group_id) or await self.plans.mend(customer, group_id)
        for _ in range(ATTEMPTS):
            picks = [pick_of(known, one, pick_id) for one, pick_id in zip(requests, ids, strict=True)]
            classes = classes_of(picks)
            try:
                ends_ms, answers = await self._asked((customer, group_id, known.digest), picks, key, classes)
            except _StaleError:
                self.stale += 1
                known = await self.plans.mend(customer, group_id)
                if classes:
                    known = await self.plans.mend(customer, group_id, classes)
            else:
                if key is None:
                    return outcomes_of(known, picks, answers, ends_ms)
                if answers[0] is False:
                    raise IdempotencyConflictError
                return outcomes_in_full(group_id, answers)
        raise UnavailableError(f"Group {group_id} changes faster than it can be picked from")

    def _asked(
        self, group: _Group, picks: list[Pick], key: tuple[str, str] | None, classes: list[str]
    ) -> asyncio.Future[_Answered]:
        # Kept, because asking for the running loop is a system call each time.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        waiting = _Waiting(picks, key, classes, loop.create_future())
        those = self._waiting.setdefault(group, [])
        those.append(waiting)
        if len(those) == WORTH_A_CALL and self._calling[group] < KEPT_BUSY:
            self._flush()
        elif not self._is_flush_due:
            self._is_flush_due = True
            loop.call_soon(self._flush_all)
        return waiting.answered

    def _flush_all(self) -> None:
        self._is_flush_due = False
        self._flush()

    def _flush(self) -> None:
        """Sends what waits, except for a few picks of a group that has a call under way, and for what a customer has
        too much of: these go when an answer has come."""
        waiting, self._waiting = self._waiting, {}
        calls = list[_Call]()
        for group, everyone in waiting.items():
            # Whoever has gone away meanwhile needs no pick.
            those = _calls([one for one in everyone if not one.answered.done()], _weight_of)
            room = CALLS_UNDER_WAY - self._under_way[group[0]]
            if self._calling[group] and those and _is_few(those[-1]):
                room = min(room, len(those) - 1)
            if sent := those[:room]:
                calls += [(group, some) for some in sent]
                self._under_way[group[0]] += len(sent)
                self._calling[group] += len(sent)
            if late := those[room:]:
                self._waiting[group] = [one for some in late for one in some]
        if calls:
            self._send(calls)

    def _send(self, calls: Sequence[_Call]) -> None:
        sent, commands = list[_Call](), list[bytes]()
        for group, some in calls:
            try:
                commands.append(self._command(group, some))
            except Exception as error:  # noqa: BLE001  # whoever waits is told, the others are sent
                _fail(some, error)
            else:
                sent.append((group, some))
        self._sending.add(task := asyncio.create_task(self._answers(self._pipeline.call(commands), calls, sent)))
        task.add_done_callback(self._sending.discard)

    async def _answers(
        self, replies: Coroutine[None, None, list[object]], calls: Sequence[_Call], sent: Sequence[_Call]
    ) -> None:
        try:
            await self._exchange(replies, sent)
        finally:
            for group, _ in calls:
                _count_down(self._under_way, group[0])
                _count_down(self._calling, group)
            # Now, and not after those who have just been answered: Redis has something to do meanwhile.
            self._flush()

    async def _exchange(self, answering: Coroutine[None, None, list[object]], calls: Sequence[_Call]) -> None:
        try:
            replies = await answering
        except BaseException as error:
            told = error if isinstance(error, Exception) else UnavailableError("The engine is stopping")
            # Those who wait for their turn, too: one after the other would wait in vain.
            waiting, self._waiting = self._waiting, {}
            for some in [*(some for _, some in calls), *waiting.values()]:
                _fail(some, told)
            if not isinstance(error, Exception):
                raise
            return
        for ((customer, *_), some), reply in zip(calls, replies, strict=True):
            try:
                self._deal(customer, some, reply)
            except Exception as error:  # noqa: BLE001  # whoever waits is told, the others are answered
                _fail(some, error)

    def _command(self, group: _Group, some: Sequence[_Waiting]) -> bytes:
        customer, group_id, digest = group
        bucket = keys.bucket_of(customer)
        self.calls += 1
        count = sum(map(_count_of, some))
        self.picks += count
        payload = (
            *(self._offset_ms, str(group_id), digest, self._max_age_ms),
            *(self._seen.get(bucket, 0), self.plans.newest.get(bucket, b"").decode()),
            *([*{name for one in some for name in one.classes}], count),
            [request for one in some for request in one.requests],
        )
        return pack("FCALL", "pick_1", 1, keys.picks(customer), encode(payload))

    def _deal(self, customer: int, some: Sequence[_Waiting], reply: object) -> None:
        raise_if_unavailable(reply)
        status, self.now_ms, number, what = decode_reply(cast("bytes", reply))
        self._saw(keys.bucket_of(customer), number)
        match status:
            case "OK":
                _share(some, *decode_answers(what))
            case "STALE":
                _fail(some, _StaleError())
            case "DISABLED":
                _fail(some, GroupDisabledError())
            case _:
                code, milliseconds = msgspec.msgpack.decode(what, type=tuple[Closure, float])
                _fail(some, PicksClosedError(code, int(milliseconds)))

    def _saw(self, bucket: int, number: int) -> None:
        self._seen[bucket] = max(number, self._seen.get(bucket, 0))


async def open_picks(client: Redis) -> None:
    """An operator's word, for a Redis that is new, that no reservation can be missing: without it every bucket stays
    closed for the longest time that one lives."""
    names = [_any_of(bucket) for bucket in range(keys.BUCKETS)]
    with translate_errors():
        await client.fcall("open_picks_1", len(names), *names)


def _any_of(bucket: int) -> str:
    """Stands for a bucket where no customer is meant."""
    return f"{keys.tag(bucket)}0:picks"


def _weight(asked: PickRequest) -> int:
    """How many plain picks take as long as this one at most. The same for the same request, whatever the group: so a
    batch that is sent again is taken apart as before."""
    if not (asked.exclude or asked.prefix or asked.carrier):
        return 1
    beginnings = len(asked.prefix or "")
    classes = 1 + beginnings + (1 + beginnings if asked.carrier else 0)
    return PREFERRING + len(asked.exclude) * classes // PASSED_AT_ONCE


def _calls(waiting: Sequence[T], weight_of: Callable[[T], int]) -> list[list[T]]:
    """Those who wait, in calls of bounded weight."""
    calls, weight = list[list[T]](), PICKS_AT_ONCE
    for one in waiting:
        more = weight_of(one)
        if weight + more > PICKS_AT_ONCE:
            calls.append([])
            weight = 0
        calls[-1].append(one)
        weight += more
    return calls


def _is_few(some: Sequence[_Waiting]) -> bool:
    return sum([one.weight for one in some]) < WORTH_A_CALL


def _count_down(counts: Counter[T], name: T) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]


def _share(some: Sequence[_Waiting], ends_ms: int, answers: list[Answer]) -> None:
    """Gives everyone the answers to what it asked for."""
    begin = 0
    for one in some:
        end = begin + len(one.requests)
        if not one.answered.done():
            one.answered.set_result((ends_ms, answers[begin:end]))
        begin = end


def _fail(some: Sequence[_Waiting], error: Exception) -> None:
    for one in some:
        if not one.answered.done():
            one.answered.set_exception(error)
