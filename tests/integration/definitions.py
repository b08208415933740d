"""A projector on a database and a Redis of a test's own, harm between its writes, and what Redis holds then."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import cast

from msgspec import Struct
from redis.asyncio import Redis

from integration.private_redis import names
from rotary.definitions import GroupDefinition, GroupSummary, TokenDefinition, summary
from rotary.postgres import store
from rotary.postgres.connection import Connection
from rotary.redis.definition_writer import DefinitionWriter, Round
from rotary.redis.documents import DEFINITIONS_FIELDS, PARTS, decode_group, decode_groups, decode_token, is_complete
from rotary.runtime.program import cancel_and_wait
from rotary_consumer.projector import Projector
from running import until

Hook = Callable[[int], Awaitable[None]]
"""Called after each sending of a round, with how many there were, over all rounds."""


class HookedWriter(DefinitionWriter):
    """Calls back whenever a round has sent something, so that a test can do harm just there."""

    def __init__(self, client: Redis, hook: Hook | None = None) -> None:
        super().__init__(client)
        self._own = client
        self._hook = hook
        self.sendings = 0
        self.looks = 0

    def round(self, version: str) -> Round:
        return _HookedRound(self, self._own, version)

    async def close_older(self, seen: Mapping[str, str]) -> dict[str, str]:
        newest = await super().close_older(seen)
        self.looks += 1
        return newest

    async def sent(self) -> None:
        self.sendings += 1
        if self._hook is not None:
            await self._hook(self.sendings)


class _HookedRound(Round):
    def __init__(self, writer: HookedWriter, client: Redis, version: str) -> None:
        super().__init__(client, version)
        self._writer = writer

    async def flush(self) -> None:
        await super().flush()
        await self._writer.sent()


@asynccontextmanager
async def projecting(url: str, writer: DefinitionWriter) -> AsyncIterator[None]:
    """A projector that runs meanwhile, as in a consumer."""
    projector = Projector(url, writer)
    tasks = [asyncio.create_task(projector.run()), asyncio.create_task(projector.watch.run())]
    try:
        yield
        assert not any(task.done() for task in tasks), "the projector ended"
    finally:
        await cancel_and_wait(*tasks)


class Stored(Struct):
    """What Redis holds, decoded: by customer, and by SHA-256; no customer without documents, no revoked token."""

    groups: dict[int, dict[int, GroupDefinition]]
    lists: dict[int, tuple[GroupSummary, ...]]
    callers: dict[int, set[int]]
    allowances: dict[int, int]
    tokens: dict[str, TokenDefinition]


async def stored(client: Redis) -> Stored:
    """Found by the names of all keys, so that what no index names is found too."""
    found = Stored({}, {}, {}, {}, {})
    texts, others = dict[str, None](), list[str]()
    for name in await names(client):
        rest = name.partition("}")[2]
        if name.startswith("{token}"):
            texts |= dict.fromkeys([name] if len(rest) == 64 else ())
        elif ":group:" in rest or rest.endswith(":groups"):
            texts[name] = None
        elif ":" in rest:
            others.append(name)
    documents = cast("list[bytes | None]", await client.mget(list(texts))) if texts else []
    for name, document in zip(texts, documents, strict=True):
        if document is not None:
            _add_document(found, name.partition("}")[2], document)
    for name in others:
        await _add_other(client, found, name)
    return found


def _add_document(found: Stored, rest: str, document: bytes) -> None:
    match rest.split(":"):
        case [customer, "group", group_id]:
            found.groups.setdefault(int(customer), {})[int(group_id)] = decode_group(document)
        case [customer, "groups"]:
            found.lists[int(customer)] = decode_groups(document)
        case [sha256]:
            if (token := decode_token(document)) is not None:
                found.tokens[sha256] = token


async def _add_other(client: Redis, found: Stored, name: str) -> None:
    pipeline = client.pipeline(transaction=False)
    match name.partition("}")[2].split(":"):
        case [customer, "callers"]:
            pipeline.smembers(name)
            found.callers[int(customer)] = {int(member) for member in (await pipeline.execute())[0]}
        case [customer, "customer"]:
            pipeline.hget(name, "allowance")
            if (allowance := (await pipeline.execute())[0]) is not None:
                found.allowances[int(customer)] = int(allowance)


async def defined(connection: Connection) -> Stored:
    """What Redis should hold."""
    found = Stored({}, {}, {}, {}, {})
    async with store.snapshot(connection):
        async for customer in store.stream_customers(connection):
            if customer.groups:
                found.groups[customer.id] = {group.id: group for group in customer.groups}
            found.lists[customer.id] = tuple(summary(group) for group in customer.groups)
            if customer.caller_ids:
                found.callers[customer.id] = set(customer.caller_ids)
            found.allowances[customer.id] = customer.policy.unknown_caller_ids_per_day
        found.tokens = await store.read_tokens(connection)
    return found


async def incomplete(client: Redis) -> set[str]:
    """The parts that readers do not believe."""
    pipeline = client.pipeline(transaction=False)
    for part in PARTS:
        pipeline.hmget(part, *DEFINITIONS_FIELDS)
    return {part for part, fields in zip(PARTS, await pipeline.execute(), strict=True) if not is_complete(*fields)}


async def until_complete(client: Redis) -> None:
    async def complete() -> bool:
        return not await incomplete(client)

    await until(complete, 30, "the definitions are complete")


async def until_equal(client: Redis, connection: Connection) -> None:
    """Redis holds exactly what Postgres does, and says so."""

    async def equal() -> bool:
        return not await incomplete(client) and await stored(client) == await defined(connection)

    await until(equal, 30, "Redis holds what PostgreSQL does")


def version(number: int) -> str:
    """A version; they ascend as the numbers do."""
    return f"{1:08x}{1:08x}{number:016x}{0xFFFFFFFF:08x}"
