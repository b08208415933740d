"""The nemesis: faults drawn at random, two at a time, for as long as one likes; the same seed draws the same."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from random import Random
from signal import SIGCONT, SIGSTOP
from typing import NamedTuple

from faults.on_logs import admin
from faults.on_redis import copied, put_back
from faults.trial import Strike
from faults.world import World
from rotary.errors import UnavailableError
from rotary.redis.connection import translate_errors

AT_ONCE = 2
LONGEST_SECONDS = 4.0
PAUSE_SECONDS = 3.0
QUERY_PAUSED_SECONDS = 2.5
"""No answer may take longer than five seconds: half of them are for the pause itself."""

Blow = Callable[[World, float], Awaitable[None]]
"""Breaks something for so many seconds, and mends it."""


class Weapon(NamedTuple):
    """`target` is what it breaks: two of one target never strike at once."""

    name: str
    target: str
    strike: Blow


class Stroke(NamedTuple):
    """One fault of a round: after how long it begins, and how long it lasts."""

    weapon: Weapon
    begins: float
    lasts: float

    def __str__(self) -> str:
        return f"{self.weapon.name} after {self.begins:.1f} s for {self.lasts:.1f} s"


class Round(NamedTuple):
    """Faults at once, and the pause after them."""

    strokes: tuple[Stroke, ...]
    pause: float


def rounds(seed: int) -> Iterator[Round]:
    """Without end; what happens meanwhile changes nothing in them."""
    random = Random(seed)
    while True:
        strokes: list[Stroke] = []
        while len(strokes) < AT_ONCE:
            weapon = random.choice(WEAPONS)
            begins, lasts = random.uniform(0, 2), random.uniform(0.2, LONGEST_SECONDS)
            if weapon.target not in [known.weapon.target for known in strokes]:
                strokes.append(Stroke(weapon, begins, lasts))
        yield Round(tuple(strokes), random.uniform(0, PAUSE_SECONDS))


async def let_loose(strike: Strike, seed: int, seconds: float) -> int:
    """Goes on for so long, to the end of a round; returns how many rounds there were."""
    ended = time.monotonic() + seconds
    for number, one in enumerate(rounds(seed), 1):
        print(f"{datetime.now(UTC):%H:%M:%S.%f} round {number}: {'; '.join(map(str, one.strokes))}", flush=True)
        await asyncio.gather(*(_deliver(strike.world, stroke) for stroke in one.strokes))
        await asyncio.sleep(one.pause)
        await strike.load.more(20)
        if time.monotonic() > ended:
            return number
    raise AssertionError("there is always another round")


async def _deliver(world: World, stroke: Stroke) -> None:
    await asyncio.sleep(stroke.begins)
    await stroke.weapon.strike(world, stroke.lasts)


def _killed(name: str) -> Blow:
    async def strike(world: World, seconds: float) -> None:
        await world.stack.kill(name)
        await asyncio.sleep(seconds)
        await _start(world, name)

    return strike


def _restarted(name: str) -> Blow:
    async def strike(world: World, seconds: float) -> None:
        await world.stack.stop(name)
        await asyncio.sleep(seconds)
        await _start(world, name)

    return strike


def _paused(name: str, most: float = LONGEST_SECONDS) -> Blow:
    async def strike(world: World, seconds: float) -> None:
        if (pid := world.stack.status().programs[name].pid) is not None:
            os.kill(pid, SIGSTOP)
            try:
                await asyncio.sleep(min(seconds, most))
            finally:
                os.kill(pid, SIGCONT)

    return strike


async def _start(world: World, name: str) -> None:
    """A service is ready only when all that it needs is there: the other fault may last longer than this one."""
    await world.stack.start(name)


async def _flushed(world: World, _seconds: float) -> None:
    try:
        with translate_errors():
            await world.redis.flushall()
    except UnavailableError:
        return


async def _back_from_a_snapshot(world: World, seconds: float) -> None:
    kept = copied(world.stack)
    await asyncio.sleep(seconds)
    await world.stack.kill("redis")
    put_back(world.stack, kept)
    await world.stack.start("redis")


async def _refusing_writes(world: World, seconds: float) -> None:
    await world.redis.config_set("maxmemory", "1mb")
    await asyncio.sleep(seconds)
    await world.redis.config_set("maxmemory", "0")


async def _disconnected_from_redis(world: World, _seconds: float) -> None:
    for kind in ("normal", "pubsub"):
        await world.redis.client_kill_filter(_type=kind, user="rotary", skipme=True)


async def _disconnected_from_the_broker(world: World, _seconds: float) -> None:
    await world.rabbitmqctl("close_all_connections", "nemesis")


async def _alarmed(world: World, seconds: float) -> None:
    await world.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1MB")
    await asyncio.sleep(seconds)
    await world.rabbitmqctl("set_vm_memory_high_watermark", "0.4")


async def _asked_to_rebuild(world: World, _seconds: float) -> None:
    """Nobody waits for it: whatever else strikes may end it, or put it off."""
    asking = asyncio.create_task(admin(world, "rebuild", "--yes"))
    await asyncio.wait([asking], timeout=2)
    asking.cancel()
    await asyncio.wait([asking])


WEAPONS = (
    Weapon("Redis killed", "redis", _killed("redis")),
    Weapon("Redis paused", "redis", _paused("redis")),
    Weapon("Redis emptied", "redis", _flushed),
    Weapon("Redis back from a snapshot", "redis", _back_from_a_snapshot),
    Weapon("Redis refuses writes", "redis", _refusing_writes),
    Weapon("connections to Redis lost", "redis", _disconnected_from_redis),
    Weapon("the broker killed", "rabbitmq", _killed("rabbitmq")),
    Weapon("the broker restarted", "rabbitmq", _restarted("rabbitmq")),
    Weapon("connections to the broker lost", "rabbitmq", _disconnected_from_the_broker),
    Weapon("the broker's memory alarm", "rabbitmq", _alarmed),
    Weapon("Postgres killed", "postgres", _killed("postgres")),
    Weapon("Postgres paused", "postgres", _paused("postgres")),
    Weapon("consumer-1 killed", "consumer-1", _killed("consumer-1")),
    Weapon("consumer-1 paused", "consumer-1", _paused("consumer-1")),
    Weapon("consumer-2 killed", "consumer-2", _killed("consumer-2")),
    Weapon("consumer-2 paused", "consumer-2", _paused("consumer-2")),
    Weapon("the query service paused", "query", _paused("query", QUERY_PAUSED_SECONDS)),
    Weapon("a rebuild", "rebuild", _asked_to_rebuild),
)
