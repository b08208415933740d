"""Picking caller IDs: calls of the atomic function in functions/picks, merged into few round trips."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from os import urandom
from secrets import token_hex
from typing import NamedTuple, cast

import msgspec
from redis.asyncio import Redis

from rotary.clock import system_clock
from rotary.definitions import Carrier
from rotary.domain.rotation.outcomes import NothingEligible, Outcome, Picked, PickRequest, Reason, Refusal
from rotary.errors import RotaryError, UnavailableError
from rotary.redis import keys
from rotary.redis.connection import raise_if_unavailable, translate_errors
from rotary.redis.pick_plans import Closure, KnownGroup, PicksClosedError, Plans, slices
from rotary.redis.pipeline import Pipeline, pack
from rotary.redis.positions import RECOVERY_LIMIT_MS

__all__ = ["Ended", "GroupDisabledError", "IdempotencyConflictError", "Picks", "PicksClosedError", "open_picks"]

PICKS_AT_ONCE = 50
"""Picks in one call of the function: some milliseconds, during which Redis answers nobody else."""
MAX_AGE_MS = RECOVERY_LIMIT_MS
"""How old the facts may be that are picked by."""
ATTEMPTS = 20

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Base32 in digits and letters that sort as the numbers do."""
_ANY_DIGIT = (_CROCKFORD * 8).encode()
"""Translates a random byte into a digit."""
_RANDOM_DIGITS = 16
_IDS_IN_ADVANCE = 512
_encode = msgspec.msgpack.Encoder().encode
_Request = tuple[str, str, list[tuple[str, str, list[str], list[str], str]]]
_reply = msgspec.msgpack.Decoder(tuple[str, int, int, msgspec.Raw])
_answers = msgspec.msgpack.Decoder(list[list[list[object]] | bool])
_buckets = msgspec.msgpack.Decoder(list[tuple[int, int, int, int]])
_now_ms = system_clock()


class GroupDisabledError(RotaryError):
    """The group's status is `disabled`: the engine does not pick from it."""


class IdempotencyConflictError(RotaryError):
    """The idempotency key was used within 24 hours for a request with another body."""


class _StaleError(Exception):
    """The plan, or what we know of the group, is not current."""


class _Waiting:
    """A request to the function on its way."""

    __slots__ = ("answered", "request")

    def __init__(self, request: _Request, answered: asyncio.Future[list[list[object]]]) -> None:
        self.request = request
        self.answered = answered


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
        self._waiting: dict[tuple[int, int, str], list[_Waiting]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ids = _Ids()
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
        outcomes: list[Outcome] = []
        for at, some in enumerate(slices(requests, PICKS_AT_ONCE)):
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
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.setdefault((customer, group_id, digest), []).append(waiting)
        return await waiting.answered

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        task = asyncio.create_task(self._send(waiting))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, waiting: dict[tuple[int, int, str], list[_Waiting]]) -> None:
        commands, owners = list[bytes](), list[tuple[int, list[_Waiting]]]()
        for (customer, group_id, digest), everyone in waiting.items():
            for some in _calls(everyone):
                commands.append(self._command(customer, group_id, digest, some))
                owners.append((customer, some))
        try:
            replies = await self._pipeline.call(commands)
        except BaseException as error:
            for _, some in owners:
                _fail(some, error if isinstance(error, Exception) else UnavailableError("The engine is stopping"))
            if not isinstance(error, Exception):
                raise
            return
        for (customer, some), reply in zip(owners, replies, strict=True):
            try:
                self._deal(customer, some, reply)
            except Exception as error:  # noqa: BLE001  # whoever waits is told, the others are answered
                _fail(some, error)

    def _command(self, customer: int, group_id: int, digest: str, some: Sequence[_Waiting]) -> bytes:
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


def _calls(waiting: Sequence[_Waiting]) -> list[list[_Waiting]]:
    """Those who wait, in calls of bounded weight."""
    calls, weight = list[list[_Waiting]](), PICKS_AT_ONCE
    for one in waiting:
        more = len(one.request[2])
        if weight + more > PICKS_AT_ONCE:
            calls.append([])
            weight = 0
        calls[-1].append(one)
        weight += more
    return calls


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


class _Ids:
    """Makes ULIDs: ten digits of the millisecond and 80 random bits. The function adds the caller ID, to find a
    reservation by."""

    def __init__(self) -> None:
        self._digits = ""
        self._at = 0

    def next(self, count: int) -> list[str]:
        """So many new ones. Randomness is asked for in advance: a system call for each would be dear."""
        begin, size = self._at, _RANDOM_DIGITS
        end = begin + size * count
        if end > len(self._digits):
            self._digits = urandom(size * max(count, _IDS_IN_ADVANCE)).translate(_ANY_DIGIT).decode()
            begin, end = 0, size * count
        self._at = end
        prefix, digits = _digits_of(_now_ms()), self._digits
        return [prefix + digits[at : at + size] for at in range(begin, end, size)]


@lru_cache(maxsize=4)
def _digits_of(milliseconds: int) -> str:
    return "".join(_CROCKFORD[milliseconds >> shift & 31] for shift in range(45, -1, -5))


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
