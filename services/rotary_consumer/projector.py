"""The projector: copies definitions from Postgres to Redis, as they change and whole when Redis has none.

One projects at a time, by an advisory lock that falls with its connection. The feed is read until it is empty at every
wake-up, so neither a lost NOTIFY nor a lost Redis leaves anything behind for longer than a poll.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Sequence

from rotary.definitions import GroupDefinition, GroupSummary, summary
from rotary.errors import UnavailableError
from rotary.postgres import store
from rotary.postgres.connection import Connection, connect
from rotary.postgres.store import Change
from rotary.process.backoff import Backoff
from rotary.redis.documents import DocumentWriter
from rotary_consumer import metrics

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
GROUPS_AT_ONCE = 500


class Projector:
    """Runs in every consumer; one of them projects."""

    def __init__(self, url: str, writer: DocumentWriter) -> None:
        self._url = url
        self._writer = writer
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Projects whenever the lock is ours, for as long as the process lives."""
        backoff = Backoff()
        while True:
            try:
                connection = await connect(self._url)
                backoff.reset()
                try:
                    await self._lead(connection)
                finally:
                    connection.terminate()
            except UnavailableError as error:
                await backoff.wait(f"{error.what} is away, definitions wait")

    async def _lead(self, connection: Connection) -> None:
        while not await store.try_lead(connection):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)  # the lock falls with its holder's connection, and nothing tells us
        # Listen first, then resync: a change between the two wakes us once too often, never once too seldom.
        await store.listen(connection, self._changed.set)
        logger.info("projecting definitions")
        resynced = False
        while True:
            self._changed.clear()
            try:
                if not resynced or not await self._writer.is_complete():
                    await self._resync(connection)
                    resynced = True
                await self._apply_changes(connection)
            except UnavailableError as error:
                if connection.is_closed():
                    raise
                logger.warning("%s; definitions wait", error.what)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), POLL_SECONDS)

    async def _resync(self, connection: Connection) -> None:
        """Writes every document and removes those whose rows are gone."""
        server = await self._writer.server()
        gone_groups, gone_tokens = await self._writer.stored()
        async with store.snapshot(connection):
            async for customer, groups in store.stream_customers(connection):
                gone = gone_groups.pop(customer, set()) - {group.id for group in groups}
                await self._write(customer, groups, gone, [summary(group) for group in groups])
            tokens = await store.read_tokens(connection)
        for customer, gone in gone_groups.items():
            await self._write(customer, [], gone, [])
        await self._writer.put_tokens(tokens, gone_tokens - tokens.keys())
        await self._writer.complete(server)
        logger.info("all definitions written anew")

    async def _apply_changes(self, connection: Connection) -> None:
        while changes := await store.read_changes(connection):
            if any(change.entity == "everything" for change in changes):
                await self._resync(connection)
            else:
                await self._rewrite(connection, changes)
            await store.delete_changes(connection, [change.id for change in changes])

    async def _rewrite(self, connection: Connection, changes: Sequence[Change]) -> None:
        groups: defaultdict[int, set[int] | None] = defaultdict(set)
        tokens: set[str] = set()
        for change in changes:
            match change:
                case Change(entity="token", key=str(sha256)):
                    tokens.add(sha256)
                case Change(entity="group", customer_id=int(customer), key=int(group)):
                    if (wanted := groups[customer]) is not None:
                        wanted.add(group)
                case Change(entity="customer", customer_id=int(customer)):
                    groups[customer] = None
        for customer, wanted in groups.items():
            await self._rewrite_customer(connection, customer, wanted)
        if tokens:
            found = await store.read_tokens(connection, list(tokens))
            await self._writer.put_tokens(found, tokens - found.keys())

    async def _rewrite_customer(self, connection: Connection, customer: int, wanted: set[int] | None) -> None:
        async with store.snapshot(connection):
            groups = await store.read_groups(connection, customer, None if wanted is None else list(wanted))
            summaries = await store.read_group_summaries(connection, customer)
        known = await self._writer.stored_groups(customer) if wanted is None else wanted
        await self._write(customer, groups, known - {group.id for group in groups}, summaries)

    async def _write(
        self, customer: int, groups: Sequence[GroupDefinition], gone: set[int], summaries: Sequence[GroupSummary]
    ) -> None:
        """In slices, so that no transaction is so large that Redis cannot answer a reader meanwhile."""
        for start in range(0, max(len(groups), 1), GROUPS_AT_ONCE):
            some = groups[start : start + GROUPS_AT_ONCE]
            await self._writer.put_groups(customer, some, gone if start == 0 else (), summaries)
            metrics.DOCUMENTS.inc(len(some))
