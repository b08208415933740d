"""One connection for many: answers in order, errors in their place, and nobody is left waiting when it is lost."""

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from integration.tcp_proxy import TcpProxy
from rotary.errors import ConfigurationError, UnavailableError
from rotary.redis.connection import connect
from rotary.redis.pipeline import Pipeline, pack
from running import until

pytestmark = pytest.mark.asyncio(loop_scope="function")


@pytest_asyncio.fixture(loop_scope="function")
async def pipeline(redis: Redis, redis_proxy: TcpProxy) -> AsyncIterator[Pipeline]:
    async with connect(redis_proxy.url, timeout_seconds=2) as client:
        pipeline = Pipeline(client)
        yield pipeline
        await pipeline.close()


def append(name: str, text: str) -> bytes:
    return pack("APPEND", name, text)


async def test_a_command_goes_over_the_wire_as_redis_wants_it(pipeline: Pipeline) -> None:
    values: list[str | bytes | int] = ["", b"", 2**63, -1, "\r\n", b"\x00\xff", "số"]
    expected = [b"", b"", b"%d" % 2**63, b"-1", b"\r\n", b"\x00\xff", "số".encode()]
    assert await pipeline.call([pack("ECHO", value) for value in values]) == expected
    assert await pipeline.call([]) == []


async def test_commands_of_many_callers_run_in_the_order_in_which_they_called(pipeline: Pipeline, redis: Redis) -> None:
    """Also when the first of them is what makes the connection."""
    calls = [asyncio.create_task(pipeline.call([append("a", f"{n},"), append("a", f"{n}+")])) for n in range(200)]
    answers = await asyncio.gather(*calls)
    text = "".join(f"{n},{n}+" for n in range(200))
    assert await redis.get("a") == text.encode()
    lengths = [int(str(length)) for replies in answers for length in replies]
    assert lengths == sorted(lengths)


async def test_an_error_is_an_answer_in_its_place(pipeline: Pipeline) -> None:
    replies = await pipeline.call([pack("SET", "a", "1"), pack("LPUSH", "a", "x"), pack("NONSENSE"), pack("GET", "a")])
    assert (replies[0], replies[3]) == (b"OK", b"1")
    assert all(isinstance(reply, ResponseError) for reply in replies[1:3])
    assert str(replies[1]).startswith("WRONGTYPE") or "WRONGTYPE" in repr(replies[1])


async def test_many_share_one_connection(pipeline: Pipeline, redis_proxy: TcpProxy) -> None:
    await asyncio.gather(*(pipeline.call([pack("PING")]) for _ in range(50)))
    assert redis_proxy.accepted == 1


async def test_a_lost_connection_fails_all_that_is_unanswered_and_the_next_call_works(
    pipeline: Pipeline, redis_proxy: TcpProxy, redis: Redis
) -> None:
    await pipeline.call([pack("PING")])
    redis_proxy.silence()
    unanswered = [asyncio.create_task(pipeline.call([append("a", f"{n},")])) for n in range(10)]

    async def all_ran() -> bool:
        return await redis.get("a") == b"0,1,2,3,4,5,6,7,8,9,"

    await until(all_ran, 5, "the commands have run, and nobody has heard")
    await redis_proxy.drop()
    ends = await asyncio.gather(*unanswered, return_exceptions=True)
    assert all(isinstance(end, UnavailableError) for end in ends)
    assert await pipeline.call([pack("GET", "a")]) == [b"0,1,2,3,4,5,6,7,8,9,"]


async def test_a_server_that_is_away_is_unavailable_until_it_is_back(pipeline: Pipeline, redis_proxy: TcpProxy) -> None:
    await redis_proxy.cut()
    for _ in range(3):
        with pytest.raises(UnavailableError):
            await pipeline.call([pack("PING")])
    await redis_proxy.mend()
    assert await pipeline.call([pack("PING")]) == [b"PONG"]


async def test_a_server_that_falls_silent_is_given_up_with_all_that_wait(
    pipeline: Pipeline, redis_proxy: TcpProxy
) -> None:
    """A caller that came later does not go on waiting on the connection that was given up."""
    await pipeline.call([pack("PING")])
    redis_proxy.silence()
    first = asyncio.create_task(pipeline.call([pack("PING")]))
    await asyncio.sleep(0)
    second = asyncio.create_task(pipeline.call([pack("PING")]))
    ends = await asyncio.gather(first, second, return_exceptions=True)
    assert all(isinstance(end, UnavailableError) for end in ends)
    await redis_proxy.mend()
    assert await pipeline.call([pack("ECHO", "b")]) == [b"b"]


async def test_a_caller_that_is_cancelled_takes_nobody_elses_answer(pipeline: Pipeline) -> None:
    """Whenever it is cancelled: before it sends, while it waits, as it is answered."""
    random = Random(1)
    for _ in range(30):
        calls = [asyncio.create_task(pipeline.call([pack("ECHO", f"{n}")] * random.randint(1, 3))) for n in range(20)]
        for _ in range(random.randrange(6)):
            await asyncio.sleep(0)
        gone = random.sample(range(20), 8)
        for n in gone:
            calls[n].cancel()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        for n, end in enumerate(ends):
            if isinstance(end, list):
                assert set(end) == {b"%d" % n}
            else:
                # One that is cancelled amid sending breaks the connection, and so fails those beside it.
                assert isinstance(end, asyncio.CancelledError | UnavailableError)
    assert await pipeline.call([pack("ECHO", "last")]) == [b"last"]


async def test_a_caller_that_is_cancelled_while_it_connects_leaves_the_way_free(
    pipeline: Pipeline, redis_proxy: TcpProxy
) -> None:
    redis_proxy.silence()
    connecting = asyncio.create_task(pipeline.call([pack("PING")]))

    async def accepted() -> bool:
        return redis_proxy.accepted == 1

    await until(accepted, 5, "it connects")
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await redis_proxy.mend()
    assert await pipeline.call([pack("PING")]) == [b"PONG"]


async def test_closing_fails_what_waits(pipeline: Pipeline, redis_proxy: TcpProxy) -> None:
    await pipeline.call([pack("PING")])
    redis_proxy.silence()
    waiting = asyncio.create_task(pipeline.call([pack("PING")]))
    await asyncio.sleep(0.01)
    await pipeline.close()
    with pytest.raises(UnavailableError, match="closed"):
        await waiting


async def test_a_wrong_password_is_said(redis_url: str) -> None:
    wrong = redis_url.replace(redis_url.partition("@")[0].rpartition(":")[2], "wrong", 1)
    async with connect(wrong) as client:
        pipeline = Pipeline(client)
        with pytest.raises((ConfigurationError, UnavailableError), match=r"password|user"):
            await pipeline.call([pack("PING")])
        await pipeline.close()


async def test_a_large_call_is_answered_whole(pipeline: Pipeline) -> None:
    replies = await pipeline.call([pack("ECHO", b"x" * 100_000)] * 100)
    assert len(replies) == 100
    assert {len(reply) for reply in replies if isinstance(reply, bytes)} == {100_000}
