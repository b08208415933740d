"""Heads are bounded however they arrive, also behind a body; what ends with its body is not examined again."""

from unittest.mock import Mock

import pytest
from aiohttp import web

from rotary.http.client_address import TrustedProxies
from rotary.http.connections import Connections
from rotary.http.protocol import HttpProtocol, HttpServer
from rotary.http.request_bodies import read_body
from rotary.http.request_heads import MAX_HEAD_BYTES
from rotary.http.responses import RawResponse, failure
from running import until

BODY = b'{"lead_id":"L-1"}'
POST = b"POST / HTTP/1.1\r\nHost: rotary\r\nContent-Length: %d\r\n\r\n"
WHOLE = POST % len(BODY) + BODY


class Client:
    """A connection without a socket, whose bytes are parsed as it sends them; what was read and answered."""

    def __init__(self) -> None:
        known = {"peername": ("127.0.0.1", 40_000)}
        self.transport = Mock(is_closing=lambda: False, get_extra_info=known.get)
        self.transport.write.side_effect = lambda data: self.statuses.append(int(data.split(b" ", 2)[1]))
        self.statuses: list[int] = []
        self.bodies: list[bytes] = []
        self.protocol = HttpServer(self._handle, Connections(TrustedProxies(), 10, 10))()
        self.protocol.connection_made(self.transport)

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.protocol.data_received(part)

    async def answered(self, *statuses: int) -> None:
        async def are_there() -> bool:
            return self.statuses == [*statuses]

        await until(are_there, 5, f"the answers are {statuses}")

    @property
    def awaits_a_head(self) -> bool:
        assert isinstance(self.protocol, HttpProtocol)
        return self.protocol._head_timer is not None  # noqa: SLF001

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.bodies.append(await read_body(request, 2**21))
        return RawResponse(failure(404, "Resource not found"), request, [])


async def test_requests_that_end_with_their_bodies_leave_nothing_to_wait_for() -> None:
    client = Client()
    for at in range(3):
        client.send(WHOLE)
        await client.answered(*[404] * (at + 1))
        assert not client.awaits_a_head
    assert client.bodies == [BODY] * 3


@pytest.mark.parametrize("before", [[WHOLE], [WHOLE + WHOLE], [WHOLE[:-3], WHOLE[-3:]], [WHOLE, WHOLE]])
async def test_a_head_behind_a_body_is_bounded_with_what_came_in_the_same_read(before: list[bytes]) -> None:
    client = Client()
    head = b"GET / HTTP/1.1\r\nHost: rotary\r\n" + b"".join(b"X-%d: %b\r\n" % (at, b"x" * 8_000) for at in range(5))
    assert len(head) > MAX_HEAD_BYTES
    client.send(*before[:-1], before[-1] + head[:20_000], head[20_000:] + b"\r\n")
    await client.answered(*[404] * b"".join(before).count(WHOLE), 431)


async def test_an_empty_line_inside_a_body_ends_nothing() -> None:
    client = Client()
    body = b"a\r\n\r\nb"
    client.send(POST % len(body) + body, POST % len(body), body, WHOLE)
    await client.answered(404, 404, 404)
    assert client.bodies == [body, body, BODY]


async def test_lines_that_end_without_a_carriage_return_are_refused() -> None:
    """What ends a head is looked for in one form alone."""
    client = Client()
    client.send(WHOLE.replace(b"\r\n", b"\n"))
    await client.answered(400)


async def test_a_body_that_is_longer_than_the_buffer_is_read_whole_and_reading_goes_on() -> None:
    client = Client()
    body = b"x" * 2**20
    client.send(POST % len(body), *(body[at : at + 2**16] for at in range(0, len(body), 2**16)))
    await client.answered(404)
    client.send(WHOLE)
    await client.answered(404, 404)
    assert client.bodies == [body, BODY]
    flow = [name for name, *_ in client.transport.method_calls if name.endswith("_reading")]
    assert "pause_reading" in flow
    assert flow[-1] == "resume_reading"
