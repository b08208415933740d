"""Plans of groups in Redis: made when there is none, mended when flags or definitions have changed."""

import asyncio
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from secrets import token_hex
from typing import Literal, TypeVar, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from rotary.definitions import Carrier, GroupDefinition
from rotary.domain.facts import QUARTER_MS, CallerFacts
from rotary.domain.quota import today
from rotary.domain.rotation.outcomes import Reason
from rotary.domain.rotation.plan import Plan, PlanMember, Preferences, is_sticky, make_plan, resting_until
from rotary.errors import GroupNotFoundError, UnavailableError
from rotary.redis import keys
from rotary.redis.connection import raise_if_unavailable
from rotary.redis.documents import decode_group, is_complete
from rotary.redis.facts import decode_flags
from rotary.redis.pipeline import Pipeline, pack

MEMBERS_AT_ONCE = 200
"""Of a plan, in one call of the function: some milliseconds, during which nobody else is answered."""
FLAGS_AT_ONCE = 1_000
CALLS_IN_FLIGHT = 5
ATTEMPTS = 40
KNOWN_GROUPS = 10_000
"""Definitions that are kept; the one known longest is read again when it is needed."""
_BUSY_SECONDS = 0.05

_encode = msgspec.msgpack.Encoder().encode
T = TypeVar("T")


Closure = Literal["position", "gap", "loss", "definitions"]
_WHAT: dict[Closure, str] = {
    "position": "The projections are being rebuilt",
    "gap": "The event log lost events; the operator has been told",
    "loss": "Redis lost data; reservations that may be missing have not expired yet",
    "definitions": "The definitions are being rebuilt",
}


class PicksClosedError(UnavailableError):
    """Nothing is picked for this customer now, and nothing was. Asking again after `retry_after_ms` is right.

    `code` says why: `position` (the facts are not current), `gap` (the log lost events), `loss` (reservations may be
    missing after Redis lost data), `definitions` (they are being rebuilt).
    """

    def __init__(self, code: Closure, retry_after_ms: int) -> None:
        super().__init__(_WHAT[code])
        self.code = code
        self.retry_after_ms = retry_after_ms


Shown = tuple[int, str, str, str | None, Carrier, str | None, Reason]
"""Of a pick: the caller ID, what its id ends with, number, name, carrier, trunk, and why it was chosen."""


class KnownGroup(Struct, frozen=True):
    """What an engine knows of a group: the definition, the version it was read at, and a digest of the document."""

    version: str
    digest: str
    definition: GroupDefinition
    preferences: Preferences
    is_sticky: bool
    shown: dict[str, Shown]
    """What picks show, by how the function names the caller ID; filled as they are made."""


class _StoredPlan(Struct, frozen=True):
    build: str
    digest: str
    version: str
    flags: str
    generation: int
    first_quarter: int
    classes: frozenset[str]
    changed: dict[int, bytes] | None
    """The flags documents that changed since `flags`; None: too many, or not known."""


class _Read(Struct, frozen=True):
    now_ms: int
    generation: int
    version: str
    found: Literal["SAME", "NONE", "GIVEN"]
    document: bytes
    flags: str
    plan: _StoredPlan | None


class Plans:
    """Makes and mends plans. One engine's work is safe beside any other's; whoever is late begins again."""

    def __init__(self, pipeline: Pipeline, offset_ms: int) -> None:
        self._pipeline = pipeline
        self._offset_ms = offset_ms
        self._known: dict[tuple[int, int], KnownGroup] = {}
        self._mending: dict[tuple[int, int, tuple[str, ...]], asyncio.Task[KnownGroup]] = {}
        self.newest: dict[int, bytes] = {}
        """The highest version of each bucket's definitions that was seen while they were complete."""
        self.made = self.mended = 0

    def known(self, customer: int, group_id: int) -> KnownGroup | None:
        """The group as it was when its plan was last mended."""
        return self._known.get((customer, group_id))

    async def mend(self, customer: int, group_id: int, classes: Sequence[str] = ()) -> KnownGroup:
        """Brings a group's plan up to date, with queues for these classes as far as they still exist.

        Raises GroupNotFoundError, UnavailableError. Those who ask for one group at once share the work.
        """
        key = (customer, group_id, tuple(sorted(set(classes))))
        task = self._mending.get(key)
        if task is None:
            task = self._mending[key] = asyncio.create_task(self._mend(customer, group_id, key[2]))
            task.add_done_callback(lambda _: self._mending.pop(key, None))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Ends the work under way."""
        for task in [*self._mending.values()]:
            task.cancel()
        await asyncio.gather(*self._mending.values(), return_exceptions=True)

    async def _mend(self, customer: int, group_id: int, classes: Sequence[str]) -> KnownGroup:
        for _ in range(ATTEMPTS):
            read = await self._read(customer, group_id)
            known = self._learn(customer, group_id, read)
            plan = read.plan
            if plan is None or not _is_usable(plan, known, read):
                status = await self._make(customer, known, read)
                self.made += status == b"OK"
            elif (plan.version, plan.flags) != (read.version, read.flags):
                status = await self._patch(customer, known, plan, read)
                self.mended += status == b"OK"
            elif missing := [name for name in classes if name not in plan.classes and known.preferences.callers(name)]:
                status = await self._fill(customer, known, plan.build, missing)
            else:
                return known
            if status == b"BUSY":
                await asyncio.sleep(_BUSY_SECONDS)
        raise UnavailableError(f"Group {group_id} changes faster than it can be planned")

    def _learn(self, customer: int, group_id: int, read: _Read) -> KnownGroup:
        known = self._known.get((customer, group_id))
        if read.found == "NONE":
            self._known.pop((customer, group_id), None)
            raise GroupNotFoundError
        if read.found == "GIVEN":
            digest = blake2b(read.document, digest_size=16).hexdigest()
            if known is not None and known.digest == digest:
                known = replace(known, version=read.version)
            else:
                known = _known(read.version, digest, decode_group(read.document))
            self._known[customer, group_id] = known
            if len(self._known) > KNOWN_GROUPS:
                self._known.pop(next(iter(self._known)))
        assert known is not None
        return known

    async def _read(self, customer: int, group_id: int) -> _Read:
        known = self._known.get((customer, group_id))
        version = "-" if known is None else known.version
        [reply] = await self._call([self._function("plan_read_1", customer, self._offset_ms, group_id, version)])
        now_ms, generation, complete, newest, current, found, document, flags, plan = cast("list[object]", reply)
        bucket = keys.bucket_of(customer)
        seen = self.newest.get(bucket, b"")
        if not is_complete(cast("bytes", complete) or None, cast("bytes", newest) or None, seen):
            raise PicksClosedError("definitions", 1_000)
        self.newest[bucket] = cast("bytes", newest)
        return _Read(
            cast("int", now_ms),
            int(cast("bytes", generation)),
            cast("bytes", current).decode(),
            cast("Literal['SAME', 'NONE', 'GIVEN']", cast("bytes", found).decode()),
            cast("bytes", document),
            cast("bytes", flags).decode(),
            _stored_plan(cast("list[object]", plan)),
        )

    async def _make(self, customer: int, known: KnownGroup, read: _Read) -> object:
        facts = await self._flags(customer, known.definition, read.generation)
        plan = make_plan(known.definition, facts, read.now_ms)
        build, group_id = token_hex(6), plan.group_id
        begin = self._function("plan_begin_1", customer, self._offset_ms, group_id, build, *_fields(plan, known, read))
        puts = [
            self._function("plan_put_1", customer, self._offset_ms, group_id, build, _encode(_records(some)))
            for some in slices(plan.members, MEMBERS_AT_ONCE)
        ]
        commit = self._function("plan_commit_1", customer, group_id, build, len(plan.members))
        for some in slices([begin, *puts, commit], CALLS_IN_FLIGHT):
            for reply in await self._call(some):
                if reply != b"OK":
                    return reply
        return b"OK"

    async def _flags(self, customer: int, group: GroupDefinition, generation: int) -> dict[int, CallerFacts]:
        """The flags of all members. They may be newer than the version that the plan will have: never older."""
        active = [member.id for member in group.members if member.status == "active"]
        found: dict[int, CallerFacts] = {}
        for some in slices(active, FLAGS_AT_ONCE):
            names = [keys.flags(customer, caller, generation) for caller in some]
            [reply] = await self._call([pack("MGET", *names)])
            for caller, document in zip(some, cast("list[bytes | None]", reply), strict=True):
                if document is not None:
                    found[caller] = CallerFacts({}, *decode_flags(document))
        return found

    async def _patch(self, customer: int, known: KnownGroup, plan: _StoredPlan, read: _Read) -> object:
        assert plan.changed is not None
        policy = known.definition.policy
        rests = [
            (
                str(caller),
                resting_until(CallerFacts({}, *decode_flags(document)), policy, read.now_ms) if document else 0,
            )
            for caller, document in plan.changed.items()
        ]
        versions = (plan.version, read.version, plan.flags, read.flags)
        group_id = known.definition.id
        [reply] = await self._call(
            [self._function("plan_patch_1", customer, self._offset_ms, group_id, plan.build, *versions, _encode(rests))]
        )
        return reply

    async def _fill(self, customer: int, known: KnownGroup, build: str, names: Sequence[str]) -> object:
        calls: list[bytes] = []
        for name in names:
            parts = list(slices(known.preferences.callers(name), MEMBERS_AT_ONCE))
            for at, some in enumerate(parts):
                part = (known.definition.id, build, name, int(at == 0), int(at == len(parts) - 1), self._offset_ms)
                calls.append(self._function("plan_class_1", customer, *part, *some))
        for some_calls in slices(calls, CALLS_IN_FLIGHT):
            for reply in await self._call(some_calls):
                if reply != b"OK":
                    return reply
        return b"OK"

    def _function(self, name: str, customer: int, *arguments: str | bytes | int) -> bytes:
        return pack("FCALL", name, 1, keys.picks(customer), *arguments)

    async def _call(self, commands: Sequence[bytes]) -> list[object]:
        replies = await self._pipeline.call(commands)
        for reply in replies:
            raise_if_unavailable(reply)
        return replies


def _known(version: str, digest: str, group: GroupDefinition) -> KnownGroup:
    return KnownGroup(version, digest, group, Preferences(group), is_sticky(group), {})


def _is_usable(plan: _StoredPlan, known: KnownGroup, read: _Read) -> bool:
    """Whether a plan need not be made anew: it is of this definition, this day and these facts."""
    first, _ = today(known.definition.timezone, read.now_ms // QUARTER_MS)
    return (
        plan.digest == known.digest
        and plan.generation == read.generation
        and plan.first_quarter == first
        and plan.changed is not None
    )


def _stored_plan(stored: list[object]) -> _StoredPlan | None:
    if not stored:
        return None
    build, digest, version, flags, generation, first, classes, is_all, changed = stored
    flat = cast("list[bytes]", changed)
    return _StoredPlan(
        cast("bytes", build).decode(),
        cast("bytes", digest).decode(),
        cast("bytes", version).decode(),
        cast("bytes", flags).decode(),
        int(cast("bytes", generation)),
        cast("int", first),
        frozenset(name.decode() for name in cast("list[bytes]", classes)),
        dict(zip(map(int, flat[::2]), flat[1::2], strict=True)) if is_all else None,
    )


def _fields(plan: Plan, known: KnownGroup, read: _Read) -> list[str | int]:
    fields: dict[str, str | int] = {
        "version": read.version,
        "digest": known.digest,
        "flags": read.flags,
        "generation": read.generation,
        "begin": plan.day_begin,
        "end": plan.day_end,
        "strategy": plan.strategy,
        "sticky": int(plan.is_sticky),
        "sticky_ms": plan.sticky_ms,
        "ttl_ms": plan.pick_ttl_ms,
        "status": plan.status,
        "disabled": plan.disabled,
    }
    return [part for field in fields.items() for part in field]


def _records(members: Sequence[PlanMember]) -> list[tuple[str, tuple[object, ...]]]:
    """Members as the function keeps them: 0 for no limit, false for no text."""
    return [
        (
            str(one.id),
            (
                *(one.weight, one.cap, one.hourly_cap or 0, one.min_gap_ms, one.until_ms, one.phase),
                *(one.number, one.display_name or False, one.carrier, one.trunk_name or False),
            ),
        )
        for one in members
    ]


def slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
