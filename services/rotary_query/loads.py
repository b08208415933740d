"""Cold reads: first the definitions asked for, in one round trip, then the facts of the members that they name.

Requests for the same thing share one load as long as the mirror hears what that load may have missed.
"""

from collections.abc import Iterator
from typing import cast

from redis.asyncio import Redis

from rotary.clock import Clock
from rotary.definitions import GroupDefinition
from rotary.domain.facts import DAY_MS, Tally
from rotary.domain.quota import days_read
from rotary.errors import UnavailableError
from rotary.redis import keys
from rotary.redis.documents import decode_group, decode_groups
from rotary.redis.facts import decode_facts
from rotary.redis.state import is_ready
from rotary_query import batches
from rotary_query.answers import Answer
from rotary_query.batches import Batches
from rotary_query.errors import GROUP_NOT_FOUND
from rotary_query.mirror import Document, Entry, Key, Load, Mirror
from rotary_query.roundtrip import RUN_ID, RoundTrips, pack, pack_fact_keys, run_id
from rotary_query.routes import Kind
from rotary_query.views import detail_answer, list_answer

MAX_BATCH = 16
"""Entries read together: enough to share a round trip, few enough that another batch is read meanwhile."""
MAX_CALLERS = 2_000
"""Members whose facts are asked for in one round trip: more would make other clients of Redis wait."""

_DEFINITIONS_MISSING = "The definitions are being rebuilt"
_FACTS_MISSING = "The projections are being rebuilt"

_IS_COMPLETE = pack("EXISTS", [keys.DEFINITIONS])
_READY = pack("GET", [keys.READY])
_AHEAD_MS = 3_600_000

Values = list[bytes | None]
Waiting = batches.Waiting[Load, Entry]
Found = tuple[Waiting, GroupDefinition]


class Loader:
    """Reads what the mirror lacks and installs it there when it may."""

    def __init__(self, client: Redis, mirror: Mirror, clock: Clock) -> None:
        self._redis = RoundTrips(client)
        self._mirror = mirror
        self._clock = clock
        self._batches = Batches(self._read, MAX_BATCH, in_flight=3)
        self._shared: dict[Key, Waiting] = {}
        self.entries_read = 0
        self.batches_read = 0

    async def load(self, key: Key) -> Entry:
        """Reads one entry. Raises UnavailableError."""
        waiting = self._shared.get(key)
        if waiting is None or not self._mirror.holds(waiting.asked):
            waiting = self._shared[key] = self._batches.ask(self._mirror.begin(key))
        return await waiting.answer()

    async def close(self) -> None:
        """Ends the loads under way."""
        await self._batches.close()
        await self._redis.close()

    async def _read(self, batch: list[Waiting]) -> None:
        self.entries_read += len(batch)
        self.batches_read += 1
        try:
            found = self._give_documents(await self._documents(batch))
            for some in _chunks(found):
                await self._give_monitors(some)
        finally:
            for waiting in batch:
                self._mirror.end(waiting.asked)
                if self._shared.get(waiting.asked.key) is waiting:
                    del self._shared[waiting.asked.key]

    def _give_documents(self, read: list[tuple[Waiting, bytes | None]]) -> list[Found]:
        """Gives what needs no facts; returns the rest."""
        found: list[Found] = []
        for waiting, document in read:
            load = waiting.asked
            try:
                if document is not None and load.key[0] == "monitor":
                    found.append((waiting, decode_group(document)))
                else:
                    entry = Document(_answer(load.key[0], document))
                    self._mirror.install_document(load, entry)
                    waiting.give(entry)
            except Exception as error:  # noqa: BLE001  # a document that is broken fails nobody else's read
                waiting.fail(error)
        return found

    async def _give_monitors(self, found: list[Found]) -> None:
        facts = await self._facts(found)
        for waiting, group in found:
            load = waiting.asked
            waiting.give(self._mirror.install_monitor(load, group, facts[load.key[1]]))

    async def _documents(self, batch: list[Waiting]) -> list[tuple[Waiting, bytes | None]]:
        customers: dict[int, list[Waiting]] = {}
        for waiting in batch:
            customers.setdefault(waiting.asked.key[1], []).append(waiting)
        names = [[_name(waiting.asked.key) for waiting in some] for some in customers.values()]
        complete, *documents = await self._redis.ask([_IS_COMPLETE, *(pack("MGET", some) for some in names)])
        if not complete:
            raise UnavailableError(_DEFINITIONS_MISSING)
        read = zip(customers.values(), cast("list[Values]", documents), strict=True)
        return [pair for some, values in read for pair in zip(some, values, strict=True)]

    async def _facts(self, found: list[Found]) -> dict[int, dict[int, Tally]]:
        """The facts about all members of these groups, by customer and caller ID."""
        customers: dict[int, dict[int, None]] = {}
        for waiting, group in found:
            callers = dict.fromkeys(member.id for member in group.members)
            customers.setdefault(waiting.asked.key[1], {}).update(callers)
        days = days_asked(self._clock())
        asked = {customer: [*callers] for customer, callers in customers.items() if callers}
        commands = [pack_fact_keys(customer, members, days) for customer, members in asked.items()]
        server, ready, *read = await self._redis.ask([RUN_ID, _READY, *commands])
        if not is_ready(cast("bytes | None", ready), run_id(server)):
            raise UnavailableError(_FACTS_MISSING)
        facts: dict[int, dict[int, Tally]] = {customer: {} for customer in customers}
        for (customer, members), values in zip(asked.items(), cast("list[Values]", read), strict=True):
            facts[customer] = decode_facts(members, days, values)
        return facts


def days_asked(now_ms: int) -> tuple[int, ...]:
    """The UTC days whose counts must be read: tomorrow's only when it may have begun for a clock that is ahead."""
    return tuple(day for day in days_read(now_ms) if day * DAY_MS <= now_ms + _AHEAD_MS)


def _chunks(found: list[Found]) -> Iterator[list[Found]]:
    chunk: list[Found] = []
    members = 0
    for waiting, group in found:
        if chunk and members + len(group.members) > MAX_CALLERS:
            yield chunk
            chunk, members = [], 0
        chunk.append((waiting, group))
        members += len(group.members)
    if chunk:
        yield chunk


def _name(key: Key) -> str:
    kind, customer, group_id = key
    return keys.groups(customer) if kind == "groups" else keys.group(customer, group_id)


def _answer(kind: Kind, document: bytes | None) -> Answer:
    if kind == "groups":
        return list_answer(decode_groups(document) if document else ())
    return detail_answer(decode_group(document)) if document else GROUP_NOT_FOUND
