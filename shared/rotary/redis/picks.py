"""Picking caller IDs: calls of the atomic function in functions/picks, merged into few round trips."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b
from operator import attrgetter
from secrets import token_hex
from typing import NamedTuple, TypeVar, cast

import msgspec
from redis.asyncio import Redis

from rotary.definitions import Carrier
from rotary.domain.rotation.outcomes import NothingEligible, Outcome, Picked, PickRequest, Reason, Refusal
from rotary.errors import RotaryError, UnavailableError
from rotary.redis import keys
from rotary.redis.connection import raise_if_unavailable, translate_errors
from rotary.redis.pick_ids import PickIds
from rotary.redis.pick_plans import Closure, KnownGroup, PicksClosedError, Plans
from rotary.redis.pipeline import Pipeline, pack
from rotary.redis.positions import RECOVERY_LIMIT_MS

__all__ = ["Ended", "GroupDisabledError", "IdempotencyConflictError", "Picks", "PicksClosedError", "open_picks"]

PICKS_AT_ONCE = 50
"""Picks in one call of the function: some milliseconds, during which Redis answers nobody else."""
_PASSED_AT_ONCE = 16
"""Excluded members that take as long to pass by as one pick takes; each class may hold all of them."""
CALLS_UNDER_WAY = 4
"""Calls of the function that a customer has under way from one engine: no more of them are before another's."""
WORTH_A_CALL = 24
"""Picks that are sent although a call for their group is under way. Fewer wait for its answer and share the next call:
a call alone costs Redis as much as six picks, and an engine that sends less often has more time for requests."""
MAX_AGE_MS = RECOVERY_LIMIT_MS
"""How old the facts may be that are picked by."""
ATTEMPTS = 20

_encode = msgspec.msgpack.Encoder().encode
T = TypeVar("T")
_Request = tuple[str, str, list[tuple[str, str, list[str], list[str], str]]]
_reply = msgspec.msgpack.Decoder(tuple[str, int, int, msgspec.Raw])
_answers = msgspec.msgpack.Decoder(list[list[list[object]] | bool])
_buckets = msgspec.msgpack.Decoder(list[tuple[int, int, int, int]])


class GroupDisabledError(RotaryError):
    """The group's status is `disabled`: the engine does not pick from it."""


class IdempotencyConflictError(RotaryError):
    """The idempotency key was used within 24 hours for a request with another body."""


class _StaleError(Exception):
    """The plan, or what we know of the group, is not current."""


class _Waiting:
    """A request to the function on its way."""

    __slots__ = ("answered", "request", "weight")

    def __init__(self, request: _Request, answered: asyncio.Future[list[list[object]]]) -> None:
        self.request = request
        self.answered = answered
        self.weight = sum([1 + len(pick[3]) * (1 + len(pick[2])) // _PASSED_AT_ONCE for pick in request[2]])
        """How many plain picks take as long."""


_weight_of = attrgetter("weight")
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

    Requests of one turn of the event loop share a round trip, those for one group a call of the function.
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

    async def pick(
        self,
        customer: int,
        group_id: int,
        requests: Sequence[PickRequest],
        idempotency: tuple[str, bytes] | None = None,
    ) -> list[Outcome]:
        """One outcome a request, in order. `idempotency` is the client's key and a hash of the request's body.

        Raises GroupNotFoundError, GroupDisabledError, IdempotencyConflictError, PicksClosedError, UnavailableError.
        After UnavailableError some may have been picked: repeat with the same idempotency key, or let them expire.
        """
        if len(requests) == 1:  # nearly always
            [answer] = await self._answers(customer, group_id, requests, _stamp(group_id, 0, idempotency))
            return [_outcome(group_id, answer)]
        outcomes: list[Outcome] = []
        for at, some in enumerate(_calls(requests, _weight)):
            answers = await self._answers(customer, group_id, some, _stamp(group_id, at, idempotency))
            outcomes += [_outcome(group_id, answer) for answer in answers]
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
        payload = _encode((self._offset_ms, seen))
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
        for task in [*self._sending]:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self.plans.close()

    async def _one(self, command: bytes) -> object:
        [reply] = await self._pipeline.call([command])
        raise_if_unavailable(reply)
        return reply

    async def _answers(
        self, customer: int, group_id: int, requests: Sequence[PickRequest], stamp: tuple[str, str]
    ) -> list[list[object]]:
        ids = self._ids.next(len(requests))
        known = self.plans.known(customer, group_id) or await self.plans.mend(customer, group_id)
        for _ in range(ATTEMPTS):
            picks = [_pick(known, one, pick_id) for one, pick_id in zip(requests, ids, strict=True)]
            try:
                return await self._ask(customer, group_id, known.digest, (*stamp, picks))
            except _StaleError:
                self.stale += 1
                classes = dict.fromkeys(name for pick in picks for name in pick[2])
                known = await self.plans.mend(customer, group_id)
                if classes:
                    known = await self.plans.mend(customer, group_id, [*classes])
        raise UnavailableError(f"Group {group_id} changes faster than it can be picked from")

    async def _ask(self, customer: int, group_id: int, digest: str, request: _Request) -> list[list[object]]:
        # Kept, because asking for the running loop is a system call each time.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        waiting = _Waiting(request, loop.create_future())
        self._waiting.setdefault((customer, group_id, digest), []).append(waiting)
        self._flush_soon(loop)
        return await waiting.answered

    def _flush_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_flush_due:
            self._is_flush_due = True
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Sends what waits, except for a few picks of a group that has a call under way, and for what a customer has
        too much of: these go when an answer has come."""
        self._is_flush_due = False
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
            task = asyncio.create_task(self._send(calls))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, calls: Sequence[_Call]) -> None:
        try:
            sent, commands = list[_Call](), list[bytes]()
            for group, some in calls:
                try:
                    commands.append(self._command(group, some))
                except Exception as error:  # noqa: BLE001  # whoever waits is told, the others are sent
                    _fail(some, error)
                else:
                    sent.append((group, some))
            await self._exchange(commands, sent)
        finally:
            for group, _ in calls:
                _count_down(self._under_way, group[0])
                _count_down(self._calling, group)
            if self._waiting:
                self._flush_soon(asyncio.get_running_loop())

    async def _exchange(self, commands: Sequence[bytes], calls: Sequence[_Call]) -> None:
        try:
            replies = await self._pipeline.call(commands)
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
        self.picks += sum(len(one.request[2]) for one in some)
        payload = (
            *(self._offset_ms, str(group_id), digest, self._max_age_ms),
            *(self._seen.get(bucket, 0), self.plans.newest.get(bucket, b"").decode()),
            [one.request for one in some],
        )
        return pack("FCALL", "pick_1", 1, keys.picks(customer), _encode(payload))

    def _deal(self, customer: int, some: Sequence[_Waiting], reply: object) -> None:
        raise_if_unavailable(reply)
        status, self.now_ms, number, what = _reply.decode(cast("bytes", reply))
        self._saw(keys.bucket_of(customer), number)
        match status:
            case "OK":
                for one, answers in zip(some, _answers.decode(what), strict=True):
                    if isinstance(answers, list):
                        _answer(one, answers)
                    else:
                        _fail([one], IdempotencyConflictError())
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
    if not asked.exclude:
        return 1
    beginnings = len(asked.prefix or "")
    classes = 1 + beginnings + (1 + beginnings if asked.carrier else 0)
    return 1 + len(asked.exclude) * classes // _PASSED_AT_ONCE


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


def _answer(one: _Waiting, answers: list[list[object]]) -> None:
    if not one.answered.done():
        one.answered.set_result(answers)


def _fail(some: Sequence[_Waiting], error: Exception) -> None:
    for one in some:
        if not one.answered.done():
            one.answered.set_exception(error)


def _stamp(group_id: int, at: int, idempotency: tuple[str, bytes] | None) -> tuple[str, str]:
    """Under what an answer is remembered, and the hash of what was asked; the client's key may be of any length."""
    if idempotency is None:
        return "", ""
    key, body = idempotency
    return f"{blake2b(key.encode(), digest_size=16).hexdigest()}:{at}", f"{group_id}:{body.hex()}"


def _pick(known: KnownGroup, asked: PickRequest, pick_id: str) -> tuple[str, str, list[str], list[str], str]:
    classes = known.preferences.classes(asked.carrier, asked.prefix) if asked.carrier or asked.prefix else []
    seed = token_hex(8) if known.definition.rotation_strategy == "random" else ""
    return pick_id, asked.lead_id or "", classes, [str(caller) for caller in asked.exclude], seed


def _outcome(group_id: int, answer: list[object]) -> Outcome:
    if answer[0] is False:
        _, flat, next_ms = cast("tuple[bool, list[Refusal | int], int | bool]", tuple(answer))
        counts = cast("dict[Refusal, int]", dict(zip(flat[::2], flat[1::2], strict=True)))
        return NothingEligible(counts, None if next_ms is False else int(next_ms))
    caller, pick_id, reason, expires_ms, number, name, carrier, trunk = answer
    return Picked(
        cast("str", pick_id),
        group_id,
        int(cast("str", caller)),
        cast("str", number),
        cast("str", name) or None,
        cast("Carrier", carrier),
        cast("str", trunk) or None,
        cast("Reason", reason),
        int(cast("int", expires_ms)),
    )
