"""Writes definitions to Redis in rounds. Each round has the version of one Postgres snapshot.

A round begins in each part that it writes to, numbers its writes there, and finishes by marking the part complete at
its version. definitions.lua refuses older data, and refuses to continue a round after Redis lost one of its writes. A
part is therefore complete exactly if its round finished.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from secrets import token_hex
from typing import TypeVar, cast

from msgspec import Struct
from redis.asyncio import Redis

from rotary.definitions import CustomerDefinition, GroupDefinition, GroupSummary, TokenDefinition, summary
from rotary.redis import keys
from rotary.redis.connection import FunctionsMissingError, load_functions, raise_if_unavailable, translate_errors
from rotary.redis.documents import PARTS, SCHEMA, decode_token, encode_group, encode_groups, encode_token, part_of

GROUPS_AT_ONCE = 500
BYTES_AT_ONCE = 256 * 1024
CALLERS_AT_ONCE = 5000
TOKENS_AT_ONCE = 500
"""The limits of one call. Redis answers no other client during a call."""
CALLS_AT_ONCE = 100
BYTES_IN_FLIGHT = 1024 * 1024
"""The limits of one round trip."""
ID_BYTES = 60
"""An id in a command takes as long to pack as so many bytes of a document, and the loop runs nothing else meanwhile."""

T = TypeVar("T")
Argument = bytes | str | int
Document = tuple[int, bytes]


def epoch_of(version: str) -> int:
    """The epoch of the database, which a version begins with; 0 for an empty version."""
    return int(version[:8] or "0", 16)


class _Call(Struct, frozen=True):
    part: str
    function: str
    keys: Sequence[str]
    arguments: Sequence[Argument]
    size: int = 0


class DefinitionWriter:
    """Writes definitions, and reads how complete they are. Every method raises UnavailableError when Redis is away."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def round(self, version: str) -> "Round":
        """A new round. All its data come from the Postgres snapshot of this version."""
        return Round(self._client, version)

    async def touch(self, versions: Mapping[str, str]) -> set[str]:
        """Marks these parts as current. Returns the parts that are not complete at exactly this version."""
        calls = [_Call(part, "touch_1", (part,), (version, SCHEMA)) for part, version in versions.items()]
        replies = await _run(self._client, calls)
        return {call.part for call, reply in zip(calls, replies, strict=True) if reply != b"OK"}

    async def close_older(self, seen: Mapping[str, str]) -> dict[str, str]:
        """Closes each part that is older than its version in `seen`. Returns the newest version in every part."""
        calls = [_Call(part, "close_older_1", (part,), (seen.get(part, ""),)) for part in PARTS]
        replies = cast("list[bytes]", await _run(self._client, calls))
        return {call.part: newest.decode() for call, newest in zip(calls, replies, strict=True)}

    async def customers(self, parts: Iterable[str]) -> set[int]:
        """The customers with documents in these parts."""
        pipeline = self._client.pipeline(transaction=False)
        for part in parts:
            if part != keys.TOKEN_DEFINITIONS:
                pipeline.smembers(_index(part))
        with translate_errors():
            return {int(name) for names in await pipeline.execute() for name in names}

    async def tokens(self) -> set[str]:
        """The SHA-256, in hex, of every token with a document that is not revoked."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.smembers(keys.TOKEN_INDEX)
        with translate_errors():
            (names,) = await pipeline.execute()
        return {name.decode() for name in names}

    async def put_token(self, version: str, sha256: str, token: TokenDefinition | None) -> TokenDefinition | None:
        """Writes one token outside of a round, unless the stored one is newer. Returns the stored one afterwards."""
        put = _put_tokens("", 0, version, {} if token is None else {sha256: token}, [sha256] if token is None else [])
        await _run(self._client, [put])
        pipeline = self._client.pipeline(transaction=False)
        pipeline.get(keys.token(sha256))
        with translate_errors():
            (document,) = await pipeline.execute()
        return decode_token(document) if document is not None else None

    async def projected_ms_ago(self) -> int | None:
        """Milliseconds since a projector last marked the tokens as current; None if it never happened."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.time()
        pipeline.hget(keys.TOKEN_DEFINITIONS, "as_of")
        with translate_errors():
            (seconds, micros), as_of = await pipeline.execute()
        return None if as_of is None else seconds * 1000 + micros // 1000 - int(as_of)


class Round:
    """One round of writes. Calls are sent by `flush`, by `finish_…`, and whenever a round trip is full.

    `refused` holds the parts that refused a write. They refuse the rest of the round, and do not finish.
    """

    def __init__(self, client: Redis, version: str) -> None:
        self._client = client
        self._id = token_hex(8)
        self._writes: Counter[str] = Counter()
        self._calls: list[_Call] = []
        self._size = 0
        self.version = version
        self.parts: set[str] = set()
        self.refused: set[str] = set()

    async def begin(self, parts: Iterable[str]) -> None:
        """Begins the round in these parts. Call it before any other write to them."""
        for part in parts:
            self.parts.add(part)
            await self._add(_Call(part, "begin_1", (part,), (self._id,)))

    async def put_customer(self, customer: CustomerDefinition) -> None:
        """Replaces all definitions of the customer."""
        slices = list(_slices(customer.caller_ids, CALLERS_AT_ONCE)) or [()]
        modes = ["first", *["more"] * (len(slices) - 2), "last"] if len(slices) > 1 else ["whole"]
        await self._put(
            customer.id,
            customer.policy.unknown_caller_ids_per_day,
            [summary(group) for group in customer.groups],
            customer.groups,
            zip(modes, slices, [()] * len(slices), strict=True),
        )

    async def change_customer(  # one argument a kind of change
        self,
        customer: int,
        allowance: int,
        summaries: Sequence[GroupSummary] | None,
        groups: Sequence[GroupDefinition],
        added: Sequence[int],
        removed: Sequence[int],
    ) -> None:
        """Writes these groups, and adds and removes these caller IDs.

        `summaries` lists all groups of the customer. It replaces the stored list, and groups that are not in it are
        removed. None leaves the list as it is.
        """
        pairs = zip_longest(_slices(added, CALLERS_AT_ONCE), _slices(removed, CALLERS_AT_ONCE), fillvalue=())
        differences = (("difference", more, fewer) for more, fewer in pairs)
        await self._put(customer, allowance, summaries, groups, differences)

    async def remove_customer(self, customer: int) -> None:
        """Removes all definitions of the customer, and keeps the version."""
        part = part_of(customer)
        arguments = (self._id, self._next(part), self.version)
        await self._add(_Call(part, "remove_customer_1", _customer_keys(customer), arguments))

    async def put_tokens(self, tokens: Mapping[str, TokenDefinition], gone: Iterable[str]) -> None:
        """Writes these tokens, and revokes the tokens in `gone`. Both are named by their SHA-256 in hex."""
        part = keys.TOKEN_DEFINITIONS
        for some in _slices(list(tokens), TOKENS_AT_ONCE):
            written = {sha256: tokens[sha256] for sha256 in some}
            await self._add(_put_tokens(self._id, self._next(part), self.version, written, ()))
        for some in _slices(list(gone), TOKENS_AT_ONCE):
            await self._add(_put_tokens(self._id, self._next(part), self.version, {}, some))

    async def flush(self) -> None:
        """Sends the calls that are not sent yet."""
        calls, self._calls, self._size = self._calls, [], 0
        replies = await _run(self._client, calls)
        self.refused |= {call.part for call, reply in zip(calls, replies, strict=True) if reply != b"OK"}

    async def finish_changes(self, bases: Mapping[str, str]) -> set[str]:
        """Finishes a round of changes. Returns the parts that were complete at `bases`: they now have this version."""
        return await self._finish({part: (bases.get(part, "none"), 0) for part in self.parts})

    async def finish_resync(self, sizes: Mapping[str, int]) -> set[str]:
        """Finishes a resync. Returns the parts with the expected number of customers or tokens, now complete."""
        return await self._finish({part: ("", sizes.get(part, 0)) for part in self.parts})

    async def _finish(self, ends: Mapping[str, tuple[str, int]]) -> set[str]:
        for part, (base, size) in ends.items():
            arguments = (self._id, self._writes[part], self.version, SCHEMA, base, size)
            await self._add(_Call(part, "finish_1", (part, _index(part)), arguments))
        await self.flush()
        return self.parts - self.refused

    async def _put(
        self,
        customer: int,
        allowance: int,
        summaries: Sequence[GroupSummary] | None,
        groups: Sequence[GroupDefinition],
        callers: Iterable[tuple[str, Sequence[int], Sequence[int]]],
    ) -> None:
        part, named = part_of(customer), _customer_keys(customer)
        listed = b"" if summaries is None else encode_groups(summaries)
        kept = [entry.id for entry in summaries or ()]
        for some, step in zip_longest(_document_slices(groups), callers):
            documents, (mode, added, removed) = some or [], step or ("none", (), ())
            arguments = (
                *(self._id, self._next(part), self.version, allowance, listed),
                *(len(kept), *kept),
                *(len(documents), *chain.from_iterable(documents)),
                *(mode, len(added), len(removed), *added, *removed),
            )
            size = (
                len(listed) + sum(len(document) for _, document in documents) + ID_BYTES * (len(added) + len(removed))
            )
            await self._add(_Call(part, "put_customer_1", named, arguments, size))
            # The list is written first and names all groups, so that it names every document at any time.
            listed, kept = b"", []

    def _next(self, part: str) -> int:
        self._writes[part] += 1
        return self._writes[part]

    async def _add(self, call: _Call) -> None:
        self._calls.append(call)
        self._size += call.size
        if len(self._calls) >= CALLS_AT_ONCE or self._size >= BYTES_IN_FLIGHT:
            await self.flush()


async def _run(client: Redis, calls: Sequence[_Call]) -> list[object]:
    """The replies to the calls. Loads the functions on a server without them; the caller then tries again."""
    if not calls:
        return []
    pipeline = client.pipeline(transaction=False)
    for call in calls:
        pipeline.execute_command("FCALL", call.function, len(call.keys), *call.keys, *call.arguments)
    with translate_errors():
        replies: list[object] = await pipeline.execute(raise_on_error=False)
    for reply in replies:
        try:
            raise_if_unavailable(reply)
        except FunctionsMissingError:
            await load_functions(client)
            raise
    return replies


def _put_tokens(
    round_id: str, number: int, version: str, tokens: Mapping[str, TokenDefinition], gone: Sequence[str]
) -> _Call:
    written = [(sha256, encode_token(version, token)) for sha256, token in tokens.items()]
    documents: Iterator[Argument] = chain.from_iterable(written)
    arguments = (round_id, number, version, encode_token(version, None), len(written), *documents, *gone)
    part = keys.TOKEN_DEFINITIONS
    return _Call(part, "put_tokens_1", (part, keys.TOKEN_INDEX), arguments, 200 * (len(written) + len(gone)))


def _index(part: str) -> str:
    if part == keys.TOKEN_DEFINITIONS:
        return keys.TOKEN_INDEX
    return keys.customers(PARTS.index(part))


def _customer_keys(customer: int) -> tuple[str, str, str]:
    return keys.customer(customer), part_of(customer), keys.customers(keys.bucket_of(customer))


def _document_slices(groups: Sequence[GroupDefinition]) -> Iterator[list[Document]]:
    some: list[Document] = []
    size = 0
    for group in groups:
        document = encode_group(group)
        if some and (len(some) >= GROUPS_AT_ONCE or size + len(document) > BYTES_AT_ONCE):
            yield some
            some, size = [], 0
        some.append((group.id, document))
        size += len(document)
    yield some


def _slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
