"""Answers on their way to a client: what is long is not copied, and whoever does not read is cut off."""

from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from rotary.http.responses import LONG_BODY_BYTES, RawResponse, success


class Client:
    """A request whose client reads at once, or never."""

    def __init__(self, method: str = "GET", *, reads: bool = True) -> None:
        self.transport = Mock()
        self.transport.is_closing.return_value = False
        self.written: list[bytes] = []
        self.transport.write.side_effect = self.written.append
        protocol = Mock(writing_paused=not reads)
        self.request: web.BaseRequest = make_mocked_request(
            method, "/", transport=self.transport, protocol=protocol, writer=Mock(drain=self._drain)
        )

    async def _drain(self) -> None:
        raise TimeoutError


def answer(length: int, client: Client) -> tuple[bytes, RawResponse]:
    body = b"x" * length
    return body, RawResponse(success(body), client.request, [])


@pytest.mark.parametrize("length", [0, 1, LONG_BODY_BYTES, LONG_BODY_BYTES + 1, 10 * LONG_BODY_BYTES])
async def test_a_body_follows_its_head_whatever_its_length(length: int) -> None:
    client = Client()
    body, response = answer(length, client)
    await response.prepare(client.request)
    head, _, sent = b"".join(client.written).partition(b"\r\n\r\n")
    assert sent == body
    assert b"Content-Length: %d" % length in head
    assert response.body_length == len(head) + 4 + length


async def test_a_long_body_is_not_copied_for_each_client() -> None:
    client = Client()
    body, response = answer(LONG_BODY_BYTES + 1, client)
    await response.prepare(client.request)
    assert client.written[-1] is body


async def test_head_has_no_body_however_long_it_is() -> None:
    client = Client("HEAD")
    _, response = answer(LONG_BODY_BYTES + 1, client)
    await response.prepare(client.request)
    assert b"".join(client.written).endswith(b"Content-Length: %d\r\n\r\n" % (LONG_BODY_BYTES + 1))


@pytest.mark.parametrize("length", [1, LONG_BODY_BYTES + 1])
async def test_a_client_that_does_not_read_in_time_is_cut_off(length: int) -> None:
    client = Client(reads=False)
    _, response = answer(length, client)
    with pytest.raises(ConnectionResetError):
        await response.prepare(client.request)
    client.transport.abort.assert_called_once_with()
