"""One customer as the watcher sees it: the status of every caller ID, and what was told.

A look at a few caller IDs costs as much as these and their groups, however many others the customer has.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from heapq import heappop, heappush
from typing import Any
from uuid import uuid4

import structlog

from rotary.definitions import GroupDefinition, MemberDefinition
from rotary.domain.facts import NO_FACTS
from rotary.domain.transitions import (
    CallerStatus,
    Condition,
    Transition,
    caller_status,
    conditions,
    is_exhausted,
    transitions,
)
from rotary.management.webhooks import add_deliveries, read_conditions, record_conditions
from rotary.postgres.connection import Connection, translate_errors
from rotary.redis.observation import Observer

DEFER_SECONDS = 0.5
NEVER_SECONDS = 3_600.0
SLICE = 2_000
"""Caller IDs that nothing was heard of, in one look."""
_log = structlog.get_logger("rotary_campaigns")


class Definitions:
    """A customer's groups, and which of them each caller ID is in."""

    def __init__(self, groups: Sequence[GroupDefinition] = ()) -> None:
        self.groups = {group.id: group for group in groups}
        self.members: dict[int, MemberDefinition] = {}
        self.groups_of = defaultdict[int, list[GroupDefinition]](list)
        for group in groups:
            for member in group.members:
                self.members[member.id] = member
                self.groups_of[member.id].append(group)

        self.rules = (groups[0].timezone, groups[0].policy) if groups else None
        """The customer's zone and policy, by which every caller ID is judged."""

    def groups_to_look_at(self, callers: Iterable[int], more: Iterable[int]) -> list[GroupDefinition]:
        """The groups that any of these caller IDs is in, and others by their ids, as far as they exist."""
        found = {group.id: group for caller in callers for group in self.groups_of.get(caller, ())}
        return list((found | {row: self.groups[row] for row in more if row in self.groups}).values())

    def has(self, one: Condition) -> bool:
        """Whether the subject of a condition exists."""
        return one.subject_id in (self.groups if one.kind == "exhausted" else self.members)


class CustomerView:
    """What is known of a customer: read once as a whole, then caller by caller as changes name them.

    What may have been missed is looked at in slices, so that nothing that was heard waits for it.
    """

    def __init__(self, customer: int) -> None:
        self.customer = customer
        self._definitions = Definitions()
        self._callers: dict[int, CallerStatus] = {}
        self._due: list[tuple[int, int]] = []  # a heap of (when, caller ID)
        self._told: set[Condition] | None = None
        self._touched: set[int] = set()
        self._changed_groups: set[int] = set()
        self._backlog: list[int] = []
        self._is_outdated = True
        self._may_have_missed = False
        self._not_before = 0.0
        self._reason = ""
        self._behind_ms = 0

    def touch(self, callers: Iterable[int]) -> None:
        """Facts of these caller IDs have changed."""
        self._touched.update(caller for caller in callers if caller in self._definitions.members)

    def redefine(self) -> None:
        """Definitions have changed."""
        self._is_outdated = True

    def reload(self) -> None:
        """Anything may have changed."""
        self._is_outdated = self._may_have_missed = True

    def defer(self, reason: str) -> None:
        """It can't be looked at now: what was touched stays so."""
        if reason != self._reason:
            _log.warning("webhooks wait", customer_id=self.customer, reason=reason)
        self._reason = reason
        self._not_before = time.monotonic() + DEFER_SECONDS

    def due_seconds(self) -> float:
        """How long until there is something to look at."""
        if self._is_outdated or self._touched or self._changed_groups or self._backlog:
            return max(0.0, self._not_before - time.monotonic())
        return (self._due[0][0] - self._now_ms()) / 1000 if self._due else NEVER_SECONDS

    async def look(self, connection: Connection, observer: Observer) -> list[str]:
        """Looks at what may have changed; puts what began and ended on record. Returns the ids of the deliveries.

        Raises UnavailableError; nothing is lost then.
        """
        if time.monotonic() < self._not_before:
            return []
        if self._is_outdated:
            await self._read_definitions(observer)
        touched, groups = self._touched | self._take_due() | self._take_slice(), self._changed_groups
        if not (touched or groups or self._told is None):
            return []
        self._touched, self._changed_groups = set(), set()  # what changes from here on is looked at again
        try:
            statuses = await self._statuses(observer, touched & self._definitions.members.keys())
            self._callers |= statuses
            return await self._record(connection, statuses, self._definitions.groups_to_look_at(touched, groups))
        except BaseException:
            self._touched |= touched
            self._changed_groups |= groups
            raise

    async def _read_definitions(self, observer: Observer) -> None:
        """Touches whatever is defined differently. Of a customer that is new, that is everything."""
        self._is_outdated = False
        try:
            new = Definitions(await observer.groups(self.customer))
        except BaseException:
            self._is_outdated = True
            raise
        old, self._definitions = self._definitions, new
        self._touched = (
            {*new.members}
            if new.rules != old.rules
            else {caller for caller, member in new.members.items() if old.members.get(caller) != member}
            | (self._touched & new.members.keys())
        )
        self._changed_groups |= {row for row, group in new.groups.items() if old.groups.get(row) != group}
        self._changed_groups |= old.groups.keys() - new.groups.keys()
        for gone in old.members.keys() - new.members.keys():
            self._callers.pop(gone, None)
        if self._may_have_missed:
            self._may_have_missed, self._backlog = False, [*new.members]

    def _take_slice(self) -> set[int]:
        taken, self._backlog = self._backlog[-SLICE:], self._backlog[:-SLICE]
        return self._definitions.members.keys() & set(taken)

    async def _statuses(self, observer: Observer, callers: Iterable[int]) -> dict[int, CallerStatus]:
        asked = sorted(callers)
        if not asked:
            return {}
        seen = await observer.facts(self.customer, asked)
        self._behind_ms = _local_ms() - seen.now_ms
        definitions = self._definitions
        return {
            caller: caller_status(
                definitions.members[caller],
                seen.facts.get(caller, NO_FACTS),
                definitions.groups_of[caller][0],
                seen.now_ms,
            )
            for caller in asked
        }

    async def _record(
        self,
        connection: Connection,
        statuses: dict[int, CallerStatus],
        groups: Sequence[GroupDefinition],
    ) -> list[str]:
        held = conditions(statuses, [])
        held |= {Condition("exhausted", group.id) for group in groups if is_exhausted(self._callers, group)}
        subjects = _subjects(statuses, groups)
        with translate_errors(connection):
            async with connection.transaction():
                stored = await read_conditions(connection, self.customer) if self._told is None else self._told
                known = stored or set()
                looked_at = known & subjects
                began = held - looked_at
                over = (looked_at - held) | {one for one in known if not self._definitions.has(one)}
                changed = [] if stored is None else transitions(looked_at, held, subjects)
                if began or over or stored is None:
                    await record_conditions(connection, self.customer, began, over)
                added = await self._add(connection, changed) if changed else []
        known -= over
        known |= began
        self._told = known
        for caller, status in statuses.items():
            if status.changes_ms is not None:
                heappush(self._due, (status.changes_ms, caller))
        self._reason = ""
        return added

    async def _add(self, connection: Connection, changed: Iterable[Transition]) -> list[str]:
        return await add_deliveries(connection, self.customer, [self._event(one) for one in changed])

    def _take_due(self) -> set[int]:
        """The caller IDs for which the time has come that alone may change them."""
        now_ms, due = self._now_ms(), set[int]()
        while self._due and self._due[0][0] <= now_ms:
            at_ms, caller = heappop(self._due)
            status = self._callers.get(caller)  # which may have changed meanwhile
            if status is not None and status.changes_ms == at_ms:
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


def _subjects(callers: Iterable[int], groups: Iterable[GroupDefinition]) -> set[Condition]:
    """Every condition that was looked at. A group without members was not: nothing in it could recover."""
    of_callers = {Condition(kind, row) for row in callers for kind in ("cooldown", "quota")}
    return of_callers | {Condition("exhausted", group.id) for group in groups if group.members}


def _local_ms() -> int:
    return time.time_ns() // 1_000_000


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
