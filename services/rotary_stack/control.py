"""Orders to a running stack, over a socket in its state directory: one JSON line there, one back."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Literal

import msgspec
from msgspec import Struct

from rotary_stack.failures import StackError
from rotary_stack.stack import Stack, Status

Verb = Literal["start", "stop", "kill", "restart", "status"]


class Order(Struct, frozen=True):
    verb: Verb
    name: str = ""
    empty: bool = False


class Reply(Struct, frozen=True):
    error: str | None = None
    status: Status | None = None


@asynccontextmanager
async def controlled(stack: Stack) -> AsyncIterator[None]:
    """Takes orders for `stack` inside the block."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            reply = await _carry_out(stack, await reader.readline())
            writer.write(msgspec.json.encode(reply) + b"\n")
            await writer.drain()
        except ConnectionError:
            pass  # whoever gave the order did not wait for it
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, stack.socket)
    async with server:
        yield


async def _carry_out(stack: Stack, line: bytes) -> Reply:
    try:
        order = msgspec.json.decode(line, type=Order)
        if order.verb != "status":
            await stack.order(order.verb, order.name, empty=order.empty)
    except (StackError, msgspec.DecodeError) as problem:
        return Reply(error=str(problem))
    return Reply(status=stack.status())


def give(order: Order, environ: Mapping[str, str]) -> Status:
    """Sends `order` to the stack we run inside and returns its state afterwards. Raises StackError if it cannot."""
    path = environ.get("ROTARY_STACK_SOCKET", "")
    if not path:
        raise StackError("not inside a stack: run this under  rotary-stack exec -- COMMAND")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
            connection.sendall(msgspec.json.encode(order) + b"\n")
            answer = connection.makefile("rb").read()
        except OSError as problem:
            raise StackError(f"the stack at ROTARY_STACK_SOCKET={path} does not answer: it has ended") from problem
    if not answer:
        raise StackError("the stack ended before the order was carried out")
    reply = msgspec.json.decode(answer, type=Reply)
    if reply.error is not None or reply.status is None:
        raise StackError(reply.error or "the stack answered nothing")
    return reply.status
