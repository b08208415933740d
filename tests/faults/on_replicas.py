"""Faults of replicated Redis: what was acknowledged is gone, and comes back, in processes that never ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis

from faults.processes import free_port, other_consumers, other_query
from faults.proxy import proxied
from faults.trial import Fault, Strike
from faults.world import World, until
from rotary.errors import UnavailableError
from rotary.redis.connection import connect, translate_errors
from rotary_stack.spawn import with_parent_death_signal


class Copy(NamedTuple):
    """A Redis of the test's own, with what the stack's held at one moment. `url` is for programs."""

    url: str
    port: int
    client: Redis


async def failed_over_and_back(strike: Strike) -> None:
    """To a replica that lags, and back before it has caught up: consumers and readers follow one address."""
    world, enter = strike.world, strike.afterwards.enter_async_context
    first = world.stack.service_variables()["ROTARY_REDIS_URL"]
    proxy = await enter(proxied(first))
    through = {"ROTARY_REDIS_URL": proxy.url}
    await enter(other_consumers(world, through, through))
    await enter(other_query(world, through))
    async with copied_now(world) as copy:
        await strike.load.more(700)
        proxy.lead_to(copy.url)
        await strike.load.more(400)
        proxy.lead_to(first)
        strike.ends()
        await strike.load.more(100)


async def failed_over_without_fencing(strike: Strike) -> None:
    """One consumer stays on the old primary for a while, and folds into what nobody will read."""
    world, enter = strike.world, strike.afterwards.enter_async_context
    first = world.stack.service_variables()["ROTARY_REDIS_URL"]
    late, early = await enter(proxied(first)), await enter(proxied(first))
    await enter(other_consumers(world, {"ROTARY_REDIS_URL": late.url}, {"ROTARY_REDIS_URL": early.url}))
    await enter(other_query(world, {"ROTARY_REDIS_URL": early.url}))
    async with copied_now(world) as copy:
        await strike.load.more(400)
        early.lead_to(copy.url)
        await strike.load.more(600)
        late.lead_to(copy.url)
        await strike.load.more(300)
        # The old primary becomes a replica of the new one, and takes over again.
        await _take_over(world, copy)
        early.lead_to(first)
        late.lead_to(first)


async def rolled_back(strike: Strike) -> None:
    """As a replica it takes over an older state, as a primary it goes on: no connection breaks, the run id stays."""
    async with copied_now(strike.world) as copy:
        await strike.load.more(1500)
        await _take_over(strike.world, copy)


async def rolled_back_while_nobody_folds(strike: Strike) -> None:
    """As when a virtual machine is reverted."""
    world = strike.world
    async with copied_now(world) as copy:
        await strike.load.more(1500)
        await world.stack.kill("consumer")
        await _take_over(world, copy)
        strike.ends()
        await world.stack.start("consumer")


@asynccontextmanager
async def copied_now(world: World) -> AsyncIterator[Copy]:
    """A replica of the stack's Redis that is made a primary at once: from here on they go separate ways."""
    address = urlsplit(world.variables["ROTARY_REDIS_URL"])
    port, directory = free_port(), world.stack.directory / "copy"
    await asyncio.to_thread(directory.mkdir, exist_ok=True)
    await _let_replicate(world.redis, address.username or "", unquote(address.password or ""))
    process = await asyncio.create_subprocess_exec(
        *with_parent_death_signal(_command(world, port, directory)), cwd=directory
    )
    client = connect(_at(world.variables["ROTARY_REDIS_URL"], port))
    try:
        await until(lambda: _is_in_step(client), "the replica is in step")
        await client.replicaof("NO", "ONE")
        yield Copy(_at(world.stack.service_variables()["ROTARY_REDIS_URL"], port), port, client)
    finally:
        await client.aclose()
        process.kill()
        await process.wait()


def _command(world: World, port: int, directory: Path) -> tuple[str, ...]:
    address = urlsplit(world.variables["ROTARY_REDIS_URL"])
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(directory),
        "save": "",
        "maxmemory-policy": "noeviction",
        "set-max-intset-entries": "4096",
        "repl-diskless-sync-delay": "0",
        "logfile": "redis.log",
        "aclfile": str(world.stack.directory / "redis-users.acl"),
        "masteruser": address.username or "",
        "masterauth": unquote(address.password or ""),
        "replicaof": f"127.0.0.1 {address.port}",
    }
    return ("redis-server", *(part for name, value in settings.items() for part in (f"--{name}", value)))


async def _let_replicate(client: Redis, user: str, password: str) -> None:
    await client.config_set("masteruser", user, "masterauth", password, "repl-diskless-sync-delay", "0")


async def _is_in_step(client: Redis) -> bool:
    try:
        with translate_errors():
            return bool((await client.info("replication"))["master_link_status"] == "up")
    except UnavailableError:
        return False


async def _take_over(world: World, copy: Copy) -> None:
    """The stack's Redis takes over what the copy holds, without ending."""
    before = (await world.redis.info("server"))["run_id"]
    await world.redis.replicaof("127.0.0.1", str(copy.port))
    await until(lambda: _is_in_step(world.redis), "what the copy holds is taken over")
    await world.redis.replicaof("NO", "ONE")
    assert (await world.redis.info("server"))["run_id"] == before


def _at(url: str, port: int) -> str:
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}{at}127.0.0.1:{port}").geturl()


FAULTS = (
    Fault("Redis fails over to a lagging replica, and back", failed_over_and_back, readable=False),
    Fault("fail-over, a consumer stays on the old primary", failed_over_without_fencing, readable=False),
    Fault("Redis rolled back in the same process", rolled_back, readable=False),
    Fault("Redis rolled back while no consumer runs", rolled_back_while_nobody_folds, readable=False),
)
