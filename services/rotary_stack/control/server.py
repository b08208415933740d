"""The stack's end of the control socket."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from rotary_stack.control.client import Order, Reply
from rotary_stack.errors import StackError
from rotary_stack.private import UMASK
from rotary_stack.stack import Stack


@asynccontextmanager
async def controlled(stack: Stack) -> AsyncIterator[None]:
    """Takes orders for `stack` inside the block. Those not carried out at its end are given up."""
    underway: set[asyncio.Task[None]] = set()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        order = asyncio.create_task(_serve(stack, reader, writer))
        underway.add(order)
        order.add_done_callback(underway.discard)

    async with await asyncio.start_unix_server(take, sock=_listening(stack.socket)):
        try:
            yield
        finally:
            # None may start anything once the stack begins to end.
            for order in underway:
                order.cancel()
            await asyncio.gather(*underway, return_exceptions=True)


def _listening(path: Path) -> socket.socket:
    """A socket there, which its owner alone may connect to."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(UMASK)
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)
    return listening


async def _serve(stack: Stack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        reply = await _carry_out(stack, await reader.readline())
        writer.write(msgspec.json.encode(reply) + b"\n")
        with suppress(ConnectionError):  # whoever gave the order did not wait for it
            await writer.drain()
    finally:
        writer.close()


async def _carry_out(stack: Stack, line: bytes) -> Reply:
    try:
        order = msgspec.json.decode(line, type=Order)
        match order.verb:
            case "start":
                await stack.start(order.name, empty=order.empty)
            case "restart":
                await stack.restart(order.name, empty=order.empty)
            case "stop":
                await stack.stop(order.name)
            case "kill":
                await stack.kill(order.name)
            case "status":
                pass
    except (StackError, msgspec.DecodeError) as problem:
        return Reply(error=str(problem))
    return Reply(status=stack.status())
