"""Whatever answers at the broker's address, connecting ends by its deadline in an error that says what to do."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from integration.bad_listener import ANSWERING, SILENT, STALLING, Misbehaviour, closes, listening, never_answers
from integration.tcp_proxy import TcpProxy
from rotary import amqp
from rotary.errors import ConfigurationError, UnavailableError
from rotary.rabbitmq.connection import channel

# A deadline that a test can wait for.
SOON = 0.5


@pytest.fixture
async def proxy(rabbitmq_url: str) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(rabbitmq_url) as through:
        yield through


async def enter(url: str) -> None:
    async with asyncio.timeout(5), channel(url, seconds=SOON):
        pytest.fail("it must not be entered")


def named(misbehave: Misbehaviour) -> str:
    return getattr(misbehave, "__name__", "")


@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
@pytest.mark.parametrize("misbehave", [*ANSWERING, *STALLING], ids=named)
async def test_an_address_without_a_working_broker_is_away(misbehave: Misbehaviour, scheme: str) -> None:
    # What answers in the clear where TLS is asked for never will speak it.
    kind = ConfigurationError if scheme == "amqps" and misbehave not in SILENT else UnavailableError
    async with listening(misbehave, scheme) as listener:
        with pytest.raises(kind, match=r"^RabbitMQ at ") as caught:
            await enter(listener.url)
        assert listener.accepted == 1
    assert type(caught.value.__cause__) in (type(None), amqp.TlsError)
    assert len(asyncio.all_tasks()) == 1, "nothing of the attempt is left"


@pytest.mark.parametrize("misbehave", STALLING, ids=named)
async def test_connecting_ends_at_once_when_it_is_cancelled(misbehave: Misbehaviour) -> None:
    async with listening(misbehave) as listener:
        connecting = asyncio.create_task(channel(listener.url).__aenter__())
        await asyncio.wait_for(listener.was_found.wait(), 10)
        connecting.cancel()
        await asyncio.wait([connecting], timeout=5)
        assert connecting.cancelled()


async def test_a_handshake_with_tls_that_stalls_ends_at_the_deadline() -> None:
    async with listening(never_answers, "amqps") as listener:
        with pytest.raises(UnavailableError, match=r"no answer within 0\.5 s"):
            await enter(listener.url)


async def test_certificates_that_cannot_be_read_are_a_setting_to_mend() -> None:
    async with listening(closes, "amqps") as listener:
        with pytest.raises(ConfigurationError, match=r"cannot read the certificates .*: No such file"):
            await enter(f"{listener.url}?cafile=/nowhere.pem")
        assert listener.accepted == 0


async def test_a_broker_that_opens_no_channel_is_away(proxy: TcpProxy) -> None:
    async def enter_silenced() -> None:
        async with channel(proxy.url, seconds=SOON):
            pytest.fail("it must not be entered")

    proxy.silence_after(b"\x00\x0a\x00\x29")  # connection.open-ok
    with pytest.raises(UnavailableError, match=r"^RabbitMQ is away: TimeoutError") as away:
        await asyncio.wait_for(enter_silenced(), 10)
    assert away.value.public_message == "RabbitMQ is away"


async def test_a_broker_that_falls_silent_is_away_and_does_not_cancel_us(proxy: TcpProxy) -> None:
    """The client answers what waits for a silent broker with a cancellation, which is not ours."""

    async def work() -> None:
        async with channel(f"{proxy.url}?heartbeat=1") as opened:
            proxy.silence()
            await opened.declare_queue(exclusive=True)

    with pytest.raises(UnavailableError, match=r"^RabbitMQ is away: "):
        await asyncio.wait_for(work(), 20)


async def test_our_own_cancellation_stays_one(proxy: TcpProxy) -> None:
    opened = asyncio.Event()

    async def work() -> None:
        async with channel(proxy.url):
            opened.set()
            await asyncio.sleep(3600)

    working = asyncio.create_task(work())
    await asyncio.wait_for(opened.wait(), 10)
    working.cancel()
    await asyncio.wait([working], timeout=10)
    assert working.cancelled()


async def test_a_connection_that_is_lost_is_away(proxy: TcpProxy) -> None:
    async def work() -> None:
        async with channel(proxy.url) as opened:
            await proxy.drop()
            await opened.declare_queue(exclusive=True)

    with pytest.raises(UnavailableError, match=r"^RabbitMQ is away: "):
        await asyncio.wait_for(work(), 10)
