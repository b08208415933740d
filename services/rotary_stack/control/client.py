"""Orders to the stack we run inside: one JSON line over the socket in its state directory, one back."""

import socket
from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from rotary_stack.control.messages import Status
from rotary_stack.errors import StackError

Verb = Literal["start", "stop", "kill", "restart", "status"]


class Order(Struct, frozen=True):
    """`name` is a program's name, or `consumer` for every consumer; `status` needs none."""

    verb: Verb
    name: str = ""
    empty: bool = False


class Reply(Struct, frozen=True):
    error: str | None = None
    status: Status | None = None


def give(order: Order, environ: Mapping[str, str]) -> Status:
    """Has `order` carried out and returns the stack's state afterwards. Raises StackError if it was not."""
    path = environ.get("ROTARY_STACK_SOCKET", "")
    if not path:
        raise StackError("not inside a stack: run this under  rotary-stack exec -- COMMAND")
    answer = _ask(path, msgspec.json.encode(order))
    if not answer:
        raise StackError("the stack ended before the order was carried out")
    reply = msgspec.json.decode(answer, type=Reply)
    if reply.error is not None or reply.status is None:
        raise StackError(reply.error or "the stack answered nothing")
    return reply.status


def _ask(path: str, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
            connection.sendall(line + b"\n")
            with connection.makefile("rb") as answer:
                return answer.read()
        except OSError as problem:
            raise StackError(f"the stack of ROTARY_STACK_SOCKET={path} does not answer: it has ended") from problem
