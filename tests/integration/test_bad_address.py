"""An address that accepts connections and is no broker costs a program nothing but the wait."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.bad_listener import ANSWERING, STALLING, BadListener, Misbehaviour, closes, listening, never_answers
from integration.inbox import Inbox
from integration.tcp_proxy import TcpProxy
from rotary.errors import ConfigurationError, UnavailableError
from rotary.publisher import BlockingPublisher, DeadlineError, Limits, Publisher
from running import free_port

SOURCE = "/dialers/hcm-1"
SHORT = Limits(deadline_seconds=0.5)
OPENED = Limits(deadline_seconds=2.0)
"""Of a publisher that is to be opened first, for which a busy machine may need longer."""
ALL = [*ANSWERING, *STALLING]

DIALER = """
import sys, threading
from rotary.publisher import BlockingPublisher, Limits
with BlockingPublisher(sys.argv[1], customer_id=7, source="/dialers/hcm-1", limits=Limits(deadline_seconds=2)):
    pass
"""


def named(misbehave: Misbehaviour) -> str:
    return getattr(misbehave, "__name__", "")


@pytest.mark.parametrize("misbehave", ALL, ids=named)
async def test_entering_a_publisher_ends_by_its_deadline(misbehave: Misbehaviour) -> None:
    async with listening(misbehave) as listener:
        with pytest.raises(UnavailableError, match=r"^RabbitMQ at 127.0.0.1:\d+ does not answer: "):
            async with asyncio.timeout(5), Publisher(listener.url, customer_id=7, source=SOURCE, limits=SHORT):
                pytest.fail("it must not be entered")


@pytest.mark.parametrize("misbehave", ALL, ids=named)
async def test_entering_a_blocking_publisher_ends_by_its_deadline(misbehave: Misbehaviour) -> None:
    def enter(broker_url: str) -> None:
        with BlockingPublisher(broker_url, customer_id=7, source=SOURCE, limits=SHORT):
            pytest.fail("it must not be entered")

    async with listening(misbehave) as listener:
        with pytest.raises(UnavailableError, match="does not answer"):
            await asyncio.wait_for(asyncio.to_thread(enter, listener.url), 5)


@pytest.mark.parametrize("misbehave", ALL, ids=named)
async def test_a_publish_ends_by_its_deadline_and_the_publisher_recovers(
    misbehave: Misbehaviour, broker_url: str, inbox: Inbox
) -> None:
    async with (
        TcpProxy(broker_url) as proxy,
        Publisher(proxy.url, customer_id=7, source=SOURCE, limits=OPENED) as dialer,
    ):
        await proxy.cut()
        async with listening(misbehave, port=proxy.port) as listener:
            event = dialer.events.call_placed(18)
            with pytest.raises(DeadlineError):
                await asyncio.wait_for(dialer.publish(event), 5)
            await asyncio.wait_for(listener.was_found.wait(), 5)
        await proxy.mend()
        await asyncio.wait_for(_until_published(dialer), 20)
    assert len(await inbox.events(1)) == 1


async def _until_published(dialer: Publisher) -> None:
    event = dialer.events.call_placed(18)
    while True:
        with contextlib.suppress(DeadlineError):
            return await dialer.publish(event)


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "127.0.0.1:5672", "amqp:///"])
def test_a_url_that_is_no_brokers_is_told_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError, match="RabbitMQ's URL is invalid"):
        Publisher(url, customer_id=7, source=SOURCE)


@pytest.mark.parametrize("misbehave", [closes, never_answers], ids=named)
async def test_a_consumer_waits_for_the_broker_and_ends_when_told(
    misbehave: Misbehaviour, redis_url: str, postgres_url: str
) -> None:
    async with listening(misbehave) as listener:
        settings = {
            "ROTARY_RABBITMQ_URL": listener.url,
            "ROTARY_REDIS_URL": redis_url,
            "ROTARY_POSTGRES_URL": postgres_url,
            "ROTARY_OPS_BIND": f"127.0.0.1:{free_port()}",
        }
        async with _process(listener, "-m", "rotary_consumer", **settings) as consumer:
            assert await _cpu_seconds(consumer, during=3) < 0.6
            consumer.terminate()
            assert await asyncio.wait_for(consumer.wait(), 5 if misbehave is closes else 15) == 0


@pytest.mark.parametrize("misbehave", [closes, never_answers], ids=named)
async def test_a_dialer_is_told_by_the_deadline(misbehave: Misbehaviour) -> None:
    async with listening(misbehave) as listener, _process(listener, "-c", DIALER, listener.url) as dialer:
        assert await _cpu_seconds(dialer, during=2) < 0.4
        _, err = await asyncio.wait_for(dialer.communicate(), 10)
    assert b"rotary.errors.UnavailableError: RabbitMQ at 127.0.0.1:" in err.splitlines()[-1]


async def test_a_dialer_that_connects_ends_on_sigterm() -> None:
    async with listening(closes) as listener, _process(listener, "-c", DIALER, listener.url) as dialer:
        dialer.terminate()
        assert await asyncio.wait_for(dialer.wait(), 5) == -15


@contextlib.asynccontextmanager
async def _process(
    listener: BadListener, *arguments: str, **variables: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process that has found the listener."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=os.environ | variables, stdout=pipe, stderr=pipe
    )
    try:
        await asyncio.wait_for(listener.was_found.wait(), 20)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _cpu_seconds(process: asyncio.subprocess.Process, during: float) -> float:
    """What the process uses of a core in so many seconds, in which it must not end."""
    before = _used(process.pid)
    await asyncio.sleep(during)
    assert process.returncode is None
    return _used(process.pid) - before


def _used(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
