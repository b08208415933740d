"""The mirror: what was read from Redis, kept true by the change channel, bounded by bytes.

It holds nothing that it could not prove. It is open only while the subscription is known to work; closing it or finding
that Redis is not the same any more empties it. What it holds was read after the subscription began, and everything the
channel said since has been merged in. That includes the time between asking Redis and hearing the answer: a `Load`
collects the changes of that time, and a definition that changed meanwhile, or a mirror that was emptied, makes it void.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from weakref import WeakSet

from rotary.definitions import GroupDefinition
from rotary.domain.facts import NO_FACTS, Tally
from rotary_query.answers import Answer
from rotary_query.callers import CallerFacts
from rotary_query.changes import FactsChanged, GroupsChanged, read_flags
from rotary_query.routes import Kind
from rotary_query.views import monitor_answer

FRESH_MS = 1_000
"""A body is rendered again after this long, because time alone ends a rest, a day or a flag's effect."""
RELOADED_MS = 3_600_000
"""Nothing stays longer without being read again."""

Key = tuple[Kind, int, int]
"""(what, customer, group or 0)."""
Listener = Callable[[int, int], None]
"""Told that the monitor of (customer, group) may read differently now."""


class Document:
    """An answer that only a changed definition can change; a group that does not exist is one, too."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def answer(self, _now_ms: int) -> Answer:
        """The answer at any time."""
        return self._answer

    def bytes_held(self) -> int:
        """About how much memory this takes."""
        return 700 + len(self._answer.body)


class GroupMonitor:
    """A group's definition, its members' facts and the answer last made of them."""

    __slots__ = ("__weakref__", "_answer", "_rendered_ms", "callers", "group")

    def __init__(self, group: GroupDefinition, callers: dict[int, CallerFacts]) -> None:
        self.group = group
        self.callers = callers
        self._answer: Answer | None = None
        self._rendered_ms = 0

    def answer(self, now_ms: int) -> Answer:
        """The answer at `now_ms`, made anew if the facts changed or a second has passed."""
        known = self._answer
        if known is not None and 0 <= now_ms - self._rendered_ms < FRESH_MS:
            return known
        facts = {caller: facts.tally for caller, facts in self.callers.items()}
        made = monitor_answer(self.group, facts, now_ms)
        if known is None or known.etag != made.etag:
            self._answer = known = made
        self._rendered_ms = now_ms
        return known

    def expire(self) -> None:
        """The facts changed."""
        self._rendered_ms = -FRESH_MS

    def bytes_held(self) -> int:
        """About how much memory this takes."""
        members = len(self.group.members)
        return 1500 + 700 * members + sum(facts.bytes_held() for facts in self.callers.values())


Entry = Document | GroupMonitor


class Load:
    """A read on its way from Redis: what it may miss, and whether it became void."""

    __slots__ = ("__weakref__", "changes", "generation", "key", "void")

    def __init__(self, key: Key, generation: int) -> None:
        self.key = key
        self.generation = generation
        self.changes: list[FactsChanged] = []
        self.void = False


class Mirror:
    """Entries by key, the least recently used of which go first when `limit` bytes are exceeded."""

    def __init__(self, limit: int, listener: Listener) -> None:
        self._limit = limit
        self._listener = listener
        self._entries: OrderedDict[Key, tuple[Entry, int, int]] = OrderedDict()  # entry, bytes, read at
        self._callers: dict[tuple[int, int], CallerFacts] = {}
        self._groups: defaultdict[tuple[int, int], WeakSet[GroupMonitor]] = defaultdict(WeakSet)
        self._loads: defaultdict[int, WeakSet[Load]] = defaultdict(WeakSet)
        self._generation = 0
        self.is_open = False
        self.bytes_held = 0

    def __len__(self) -> int:
        return len(self._entries)
