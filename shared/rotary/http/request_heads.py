"""A request's head, bounded as a whole: aiohttp bounds each line and their number, which allows half a megabyte."""

from collections.abc import Sequence
from typing import Protocol

from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

MAX_HEAD_BYTES = 32_768

Messages = Sequence[tuple[RawRequestMessage, StreamReader]]
Fed = tuple[Messages, bool, bytes]


class Parser(Protocol):
    """What aiohttp's connection asks of its parser."""

    def feed_data(self, data: bytes) -> Fed:
        """Parses what arrived."""

    def pause_reading(self) -> None:
        """Stops parsing."""

    def message_consumed(self) -> None:
        """A request was taken."""

    def set_upgraded(self, val: bool) -> None:  # noqa: FBT001  # aiohttp's signature
        """Another protocol follows, or not."""


class HeadWatch(Protocol):
    """Told when part of a head has arrived, and when requests are complete."""

    def head_began(self) -> None:
        """The rest of a head is awaited; may be told repeatedly."""

    def head_ended(self) -> None:
        """No head is under way."""


class BoundedParser:
    """aiohttp's parser, refusing a head of more than MAX_HEAD_BYTES with LineTooLong, complete or not.

    Only what is not simple costs anything: nearly every read is one request, and ends with its empty line or its body.
    """

    __slots__ = (
        "_awaiting",
        "_feed",
        "_is_simple",
        "_is_unsure",
        "_payload",
        "_watch",
        "message_consumed",
        "pause_reading",
        "set_upgraded",
    )

    def __init__(self, parser: Parser, watch: HeadWatch) -> None:
        self._feed = parser.feed_data
        self.pause_reading = parser.pause_reading
        self.message_consumed = parser.message_consumed
        self.set_upgraded = parser.set_upgraded
        self._watch = watch
        self._payload: StreamReader = EMPTY_PAYLOAD
        self._awaiting = 0  # bytes of an incomplete head, at least
        self._is_unsure = False  # whether there may be more
        self._is_simple = True  # whether the last read ended with a request

    def feed_data(self, data: bytes) -> Fed:
        """Parses what arrived. Raises HttpProcessingError for what is no request, or too large a one."""
        was_simple = self._is_simple
        was_in_body = not was_simple and not self._payload.is_eof()
        fed = self._feed(data)
        messages = fed[0]
        if messages:
            if messages[-1][1] is EMPTY_PAYLOAD:
                is_complete = data.endswith(b"\r\n\r\n")
            else:
                is_complete = was_simple and _ends_with_body(data, messages)
            if not (was_simple and is_complete and len(data) <= MAX_HEAD_BYTES):
                self._parsed(data, messages, is_complete=is_complete)
            return fed
        self._is_simple = False
        if was_in_body:
            self._is_unsure = True  # what follows the body may be in this read
        elif self._awaiting or data.strip(b"\r\n"):  # a line end between two requests begins nothing
            self._awaiting += len(data)
            if self._awaiting > MAX_HEAD_BYTES:
                raise _too_large()
            self._watch.head_began()
        return fed

    def _parsed(self, data: bytes, messages: Messages, *, is_complete: bool) -> None:
        if self._is_unsure or not data or self._awaiting + len(data) > MAX_HEAD_BYTES:
            for message, _ in messages:
                _check(message)
        self._watch.head_ended()
        self._awaiting = 0
        self._payload = messages[-1][1]
        self._is_simple = is_complete
        self._is_unsure = not is_complete
        if not is_complete and self._payload is EMPTY_PAYLOAD and data:
            self._watch.head_began()


def _ends_with_body(data: bytes, messages: Messages) -> bool:
    """Whether a read that begins with a head is one request, and certainly ends with its body."""
    payload = messages[-1][1]
    if len(messages) > 1 or not payload.is_eof():
        return False
    return data.find(b"\r\n\r\n") + 4 + payload.total_bytes == len(data)


def _check(message: RawRequestMessage) -> None:
    size = len(message.path) + sum(len(name) + len(value) + 4 for name, value in message.raw_headers)
    if size > MAX_HEAD_BYTES:
        raise _too_large()


def _too_large() -> LineTooLong:
    return LineTooLong(b"head", MAX_HEAD_BYTES)
