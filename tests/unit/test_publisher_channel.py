"""Each message has one answer, and none counts as confirmed after the first that was not."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pamqp.frame
from aiormq import Channel
from aiormq.connection import TransportFactory
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands, header
from yarl import URL

from rotary.events import EVENT_CONTENT_TYPE, EXCHANGE
from rotary.publisher.channel import ConfirmedChannel, Message, PublishFailed, PublishInterrupted, Unconfirmed
from rotary.publisher.wire import Wire

laws = settings(max_examples=150, deadline=None)
KEY = "call-placed.7"
Answers = list[Unconfirmed | None]


class SocketPair(TransportFactory):
    """Connects to a socket of this process, whose other end is `far`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._near, self.far = socket.socketpair()
        self.far.setblocking(False)

    async def create(self, url: URL, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        del url, options  # there is one address
        loop, tap = asyncio.get_running_loop(), self._wire.reader()
        protocol = asyncio.StreamReaderProtocol(tap, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, sock=self._near)
        return tap, asyncio.StreamWriter(transport, protocol, tap, loop)


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Wire, ConfirmedChannel, socket.socket, asyncio.StreamWriter]]:
    """A channel whose broker is the far end of a socket."""
    wire = Wire()
    pair = SocketPair(wire)
    _, writer = await wire.through(pair).create(URL("amqp://localhost"))
    tune = SimpleNamespace(connection_tune=SimpleNamespace(frame_max=131_072))
    closing = asyncio.get_running_loop().create_future()
    channel = SimpleNamespace(number=1, connection=tune, closing=closing, is_closed=False)
    try:
        yield wire, ConfirmedChannel(cast("Channel", channel), wire, KEY, lambda: None), pair.far, writer
    finally:
        wire.close()
        writer.transport.abort()
        pair.far.close()


def send(channel: ConfirmedChannel, count: int, body: bytes = b"{}") -> tuple[list[Message], list[Answers]]:
    answers: list[Answers] = [[] for _ in range(count)]
    messages = [Message(body, EVENT_CONTENT_TYPE, answer.append) for answer in answers]
    for message in messages:
        channel.send(message)
    return messages, answers


def answer(kind: str, tag: int, multiple: bool) -> bytes:
    """What the broker sends."""
    if kind == "ack":
        return pamqp.frame.marshal(commands.Basic.Ack(tag, multiple), 1)
    if kind == "nack":
        return pamqp.frame.marshal(commands.Basic.Nack(tag, multiple), 1)
    properties = commands.Basic.Properties(content_type=EVENT_CONTENT_TYPE, message_id=f"{tag:016x}")
    return b"".join(
        (
            pamqp.frame.marshal(commands.Basic.Return(312, "NO_ROUTE", EXCHANGE, KEY), 1),
            pamqp.frame.marshal(header.ContentHeader(0, 2, properties), 1),
            b"\x03\x00\x01\x00\x00\x00\x02{}\xce",
            pamqp.frame.marshal(commands.Basic.Ack(tag, multiple=False), 1),
        )
    )


MESSAGES = 8
histories = st.lists(
    st.tuples(st.sampled_from(("ack", "ack", "ack", "nack", "return")), st.integers(1, MESSAGES), st.booleans()),
    max_size=12,
)


def expected(history: Sequence[tuple[str, int, bool]]) -> dict[int, str]:
    """The naive account: the outcome of each message that has an answer."""
    outcomes: dict[int, str] = {}
    trusted = True
    for kind, tag, multiple in history:
        tags = range(1, tag + 1) if multiple and kind != "return" else (tag,)
        fresh = [one for one in tags if one not in outcomes]
        trusted = trusted and kind == "ack"
        outcomes |= dict.fromkeys(fresh, "confirmed" if trusted else "returned" if kind == "return" else "unconfirmed")
    return outcomes


def outcome(answers: Answers) -> str:
    (error,) = answers
    if error is None:
        return "confirmed"
    assert isinstance(error, PublishInterrupted)
    return "returned" if error.return_reason == f"NO_ROUTE {KEY}" else "unconfirmed"


@laws
@given(history=histories, cut=st.integers(1, 60))
def test_answers_are_settled_as_the_naive_account_says_however_they_are_cut(
    history: list[tuple[str, int, bool]], cut: int
) -> None:
    async def run() -> None:
        async with opened() as (wire, channel, _, _):
            _, answers = send(channel, MESSAGES)
            await asyncio.sleep(0)
            data = b"".join(answer(*one) for one in history)
            for at in range(0, len(data), cut):
                wire.tap.feed_data(data[at : at + cut])
            found = {number: outcome(answer) for number, answer in enumerate(answers, 1) if answer}
            assert found == expected(history)
            assert channel.is_usable == all(kind == "ack" for kind, _, _ in history)
            channel.abandon()
            assert all(len(answer) == 1 for answer in answers)

    asyncio.run(run())


async def test_after_the_broker_closed_the_channel_nothing_is_written_to_it() -> None:
    for code, kind in ((403, PublishFailed), (404, PublishInterrupted), (504, PublishInterrupted)):
        async with opened() as (wire, channel, far, _):
            _, answers = send(channel, 1)
            await asyncio.sleep(0)
            await asyncio.get_running_loop().sock_recv(far, 65_536)
            _, late = send(channel, 1)
            wire.tap.feed_data(pamqp.frame.marshal(commands.Channel.Close(code, "because", 60, 40), 1))
            assert not channel.is_usable
            assert [type(error) for [error] in (*answers, *late)] == [kind, kind]
            await asyncio.sleep(0)
            assert unread(far) == b""
            assert commands.Channel.Close in [type(one) for one in passed_on(wire)]


def unread(far: socket.socket) -> bytes:
    try:
        return far.recv(65_536)
    except BlockingIOError:
        return b""


def passed_on(wire: Wire) -> list[object]:
    """The frames that were left to the client library."""
    data = bytes(wire.tap._buffer)  # type: ignore[attr-defined]  # noqa: SLF001 - reading it would wait for more
    found = list[object]()
    while data:
        size, _, one = pamqp.frame.unmarshal(data)
        found.append(one)
        data = data[size:]
    return found


async def test_a_message_that_was_not_written_can_be_withdrawn_without_a_doubt() -> None:
    async with opened() as (_, channel, far, _):
        (withdrawn, sent), answers = send(channel, 2)
        withdrawn.withdraw()
        await asyncio.sleep(0)
        assert (await asyncio.get_running_loop().sock_recv(far, 65_536)).count(b"\xce") == 3
        states = [channel.is_usable]
        sent.withdraw()
        assert [*states, channel.is_usable] == [True, False]
        assert answers == [[], []]


BODY = b"x" * 10_000


async def test_a_slow_network_is_given_no_more_than_it_takes_and_gets_all_of_it_in_the_end() -> None:
    async with opened() as (_, channel, far, writer):
        _, answers = send(channel, 2_000, BODY)
        for _ in range(20):
            await asyncio.sleep(0)
        assert writer.transport.get_write_buffer_size() < 400_000
        arrived, loop = bytearray(), asyncio.get_running_loop()
        while len(arrived) < 2_000 * len(BODY) or arrived.count(BODY) < 2_000:
            arrived += await asyncio.wait_for(loop.sock_recv(far, 2**20), 10)
            assert writer.transport.get_write_buffer_size() < 400_000
        between = arrived.replace(BODY, b"")
        ids = [b"%016x" % number for number in range(1, 2_001)]
        assert [one in between for one in ids] == [True] * 2_000
        assert not any(answers)


async def test_nothing_is_written_while_the_broker_blocks_publishers() -> None:
    async with opened() as (wire, channel, far, _):
        wire.tap.feed_data(pamqp.frame.marshal(commands.Connection.Blocked("low on memory"), 0))
        send(channel, 10)
        for _ in range(5):
            await asyncio.sleep(0)
        assert unread(far) == b""
        wire.tap.feed_data(pamqp.frame.marshal(commands.Connection.Unblocked(), 0))
        assert b"call-placed.7" in await asyncio.wait_for(asyncio.get_running_loop().sock_recv(far, 65_536), 10)
        assert [type(one) for one in passed_on(wire)][:2] == [
            commands.Connection.Blocked,
            commands.Connection.Unblocked,
        ]


async def test_what_is_no_amqp_is_left_to_the_client_library_as_it_is() -> None:
    async with opened() as (wire, _, _, _):
        for part in (b"HTTP/1.1 400 Bad", b" Request\r\n\r\n"):
            wire.tap.feed_data(part)
        wire.tap.feed_eof()
        assert (await wire.tap.read()).replace(b"\x08\x00\x00\x00\x00\x00\x00\xce", b"") == (
            b"HTTP/1.1 400 Bad Request\r\n\r\n"
        )
