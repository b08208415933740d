"""The engine's client for dialers that run on asyncio."""

import asyncio
import logging
from collections.abc import Coroutine, Generator, Sequence
from contextlib import AbstractAsyncContextManager
from ssl import SSLContext
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import aiohttp
from msgspec.structs import asdict
from yarl import URL

from rotary.engine import protocol
from rotary.engine.attempts import Attempts
from rotary.engine.errors import EngineClosedError, EngineError, NothingEligible
from rotary.engine.limits import DEFAULT_LIMITS, EngineLimits
from rotary.engine.picks import Carrier, PickedCallerId, PickRequest
from rotary.engine.protocol import Answer, Request
from rotary.errors import ConfigurationError
from rotary.tls import certificate_error

_log = logging.getLogger("rotary.engine")
T = TypeVar("T")


class Pick(PickedCallerId, kw_only=True):
    """A caller ID, reserved for one call. Entering it as a context releases it at the end, unless the call was placed.

    async with engine.pick(3, lead_id="L-991") as pick:
        await dial(pick.number)
        pick.placed()
    """

    engine: "Engine"
    is_placed: bool = False
    is_released: bool = False

    def placed(self) -> None:
        """The call went out: leaving the context does not release the pick. Call it before you publish the call."""
        self.is_placed = True

    async def release(self) -> None:
        """Gives the reservation back. Does nothing if it was confirmed or has expired. Raises as `Engine.release`."""
        await self.engine.release(self.group_id, self.id)
        self.is_released = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_placed or self.is_released:
            return
        try:
            await self.release()
        except EngineError as failed:
            # Not the caller's concern: the reservation expires by itself.
            _log.warning("pick %s not released, it expires by itself: %s", self.id, failed)


class Picks(list[Pick | NothingEligible]):
    """The outcomes of a batch, in order. Leaving them as a context releases the picks whose calls were not placed."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(one.__aexit__(kind, error, trace) for one in self if isinstance(one, Pick)))


Picked = TypeVar("Picked", bound=AbstractAsyncContextManager[Any, None])


class Picking(Generic[Picked]):
    """A request that is being made: await it for the `Pick` or the `Picks`, or enter it with `async with`."""

    def __init__(self, picking: Coroutine[Any, Any, Picked]) -> None:
        self._picking = picking

    def __await__(self) -> Generator[Any, None, Picked]:
        return self._picking.__await__()

    async def __aenter__(self) -> Picked:
        self._picked = await self._picking
        return self._picked

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._picked.__aexit__(kind, error, trace)


class Engine:
    """Picks caller IDs for calls. One in a process is enough; any number of tasks may share it.

    `url` is `https://host`, `token` has the scope `caller_id_pick`. Your own certificate authority goes into
    `ssl_context`. Entering the context does not connect yet.

    A request is sent again with the same idempotency key when the connection is lost, the engine is unavailable (503)
    or the token is over its limit (429), until `limits.deadline_seconds` are over or would be before the time that the
    engine asks for. So each method raises EngineUnavailableError or RateLimitedError, and at once AccessRefusedError,
    GroupNotFoundError, InvalidRequestError, UnexpectedAnswerError, ConfigurationError when the certificate is
    untrusted, and EngineClosedError outside `async with`.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        limits: EngineLimits = DEFAULT_LIMITS,
        ssl_context: SSLContext | None = None,
    ) -> None:
        self._base = protocol.base_url(url)
        self._headers = protocol.common_headers(token)
        self._limits = limits
        self._ssl_context = ssl_context
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"Engine({self._base!r})"

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._limits.connections, ssl=self._ssl_context or True)
        self._session = aiohttp.ClientSession(
            connector=connector, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def pick(
        self,
        group_id: int,
        *,
        lead_id: str | None = None,
        carrier: Carrier | None = None,
        prefix: str | None = None,
        exclude: Sequence[int] = (),
        idempotency_key: str | None = None,
    ) -> Picking[Pick]:
        """Reserves a caller ID of the group for one call: `await` it, or enter it with `async with`.

        `lead_id` keeps its number if the group is sticky. Caller IDs of `carrier` are preferred, then those whose
        number begins with `prefix` or with most of it; those in `exclude` are never picked. `idempotency_key` defaults
        to a new one: give your own, unique to the call attempt, to get the same answer again after a crash of yours,
        a refusal too. Compare the pick's `expires_at` with the time then. A pick whose answer nobody awaits, because
        the task was cancelled, expires by itself.

        Raises NothingEligible, which says when to come again, and GroupDisabled. Do not dial then.
        """
        request = protocol.pick(group_id, PickRequest(lead_id, carrier, prefix, exclude), idempotency_key)
        return Picking(self._pick(request))

    def pick_many(
        self, group_id: int, requests: Sequence[PickRequest], *, idempotency_key: str | None = None
    ) -> Picking[Picks]:
        """Up to 500 picks in one request, with an outcome for each, in order: `await` it, or enter it.

        Raises GroupDisabled.
        """
        return Picking(self._pick_many(group_id, requests, idempotency_key))

    async def release(self, group_id: int, pick_id: str) -> None:
        """Gives a reservation back. Does nothing if it was confirmed or has expired."""
        await self._call(protocol.release(group_id, pick_id))

    async def forget_lead(self, group_id: int, lead_id: str) -> None:
        """Forgets which number the lead keeps: its next pick follows the strategy."""
        await self._call(protocol.forget_lead(group_id, lead_id))

    async def _pick(self, request: Request[PickedCallerId]) -> Pick:
        return self._bound(await self._call(request))

    async def _pick_many(self, group_id: int, requests: Sequence[PickRequest], idempotency_key: str | None) -> Picks:
        if not requests:
            return Picks()
        outcomes = await self._call(protocol.pick_many(group_id, requests, idempotency_key))
        return Picks(self._bound(one) if isinstance(one, PickedCallerId) else one for one in outcomes)

    def _bound(self, picked: PickedCallerId) -> Pick:
        return Pick(**asdict(picked), engine=self)

    async def _call(self, request: Request[T]) -> T:
        clock = asyncio.get_running_loop().time
        attempts = Attempts(self._limits, clock())
        while True:
            try:
                answer = await self._send(request, attempts.timeout(clock()))
            except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
                delay: float | None = attempts.lost(_reason(error), clock())
            else:
                delay = attempts.answered(answer, clock())
                if delay is None:
                    return request.read(answer)
            await asyncio.sleep(delay or 0)

    async def _send(self, request: Request[T], seconds: float) -> Answer:
        if self._session is None:
            raise EngineClosedError("the engine's client is not open: use it inside its `async with`")
        async with self._session.request(
            request.method,
            URL(self._base + request.path, encoded=True),
            data=request.body,
            headers=request.headers,
            timeout=aiohttp.ClientTimeout(total=seconds),
            allow_redirects=False,
        ) as response:
            return protocol.answer(response.status, await response.read(), response.headers.get)


def _reason(error: Exception) -> str:
    """Why there is no answer. Raises ConfigurationError if trying again can't help."""
    if why := certificate_error(error):
        raise ConfigurationError(f"the engine's URL: {why}") from None
    return str(error) or type(error).__name__
