"""Lost Redis connections, any number of them: after each the service is as fast and as truthful as before."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence

import pytest

from histories import placed
from integration.query_world import Caller, Site, World, site
from integration.tcp_proxy import TcpProxy
from rotary.clock import system_clock
from rotary.errors import ConfigurationError
from rotary.redis.pipeline import TIME
from rotary_query.cache.roundtrip import RoundTrips
from running import free_port, until

NOW = system_clock()
MONITOR = "/api/caller-id-groups/3/monitor"


async def metric(served: Site, name: str) -> float:
    """A metric without labels, as Prometheus would scrape it."""
    text = (await Caller(served.session, served.ops, None).get("/metrics")).text
    return next(float(line.split(" ")[1]) for line in text.splitlines() if line.startswith(f"{name} "))


async def readiness(served: Site) -> str:
    return (await Caller(served.session, served.ops, None).get("/readyz")).text


async def _recovered(served: Site, caller: Caller) -> bool:
    """Watching, ready, current, and answering from memory."""
    if await metric(served, "rotary_query_watching") != 1:
        return False
    if (await caller.get(MONITOR)).status != 200:
        return False
    cold = await metric(served, "rotary_query_cold_reads_total")
    answers = [await caller.get(MONITOR) for _ in range(3)]
    return (
        [(answer.status, answer.headers["X-Projection-Lag"]) for answer in answers] == [(200, "0")] * 3
        and await metric(served, "rotary_query_cold_reads_total") == cold
        and await metric(served, "rotary_query_projection_lag_seconds") < 2
        and await readiness(served) == '{"ready":true,"missing":[]}'
    )


async def _killed(filled: World, proxy: TcpProxy) -> None:  # by the server, not on the way
    """By the server: as after an output buffer overrun, or CLIENT KILL."""
    for one in await filled.client.client_list():
        if one["db"] == "8" and int(one["sub"]) > 0:
            await filled.client.client_kill_filter(_id=one["id"])


async def _reset(_filled: World, proxy: TcpProxy) -> None:
    await proxy.drop()


async def _refused(_filled: World, proxy: TcpProxy) -> None:
    await proxy.cut()


async def _hung(_filled: World, proxy: TcpProxy) -> None:
    proxy.silence()


LOSSES: list[Callable[[World, TcpProxy], Awaitable[None]]] = [
    _reset, _killed, _refused, _killed, _hung, _reset, _refused, _hung, _killed
]  # fmt: skip


async def test_after_every_loss_speed_lag_metrics_and_readiness_are_as_before(filled: World) -> None:
    async with TcpProxy(filled.url) as proxy, site(proxy.url) as running:
        caller = running.caller(await filled.token())
        await until(lambda: _recovered(running, caller), 5, "it is well at first")
        for number, lose in enumerate(LOSSES):
            await lose(filled, proxy)

            async def is_lost(number: int = number) -> bool:
                return await metric(running, "rotary_query_watch_losses_total") == number + 1

            await until(is_lost, 4, f"loss {number} is noticed")
            if lose in (_refused, _hung):
                told = await readiness(running)
                assert told.startswith('{"ready":false,"missing":["Redis is away'), told
                await proxy.drop()
                await proxy.mend()
            await until(lambda: _recovered(running, caller), 5, f"it is well after loss {number}")
            await filled.fold(placed(str(number), NOW(), 18))

            async def shows(number: int = number) -> bool:
                return f'"calls_today":{number + 1},' in (await caller.get(MONITOR)).text

            await until(shows, 1, "a fold shows")


@pytest.mark.parametrize(
    "error", [ValueError("a defect"), ConfigurationError("a certificate"), asyncio.CancelledError()]
)
async def test_any_failure_of_a_poll_is_a_loss_like_any_other(
    filled: World, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    ask, failures = RoundTrips.ask, [error] * 3
    async with site(filled.url) as running:

        async def fails(trips: RoundTrips, commands: Sequence[bytes]) -> list[object]:
            if commands[0] == TIME and running.reader.subscriber.is_subscribed and failures:
                raise failures.pop()
            return await ask(trips, commands)

        monkeypatch.setattr(RoundTrips, "ask", fails)
        caller = running.caller(await filled.token())

        async def has_failed() -> bool:
            return not failures

        await until(has_failed, 6, "it failed three times")
        await until(lambda: _recovered(running, caller), 5, "it is well again")


async def test_a_service_that_can_not_watch_any_more_exits_loudly(filled: World) -> None:
    # Nothing that we know of ends the loop: so it is replaced by one that ends.
    code = """
import asyncio
from rotary_query.cache import subscriber as watch
from rotary_query.cli import main

async def ends(self):
    await asyncio.sleep(0)

watch.Subscriber.run = ends
main()
"""
    bind = {"ROTARY_QUERY_BIND": f"127.0.0.1:{free_port()}", "ROTARY_OPS_BIND": f"127.0.0.1:{free_port()}"}
    environ = os.environ | {"ROTARY_REDIS_URL": filled.url} | bind
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environ, stderr=asyncio.subprocess.PIPE
    )
    _, told = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1, told.decode()
    assert b"background task ended" in told
    assert b"watching redis" in told
