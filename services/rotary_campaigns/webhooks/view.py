"""One customer as the watcher sees it: the status of every caller ID, and what was told."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import structlog

from rotary.definitions import GroupDefinition, MemberDefinition
from rotary.domain.facts import NO_FACTS
from rotary.domain.transitions import CallerStatus, Condition, Transition, caller_status, conditions, transitions
from rotary.management.webhooks import add_deliveries, read_conditions, record_conditions
from rotary.postgres.connection import Connection, translate_errors
from rotary.redis.observation import Observer

DEFER_SECONDS = 0.5
_log = structlog.get_logger("rotary_campaigns")


class CustomerView:
    """What is known of a customer. It is read anew when its definitions change, and caller by caller otherwise."""

    def __init__(self, customer: int) -> None:
        self.customer = customer
        self._groups: list[GroupDefinition] = []
        self._members: dict[int, tuple[MemberDefinition, GroupDefinition]] = {}
        self._callers: dict[int, CallerStatus] = {}
        self._told: set[Condition] | None = None
        self._touched: set[int] = set()
        self._must_reload = True
        self._not_before = 0.0
        self._reason = ""
        self._behind_ms = 0

    def touch(self, callers: Iterable[int]) -> None:
        """Facts of these caller IDs have changed."""
        self._touched |= self._members.keys() & set(callers)

    def reload(self) -> None:
        """Anything may have changed."""
        self._must_reload = True

    def defer(self, reason: str) -> None:
        """It can't be looked at now: what was touched stays so."""
        if reason != self._reason:
            _log.warning("webhooks wait", customer_id=self.customer, reason=reason)
        self._reason = reason
        self._not_before = time.monotonic() + DEFER_SECONDS

    def due_seconds(self) -> float:
        """How long until there is something to look at."""
        if self._must_reload or self._touched:
            return max(0.0, self._not_before - time.monotonic())
        moments = [status.changes_ms for status in self._callers.values() if status.changes_ms is not None]
        return 3600.0 if not moments else (min(moments) - self._now_ms()) / 1000

    async def look(self, connection: Connection, observer: Observer) -> list[str]:
        """Looks at what may have changed; puts what began and ended on record. Returns the ids of the deliveries.

        Raises UnavailableError; nothing is lost then.
        """
        if time.monotonic() < self._not_before:
            return []
        is_whole, touched = self._must_reload, self._touched | self._due()
        if not (is_whole or touched):
            return []
        self._must_reload, self._touched = False, set()  # what changes from here on is looked at again
        try:
            return await self._look(connection, observer, touched, is_whole=is_whole)
        except BaseException:
            self._must_reload, self._touched = self._must_reload or is_whole, self._touched | touched
            raise

    async def _look(
        self, connection: Connection, observer: Observer, touched: set[int], *, is_whole: bool
    ) -> list[str]:
        groups = await observer.groups(self.customer) if is_whole else self._groups
        members = _members_of(groups) if is_whole else self._members
        callers = {} if is_whole else dict(self._callers)
        looked_at = {*members} if is_whole else touched
        if looked_at:
            seen = await observer.facts(self.customer, sorted(looked_at))
            self._behind_ms = _local_ms() - seen.now_ms
            for caller in looked_at:
                member, group = members[caller]
                callers[caller] = caller_status(member, seen.facts.get(caller, NO_FACTS), group, seen.now_ms)
        added = await self._record(connection, groups, callers)
        self._groups, self._members, self._callers = groups, members, callers
        self._reason = ""
        return added

    def _due(self) -> set[int]:
        """The caller IDs for which the time has come that alone may change them."""
        now_ms = self._now_ms()
        return {
            row
            for row, status in self._callers.items()
            if status.changes_ms is not None and status.changes_ms <= now_ms
        }

    def _now_ms(self) -> int:
        """Redis' clock, by which facts are judged."""
        return _local_ms() - self._behind_ms

    async def _record(
        self, connection: Connection, groups: list[GroupDefinition], callers: dict[int, CallerStatus]
    ) -> list[str]:
        with translate_errors(connection):
            async with connection.transaction():
                is_first = False
                if self._told is None:
                    self._told = await read_conditions(connection, self.customer)
                    is_first = self._told is None
                known = self._told or set()
                held = conditions(callers, groups)
                began, over = held - known, known - held
                changed = [] if is_first else transitions(known, held, _subjects(callers, groups))
                if began or over or is_first:
                    await record_conditions(connection, self.customer, began, over)
                added: list[str] = []
                if changed:
                    told = [self._event(one, callers, {group.id: group for group in groups}) for one in changed]
                    added = await add_deliveries(connection, self.customer, told)
        self._told = held
        return added

    def _event(
        self, one: Transition, callers: dict[int, CallerStatus], groups: dict[int, GroupDefinition]
    ) -> dict[str, Any]:
        return {
            "id": str(uuid4()),
            "type": one.event,
            "created_at": _time(_local_ms()),
            "customer_id": self.customer,
            "data": _group(groups[one.subject_id]) if one.event.startswith("group.") else _caller(one, callers),
        }


def _caller(one: Transition, callers: dict[int, CallerStatus]) -> dict[str, object]:
    status = callers[one.subject_id]
    return {
        "caller_id_id": one.subject_id,
        "number": status.number,
        "cooldown_until": None if status.until_ms is None else _time(status.until_ms),
        "calls_today": status.calls_today,
        "daily_cap": status.daily_cap,
    }


def _group(group: GroupDefinition) -> dict[str, object]:
    return {"group_id": group.id, "group_name": group.name, "total_members": len(group.members)}


def _members_of(groups: Iterable[GroupDefinition]) -> dict[int, tuple[MemberDefinition, GroupDefinition]]:
    return {member.id: (member, group) for group in groups for member in group.members}


def _subjects(callers: Iterable[int], groups: Iterable[GroupDefinition]) -> set[Condition]:
    """Every condition that was looked at. A group without members was not: nothing in it could recover."""
    of_callers = {Condition(kind, row) for row in callers for kind in ("cooldown", "quota")}
    return of_callers | {Condition("exhausted", group.id) for group in groups if group.members}


def _local_ms() -> int:
    return time.time_ns() // 1_000_000


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
