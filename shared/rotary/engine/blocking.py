"""The engine's client for dialers without asyncio. It needs the standard library and msgspec alone."""

import logging
import time
from collections import deque
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ssl import SSLContext, create_default_context
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

from msgspec.structs import asdict

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


class BlockingPick(PickedCallerId, kw_only=True):
    """A caller ID, reserved for one call. Entering it as a context releases it at the end, unless the call was placed.

    with engine.pick(3, lead_id="L-991") as pick:
        dial(pick.number)
        pick.placed()
    """

    engine: "BlockingEngine"
    is_placed: bool = False
    is_released: bool = False

    def placed(self) -> None:
        """The call went out: leaving the context does not release the pick. Call it before you publish the call."""
        self.is_placed = True

    def release(self) -> None:
        """Gives the reservation back. Does nothing if it was confirmed or has expired. Raises as `Engine.release`."""
        self.engine.release(self.group_id, self.id)
        self.is_released = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_placed or self.is_released:
            return
        try:
            self.release()
        except EngineError as failed:
            # Not the caller's concern: the reservation expires by itself.
            _log.warning("pick %s not released, it expires by itself: %s", self.id, failed)


class BlockingPicks(list[BlockingPick | NothingEligible]):
    """The outcomes of a batch, in order. Leaving them as a context releases the picks whose calls were not placed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self:
            if isinstance(one, BlockingPick) and not (one.is_placed or one.is_released):
                one.__exit__(kind, error, trace)
                if not one.is_released:
                    return  # the engine is away: it would be waited for once for each pick


class BlockingEngine:
    """`Engine` for threads: the same arguments, methods, limits and errors, without `await`.

    Any number of threads may share one. Its connections are kept open between requests. Create it after forking.
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
        self._connections = _Connections(self._base, ssl_context, limits.connections)
        self._open = False

    def __repr__(self) -> str:
        return f"BlockingEngine({self._base!r})"

    def __enter__(self) -> Self:
        self._open = self._connections.keep = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A thread that still has a connection closes it.
        self._open = self._connections.keep = False
        self._connections.close()

    def pick(
        self,
        group_id: int,
        *,
        lead_id: str | None = None,
        carrier: Carrier | None = None,
        prefix: str | None = None,
        exclude: Sequence[int] = (),
        idempotency_key: str | None = None,
    ) -> BlockingPick:
        """Like `Engine.pick`. The pick may be entered with `with`."""
        request = PickRequest(lead_id, carrier, prefix, exclude)
        return self._bound(self._call(protocol.pick(group_id, request, idempotency_key)))

    def pick_many(
        self, group_id: int, requests: Sequence[PickRequest], *, idempotency_key: str | None = None
    ) -> BlockingPicks:
        """Like `Engine.pick_many`. The outcomes may be entered with `with`."""
        if not requests:
            return BlockingPicks()
        outcomes = self._call(protocol.pick_many(group_id, requests, idempotency_key))
        return BlockingPicks(self._bound(one) if isinstance(one, PickedCallerId) else one for one in outcomes)

    def release(self, group_id: int, pick_id: str) -> None:
        """Like `Engine.release`."""
        self._call(protocol.release(group_id, pick_id))

    def forget_lead(self, group_id: int, lead_id: str) -> None:
        """Like `Engine.forget_lead`."""
        self._call(protocol.forget_lead(group_id, lead_id))

    def _bound(self, picked: PickedCallerId) -> BlockingPick:
        return BlockingPick(**asdict(picked), engine=self)

    def _call(self, request: Request[T]) -> T:
        if not self._open:
            raise EngineClosedError("the engine's client is not open: use it inside its `with`")
        attempts = Attempts(self._limits, time.monotonic())
        while True:
            try:
                answer = self._connections.send(request, self._headers, attempts.timeout(time.monotonic()))
            except (HTTPException, OSError) as error:
                delay: float | None = attempts.lost(_reason(error), time.monotonic())
            else:
                delay = attempts.answered(answer, time.monotonic())
                if delay is None:
                    return request.read(answer)
            time.sleep(delay or 0)


class _Connections:
    """Connections to one server: each is used by one thread at a time, and kept for the next while `keep` is set."""

    def __init__(self, base: str, ssl_context: SSLContext | None, most: int) -> None:
        parts = urlsplit(base)
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path
        self._context = (ssl_context or create_default_context()) if parts.scheme == "https" else None
        self._most = most
        self.keep = False
        self._idle: deque[HTTPConnection] = deque()

    def send(self, request: Request[T], headers: dict[str, str], seconds: float) -> Answer:
        """Sends once. Raises HTTPException or OSError."""
        connection = self._take(seconds)
        try:
            connection.request(request.method, self._path + request.path, request.body, {**headers, **request.headers})
            response = connection.getresponse()
            body = response.read()
        except BaseException:
            connection.close()
            # What broke this connection has probably broken the idle ones as well.
            self.close()
            raise
        self._give_back(connection)
        return protocol.answer(response.status, body, response.getheader)

    def close(self) -> None:
        """Closes the connections that nobody uses."""
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread took the last one
                return

    def _take(self, seconds: float) -> HTTPConnection:
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._new(seconds)
        connection.timeout = seconds
        if connection.sock is not None:
            connection.sock.settimeout(seconds)
        return connection

    def _new(self, seconds: float) -> HTTPConnection:
        if self._context is None:
            return HTTPConnection(self._host, self._port, timeout=seconds)
        return HTTPSConnection(self._host, self._port, timeout=seconds, context=self._context)

    def _give_back(self, connection: HTTPConnection) -> None:
        if self.keep and connection.sock is not None and len(self._idle) < self._most:
            self._idle.append(connection)
        else:
            connection.close()


def _reason(error: Exception) -> str:
    """Why there is no answer. Raises ConfigurationError if trying again can't help."""
    if why := certificate_error(error):
        raise ConfigurationError(f"the engine's URL: {why}") from None
    return str(error) or type(error).__name__
