"""The command `rotary-stack demo`: composes stack, customers, dialers and screen, in this order."""

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random, SystemRandom
from signal import SIGINT

import click

from rotary_demo.activity import Kind, News
from rotary_demo.connections import Site, give_past, open_sites
from rotary_demo.dialer import Dialer
from rotary_demo.display import show
from rotary_demo.intro import intro
from rotary_demo.poller import Watch
from rotary_demo.seed import create_customers
from rotary_demo.terminal import Terminal
from rotary_stack.control.server import controlled
from rotary_stack.signals import Interrupts, run
from rotary_stack.stack import Options, Stack

GROUP_ID = 3


@click.command()
@click.option("--seconds", type=click.FloatRange(0, min_open=True), metavar="N", help="End by itself after N seconds.")
def demo(seconds: float | None) -> None:
    """Show Rotary at work: real servers, two customers, simulated dialers, and a monitor that changes as they call.

    Ctrl-C ends it, with status 0, and nothing is left behind. Without a terminal it prints plain snapshots.
    """
    terminal = Terminal()

    async def main(_: Interrupts) -> int:
        async with AsyncExitStack() as opened:
            await _demo(opened, terminal, seconds)
        return 0

    for name in ("rotary.publisher", "aio_pika", "aiormq"):
        # What they would write over the picture, the dialers tell as news.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with terminal.keys_ignored():
        status = run(main)
    terminal.say("goodbye: all of it has ended and its data is gone")
    sys.exit(0 if status == 128 + SIGINT else status)


async def _demo(opened: AsyncExitStack, terminal: Terminal, seconds: float | None) -> None:
    with terminal.working("starting PostgreSQL, Redis, RabbitMQ, then the consumer and the query service"):
        stack = await opened.enter_async_context(Stack.open(Options(services=True), say=terminal.say))
        await opened.enter_async_context(controlled(stack))
    opened.enter_context(terminal.ending())
    chance = SystemRandom()
    with terminal.working("giving them a past"):
        sites = await _furnish(opened, terminal, stack, chance)
    news = News()
    first = await sites[0].api.monitor(GROUP_ID)
    watch = Watch(sites[0].api, first, sites[0].zone, news, lambda: sum(site.publisher.confirmed for site in sites))
    async with _beside(*(_dialer(site, news, chance).run() for site in sites)):
        await _for(seconds, show(terminal, watch, intro(stack, sites[0].customer, GROUP_ID, brief=terminal.cramped)))


async def _furnish(opened: AsyncExitStack, terminal: Terminal, stack: Stack, chance: Random) -> list[Site]:
    variables = stack.variables()
    customers = await create_customers(variables["ROTARY_POSTGRES_URL"])
    terminal.say(f"customers imported: {', '.join(f'{customer.name} ({customer.timezone})' for customer in customers)}")
    sites = await open_sites(opened, customers, variables["ROTARY_API_URL"], variables["ROTARY_RABBITMQ_URL"])
    began = time.monotonic()
    events = sum(await asyncio.gather(*(give_past(site, chance) for site in sites)))
    seconds = time.monotonic() - began
    terminal.say(
        f"today so far: {events:,} events published, confirmed, folded and shown by the API in {seconds:.1f} s"
    )
    return sites


def _dialer(site: Site, news: News, chance: Random) -> Dialer:
    def tell(group_id: int | None, kind: Kind, text: str) -> None:
        # The table shows one group: news of the others would be of numbers that stand nowhere.
        if group_id in (None, GROUP_ID):
            news.tell(kind, text)

    return Dialer(site.api, site.publisher, site.zone, tell, chance)


@asynccontextmanager
async def _beside(*work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Does the work while the block runs; work that fails ends the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        yield
        for task in tasks:
            task.cancel()


async def _for(seconds: float | None, work: Coroutine[None, None, None]) -> None:
    """Does the work, so long at most."""
    try:
        async with asyncio.timeout(seconds) as limit:
            await work
    except TimeoutError:
        if not limit.expired():
            raise
