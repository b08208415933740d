"""The process of which publishing is measured: a dialer with plain asyncio. Prints its results as one line of JSON."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from time import perf_counter

import msgspec
from msgspec import Struct

from benchmarks.baselines import confirmed_publishes as bare
from benchmarks.baselines.former_sdk import FormerPublisher, former_publisher
from benchmarks.former import WORK_QUEUE
from benchmarks.rounds import in_turn
from rotary.publisher import BacklogFullError, Limits, Publisher

CUSTOMER = 7
LATENCY_RATE = 100.0
TURN = 200
"""Events a dialer submits before it lets others have a turn."""
BATCHED = Limits()
SINGLE = Limits(batch_events=1, outstanding_events=bare.OUTSTANDING)


class Measured(Struct, frozen=True):
    """Rounds of each: events a second by contender, and latencies in milliseconds.

    `sdk` and `bare` are on the present topology; "on two queues" is with a work queue and a log for each event, as
    version 0.1 had them; `version 0.1` is its SDK on them.
    """

    rates: dict[str, list[float]]
    sdk_ms: list[list[float]]
    bare_ms: list[list[float]]


def sdk(url: str, limits: Limits) -> AbstractAsyncContextManager[Publisher]:
    """The SDK."""
    return Publisher(url, customer_id=CUSTOMER, source="/dialers/hcm-1", limits=limits)


def former_sdk(url: str, limits: Limits) -> AbstractAsyncContextManager[FormerPublisher]:
    """Version 0.1's."""
    return former_publisher(url, CUSTOMER, limits)


async def rate(entering: AbstractAsyncContextManager[Publisher | FormerPublisher], seconds: float) -> float:
    """Events a second that an SDK got confirmed, made and submitted one by one."""
    async with entering as publisher:
        began = perf_counter()
        while perf_counter() - began < seconds:
            try:
                for _ in range(TURN):
                    publisher.submit(publisher.events.call_placed(18, group_id=3, lead_id="L-991"))
            except BacklogFullError:
                await publisher.wait_for_capacity()
            await asyncio.sleep(0)
        await publisher.flush()
        return publisher.confirmed / (perf_counter() - began)


async def sdk_latencies(url: str, seconds: float) -> list[float]:
    """Milliseconds from `call_placed` to its return."""
    async with Publisher(url, customer_id=CUSTOMER, source="/dialers/hcm-1") as publisher:
        return await latencies(lambda: publisher.call_placed(18, 3, "L-991"), seconds)


async def bare_latencies(url: str, seconds: float) -> list[float]:
    """Likewise of a bare publish."""
    body = bare.ready_made()
    async with bare.confirmed_channel(url) as channel:
        return await latencies(lambda: bare.publish(channel, CUSTOMER, body), seconds)


async def latencies(publish: Callable[[], Awaitable[object]], seconds: float) -> list[float]:
    """Each publish begins when it is due, whether or not those before it are confirmed."""
    taken: list[float] = []

    async def one() -> None:
        began = perf_counter()
        await publish()
        taken.append((perf_counter() - began) * 1e3)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(round(seconds * LATENCY_RATE)):
            tasks.create_task(one())
            await asyncio.sleep(1 / LATENCY_RATE)
    return taken


def contenders(url: str, former: str, seconds: float) -> dict[str, Callable[[], Awaitable[float]]]:
    """What is measured in turn, by name."""
    return {
        "sdk": lambda: rate(sdk(url, BATCHED), seconds),
        "sdk, single": lambda: rate(sdk(url, SINGLE), seconds),
        "bare": lambda: bare.rate(url, CUSTOMER, seconds),
        "sdk on two queues": lambda: rate(sdk(former, BATCHED), seconds),
        "bare on two queues": lambda: bare.rate(former, CUSTOMER, seconds),
        "version 0.1": lambda: rate(former_sdk(former, BATCHED), seconds),
        "version 0.1, single": lambda: rate(former_sdk(former, SINGLE), seconds),
    }


async def measure(url: str, former: str, rounds: int, seconds: float) -> Measured:
    """Everything, in turn."""
    async with bare.confirmed_channel(former) as channel:

        async def purged(measured: Callable[[], Awaitable[float]]) -> float:
            found = await measured()
            await channel.queue_purge(WORK_QUEUE)
            return found

        rated = {name: partial(purged, one) for name, one in contenders(url, former, seconds).items()}
        for warming in rated.values():
            await warming()
        rates = await in_turn(rounds, rated)
        found = await in_turn(
            rounds, {"sdk": lambda: sdk_latencies(url, seconds), "bare": lambda: bare_latencies(url, seconds)}
        )
    return Measured(rates, found["sdk"], found["bare"])


def main() -> None:
    """Measures once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--former", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    print(msgspec.json.encode(asyncio.run(measure(given.url, given.former, given.rounds, given.seconds))).decode())


if __name__ == "__main__":
    main()
