"""`rotary-dialer simulate`: publishes calls at a given rate, for load tests and demonstrations."""

import asyncio
from array import array
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle

import click
import msgspec
from msgspec import Struct

from rotary.events import Event
from rotary.publisher import BacklogFullError, Limits, Publisher, PublishError
from rotary_dialer.command_line import broker_options, deadline_option


class Outcome(Struct, frozen=True, kw_only=True):
    """The result that `simulate` prints. A latency is the time from when an event was due to its confirm."""

    rate_asked: float
    rate_confirmed: float
    confirmed: int
    undelivered: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    latency_max_ms: float | None


class Ids(click.ParamType[list[int]]):
    """A list of ids such as `1-100,205`."""

    name = "ids"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        try:
            ids = [number for part in str(value).split(",") for number in _id_range(part)]
        except ValueError:
            self.fail("invalid ids; expected numbers and ranges, for example 1-100,205", param, ctx)
        return ids


def _id_range(part: str) -> range:
    first, _, last = part.partition("-")
    ids = range(int(first), int(last or first) + 1)
    if not ids or ids[0] < 1:
        raise ValueError(part)
    return ids


@click.command()
@broker_options
@deadline_option
@click.option("--rate", required=True, type=click.FloatRange(min=0, min_open=True), help="Calls per second.")
@click.option(
    "--seconds", default=10.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Duration."
)
@click.option("--caller-ids", required=True, type=Ids(), metavar="IDS", help="Used in turn, for example 1-100,205.")
@click.option("--groups", type=Ids(), metavar="IDS", help="Used in turn as group_id.")
@click.option("--flag-every", type=click.IntRange(min=1), metavar="N", help="Publish a spam label after every N calls.")
@click.option(
    "--batch", default=500, show_default=True, type=click.IntRange(1, 1000), help="Maximum events per message."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def simulate(  # noqa: PLR0913 - one parameter per option
    *,
    url: str,
    customer_id: int,
    source: str,
    deadline: float,
    rate: float,
    seconds: float,
    caller_ids: list[int],
    groups: list[int] | None,
    flag_every: int | None,
    batch: int,
    as_json: bool,
) -> None:
    """Simulate a dialer that places calls at a steady rate.

    The rate does not adapt to the broker. Prints the confirmed rate and the latency of the confirms, measured from the
    moment each call was due. The exit status is 1 when an event was not delivered.
    """
    publisher = Publisher(
        url,
        customer_id=customer_id,
        source=source,
        limits=Limits(deadline_seconds=deadline, batch_events=batch),
    )
    calls = _calls(publisher, caller_ids, groups, flag_every)
    outcome = asyncio.run(_run(publisher, calls, rate, seconds))
    click.echo(msgspec.json.encode(outcome) if as_json else _format(outcome))
    raise SystemExit(min(outcome.undelivered, 1))


def _calls(
    publisher: Publisher, caller_ids: list[int], groups: list[int] | None, flag_every: int | None
) -> Iterator[Event]:
    """An endless sequence of calls over the caller IDs and groups, with a flag after every `flag_every` calls."""
    for number, (caller, group) in enumerate(zip(cycle(caller_ids), cycle(groups or [None])), 1):
        yield publisher.events.call_placed(caller, group, f"L-{number}")
        if flag_every and number % flag_every == 0:
            yield publisher.events.carrier_flag(caller, "spam_label")


class Latencies:
    """Records the seconds from when each event was due to its confirm."""

    def __init__(self) -> None:
        self._seconds = array("d")

    def measure(self, due: float, future: asyncio.Future[None]) -> None:
        """Records the latency when the future is confirmed. `due` is in the event loop's time."""
        loop = asyncio.get_running_loop()

        def record(done: asyncio.Future[None]) -> None:
            if done.exception() is None:
                self._seconds.append(loop.time() - due)

        future.add_done_callback(record)

    def percentiles_ms(self, *shares: float) -> list[float | None]:
        """The latencies in milliseconds at these shares, for example 0.99 for the 99th percentile."""
        ordered = sorted(self._seconds)
        last = len(ordered) - 1
        return [round(ordered[min(last, int(share * len(ordered)))] * 1e3, 3) if ordered else None for share in shares]


async def _run(publisher: Publisher, calls: Iterator[Event], rate: float, seconds: float) -> Outcome:
    latencies = Latencies()
    async with publisher:
        loop = asyncio.get_running_loop()
        started = loop.time()
        await _submit_all(publisher, calls, latencies, rate, round(rate * seconds))
        with suppress(PublishError):
            await publisher.flush()
        took = loop.time() - started
    p50, p99, highest = latencies.percentiles_ms(0.5, 0.99, 1)
    return Outcome(
        rate_asked=rate,
        rate_confirmed=round(publisher.confirmed / took, 1),
        confirmed=publisher.confirmed,
        undelivered=publisher.undelivered,
        latency_p50_ms=p50,
        latency_p99_ms=p99,
        latency_max_ms=highest,
    )


async def _submit_all(
    publisher: Publisher, calls: Iterator[Event], latencies: Latencies, rate: float, count: int
) -> None:
    """Submits `count` events, each when it is due, or as soon afterwards as the publisher has capacity."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number in range(count):
        due = started + number / rate
        # Wait if it is early. Otherwise let other tasks run now and then.
        if (early := due - loop.time()) > 0 or number % 100 == 0:
            await asyncio.sleep(max(early, 0))
        event = next(calls)
        latencies.measure(due, await _submit(publisher, event))


async def _submit(publisher: Publisher, event: Event) -> asyncio.Future[None]:
    while True:
        try:
            return publisher.submit(event)
        except BacklogFullError:
            await publisher.wait_for_capacity()


def _format(outcome: Outcome) -> str:
    p50, p99, highest = outcome.latency_p50_ms, outcome.latency_p99_ms, outcome.latency_max_ms
    return (
        f"asked        {outcome.rate_asked:,.0f} events/s\n"
        f"confirmed    {outcome.rate_confirmed:,.0f} events/s, {outcome.confirmed:,} in all\n"
        f"undelivered  {outcome.undelivered:,}\n"
        f"latency      p50 {p50} ms, p99 {p99} ms, max {highest} ms"
    )
