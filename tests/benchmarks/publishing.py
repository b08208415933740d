"""What publishing costs a dialer: the SDK against single confirmed publishes, in one process on one core."""

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import chain
from statistics import median

import aio_pika
import msgspec

from benchmarks.dialer import LATENCY_RATE, Measured
from benchmarks.former import declare_former
from benchmarks.processes import module, process
from benchmarks.rounds import percentile, ratio
from benchmarks.run import Run
from benchmarks.table import Row, at_least, at_most
from integration.private_vhost import private_vhost
from rotary.rabbitmq import topology


async def measure(run: Run) -> None:
    """Every row about publishing."""
    await run.each({"publishing": partial(_publishing, run)})


async def _publishing(run: Run) -> Sequence[Row]:
    measured = await _measured(run)
    return [
        _throughput(measured),
        _against_former_sdk("one event a message", measured, "sdk, single", "version 0.1, single"),
        _against_former_sdk("batched", measured, "sdk", "version 0.1"),
        _against_two_queues("the present SDK, batched", measured, "sdk"),
        _against_two_queues("bare publishes", measured, "bare"),
        _latency(measured),
    ]


async def _measured(run: Run) -> Measured:
    scale = run.scale
    with private_vhost(run.servers.rabbitmq) as url, private_vhost(run.servers.rabbitmq) as former:
        async with await aio_pika.connect(url) as connection:
            await topology.declare(await connection.channel())
        await declare_former(former)
        argv = module("benchmarks.dialer", "--url", url, "--former", former, "--rounds", str(scale.rounds))
        seconds = ("--seconds", str(scale.publish_seconds))
        pipe = asyncio.subprocess.PIPE
        async with process(run.cores.measured, *argv, *seconds, stdout=pipe) as dialer:
            output, _ = await dialer.communicate()
            assert dialer.returncode == 0
    return msgspec.json.decode(output, type=Measured)


def _against_former_sdk(case: str, measured: Measured, name: str, former: str) -> Row:
    now, before = measured.rates[name], measured.rates[former]
    return Row(
        case=f"SDK, confirmed, {case}: against version 0.1's SDK with its work queue and log for each event",
        figure=ratio(now, before),
        unit="× version 0.1",
        goal=at_least(1.2),
        detail=f"{median(now):,.0f} events/s against {median(before):,.0f}",
        samples={"now, events/s": now, "version 0.1, events/s": before},
    )


def _against_two_queues(case: str, measured: Measured, name: str) -> Row:
    """What the topology alone changes. In batches a dialer's own core is the limit, not the broker."""
    now, before = measured.rates[name], measured.rates[f"{name} on two queues"]
    return Row(
        case=f"{case}: one log for each event, against a work queue and a log",
        figure=ratio(now, before),
        unit="× two queues",
        detail=f"{median(now):,.0f} events/s against {median(before):,.0f}",
        samples={"one log, events/s": now, "queue and log, events/s": before},
    )


def _throughput(measured: Measured) -> Row:
    sdk, single = measured.rates["sdk"], measured.rates["bare"]
    return Row(
        case="SDK, confirmed, batching on, one process",
        figure=ratio(sdk, single),
        unit="× single",
        # 100,000 events/s or six times, whichever is less.
        goal=at_least(min(6, 1e5 / median(single))),
        detail=f"{median(sdk):,.0f} events/s against {median(single):,.0f} single confirmed publishes",
        samples={"sdk, events/s": sdk, "single, events/s": single},
    )


def _latency(measured: Measured) -> Row:
    sdk, single = (list(chain.from_iterable(rounds)) for rounds in (measured.sdk_ms, measured.bare_ms))
    return Row(
        case=f"SDK at {LATENCY_RATE:.0f} events/s: p99 added to a bare publish",
        figure=percentile(sdk, 0.99) - percentile(single, 0.99),
        unit="ms",
        goal=at_most(10),
        detail=f"p99 {percentile(sdk, 0.99):.2f} ms against {percentile(single, 0.99):.2f} ms;"
        f" p50 {median(sdk):.2f} against {median(single):.2f}",
        samples={
            "sdk p99, ms": [percentile(some, 0.99) for some in measured.sdk_ms],
            "bare p99, ms": [percentile(some, 0.99) for some in measured.bare_ms],
        },
    )
