"""The cache: what was read from Redis, kept true by the change channel, bounded by bytes.

It is open only while the subscription works; closing it empties it. Entries were read after the subscription began,
and all changes announced since have been merged. A `PendingRead` collects the changes announced between a request to
Redis and its reply. A definition that changed meanwhile, or a bucket dropped after a loss of data, makes it void.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable

from rotary.definitions import GroupDefinition
from rotary.domain.facts import CallerFacts
from rotary.http.responses import CachedResponse
from rotary.redis.changes import CustomerFacts, GroupsChanged
from rotary.redis.keys import bucket_of
from rotary_query.cache.merging import bytes_held, merge_change
from rotary_query.http.endpoints import Kind
from rotary_query.http.rendering import monitor_answer

FRESH_MS = 1_000
"""A body is rendered again after this long, because time alone ends a rest, a day or a flag's effect."""

Key = tuple[Kind, int, int]
"""(what, customer, group or 0)."""
Listener = Callable[[int, int], None]
"""Told that the monitor of (customer, group) may read differently now."""


class Document:
    """An answer that only a changed definition can change; that there is no such group is one, too."""

    __slots__ = ("_answer",)

    def __init__(self, answer: CachedResponse) -> None:
        self._answer = answer

    def answer(self, _now_ms: int) -> CachedResponse:
        """The answer at any time."""
        return self._answer

    def bytes_held(self) -> int:
        """About how much memory this takes."""
        return 1200 + len(self._answer.body)


class GroupMonitor:
    """A group's definition, the facts about each of its members, and the answer last made of them."""

    __slots__ = ("_answer", "_rendered_ms", "bucket", "facts", "group")

    def __init__(self, bucket: int, group: GroupDefinition, facts: dict[int, CallerFacts]) -> None:
        self.bucket = bucket
        self.group = group
        self.facts = facts
        self._answer: CachedResponse | None = None
        self._rendered_ms = 0

    def answer(self, now_ms: int) -> CachedResponse:
        """The answer at `now_ms`, made anew if the facts changed or a second has passed."""
        known = self._answer
        if known is not None and 0 <= now_ms - self._rendered_ms < FRESH_MS:
            return known
        made = monitor_answer(self.group, self.facts, now_ms)
        if known is None or known.etag != made.etag:
            self._answer = known = made
        self._rendered_ms = now_ms
        return known

    def expire(self) -> None:
        """The facts changed."""
        self._rendered_ms = -FRESH_MS

    def bytes_held(self) -> int:
        """About how much memory this takes."""
        return 2500 + 700 * len(self.facts) + bytes_held(self.facts)


Entry = Document | GroupMonitor


class CallerIndex:
    """A customer's monitors by caller ID.

    A monitor is entered when the index is next asked: most of what is read only to be pushed out again never is.
    """

    __slots__ = ("_entered", "_new")

    def __init__(self) -> None:
        self._entered: dict[int, tuple[GroupMonitor, ...]] = {}
        self._new: set[GroupMonitor] = set()

    def __bool__(self) -> bool:
        return bool(self._new or self._entered)

    def add(self, monitor: GroupMonitor) -> None:
        """Takes a monitor in."""
        self._new.add(monitor)

    def remove(self, monitor: GroupMonitor) -> None:
        """Takes it out again."""
        if monitor in self._new:
            self._new.discard(monitor)
            return
        entered = self._entered
        for caller in monitor.facts:
            if len(others := entered.pop(caller)) > 1:
                entered[caller] = tuple(other for other in others if other is not monitor)

    def of(self, callers: Iterable[int]) -> set[GroupMonitor]:
        """The monitors that show any of these caller IDs."""
        for monitor in self._new:
            for caller in monitor.facts:
                self._entered[caller] = (*self._entered.get(caller, ()), monitor)
        self._new.clear()
        return {monitor for caller in callers for monitor in self._entered.get(caller, ())}


class PendingRead:
    """A read on its way from Redis: the changes it may have missed, and whether it became void."""

    __slots__ = ("bucket", "changes", "is_void", "key")

    def __init__(self, key: Key, *, is_void: bool) -> None:
        self.key = key
        self.bucket = bucket_of(key[1])
        self.changes: list[CustomerFacts] = []
        self.is_void = is_void


class GroupCache:
    """Entries by key. When `limit` bytes are exceeded, the least recently used go first."""

    def __init__(self, limit: int, listener: Listener) -> None:
        self._limit = limit
        self._listener = listener
        self._entries: OrderedDict[Key, tuple[Entry, int]] = OrderedDict()
        self._monitors: dict[int, CallerIndex] = {}
        self._loads: dict[int, set[PendingRead]] = {}
        self._buckets: dict[int, set[Key]] = {}
        self.is_open = False
        self.bytes_held = 0

    def __len__(self) -> int:
        return len(self._entries)

    def open(self) -> None:
        """From here on the change channel tells every change."""
        self.empty()
        self.is_open = True

    def close(self) -> None:
        """The change channel may be missing something."""
        self.empty()
        self.is_open = False

    def empty(self) -> None:
        """Forgets everything, reads under way included."""
        for loads in self._loads.values():
            for load in loads:
                load.is_void = True
        self._entries.clear()
        self._monitors.clear()
        self._buckets.clear()
        self.bytes_held = 0

    def drop(self, bucket: int) -> None:
        """Forgets a bucket, reads under way included: Redis' data in it are not what they were."""
        for loads in self._loads.values():
            for load in loads:
                load.is_void = load.is_void or load.bucket == bucket
        for key in [*self._buckets.get(bucket, ())]:
            self._drop(key)
            if key[0] == "monitor":
                self._listener(key[1], key[2])

    def get(self, key: Key) -> Entry | None:
        """What is cached under a key."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def begin(self, key: Key) -> PendingRead:
        """To be called before Redis is asked; every load must be ended."""
        load = PendingRead(key, is_void=not self.is_open)
        self._loads.setdefault(key[1], set()).add(load)
        return load

    def end(self, load: PendingRead) -> None:
        """The load is over, whether or not something came of it."""
        loads = self._loads[load.key[1]]
        loads.discard(load)
        if not loads:
            del self._loads[load.key[1]]

    def holds(self, load: PendingRead) -> bool:
        """Whether what is being read, with the changes collected, is what Redis holds."""
        return self.is_open and not load.is_void

    def install_document(self, load: PendingRead, document: Document) -> None:
        """Keeps what was read, unless the load is void."""
        if self.holds(load):
            self._put(load.key, document)

    def install_monitor(self, load: PendingRead, group: GroupDefinition, facts: dict[int, CallerFacts]) -> GroupMonitor:
        """A group's monitor from what was read and what changed meanwhile; kept unless the load is void.

        `facts` has an entry for each member, and becomes the cache's.
        """
        entry = GroupMonitor(load.bucket, group, facts)
        if self.holds(load):
            for change in load.changes:
                merge_change(entry.facts, change)
            self._put(load.key, entry)
        return entry

    def apply_facts(self, change: CustomerFacts) -> None:
        """Merges what a fold changed of one customer's facts into every group it touches."""
        customer = int(change.customer)
        for load in self._loads.get(customer, ()):
            load.changes.append(change)
        if (monitors := self._monitors.get(customer)) is None:
            return
        named = {int(entry[0]) for entry in change.calls} | {int(entry[0]) for entry in change.flags}
        for touched in monitors.of(named):
            merge_change(touched.facts, change)
            touched.expire()
            self._listener(customer, touched.group.id)

    def apply_groups(self, change: GroupsChanged) -> None:
        """Forgets the groups named, and their customer's list."""
        customer = int(change.customer)
        gone: set[Key] = {("groups", customer, 0)}
        for group_id in change.groups:
            gone |= {("group", customer, group_id), ("monitor", customer, group_id)}
        for load in self._loads.get(customer, ()):
            load.is_void = load.is_void or load.key in gone
        for key in gone:
            self._drop(key)
        for group_id in change.groups:
            self._listener(customer, group_id)

    def _put(self, key: Key, entry: Entry) -> None:
        self._drop(key)
        size = entry.bytes_held()
        self._entries[key] = (entry, size)
        self.bytes_held += size
        self._buckets.setdefault(bucket_of(key[1]), set()).add(key)
        if isinstance(entry, GroupMonitor):
            monitors = self._monitors.get(key[1])
            if monitors is None:
                monitors = self._monitors[key[1]] = CallerIndex()
            monitors.add(entry)
        while self.bytes_held > self._limit and len(self._entries) > 1:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        entry, size = self._entries.pop(key, (None, 0))
        if entry is None:
            return
        self.bytes_held -= size
        keys = self._buckets[bucket_of(key[1])]
        keys.discard(key)
        if not keys:
            del self._buckets[bucket_of(key[1])]
        if isinstance(entry, GroupMonitor):
            monitors = self._monitors[key[1]]
            monitors.remove(entry)
            if not monitors:
                del self._monitors[key[1]]
