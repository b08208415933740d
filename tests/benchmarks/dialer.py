"""The process of which publishing is measured: a dialer with plain asyncio. Prints its results as one line of JSON."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter

import msgspec
from msgspec import Struct

from benchmarks.baselines import confirmed_publishes as bare
from benchmarks.former import WORK_QUEUE
from benchmarks.rounds import in_turn
from rotary.publisher import BacklogFullError, Publisher

CUSTOMER = 7
LATENCY_RATE = 100.0
TURN = 200
"""Events a dialer submits before it lets others have a turn."""


class Measured(Struct, frozen=True):
    """Rounds of each: events a second, and latencies in milliseconds. `former` is with a work queue and a log for each
    event, as version 0.1 had them."""

    sdk_rates: list[float]
    bare_rates: list[float]
    former_sdk_rates: list[float]
    former_bare_rates: list[float]
    sdk_ms: list[list[float]]
    bare_ms: list[list[float]]


async def sdk_rate(url: str, seconds: float) -> float:
    """Events a second that the SDK got confirmed, made and submitted one by one."""
    async with Publisher(url, customer_id=CUSTOMER, source="/dialers/hcm-1") as publisher:
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


async def measure(url: str, former: str, rounds: int, seconds: float) -> Measured:
    """Everything, in turn."""
    async with bare.confirmed_channel(former) as channel:

        async def rate(measured: Callable[[str, float], Awaitable[float]], url: str) -> float:
            found = await measured(url, seconds)
            await channel.queue_purge(WORK_QUEUE)
            return found

        def bare_rate(url: str, seconds: float) -> Awaitable[float]:
            return bare.rate(url, CUSTOMER, seconds)

        rated = {
            "sdk": partial(rate, sdk_rate, url),
            "bare": partial(rate, bare_rate, url),
            "former sdk": partial(rate, sdk_rate, former),
            "former bare": partial(rate, bare_rate, former),
        }
        for warming in rated.values():
            await warming()
        rates = await in_turn(rounds, rated)
        found = await in_turn(
            rounds, {"sdk": lambda: sdk_latencies(url, seconds), "bare": lambda: bare_latencies(url, seconds)}
        )
    return Measured(rates["sdk"], rates["bare"], rates["former sdk"], rates["former bare"], found["sdk"], found["bare"])


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
