"""Faults of Postgres."""

import asyncio
from random import Random

import asyncpg

from faults.trial import Fault, Strike
from faults.world import World, until

_BROKEN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


async def restarted_while_definitions_change(strike: Strike) -> None:
    """Reads and folding go on; every change that was committed shows afterwards, and none that was not."""
    world = strike.world
    changing = asyncio.create_task(_change(world))
    try:
        await strike.load.more(300)
        await world.stack.restart("postgres")
        await strike.load.more(300)
        await world.stack.kill("postgres")
        await strike.load.more(300)
        await world.stack.start("postgres")
        await strike.load.more(300)
    finally:
        changing.cancel()
        await asyncio.wait([changing])
    await until(lambda: _is_shown(world), "the API shows what Postgres holds", 10)


async def _change(world: World) -> None:
    """Gives caller IDs new caps, one commit after the other, for as long as it is left alone."""
    random = Random("definitions")
    while True:
        try:
            connection = await asyncpg.connect(world.variables["ROTARY_POSTGRES_URL"], timeout=2)
            try:
                while True:
                    customer = random.choice(world.customers)
                    caller, cap = random.choice(customer.callers[2:]), random.randint(1_000_000, 2_000_000)
                    await connection.execute(
                        "UPDATE caller_ids SET daily_cap = $2 WHERE id = $1", caller, cap, timeout=2
                    )
                    await asyncio.sleep(0.01)
            finally:
                connection.terminate()
        except _BROKEN:
            await asyncio.sleep(0.05)


async def _is_shown(world: World) -> bool:
    connection = await asyncpg.connect(world.variables["ROTARY_POSTGRES_URL"])
    try:
        rows = await connection.fetch("SELECT id, daily_cap FROM caller_ids")
    finally:
        await connection.close()
    caps = {row["id"]: row["daily_cap"] for row in rows}
    for customer in world.customers:
        for group in customer.groups:
            shown = (await world.api.monitor(customer, group)).monitor
            if shown is None or any(member.daily_cap != caps[member.caller_id_id] for member in shown.members):
                return False
    return True


FAULTS = (Fault("Postgres restarted while definitions change", restarted_while_definitions_change),)
