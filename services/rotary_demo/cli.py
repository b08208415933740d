"""The command `rotary-stack demo`: starts the stack, creates the customers, and runs dialers and dashboard."""

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random, SystemRandom
from signal import SIGINT

import aiohttp
import click

from rotary_demo.activity import ActivityLog, Kind
from rotary_demo.backfill import backfill
from rotary_demo.campaign import run_campaign
from rotary_demo.clients import API_TIMEOUT, CustomerClient, open_clients
from rotary_demo.dialer import Dialer
from rotary_demo.display import show
from rotary_demo.intro import intro
from rotary_demo.picks import PickCounts
from rotary_demo.poller import MonitorPoller
from rotary_demo.seed import create_customers
from rotary_demo.terminal import Terminal
from rotary_stack.control.server import serve_control
from rotary_stack.signals import SignalHandler, run
from rotary_stack.stack import Options, Stack

GROUP_ID = 3
SMALL_GROUP_ID = 5
"""Runs out of numbers every few seconds."""


@click.command(short_help="Run simulated dialers and show a live monitor.")
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), metavar="N", help="Quit after N seconds instead of on Ctrl-C."
)
def demo(seconds: float | None) -> None:
    """Run simulated dialers on a private stack and show a live monitor of one group.

    Starts the servers and services, creates two customers, and publishes calls and carrier flags. Ctrl-C quits with
    status 0 and deletes all data. Without a terminal it prints a snapshot every two seconds.
    """
    terminal = Terminal()

    async def main(_: SignalHandler) -> int:
        async with AsyncExitStack() as exits:
            await _run_demo(exits, terminal, seconds)
        return 0

    for name in ("rotary.publisher", "aio_pika", "aiormq"):
        # Their log lines would overwrite the dashboard; the activity shows the same errors.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with terminal.keys_ignored():
        status = run(main)
    terminal.report("all servers have stopped and their data is deleted")
    sys.exit(0 if status == 128 + SIGINT else status)


async def _run_demo(exits: AsyncExitStack, terminal: Terminal, seconds: float | None) -> None:
    with terminal.working("starting PostgreSQL, Redis and RabbitMQ, then Rotary's services"):
        stack = await exits.enter_async_context(Stack.open(Options(services=True), report=terminal.report))
        await exits.enter_async_context(serve_control(stack))
    exits.enter_context(terminal.stopping_reported())
    rng = SystemRandom()
    with terminal.working("publishing the calls of today so far"):
        clients = await _prepare_customers(exits, terminal, stack, rng)
    own = clients[0]
    await _campaign(exits, terminal, stack, own)
    activity = ActivityLog()
    first = await own.api.monitor(GROUP_ID)
    picks = PickCounts(SMALL_GROUP_ID)
    poller = MonitorPoller(
        own.api, first, own.zone, activity, lambda: sum(client.publisher.confirmed for client in clients), picks
    )
    async with _in_background(*(_dialer(client, picks, activity, rng).run() for client in clients)):
        lines = intro(stack, own.customer, GROUP_ID, brief=terminal.short)
        await _run_for(seconds, show(terminal, poller, lines))


async def _prepare_customers(
    exits: AsyncExitStack, terminal: Terminal, stack: Stack, rng: Random
) -> list[CustomerClient]:
    variables = stack.variables()
    customers = await create_customers(variables["ROTARY_POSTGRES_URL"], int(time.time() * 1000), rng)
    names = ", ".join(f"{customer.name} ({customer.timezone})" for customer in customers)
    terminal.report(f"created customers {names}")
    clients = await open_clients(exits, customers, variables)
    began = time.monotonic()
    events = sum(await asyncio.gather(*(backfill(client, rng) for client in clients)))
    seconds = time.monotonic() - began
    terminal.report(
        f"published {events:,} events of today and yesterday; the API counted all of them after {seconds:.1f} s"
    )
    return clients


async def _campaign(exits: AsyncExitStack, terminal: Terminal, stack: Stack, own: CustomerClient) -> None:
    session = await exits.enter_async_context(aiohttp.ClientSession(timeout=API_TIMEOUT))
    url = stack.variables()["ROTARY_CAMPAIGNS_URL"]
    await run_campaign(session, url, own.customer, GROUP_ID, terminal.report)


def _dialer(client: CustomerClient, picks: PickCounts, activity: ActivityLog, rng: Random) -> Dialer:
    def report(group_id: int | None, kind: Kind, text: str) -> None:
        # The dashboard shows one group, so activity of the others would name numbers that are not on it.
        if group_id in (None, GROUP_ID):
            activity.add(kind, text)

    return Dialer(client, picks, report, rng)


@asynccontextmanager
async def _in_background(*work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Runs the work beside the block. A failure of the work ends the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        yield
        for task in tasks:
            task.cancel()


async def _run_for(seconds: float | None, work: Coroutine[None, None, None]) -> None:
    """Cancels the work after `seconds`, if given."""
    try:
        async with asyncio.timeout(seconds) as limit:
            await work
    except TimeoutError:
        if not limit.expired():
            raise
