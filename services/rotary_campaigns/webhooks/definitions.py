"""A customer's definitions as the watcher keeps them: they change group by group, and say who is affected."""

from collections.abc import Iterable

from rotary.definitions import GroupDefinition, MemberDefinition
from rotary.domain.transitions import Condition


class Definitions:
    """A customer's groups, and which of them each caller ID is in."""

    def __init__(self) -> None:
        self.groups: dict[int, GroupDefinition] = {}
        self.members: dict[int, MemberDefinition] = {}
        self._groups_of: dict[int, tuple[int, ...]] = {}

    def replace(self, group_id: int, group: GroupDefinition | None) -> set[int]:
        """Takes in a group as it is now, None for one that is gone. Returns the caller IDs that must be judged again.

        Costs as much as the group has members.
        """
        old = self.groups.get(group_id)
        if group is None:
            self.groups.pop(group_id, None)
        else:
            self.groups[group_id] = group
        were = {member.id for member in old.members} if old else set[int]()
        now = group.members if group else ()
        touched = {member.id for member in now if self.members.get(member.id) != member or _rules(old) != _rules(group)}
        self.members.update((member.id, member) for member in now)
        ids = {member.id for member in now}
        self._link(group_id, ids - were, were - ids)
        return touched

    def _link(self, group_id: int, added: set[int], removed: set[int]) -> None:
        alone = (group_id,)  # shared: most caller IDs are in one group
        for caller in added:
            others = self._groups_of.get(caller)
            self._groups_of[caller] = alone if others is None else (*others, group_id)
        for caller in removed:
            left = tuple(row for row in self._groups_of[caller] if row != group_id)
            if left:
                self._groups_of[caller] = left
            else:
                del self._groups_of[caller], self.members[caller]

    def any_group_of(self, caller: int) -> GroupDefinition:
        """Any of a caller ID's groups, which all have its customer's zone and policy."""
        return self.groups[self._groups_of[caller][0]]

    def groups_to_look_at(self, callers: Iterable[int], more: Iterable[int]) -> list[GroupDefinition]:
        """The groups that any of these caller IDs is in, and others by their ids, as far as they exist."""
        found = {row for caller in callers for row in self._groups_of.get(caller, ())}
        return [self.groups[row] for row in found.union(more) if row in self.groups]

    def has(self, one: Condition) -> bool:
        """Whether the subject of a condition exists."""
        return one.subject_id in (self.groups if one.kind == "exhausted" else self.members)


def _rules(group: GroupDefinition | None) -> object:
    """By what caller IDs are judged, beside what they are."""
    return group and (group.timezone, group.policy)
