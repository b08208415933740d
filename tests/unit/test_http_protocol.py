"""The HTTP server's connections: those whose client is gone do not stay open."""

import asyncio
from unittest.mock import Mock

from aiohttp import web

from rotary.http.client_address import TrustedProxies
from rotary.http.connections import Connections
from rotary.http.protocol import HttpServer
from rotary.http.responses import RawResponse, failure

REQUEST = b"GET / HTTP/1.1\r\nHost: rotary\r\n\r\n"


class HastyClient:
    """Sends requests, and hangs up at the very moment at which so many answers have arrived."""

    def __init__(self, answers: int) -> None:
        known = {"peername": ("127.0.0.1", 40_000)}
        self.transport = Mock(is_closing=lambda: False, get_extra_info=known.get)
        self.transport.write.side_effect = self._read
        self.stays_open: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._answers = answers
        server = HttpServer(self._handle, Connections(TrustedProxies(), 10, 10))
        self.protocol: asyncio.Protocol = server()
        self.protocol.connection_made(self.transport)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        return RawResponse(failure(404, "Resource not found"), request, [])

    def _read(self, _: bytes) -> None:
        self._answers -= 1
        if not self._answers:
            # Before the server waits for another request: another core is fast enough.
            asyncio.get_running_loop().call_soon(self._hang_up)

    def _hang_up(self) -> None:
        self.stays_open.set_result(bool(self.protocol.eof_received()))


async def test_a_client_that_hangs_up_right_after_its_answer_is_let_go() -> None:
    client = HastyClient(answers=1)
    client.protocol.data_received(REQUEST)
    assert not await asyncio.wait_for(client.stays_open, 5)


async def test_a_client_that_sends_no_more_gets_the_answers_that_it_waits_for() -> None:
    client = HastyClient(answers=1)
    client.protocol.data_received(REQUEST + REQUEST)
    assert await asyncio.wait_for(client.stays_open, 5)
