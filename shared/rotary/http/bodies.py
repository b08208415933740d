"""The two shapes of a body: every success is `{"data": …}`, every failure `{"message": …}`."""

from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")


class Envelope(Struct, Generic[T], frozen=True):
    """Every success."""

    data: T


class ErrorBody(Struct, frozen=True):
    """Every failure."""

    message: str


def encode_error(message: str) -> bytes:
    """The body of a failure."""
    return msgspec.json.encode(ErrorBody(message))
