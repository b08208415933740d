"""One customer as the watcher sees it: the status of every caller ID, and what was told.

A look at a few caller IDs costs as much as these and their groups, however many others the customer has, and a look at
very many lets others have the loop in between.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from rotary.definitions import GroupDefinition
from rotary.domain.facts import NO_FACTS
from rotary.domain.transitions import (
    CallerStatus,
    Condition,
    ConditionKind,
    Transition,
    caller_status,
    conditions,
    is_exhausted,
    transitions,
)
from rotary.management.webhooks import add_deliveries, read_conditions, record_conditions
from rotary.postgres.connection import Connection, translate_errors
from rotary.redis.observation import Observer, slices
from rotary_campaigns.webhooks.definitions import Definitions
from rotary_campaigns.webhooks.timetable import Timetable

NEVER_SECONDS = 3_600.0
SLICE = 2_000
"""Caller IDs that nothing was heard of, in one look."""
AT_ONCE = 500
"""Caller IDs that are judged before others have the loop."""
GROUPS_AT_ONCE = 10
"""Groups that are read before others have it."""
_OF_CALLERS: tuple[ConditionKind, ...] = ("cooldown", "quota")


class CustomerView:
    """What is known of a customer: read once as a whole, then caller by caller as changes name them.

    What may have been missed is looked at in slices, so that nothing that was heard waits for it.
    """

    def __init__(self, customer: int) -> None:
        self.customer = customer
        self._definitions = Definitions()
        self._callers: dict[int, CallerStatus] = {}
        self._due = Timetable()  # of caller IDs, UTC milliseconds by Redis' clock
        self._told: set[Condition] | None = None
        self._touched: set[int] = set()
        self._stale_groups: set[int] = set()
        self._changed_groups: set[int] = set()
        self._backlog: list[int] = []
        self._is_outdated = True
        self._may_lack = True
        """Conditions that were told may be those of caller IDs and groups that are gone."""
        self._behind_ms = 0
        self.looked_at = -NEVER_SECONDS
        """When the last look ended, by the watcher's clock."""

    def touch(self, callers: Iterable[int]) -> None:
        """Facts of these caller IDs have changed."""
        self._touched.update(caller for caller in callers if caller in self._definitions.members)

    def redefine(self, groups: Iterable[int]) -> None:
        """The definitions of these groups have changed."""
        self._stale_groups.update(groups)

    def reload(self) -> None:
        """Anything may have changed."""
        self._is_outdated = True

    def due_seconds(self) -> float:
        """How long until there is something to look at."""
        if self._is_outdated or self._stale_groups or self._touched or self._changed_groups or self._backlog:
            return 0.0
        return min((self._due.first() - self._now_ms()) / 1000, NEVER_SECONDS)

    async def look(self, connection: Connection, observer: Observer) -> list[str]:
        """Looks at what may have changed; puts what began and ended on record. Returns the ids of the deliveries.

        Raises UnavailableError; nothing is lost then.
        """
        await self._read_definitions(observer)
        touched, groups = self._touched | self._take_due() | self._take_slice(), self._changed_groups
        if not (touched or groups or self._told is None):
            return []
        self._touched, self._changed_groups = set(), set()  # what changes from here on is looked at again
        try:
            looked_at = await self._judge(observer, touched & self._definitions.members.keys())
            return await self._record(connection, looked_at, self._definitions.groups_to_look_at(touched, groups))
        except BaseException:
            self._touched |= touched
            self._changed_groups |= groups
            raise

    async def _read_definitions(self, observer: Observer) -> None:
        """Touches whatever is defined differently. Of a customer that is new, that is everything."""
        is_whole, stale = self._is_outdated, self._stale_groups
        if not is_whole and not stale:
            return
        self._is_outdated, self._stale_groups = False, set()
        try:
            ids = {*await observer.group_ids(self.customer), *self._definitions.groups} if is_whole else stale
            for some in slices(sorted(ids), GROUPS_AT_ONCE):
                for row, group in (await observer.groups(self.customer, some)).items():
                    self._redefine(row, group)
                    await asyncio.sleep(0)
        except BaseException:
            self._is_outdated |= is_whole
            self._stale_groups |= stale
            raise
        if is_whole:
            self._backlog = [*(self._definitions.members.keys() - self._touched)]

    def _redefine(self, row: int, group: GroupDefinition | None) -> None:
        definitions = self._definitions
        old = definitions.groups.get(row)
        if old == group:
            return
        self._touched |= definitions.replace(row, group)
        self._changed_groups.add(row)
        for member in old.members if old else ():
            if member.id not in definitions.members:
                self._may_lack = True
                self._callers.pop(member.id, None)
                self._due.drop(member.id)
        self._may_lack |= group is None

    def _take_slice(self) -> set[int]:
        taken = self._backlog[-SLICE:]
        del self._backlog[-SLICE:]
        return self._definitions.members.keys() & set(taken)

    async def _judge(self, observer: Observer, callers: Iterable[int]) -> dict[int, CallerStatus]:
        judged: dict[int, CallerStatus] = {}
        definitions = self._definitions
        for some in slices(sorted(callers), AT_ONCE):
            seen = await observer.facts(self.customer, some)
            self._behind_ms = _local_ms() - seen.now_ms
            for caller in some:
                facts, group = seen.facts.get(caller, NO_FACTS), definitions.any_group_of(caller)
                judged[caller] = status = caller_status(definitions.members[caller], facts, group, seen.now_ms)
                if status.changes_ms is None:
                    self._due.drop(caller)
                else:
                    self._due.put(caller, status.changes_ms)
        self._callers |= judged
        return judged

    async def _record(
        self, connection: Connection, judged: dict[int, CallerStatus], groups: Sequence[GroupDefinition]
    ) -> list[str]:
        if self._told is None:
            stored = await read_conditions(connection, self.customer)
            if stored is None:
                return await self._record_first(connection, judged, groups)
            self._told = stored
        known, held = self._told, _held(judged, self._callers, groups)
        looked_at = _looked_at(known, judged, groups)
        gone = {one for one in known if not self._definitions.has(one)} if self._may_lack else set[Condition]()
        began, over = held - looked_at, (looked_at - held) | gone
        added: list[str] = []
        if began or over:
            with translate_errors(connection):
                async with connection.transaction():
                    await record_conditions(connection, self.customer, began, over)
                    if changed := transitions(looked_at, held, looked_at):
                        added = await self._add(connection, changed)
        known -= over
        known |= began
        self._may_lack = False
        return added

    async def _record_first(
        self, connection: Connection, judged: dict[int, CallerStatus], groups: Sequence[GroupDefinition]
    ) -> list[str]:
        """Of what held before anybody asked nobody is told."""
        held = _held(judged, self._callers, groups)
        with translate_errors(connection):
            async with connection.transaction():
                await record_conditions(connection, self.customer, held, set())
        self._told, self._may_lack = held, False
        return []

    async def _add(self, connection: Connection, changed: Iterable[Transition]) -> list[str]:
        return await add_deliveries(connection, self.customer, [self._event(one) for one in changed])

    def _take_due(self) -> set[int]:
        """The caller IDs for which the time has come that alone may change them."""
        now_ms, due = self._now_ms(), set[int]()
        while (caller := self._due.take(now_ms)) is not None:
            due.add(caller)
        return due

    def _now_ms(self) -> int:
        """Redis' clock, by which facts are judged."""
        return _local_ms() - self._behind_ms

    def _event(self, one: Transition) -> dict[str, Any]:
        is_group = one.event.startswith("group.")
        return {
            "id": str(uuid4()),
            "type": one.event,
            "created_at": _time(_local_ms()),
            "customer_id": self.customer,
            "data": _group(self._definitions.groups[one.subject_id]) if is_group else self._caller(one.subject_id),
        }

    def _caller(self, caller: int) -> dict[str, object]:
        status = self._callers[caller]
        return {
            "caller_id_id": caller,
            "number": status.number,
            "cooldown_until": None if status.until_ms is None else _time(status.until_ms),
            "calls_today": status.calls_today,
            "daily_cap": status.daily_cap,
        }


def _group(group: GroupDefinition) -> dict[str, object]:
    return {"group_id": group.id, "group_name": group.name, "total_members": len(group.members)}


def _held(
    judged: Mapping[int, CallerStatus], callers: Mapping[int, CallerStatus], groups: Iterable[GroupDefinition]
) -> set[Condition]:
    """What holds of what was looked at. `callers` has the members of the groups."""
    exhausted = {Condition("exhausted", group.id) for group in groups if is_exhausted(callers, group)}
    return conditions(judged, []) | exhausted


def _looked_at(
    known: AbstractSet[Condition], judged: Mapping[int, CallerStatus], groups: Iterable[GroupDefinition]
) -> set[Condition]:
    """The known conditions whose subjects were looked at, by whichever of the two is less.

    A group without members was not looked at: nothing in it could recover.
    """
    rows = {group.id for group in groups if group.members}
    if len(known) < len(judged):
        return {one for one in known if one.subject_id in (rows if one.kind == "exhausted" else judged.keys())}
    subjects = {Condition(kind, row) for row in judged for kind in _OF_CALLERS}
    return subjects.union(Condition("exhausted", row) for row in rows).intersection(known)


def _local_ms() -> int:
    return time.time_ns() // 1_000_000


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
