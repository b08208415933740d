"""Faults of the broker."""

import asyncio

from faults.trial import Fault, Strike

ALARM_SECONDS = 12
"""Longer than any publish of ours waits for its confirm."""


async def restarted(strike: Strike) -> None:
    await strike.world.stack.restart("rabbitmq")


async def killed(strike: Strike) -> None:
    await strike.world.stack.kill("rabbitmq")
    await strike.world.stack.start("rabbitmq")


async def connections_closed(strike: Strike) -> None:
    for _ in range(2):
        await strike.world.rabbitmqctl("close_all_connections", "maintenance")
        await strike.load.more(200)


async def memory_alarm(strike: Strike) -> None:
    """Nobody can publish; what was published is folded, and the monitor goes on."""
    await strike.world.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1MB")
    await asyncio.sleep(ALARM_SECONDS)
    await strike.world.rabbitmqctl("set_vm_memory_high_watermark", "0.4")


async def killed_and_restarted_often(strike: Strike) -> None:
    """A confirm means that a log has the event: then Redis is emptied, and the logs alone must give all of them."""
    world = strike.world
    for way in (killed, restarted, killed, killed):
        await way(strike)
        await strike.load.more(400)
    await world.redis.flushall()


FAULTS = (
    Fault("broker restarted", restarted),
    Fault("broker killed", killed),
    Fault("broker killed and restarted often, then FLUSHALL", killed_and_restarted_often, readable=False),
    Fault("every connection closed by the broker", connections_closed),
    Fault("broker memory alarm on and off", memory_alarm),
)
