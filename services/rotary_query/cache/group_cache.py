"""The cache of groups: read from Redis, kept current by the change channel, bounded by bytes.

While it is full, it keeps only what is asked for again: a scan of all groups does not displace those that are in use.

It is open only while the subscription works, and closing it empties it. Every entry was read after the subscription
began, and all changes announced since then are merged into it. A `PendingRead` collects the changes announced between a
request to Redis and its reply. A changed definition, or a bucket dropped after a loss of data, makes it void.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from rotary.definitions import GroupDefinition
from rotary.domain.facts import GroupFacts
from rotary.http.errors import GROUP_NOT_FOUND
from rotary.http.responses import CachedResponse
from rotary.redis.changes import CustomerFacts, GroupsChanged
from rotary.redis.keys import bucket_of
from rotary_query.cache.merging import DAYS_KEPT, bytes_held, forget_days, merge_change
from rotary_query.http.endpoints import Kind
from rotary_query.http.rendering import monitor_answer

FRESH_MS = 1_000
"""A body is rendered again after this time, because cooldowns, days and effects of flags end without an event."""

FULL = 0.9
"""The part of the limit above which the cache is full."""
MIN_REMEMBERED = 64
"""How many keys even a cache of few large entries remembers: requests for one group come between those for others."""

Key = tuple[Kind, int, int]
"""(kind of entry, customer, group or 0)."""
_OF_GROUPS: tuple[Kind, ...] = ("group", "monitor", "history")
Listener = Callable[[int, int], None]
"""Called with (customer, group) when their monitor may have changed."""


class Document:
    """An answer that depends on definitions alone, such as a group, or a 404 for a missing one."""

    __slots__ = ("_answer",)

    def __init__(self, answer: CachedResponse) -> None:
        self._answer = answer

    def answer(self, _now_ms: int) -> CachedResponse:
        """The answer at any time."""
        return self._answer

    def bytes_held(self) -> int:
        """The approximate memory use."""
        return 1200 + len(self._answer.body)


class Definition(Document):
    """A group's definition, for answers that are made from it; none for a group that does not exist."""

    __slots__ = ("group",)

    def __init__(self, group: GroupDefinition | None) -> None:
        super().__init__(GROUP_NOT_FOUND)
        self.group = group

    def bytes_held(self) -> int:
        """The approximate memory use."""
        return 1200 + 400 * len(self.group.members if self.group else ())


class GroupMonitor:
    """A group's definition, the facts about each of its members, and the last answer rendered from them."""

    __slots__ = ("_answer", "_rendered_ms", "_rows", "bucket", "facts", "group")

    def __init__(self, bucket: int, group: GroupDefinition, facts: GroupFacts) -> None:
        self.bucket = bucket
        self.group = group
        self.facts = facts
        self._rows: dict[int, int] = {}
        self._answer: CachedResponse | None = None
        self._rendered_ms = 0

    @property
    def rows(self) -> Mapping[int, int]:
        """Caller ID → its row in `facts`. It is made when the first change comes."""
        if not self._rows:
            self._rows = {member.id: row for row, member in enumerate(self.group.members)}
        return self._rows

    def answer(self, now_ms: int) -> CachedResponse:
        """The answer at `now_ms`. It is rendered again after a change of the facts or after a second."""
        known = self._answer
        if known is not None and 0 <= now_ms - self._rendered_ms < FRESH_MS:
            return known
        if len(self.facts.calls) > DAYS_KEPT:
            forget_days(self.facts, now_ms)
        made = monitor_answer(self.group, self.facts, now_ms)
        if known is None or known.etag != made.etag:
            self._answer = known = made
        self._rendered_ms = now_ms
        return known

    def merge(self, change: CustomerFacts) -> None:
        """Merges a change of the facts. The next answer is rendered again."""
        merge_change(self.facts, self.rows, change)
        self._rendered_ms = -FRESH_MS

    def bytes_held(self) -> int:
        """The approximate memory use."""
        return 2500 + 600 * len(self.group.members) + bytes_held(self.facts)


Entry = Document | GroupMonitor


class CallerIndex:
    """A customer's monitors by caller ID.

    A new monitor is indexed by the next look-up. Most monitors of a scan are evicted before that, at no cost.
    """

    __slots__ = ("_entered", "_new")

    def __init__(self) -> None:
        self._entered: dict[int, tuple[GroupMonitor, ...]] = {}
        self._new: set[GroupMonitor] = set()

    def __bool__(self) -> bool:
        return bool(self._new or self._entered)

    def add(self, monitor: GroupMonitor) -> None:
        """Adds a monitor."""
        self._new.add(monitor)

    def remove(self, monitor: GroupMonitor) -> None:
        """Removes a monitor."""
        if monitor in self._new:
            self._new.discard(monitor)
            return
        entered = self._entered
        for caller in monitor.rows:
            if len(others := entered.pop(caller)) > 1:
                entered[caller] = tuple(other for other in others if other is not monitor)

    def of(self, callers: Iterable[int]) -> set[GroupMonitor]:
        """The monitors that show any of these caller IDs."""
        for monitor in self._new:
            for caller in monitor.rows:
                self._entered[caller] = (*self._entered.get(caller, ()), monitor)
        self._new.clear()
        return {monitor for caller in callers for monitor in self._entered.get(caller, ())}


class PendingRead:
    """A read of Redis in flight: the changes that it may have missed, and whether it is void."""

    __slots__ = ("bucket", "changes", "is_void", "key")

    def __init__(self, key: Key, *, is_void: bool) -> None:
        self.key = key
        self.bucket = bucket_of(key[1])
        self.changes: list[CustomerFacts] = []
        self.is_void = is_void


class GroupCache:
    """Entries by key. Above `limit` bytes, the least recently used entries are evicted.

    While it is full, it remembers the keys of as many entries as it has that were read and not cached, at least of
    MIN_REMEMBERED. An entry that is read again while it is remembered is cached.
    """

    def __init__(self, limit: int, listener: Listener) -> None:
        self._limit = limit
        self._listener = listener
        self._entries: OrderedDict[Key, tuple[Entry, int]] = OrderedDict()
        self._remembered: OrderedDict[Key, None] = OrderedDict()
        self._monitors: dict[int, CallerIndex] = {}
        self._reads: dict[int, set[PendingRead]] = {}
        self._buckets: dict[int, set[Key]] = {}
        self.is_open = False
        self.bytes_held = 0

    def __len__(self) -> int:
        return len(self._entries)

    def open(self) -> None:
        """Starts caching. Call it once the change channel delivers every change."""
        self.empty()
        self.is_open = True

    def close(self) -> None:
        """Stops caching and drops all entries. Call it when changes may be missed."""
        self.empty()
        self.is_open = False

    def empty(self) -> None:
        """Drops all entries, and makes the reads in flight void."""
        for reads in self._reads.values():
            for read in reads:
                read.is_void = True
        self._entries.clear()
        self._remembered.clear()
        self._monitors.clear()
        self._buckets.clear()
        self.bytes_held = 0

    def drop(self, bucket: int) -> None:
        """Drops the entries of a bucket whose data changed in Redis, and makes its reads in flight void."""
        for reads in self._reads.values():
            for read in reads:
                read.is_void = read.is_void or read.bucket == bucket
        for key in [*self._buckets.get(bucket, ())]:
            self._drop(key)
            if key[0] == "monitor":
                self._listener(key[1], key[2])

    def get(self, key: Key) -> Entry | None:
        """The entry under a key, or None."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def expect(self, key: Key) -> None:
        """Has the next read of an entry cached also while the cache is full, because somebody watches it."""
        if key not in self._entries:
            self._remembered.pop(key, None)
            self._remember(key)

    def begin(self, key: Key) -> PendingRead:
        """Begins a read. Call it before the request to Redis, and call `end` afterwards in any case."""
        read = PendingRead(key, is_void=not self.is_open)
        self._reads.setdefault(key[1], set()).add(read)
        return read

    def end(self, read: PendingRead) -> None:
        """Ends a read, successful or not."""
        reads = self._reads[read.key[1]]
        reads.discard(read)
        if not reads:
            del self._reads[read.key[1]]

    def holds(self, read: PendingRead) -> bool:
        """Whether the reply to a read, with the collected changes, equals the data in Redis."""
        return self.is_open and not read.is_void

    def install_document(self, read: PendingRead, document: Document) -> None:
        """Caches a document that is admitted, unless its read is void."""
        if self.holds(read) and self._admits(read.key):
            self._put(read.key, document)

    def install_monitor(self, read: PendingRead, group: GroupDefinition, facts: GroupFacts) -> GroupMonitor:
        """The monitor of a group, with the changes during its read. It is cached if admitted, unless the read is void.

        The cache takes ownership of `facts`.
        """
        entry = GroupMonitor(read.bucket, group, facts)
        if self.holds(read):
            for change in read.changes:
                entry.merge(change)
            if self._admits(read.key):
                self._put(read.key, entry)
        return entry

    def apply_facts(self, change: CustomerFacts) -> None:
        """Merges changed facts of a customer into every group with these caller IDs."""
        customer = int(change.customer)
        for read in self._reads.get(customer, ()):
            read.changes.append(change)
        if (monitors := self._monitors.get(customer)) is None:
            return
        named = {int(entry[0]) for entry in change.calls} | {int(entry[0]) for entry in change.flags}
        for touched in monitors.of(named):
            touched.merge(change)
            self._listener(customer, touched.group.id)

    def apply_groups(self, change: GroupsChanged) -> None:
        """Drops the changed groups, and the list of their customer."""
        customer = int(change.customer)
        gone: set[Key] = {("groups", customer, 0)}
        for group_id in change.groups:
            gone |= {(kind, customer, group_id) for kind in _OF_GROUPS}
        for read in self._reads.get(customer, ()):
            read.is_void = read.is_void or read.key in gone
        for key in gone:
            self._drop(key)
        for group_id in change.groups:
            self._listener(customer, group_id)

    def _admits(self, key: Key) -> bool:
        if self.bytes_held < self._limit * FULL or key in self._entries:
            return True
        if key in self._remembered:
            del self._remembered[key]
            return True
        self._remember(key)
        return False

    def _remember(self, key: Key) -> None:
        """Remembers a key that is not remembered, as the newest."""
        self._remembered[key] = None
        while len(self._remembered) > max(len(self._entries), MIN_REMEMBERED):
            self._remembered.popitem(last=False)

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
        self._remembered.pop(key, None)
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
