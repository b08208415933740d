"""Round trips of reads: whole answers, errors in an exception's place, and no answer that was meant for another."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from integration.tcp_proxy import TcpProxy
from rotary.errors import UnavailableError
from rotary.redis.connection import connect
from rotary.redis.pipeline import pack
from rotary_query.cache.roundtrip import RoundTrips

pytestmark = pytest.mark.asyncio(loop_scope="function")


@pytest_asyncio.fixture(loop_scope="function")
async def trips(redis: Redis, redis_proxy: TcpProxy) -> AsyncIterator[RoundTrips]:
    async with connect(redis_proxy.url, timeout_seconds=2) as client:
        trips = RoundTrips(client)
        yield trips
        await trips.close()


async def test_transactions_are_answered_each_whole(trips: RoundTrips, redis: Redis) -> None:
    await redis.mset({"a": b"1\r\n", "large": b"x" * 3_000_000})
    answers = await trips.transact([[pack("MGET", "a", "none"), pack("GET", "a")], [pack("GET", "large")]])
    assert answers == [[[b"1\r\n", None], b"1\r\n"], [b"x" * 3_000_000]]


async def test_trips_at_the_same_time_get_their_own_answers(trips: RoundTrips) -> None:
    asked = [trips.ask([pack("ECHO", f"{number}"), pack("ECHO", "x" * 50_000)]) for number in range(20)]
    assert [first for first, _ in await asyncio.gather(*asked)] == [b"%d" % number for number in range(20)]


async def test_an_error_of_a_command_is_raised_and_the_connection_goes_on(
    trips: RoundTrips, redis_proxy: TcpProxy
) -> None:
    await trips.ask([pack("LPUSH", "list", "x")])
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await trips.transact([[pack("GET", "list")]])
    with pytest.raises(ResponseError, match="unknown command"):
        await trips.ask([pack("NONSENSE")])
    assert await trips.ask([pack("ECHO", "next")]) == [b"next"]
    assert redis_proxy.accepted == 1


async def test_a_connection_that_was_closed_while_idle_is_made_anew(trips: RoundTrips, redis_proxy: TcpProxy) -> None:
    await trips.ask([pack("PING")])
    await redis_proxy.cut()
    with pytest.raises(UnavailableError):
        await trips.ask([pack("PING")])
    await redis_proxy.mend()
    assert await trips.ask([pack("PING")]) == [b"PONG"]


async def test_a_silent_server_is_unavailable_and_its_late_answer_is_nobodys(
    trips: RoundTrips, redis_proxy: TcpProxy
) -> None:
    await trips.ask([pack("PING")])
    redis_proxy.silence()
    with pytest.raises(UnavailableError, match="no answer within 2"):
        await trips.ask([pack("ECHO", "late")])
    await redis_proxy.mend()
    assert await trips.ask([pack("ECHO", "next")]) == [b"next"]


async def test_whoever_is_cancelled_leaves_no_answer_to_the_next(trips: RoundTrips) -> None:
    await trips.ask([pack("PING")])
    for turns in range(5):
        gone = asyncio.create_task(trips.ask([pack("ECHO", "gone")]))
        for _ in range(turns):
            await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert await trips.ask([pack("ECHO", "next")]) == [b"next"]
