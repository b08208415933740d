"""64 dialers that pick and then call, release or forget; and the ledger of every pick that one of them was given."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from random import Random
from secrets import token_hex
from typing import Any, NamedTuple

import aio_pika
import aiohttp
from msgspec import Struct

from faults.load import BROKEN, Line
from rotary.clock import Clock
from rotary.events import EVENT_CONTENT_TYPE, CallPlaced, CallPlacedData, encode_event, routing_key

CLIENTS = 64
CAP = 60
"""Calls a day of each caller ID: some are used up before a fault has ended."""
PICK_TTL_SECONDS = 4
PAUSE_SECONDS = 0.15
RETRY_SECONDS = 0.4
GIVE_UP_SECONDS = 100.0
PLACED, RELEASED = 0.35, 0.4
"""Shares of picks that become calls, and that are given back; the others are left to expire."""


class Picker(NamedTuple):
    """A customer of one fault alone: a group of callers with the cap CAP."""

    id: int
    group: int
    token: str
    callers: tuple[int, ...]


class Given(Struct):
    """One 201, with times on the monotonic clock: `ends` is when it expires, `freed` when its release was asked for.

    `day` is the customer's day in which it was given, `placed_day` the one of its call.
    """

    id: str
    caller: int
    asked: float
    given: float
    ends: float
    day: int
    placed_day: int | None = None
    freed: float | None = None

    def holds_at(self, moment: float, day: int) -> bool:
        """Whether it surely takes a call of that day's cap. A reservation takes one of whatever day it lives in."""
        if self.placed_day is not None:
            return self.placed_day == day
        return moment < self.ends and (self.freed is None or moment < self.freed)


class Wrong(NamedTuple):
    """What must never be."""

    over_cap: int
    resting: int
    twice: int


class PickLedger:
    """Every pick, by caller ID, and since when which caller IDs must not be picked."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.refusals = 0
        self.closed = 0
        self.given: dict[str, Given] = {}
        self.by_caller: defaultdict[int, list[Given]] = defaultdict(list)
        self.twice = 0
        self.rests_since: dict[int, float] = {}
        """By caller ID: when it was seen to rest or to be disabled, for as long as the test lasts."""

    def give(self, one: Given) -> None:
        """A client was given this."""
        if one.id in self.given:
            self.twice += 1
            return
        self.given[one.id] = one
        self.by_caller[one.caller].append(one)

    def verdict(self) -> Wrong:
        """What was wrong with the picks so far."""
        over = sum(self._over_cap(some) for some in self.by_caller.values())
        resting = sum(
            one.asked > since for caller, since in self.rests_since.items() for one in self.by_caller.get(caller, [])
        )
        return Wrong(over, resting, self.twice)

    def _over_cap(self, some: Sequence[Given]) -> int:
        """Picks that were given although as many as the cap surely held a call of that day: when they were given, what
        had not ended by then had not ended when they were decided on."""
        return sum(
            sum(other.holds_at(one.given, one.day) for other in some if other is not one and other.given < one.asked)
            >= self.cap
            for one in some
        )


class PickLoad:
    """64 clients that ask engines in turn, from `start` to `finish`. `day` tells the customer's day of a UTC time."""

    def __init__(
        self, session: aiohttp.ClientSession, urls: Sequence[str], rabbitmq_url: str, picker: Picker, clock: Clock,
        day: Callable[[float], int],
    ) -> None:  # fmt: skip
        self.ledger = PickLedger(CAP)
        self._urls = list(urls)
        self._session = session
        self._headers = {"Authorization": f"Bearer {picker.token}"}
        self._line = Line(rabbitmq_url)
        self._clock = clock
        self._customer = picker.id
        self._group = picker.group
        self._day = day
        self._stopping = False
        self._clients: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._clients = [asyncio.create_task(self._dial_on(number)) for number in range(CLIENTS)]

    async def more(self, picks: int, seconds: float = GIVE_UP_SECONDS) -> float:
        """Returns when so many more picks were given or refused, after how many seconds."""
        began, wanted = time.monotonic(), self._answered + picks
        async with asyncio.timeout(seconds):
            while self._answered < wanted:
                for client in self._clients:
                    if client.done():
                        client.result()
                await asyncio.sleep(0.02)
        return time.monotonic() - began

    async def finish(self) -> None:
        """Stops, once everything under way has its answer."""
        self._stopping = True
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await asyncio.gather(*self._clients)
        finally:
            for client in self._clients:
                client.cancel()
            await self._line.close()

    @property
    def _answered(self) -> int:
        return len(self.ledger.given) + self.ledger.refusals

    async def _dial_on(self, number: int) -> None:
        random = Random(number)
        while not self._stopping:
            await self._dial(random, number)
            await asyncio.sleep(random.uniform(0, 2) * PAUSE_SECONDS)

    async def _dial(self, random: Random, number: int) -> None:
        key, asked = token_hex(8), time.monotonic()
        while True:  # the same key, whatever became of the first attempt, also by way of another engine
            url = self._urls[number % len(self._urls)]
            number += 1
            answer = await self._ask(url, key)
            if answer is not None:
                break
            if self._stopping or time.monotonic() - asked > GIVE_UP_SECONDS:
                return
            await asyncio.sleep(RETRY_SECONDS)
        status, data = answer
        if status == 409:
            self.ledger.refusals += 1
            return
        given, expires = time.monotonic(), datetime.fromisoformat(data["expires_at"]).timestamp()
        ends = given + expires - self._clock() / 1000
        one = Given(data["id"], data["caller_id_id"], asked, given, ends, self._day(expires - PICK_TTL_SECONDS))
        self.ledger.give(one)
        await self._use(one, random.random())

    async def settles(self) -> bool:
        """Asks once more, after the load; whether there was an answer. Whoever picks ends what has expired."""
        return await self._ask(self._urls[0], "settles") is not None

    async def _ask(self, url: str, key: str) -> "tuple[int, dict[str, Any]] | None":
        try:
            async with self._session.post(
                f"{url}/api/caller-id-groups/{self._group}/picks",
                headers=self._headers | {"Idempotency-Key": key},
                timeout=aiohttp.ClientTimeout(5),
            ) as response:
                body = json.loads(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
        if response.status == 503:
            self.ledger.closed += 1
            return None
        assert response.status in (201, 409), body
        return response.status, body.get("data", {})

    async def _use(self, one: Given, chance: float) -> None:
        if chance < PLACED:
            await self._place(one)
        elif chance < PLACED + RELEASED:
            one.freed = time.monotonic()
            path = f"/api/caller-id-groups/{self._group}/picks/{one.id}"
            for url in self._urls:
                try:
                    async with self._session.delete(
                        url + path, headers=self._headers, timeout=aiohttp.ClientTimeout(5)
                    ) as response:
                        assert response.status in (204, 503)
                        return
                except (aiohttp.ClientError, OSError, TimeoutError):
                    continue

    async def _place(self, one: Given) -> None:
        data = CallPlacedData(caller_id_id=one.caller, group_id=self._group, pick_id=one.id)
        at = datetime.fromtimestamp(self._clock() / 1000).astimezone()
        event = CallPlaced(specversion="1.0", id=one.id, source="/dialers/picks", time=at, data=data)
        if one.ends - time.monotonic() < PICK_TTL_SECONDS / 2:
            return  # a dialer that was held up does not dial with an old pick
        persistent = aio_pika.DeliveryMode.PERSISTENT
        message = aio_pika.Message(encode_event(event), content_type=EVENT_CONTENT_TYPE, delivery_mode=persistent)
        while time.monotonic() < one.ends - 0.5:
            try:
                await self._line.publish(message, routing_key(event, self._customer), 1.0)
            except BROKEN:
                await asyncio.sleep(0.05)
            else:
                one.placed_day = self._day(at.timestamp())
                return
