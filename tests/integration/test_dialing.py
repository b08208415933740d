"""The engine's clients against running services: what a dialer sees of restarts, and of calls it has published."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Mapping

import pytest

from engine_clients import KINDS, Clients
from integration.dialing import dialing
from rotary.engine import EngineLimits, EngineUnavailableError, NothingEligible


@pytest.fixture(params=KINDS)
async def clients(request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    made = Clients(request.param)
    yield made
    await made.close()


async def test_a_published_call_takes_the_place_of_its_reservation(
    clients: Clients, services: Mapping[str, str]
) -> None:
    async with dialing(services, [2]) as dialer, dialer.publisher() as publisher:
        client = await clients.open(dialer.engine_url, dialer.token)
        pick = await client.pick(dialer.group, lead_id="L-991")
        await publisher.call_placed(pick.caller_id_id, pick.group_id, "L-991", pick_id=pick.id)
        await dialer.calls_are(1)
        second = await client.pick(dialer.group)
        with pytest.raises(NothingEligible):
            await client.pick(dialer.group)
        await client.release(dialer.group, pick.id)
        with pytest.raises(NothingEligible):
            await client.pick(dialer.group)
        await client.release(dialer.group, second.id)
        assert (await client.pick(dialer.group)).caller_id_id == pick.caller_id_id


async def test_a_pick_waits_for_an_engine_that_restarts(clients: Clients, services: Mapping[str, str]) -> None:
    async with dialing(services) as dialer:
        client = await clients.open(dialer.engine_url, dialer.token)
        await client.hold(dialer.group)
        await rotary_stack(services, "kill", "engine")
        hasty = await clients.open(dialer.engine_url, dialer.token, EngineLimits(deadline_seconds=0.2))
        with pytest.raises(EngineUnavailableError, match=r"did not answer within 0\.2 s"):
            await hasty.pick(dialer.group)
        picking = asyncio.create_task(client.pick(dialer.group))
        await rotary_stack(services, "start", "engine")
        assert (await picking).caller_id_id == dialer.callers[0]


async def rotary_stack(stack: Mapping[str, str], *arguments: str) -> None:
    """Controls the stack around the services."""
    await asyncio.to_thread(subprocess.run, ["rotary-stack", *arguments], env=os.environ | dict(stack), check=True)
