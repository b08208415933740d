"""One confirmed channel to the broker, kept open across whatever happens to it.

aio-pika's robust connection restores topology and consumers, which a publisher has none of, and spends more a message;
this speaks to the layer below it (aiormq) and reconnects by itself.
"""

import asyncio
from contextlib import suppress
from random import SystemRandom
from ssl import SSLContext

import aiormq
from aiormq import Channel, Connection
from pamqp.commands import Basic
from yarl import URL

from rotary.errors import ConfigurationError, UnavailableError
from rotary.events import EXCHANGE
from rotary.publisher.errors import PublishError, RefusedError, UnroutableError
from rotary.trust import distrust

_CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 5.0
# The client gives a silent connection up after three of these and a bit: 18 s, well within the default deadline.
_HEARTBEAT_SECONDS = "5"
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0

_LOGIN_REFUSED = (aiormq.AuthenticationError, aiormq.ProbableAuthenticationError, aiormq.ConnectionNotAllowed)
_LOST = (aiormq.AMQPError, aiormq.ChannelInvalidStateError, OSError)
_random = SystemRandom()


class Interrupted(Exception):  # noqa: N818 - no error: the publish is to be tried again
    """The connection went away under a publish, or the broker could not take the message for the moment."""


class Rejected(Exception):  # noqa: N818 - becomes the PublishError it names, once the events are known
    """The broker gave its answer, and trying again would bring the same one."""

    def __init__(self, kind: type[PublishError], reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason


def pause(attempt: int) -> float:
    """Seconds to wait before the attempt after this one, with a spread so that many dialers do not knock at once."""
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(attempt, 10))
    return _random.uniform(longest / 2, longest)


class Link:
    """`trouble` is the last thing that went wrong, in the broker's words, for the error of who waited in vain."""

    def __init__(self, url: str, ssl_context: SSLContext | None = None) -> None:
        self._url = URL(url)
        if "heartbeat" not in self._url.query:
            self._url = self._url.update_query(heartbeat=_HEARTBEAT_SECONDS)
        self._ssl_context = ssl_context
        self._channel: Channel | None = None
        self._up = asyncio.Event()
        self._publishing: set[asyncio.Task[object]] = set()
        self._task: asyncio.Task[None] | None = None
        self._attempt = 0
        self.trouble = "no confirmation arrived"

    async def open(self, seconds: float) -> None:
        """Connects for the first time. Raises UnavailableError when that did not succeed within `seconds`, and at once
        RefusedError when the broker is there and refuses the login, ConfigurationError when its certificate is not
        believed.
        """
        try:
            async with asyncio.timeout(seconds):
                connection = await self._connect_once_or_again(first=True)
                self._task = asyncio.create_task(self._run(connection))
                await self._up.wait()
        except BaseException as error:
            await self.close()
            if isinstance(error, TimeoutError):
                raise UnavailableError(f"RabbitMQ at {self._address} does not answer: {self.trouble}") from None
            raise

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def publish(self, body: bytes, routing_key: str, content_type: str) -> None:
        """Returns when the broker has confirmed. Waits for a connection as long as it takes: bring a timeout.

        Raises Interrupted or Rejected.
        """
        channel = await self._current()
        task: asyncio.Task[object] = asyncio.ensure_future(
            channel.basic_publish(
                body,
                exchange=EXCHANGE,
                routing_key=routing_key,
                properties=Basic.Properties(content_type=content_type, delivery_mode=2),
                mandatory=True,
                wait=False,
            )
        )
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)
        try:
            await task
        except asyncio.CancelledError:
            if _we_are_cancelled():
                raise
            raise Interrupted from None
        except _LOST as error:
            raise self._judged(error, routing_key) from None
        # Only what carried something was a good connection: one that opens and is lost again at once still backs off.
        self._attempt = 0

    def _judged(self, error: Exception, routing_key: str) -> Interrupted | Rejected:
        said = _words(error)
        match error:
            case aiormq.PublishError():
                return Rejected(UnroutableError, f"no queue is bound for {routing_key} ({said})")
            case aiormq.ChannelNotFoundEntity():
                return Rejected(UnroutableError, said)
            case aiormq.ChannelAccessRefused() if not _names_another(said, routing_key):
                return Rejected(RefusedError, said)
            case aiormq.ChannelPreconditionFailed():
                return Rejected(RefusedError, said)
        self.trouble = "the broker did not accept it" if isinstance(error, aiormq.DeliveryError) else said
        return Interrupted()

    async def _current(self) -> Channel:
        while True:
            if self._channel is not None and self._channel.is_closed:
                self._withdraw()
            if self._channel is not None:
                return self._channel
            await self._up.wait()

    def _withdraw(self) -> None:
        self._channel = None
        self._up.clear()

    async def _run(self, connection: Connection) -> None:
        while True:
            await self._serve(connection)
            connection = await self._connect_once_or_again(first=False)

    async def _serve(self, connection: Connection) -> None:
        """Keeps a channel open until the connection is lost: a refused publish closes only its channel."""
        try:
            while not connection.is_closed:
                channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                assert isinstance(channel, Channel)  # the declared type lacks basic_publish's `wait`
                self._channel = channel
                self._up.set()
                await self._until_closed(channel)
        except (*_LOST, RuntimeError) as error:
            self.trouble = _words(error)
        finally:
            self._withdraw()
            with suppress(*_LOST, RuntimeError):
                await connection.close(timeout=_CLOSE_SECONDS)

    async def _until_closed(self, channel: Channel) -> None:
        closing = asyncio.ensure_future(channel.closing)
        await asyncio.wait([closing])
        self._withdraw()
        if not closing.cancelled() and (error := closing.exception()) is not None:
            self.trouble = _words(error)
        # aiormq has now told nearly every publish what happened. One that stands before its full write queue, which
        # nobody empties any more, would wait for ever.
        if self._publishing:
            await asyncio.wait(self._publishing, timeout=1)
        for task in self._publishing:
            task.cancel()

    async def _connect_once_or_again(self, *, first: bool) -> Connection:
        if not first:
            await self._pause()
        while True:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    return await aiormq.connect(self._url, context=self._ssl_context)
            except _LOST as error:
                refused = _login_refused(error)
                self.trouble = refused or _words(error)
                if first and refused:
                    raise RefusedError((), refused) from None
                if first and (why := distrust(error)):
                    raise ConfigurationError(f"RabbitMQ at {self._address}: {why}") from None
            await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(pause(self._attempt))
        self._attempt += 1

    @property
    def _address(self) -> str:
        return f"{self._url.host}:{self._url.port or (5671 if self._url.scheme == 'amqps' else 5672)}"


def _we_are_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _login_refused(error: Exception) -> str | None:
    """Why the broker does not want this user here, if that is what the error says."""
    said = _words(error)
    if isinstance(error, _LOGIN_REFUSED):
        return said
    if isinstance(error, aiormq.InvalidFrameError) and "Connection.Close" in said:
        # aiormq drops the broker's words at this step, which can only be about the virtual host.
        return "the broker closed the door: the virtual host does not exist, or this user may not use it"
    return None


def _names_another(said: str, routing_key: str) -> bool:
    """Whether the refusal is about another topic: it closes the channel, and so hits all that were in flight on it."""
    return "topic '" in said and f"topic '{routing_key}'" not in said


def _words(error: BaseException) -> str:
    words = " ".join(str(argument) for argument in error.args if isinstance(argument, str | int)).strip()
    return words or type(error).__name__
