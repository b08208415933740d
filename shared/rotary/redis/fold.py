"""Folds events: calls the Redis function that commits facts together with a log's position."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from secrets import token_hex
from typing import NamedTuple, cast

import msgspec

from rotary.domain.facts import MAX_CLEARS, MAX_FLAGS_OF_A_KIND, QUARTER_MS, QUARTERS_A_DAY, event_ms
from rotary.errors import UnavailableError
from rotary.events import CallPlaced, CarrierFlag, CooldownCleared, Event, identities, identity
from rotary.redis import keys
from rotary.redis.connection import raise_if_unavailable
from rotary.redis.pipeline import Pipeline, pack

_encode = msgspec.msgpack.Encoder().encode
_encode_json = msgspec.json.Encoder().encode

MAX_CALL_WEIGHT = 1_000
"""The limit of one call of the function, in folded calls. It takes a few milliseconds, and no reader is answered
meanwhile."""
CALLS_WEIGHT = 3
"""The weight of a caller ID's day besides its calls, because its keys are looked up and expire."""
FLAGS_WEIGHT = 100
"""The weight of a caller ID's flags besides new ones: up to 256 are unpacked, merged and packed again."""
_MANY = 8
"""So many numbers, and more, become text faster together."""
StoredFlag = tuple[int, str, str]
"""(time in ms, identity as hex digits, kind)."""
_Calls = tuple[str, str, list[str], list[int]] | tuple[str, str, list[str], list[int], dict[str, tuple[str, int]]]
_Flags = tuple[str, int, list[StoredFlag], list[int]]
_Piece = tuple[str, list[_Calls], list[_Flags]]


class Batch:
    """One customer's events for the function, grouped by UTC day and caller ID, each identity once."""

    __slots__ = ("_calls", "_flags", "_picks", "customer")

    def __init__(self, customer: int) -> None:
        self.customer = customer
        self._calls: dict[int, dict[int, dict[int, int]]] = {}
        self._flags: dict[int, tuple[list[int], list[StoredFlag]]] = {}
        self._picks: dict[int, str] = {}

    def add(self, event: Event) -> None:
        """Adds one event."""
        at_ms = event_ms(event)
        self.add_all((event,), at_ms, at_ms)

    def add_all(self, events: Sequence[Event], first_ms: int, last_ms: int) -> None:
        """Adds events of one type, whose times are from `first_ms` to `last_ms`. Adding one again changes nothing."""
        if not events or type(events[0]) is not CallPlaced:
            for event in events:
                self._add_flag_or_clear(event)
            return
        calls, quarter = cast("Sequence[CallPlaced]", events), first_ms // QUARTER_MS
        if last_ms // QUARTER_MS == quarter:
            self._add_calls(calls, quarter)
            return
        for call, number in zip(calls, identities(calls), strict=True):
            day, quarter_of_day = divmod(event_ms(call) // QUARTER_MS, QUARTERS_A_DAY)
            seen = self._calls.setdefault(day, {}).setdefault(call.data.caller_id_id, {})
            seen.setdefault(number, quarter_of_day)
            if call.data.pick_id is not None:
                self._picks.setdefault(number, call.data.pick_id)

    def _add_calls(self, calls: Sequence[CallPlaced], quarter: int) -> None:
        """Adds calls of one quarter hour since 1970. A consumer's hottest loop: no function is called for each."""
        day, quarter_of_day = divmod(quarter, QUARTERS_A_DAY)
        by_caller, picks = self._calls.setdefault(day, {}), self._picks
        for call, number in zip(calls, identities(calls)):  # noqa: B905  # both come from `calls`, and `strict` takes time
            data = call.data
            seen = by_caller.get(data.caller_id_id)
            if seen is None:
                seen = by_caller[data.caller_id_id] = {}
            if number not in seen:
                seen[number] = quarter_of_day
            if data.pick_id is not None:
                picks.setdefault(number, data.pick_id)

    def _add_flag_or_clear(self, event: Event) -> None:
        at_ms = event_ms(event)
        cleared, flags = self._flags.setdefault(event.data.caller_id_id, ([0], []))
        match event:
            case CarrierFlag():
                flags.append((at_ms, flag_identity(identity(event.source, event.id)), event.data.kind))
            case CooldownCleared():
                cleared.append(at_ms)

    def pieces(self) -> Iterator[tuple[int, _Piece]]:
        """What the function takes, each with its weight; 64-bit numbers are strings, because Lua's are doubles."""
        name = str(self.customer)
        for day, caller, seen in self._seen():
            numbers, quarters = _texts(seen), list(seen.values())
            for begin in range(0, len(numbers), MAX_CALL_WEIGHT):
                end = begin + MAX_CALL_WEIGHT
                some = numbers[begin:end]
                weight = CALLS_WEIGHT + len(some)
                picks = self._picks_of(seen, begin, end) if self._picks else {}
                if picks:
                    yield weight, (name, [(str(caller), str(day), some, quarters[begin:end], picks)], [])
                else:
                    yield weight, (name, [(str(caller), str(day), some, quarters[begin:end])], [])
        for caller, (cleared, flags) in self._flags.items():
            some_flags = _newest(flags)
            clears = sorted({at_ms for at_ms in cleared if at_ms})[-MAX_CLEARS:]
            yield FLAGS_WEIGHT + len(some_flags), (name, [], [(str(caller), max(cleared), some_flags, clears)])

    def _seen(self) -> Iterator[tuple[int, int, dict[int, int]]]:
        for day, by_caller in self._calls.items():
            for caller, seen in by_caller.items():
                yield day, caller, seen

    def _picks_of(self, seen: Mapping[int, int], begin: int, end: int) -> dict[str, tuple[str, int]]:
        """The pick of each call that names one, with the call's quarter hour."""
        some = islice(seen.items(), begin, end)
        return {str(number): (self._picks[number], quarter) for number, quarter in some if number in self._picks}


def _texts(numbers: Collection[int]) -> list[str]:
    """A text of each number: many are written as one JSON text and split, which takes half as long."""
    return list(map(str, numbers)) if len(numbers) < _MANY else _encode_json([*numbers]).decode()[1:-1].split(",")


def _newest(flags: list[StoredFlag]) -> list[StoredFlag]:
    """The newest flags of each kind, as many as are kept. So thousands of flags are little work for Redis."""
    if len(flags) <= MAX_FLAGS_OF_A_KIND:
        return flags
    by_identity = {flag[1:]: flag for flag in sorted(flags)}
    kept: dict[str, list[StoredFlag]] = {}
    for flag in sorted(by_identity.values(), reverse=True):
        of_kind = kept.setdefault(flag[2], [])
        if len(of_kind) < MAX_FLAGS_OF_A_KIND:
            of_kind.append(flag)
    return [flag for of_kind in kept.values() for flag in of_kind]


def flag_identity(number: int) -> str:
    """16 hex digits that sort like the signed 64-bit number."""
    return f"{number + 2**63:016x}"


def batches_of(events: Iterable[tuple[int, Event]]) -> list[Batch]:
    """One batch for each customer, from (customer, event)."""
    batches: dict[int, Batch] = {}
    for customer, event in events:
        batches.setdefault(customer, Batch(customer)).add(event)
    return list(batches.values())


class Span(NamedTuple):
    """The part of a log that a fold covers.

    From the offset that the bucket has reached if all that was sent has arrived (None: from the log's beginning) to the
    first offset after it (None: the position stays where it is), with the time of the last arrival marker before that.
    `acknowledged` is the offset that Redis acknowledged: a bucket that is before it has lost data. `since_ms` is from
    when on everything that arrived is in the log, 0 for always; only a bucket that begins with the log takes it over.
    """

    log: str
    begin: int | None
    end: int | None
    marker_ms: int
    acknowledged: int | None
    since_ms: int | None = None


class Folded(NamedTuple):
    """The result for one bucket's batches.

    `refused` holds the caller IDs, as (customer, caller), whose events were not folded: they are unknown, and exceed
    their customer's allowance. `admitted` counts the unknown caller IDs within it.
    """

    refused: tuple[tuple[int, int], ...] = ()
    admitted: int = 0


class PositionLostError(Exception):
    """A bucket is behind the position that we continue from: Redis lost data. Go on from what is stored."""


class FoldLostError(UnavailableError):
    """What was sent before this fold has not arrived: Redis has lost nothing. Go on from what is stored."""

    def __init__(self) -> None:
        super().__init__("Redis is away", "a fold has not arrived")


class GenerationReplacedError(Exception):
    """The generation that was folded into is not the current one any more."""


async def fold(
    pipeline: Pipeline,
    batches: Mapping[int, Sequence[Batch]],
    spans: Mapping[int, Span],
    logs: str,
    generation: int = 0,
) -> dict[int, Folded]:
    """Folds each bucket's batches in one round trip; all that a span covers must be given. Repeating changes nothing.

    `logs` names the logs that must be read, separated by commas. Raises PositionLostError or GenerationReplacedError,
    with other buckets folded or not, and UnavailableError when Redis can't answer or refuses writes now.
    """
    commands, owners = list[bytes](), list[int]()
    for bucket, some in batches.items():
        for command in _commands(keys.position(bucket, generation), spans[bucket], logs, some):
            commands.append(command)
            owners.append(bucket)
    replies = await pipeline.call(commands)
    folded: dict[int, Folded] = {}
    for bucket, reply in zip(owners, replies, strict=True):
        if (found := _accept(reply)) is not None:
            known = folded.get(bucket, Folded())
            folded[bucket] = Folded(known.refused + found.refused, known.admitted + found.admitted)
    return folded


def _commands(key: str, span: Span, logs: str, batches: Sequence[Batch]) -> Iterator[bytes]:
    """Calls of bounded weight, of which only the last moves the position, if all before it were folded."""
    begin = "" if span.begin is None else span.begin
    acknowledged = "" if span.acknowledged is None else span.acknowledged
    since = "" if span.since_ms is None else span.since_ms
    first = ("FCALL", "fold_1", 1, key, span.log, begin)
    calls = list(_calls(batches))
    if span.end is None or (span.begin is not None and span.end <= span.begin):
        # The position stays: all of it is behind, and folded again to hear again what is refused.
        for call in calls:
            yield pack(*first, "", span.marker_ms, logs, call, "", "", acknowledged)
        return
    batch, before = token_hex(8) if len(calls) > 1 else "", ""
    for at, call in enumerate(calls, 1):
        is_last = at == len(calls)
        piece = "" if is_last else f"{batch}.{at}"
        end = span.end if is_last else ""
        yield pack(*first, end, span.marker_ms, logs, call, piece, before, acknowledged, since)
        before = piece


def _calls(batches: Sequence[Batch]) -> Iterator[bytes]:
    parts: dict[str, _Piece] = {}
    weight = 0
    for batch in batches:
        for more, (name, calls, flags) in batch.pieces():
            if weight and weight + more > MAX_CALL_WEIGHT:
                yield _encode([*parts.values()])
                parts, weight = {}, 0
            weight += more
            _, known_calls, known_flags = parts.setdefault(name, (name, [], []))
            known_calls += calls
            known_flags += flags
    yield _encode([*parts.values()])


def _accept(reply: object) -> Folded | None:
    match reply:
        case int():
            return None
        case [int(), list(refused), int(admitted)]:
            return Folded(
                tuple((int(customer), int(caller)) for customer, *callers in refused for caller in callers), admitted
            )
        case b"BEHIND":
            raise PositionLostError
        case b"AHEAD":
            raise FoldLostError
        case b"REPLACED":
            raise GenerationReplacedError
        case _:
            raise_if_unavailable(reply)
            raise AssertionError(f"fold_1 answered {reply!r}")
