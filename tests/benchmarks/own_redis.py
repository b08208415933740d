"""A Redis of a case's own, which writes no file: nobody else's keys, times and bytes are in what it tells."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from benchmarks.processes import free_port, process, until
from benchmarks.run import Run
from rotary.redis.connection import connect
from rotary_stack.binaries import locate


@asynccontextmanager
async def redis_server(run: Run, where: frozenset[int]) -> AsyncIterator[str]:
    """Its URL, without a database's number."""
    port = free_port()
    argv = (locate().redis_server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    options = ("--set-max-intset-entries", "4096", "--dir", str(run.folder))
    async with process(where, *argv, *options):
        async with connect(f"redis://127.0.0.1:{port}/0") as redis:
            await until(partial(_answers, redis), "Redis answers", 10)
        yield f"redis://127.0.0.1:{port}"


async def _answers(redis: Redis) -> bool:
    try:
        return bool(await redis.ping())
    except RedisConnectionError:
        return False
