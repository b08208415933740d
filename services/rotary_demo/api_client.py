"""The HTTP API as an integrator reads it."""

from typing import TypeVar

import aiohttp
import msgspec
from msgspec import Struct

from rotary.domain.monitor import Monitor
from rotary.errors import RotaryError
from rotary.http.bodies import Envelope, ErrorBody
from rotary_query.http.schemas import GroupDetail, GroupItem

T = TypeVar("T")

LIST_PATH = "/api/caller-id-groups"

_groups = msgspec.json.Decoder(Envelope[list[GroupItem]])
_detail = msgspec.json.Decoder(Envelope[GroupDetail])
_monitor = msgspec.json.Decoder(Envelope[Monitor])
_failure = msgspec.json.Decoder(ErrorBody)


class ApiError(RotaryError):
    """The API refused a request or did not answer. `status` is the HTTP status, or 0 without an answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the API answered {status}: {message}" if status else message)
        self.status = status


class MonitorReading(Struct, frozen=True):
    """One response of /monitor. `lag_seconds` is its X-Projection-Lag, the age of the facts; None if it is unknown."""

    monitor: Monitor
    lag_seconds: int | None


class ApiClient:
    """Reads with one customer's token. Every method raises ApiError."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    async def groups(self) -> list[GroupItem]:
        """The customer's groups."""
        return (await self._get(LIST_PATH, _groups))[0]

    async def group(self, group_id: int) -> GroupDetail:
        """One group with its members."""
        return (await self._get(f"{LIST_PATH}/{group_id}", _detail))[0]

    async def monitor(self, group_id: int) -> MonitorReading:
        """The status of each of its members now."""
        monitor, lag = await self._get(f"{LIST_PATH}/{group_id}/monitor", _monitor)
        return MonitorReading(monitor, lag)

    async def _get(self, path: str, decoder: msgspec.json.Decoder[Envelope[T]]) -> tuple[T, int | None]:
        try:
            async with self._session.get(self._url + path, headers=self._headers) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, "the API does not answer") from error
        if answer.status != 200:
            raise ApiError(answer.status, _failure.decode(body).message)
        lag = answer.headers.get("X-Projection-Lag")
        return decoder.decode(body).data, None if lag is None else int(lag)
