"""The stack's end of the control socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec

from rotary_stack.failures import StackError
from rotary_stack.orders import Order, Reply
from rotary_stack.stack import Stack


@asynccontextmanager
async def controlled(stack: Stack) -> AsyncIterator[None]:
    """Takes orders for `stack` inside the block."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):  # whoever gave the order did not wait for it
            reply = await _carry_out(stack, await reader.readline())
            writer.write(msgspec.json.encode(reply) + b"\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, stack.socket)
    async with server:
        yield


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
