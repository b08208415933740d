"""Finds what began and what ended, for every customer with an active webhook, on one replica at a time.

It keeps the status of each caller ID of such a customer, and looks again at those that a change names, and at those for
which the time has come that alone may change them; `Agenda` says which customer is next. What differs from what
PostgreSQL says was told is put on record there, in one transaction with the deliveries; then it is queued.
"""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress

import structlog
from msgspec import MsgspecError
from redis.asyncio import Redis

from rotary.auth.change_watch import ChangeWatch
from rotary.errors import UnavailableError
from rotary.management.webhooks import (
    CHANNEL,
    close_deliveries,
    forget_old_deliveries,
    overdue_deliveries,
    watched_customers,
)
from rotary.postgres.connection import Connection, connect, translate_errors
from rotary.redis import keys
from rotary.redis.changes import CustomerFacts, FactsChanged, GroupsChanged, decode_change
from rotary.redis.observation import NotCurrentError, Observer
from rotary.runtime.program import cancel_and_wait
from rotary_campaigns.webhooks.agenda import Agenda, Turn
from rotary_campaigns.webhooks.consumer import DeliveryConsumer
from rotary_campaigns.webhooks.view import CustomerView

SPACING_SECONDS = 0.05
"""Between two looks at a customer: many changes share one."""
SWEEP_SECONDS = 30.0
"""Everything is looked at again so often, whatever was heard; less often if there is so much that it takes longer."""
DEFER_SECONDS = 0.5
"""How long what can't be looked at now waits."""
CLOSE_HOURS = 25.0
"""A delivery that is pending for so long is over: its last attempt was due within a day."""
LATE_SECONDS = 60.0
"""A pending delivery whose attempt is so late has lost its message."""
RETRY_SECONDS = 1.0
LIST_SECONDS = 0.5
"""Between two readings of who has a webhook: very many that are registered one by one are not each read for all."""
_QUEUED_AT_ONCE = 200
_IDLE_SECONDS = 1.0
_LEADER_LOCK = 0x726F7461_77656268  # "rotawebh"
_log = structlog.get_logger("rotary_campaigns")


class Heard(ChangeWatch):
    """The change channel: wakes the watcher."""

    def __init__(self, client: Redis, watcher: "Watcher") -> None:
        super().__init__(client, "rotary_campaigns")
        self._watcher = watcher

    async def poll(self) -> None:
        """Nothing is asked for that the watcher's own looks do not find."""

    def hear(self, data: bytes) -> None:
        """Takes in a message."""
        try:
            change = decode_change(data)
        except MsgspecError:
            self._watcher.look_at_everything()
            return
        match change:
            case FactsChanged():
                self._watcher.facts_changed(change.customers)
            case GroupsChanged():
                self._watcher.groups_changed(int(change.customer), change.groups)
            case _:
                return

    def opened(self) -> None:
        """What changed while nobody listened is not known."""
        self._watcher.look_at_everything()

    def closed(self) -> None:
        """The sweep goes on."""


class Watcher:
    """Runs until cancelled."""

    def __init__(self, postgres_url: str, client: Redis, deliveries: DeliveryConsumer) -> None:
        self._url = postgres_url
        self._observer = Observer(client)
        self._deliveries = deliveries
        self._heard = Heard(client, self)
        self._views: dict[int, CustomerView] = {}
        self._agenda = Agenda()
        self._closed: dict[int, tuple[float, str]] = {}
        """Buckets whose facts or definitions can't be used now: until when they are not asked again, and why."""
        self._away = ""
        self._wake = asyncio.Event()
        self._webhooks_changed = True
        self._may_be_overdue = True
        self._unqueued: list[str] = []
        self.is_leading = False
        self.told = 0
        """Deliveries put on record so far."""

    def facts_changed(self, customers: Iterable[CustomerFacts]) -> None:
        """Called for each fold."""
        for one in customers:
            if (view := self._views.get(int(one.customer))) is not None:
                view.touch({int(caller) for caller, *_ in one.calls} | {int(caller) for caller, _ in one.flags})
                self._note(view)

    def groups_changed(self, customer: int, groups: Iterable[int]) -> None:
        """Called for each change of a customer's definitions."""
        if (view := self._views.get(customer)) is not None:
            view.redefine(groups)
            self._note(view)

    def look_at_everything(self) -> None:
        """Changes may have been missed."""
        for view in self._views.values():
            view.reload()
        self._agenda.catch_up(self._views)
        self._wake.set()

    def _note(self, view: CustomerView) -> None:
        self._agenda.note(view.customer, max(time.monotonic(), view.looked_at + SPACING_SECONDS))
        self._wake.set()

    async def run(self) -> None:
        """Leads when no other replica does, through any number of losses of the servers."""
        told = ""
        while True:
            try:
                connection = await connect(self._url)
                try:
                    await self._lead(connection)
                finally:
                    self.is_leading = False
                    with suppress(OSError, TimeoutError):
                        await connection.close(timeout=2)
            except UnavailableError as error:
                if error.what != told:
                    _log.warning("not watching for webhooks", reason=error.what)
                told = error.what
            await asyncio.sleep(RETRY_SECONDS)

    async def _lead(self, connection: Connection) -> None:
        with translate_errors(connection):
            while True:
                if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LEADER_LOCK):
                    break
                await asyncio.sleep(RETRY_SECONDS)
            await connection.add_listener(CHANNEL, self._heard_of_webhooks)
        self.is_leading, self._webhooks_changed = True, True
        self._views.clear()
        self._agenda = Agenda()
        hearing = asyncio.create_task(self._heard.run())
        try:
            await self._watch(connection)
        finally:
            await cancel_and_wait(hearing)

    def _heard_of_webhooks(self, *_: object) -> None:
        self._webhooks_changed = True
        self._wake.set()

    async def _watch(self, connection: Connection) -> None:
        swept_at = listed_at = time.monotonic() - SWEEP_SECONDS  # what was left undone is found at once
        while True:
            self._wake.clear()
            if time.monotonic() - swept_at >= SWEEP_SECONDS:
                swept_at, self._webhooks_changed = time.monotonic(), True
                await self._sweep(connection)
                self._agenda.sweep(self._views)
            if self._webhooks_changed and time.monotonic() - listed_at >= LIST_SECONDS:
                listed_at, self._webhooks_changed = time.monotonic(), False
                self._follow(await watched_customers(connection))
            turn = self._agenda.take(time.monotonic())
            if turn is not None:
                await self._look(connection, turn)
            await self._queue_overdue(connection)
            await self._queue([])
            if turn is None:
                await self._rest()

    async def _rest(self) -> None:
        """Until something changes, or the time has come that changes something."""
        seconds = LIST_SECONDS if self._webhooks_changed else _IDLE_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(min(self._agenda.wait_seconds(time.monotonic()), seconds)):
                await self._wake.wait()

    def _follow(self, customers: set[int]) -> None:
        for gone in self._views.keys() - customers:
            del self._views[gone]
            self._agenda.forget(gone)
        new = sorted(customers - self._views.keys())
        self._views |= {customer: CustomerView(customer) for customer in new}
        self._agenda.catch_up(new)

    async def _look(self, connection: Connection, turn: Turn) -> None:
        view, began = self._views[turn.customer], time.monotonic()
        if turn.is_again:
            view.reload()
        try:
            await self._look_at(connection, view)
        except UnavailableError as error:
            if connection.is_closed():
                raise
            if error.what != self._away:
                _log.warning("webhooks wait", reason=error.what)
            self._away = error.what
            self._agenda.note(view.customer, began + 2 * DEFER_SECONDS)  # others are asked for before it is again
            await asyncio.sleep(DEFER_SECONDS)
        else:
            await asyncio.sleep(0)  # a look that finds nothing to do waits for nobody
        self._agenda.looked(turn, began, time.monotonic())

    async def _look_at(self, connection: Connection, view: CustomerView) -> None:
        bucket = keys.bucket_of(view.customer)
        until, told = self._closed.get(bucket, (0.0, ""))
        if time.monotonic() < until:
            self._agenda.note(view.customer, until)
            return
        try:
            added = await view.look(connection, self._observer)
        except NotCurrentError as error:
            if error.what != told:
                _log.warning("webhooks wait", bucket=bucket, reason=error.what)
            until = time.monotonic() + DEFER_SECONDS
            self._closed[bucket] = until, error.what
            self._agenda.note(view.customer, until)
            return
        self._closed.pop(bucket, None)
        self._away = ""
        view.looked_at = now = time.monotonic()
        self._agenda.note(view.customer, now + max(SPACING_SECONDS, view.due_seconds()))
        if added:
            self.told += len(added)
            await self._queue(added)

    async def _queue(self, delivery_ids: list[str]) -> None:
        """Queues deliveries, now or when the broker is back. If this process ends before, they are overdue soon."""
        self._unqueued += delivery_ids
        while some := self._unqueued[:_QUEUED_AT_ONCE]:
            try:
                await self._deliveries.publish(some)
            except UnavailableError:
                return
            del self._unqueued[: len(some)]

    async def _sweep(self, connection: Connection) -> None:
        await forget_old_deliveries(connection)
        await close_deliveries(connection, CLOSE_HOURS)
        self._may_be_overdue = True

    async def _queue_overdue(self, connection: Connection) -> None:
        """A few at a time: after a long loss of the broker there may be very many."""
        if self._may_be_overdue and not self._unqueued:  # what the broker did not take is not to be there twice
            late = await overdue_deliveries(connection, LATE_SECONDS, _QUEUED_AT_ONCE)
            self._may_be_overdue = len(late) == _QUEUED_AT_ONCE
            await self._queue(late)
