"""The stack's end of the control socket."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from rotary_stack.control.messages import Request, Response
from rotary_stack.errors import StackError
from rotary_stack.stack import Stack
from rotary_stack.workspace import UMASK


@asynccontextmanager
async def serve_control(stack: Stack) -> AsyncIterator[None]:
    """Serves requests for `stack` inside the block. Cancels those that are unfinished at its end."""
    unfinished: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_serve(stack, reader, writer))
        unfinished.add(task)
        task.add_done_callback(unfinished.discard)

    async with await asyncio.start_unix_server(accept, sock=_private_socket(stack.socket)):
        try:
            yield
        finally:
            # No request may start a process once the stack begins to end.
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)


def _private_socket(path: Path) -> socket.socket:
    """A socket at `path` that only its owner can connect to."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(UMASK)
    try:
        bound.bind(str(path))
    finally:
        os.umask(before)
    return bound


async def _serve(stack: Stack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        response = await _handle(stack, await reader.readline())
        writer.write(msgspec.json.encode(response) + b"\n")
        with suppress(ConnectionError):  # the client did not wait for the response
            await writer.drain()
    finally:
        writer.close()


async def _handle(stack: Stack, line: bytes) -> Response:
    try:
        request = msgspec.json.decode(line, type=Request)
        match request.action:
            case "start":
                await stack.start(request.name, empty=request.empty)
            case "restart":
                await stack.restart(request.name, empty=request.empty)
            case "stop":
                await stack.stop(request.name)
            case "kill":
                await stack.kill(request.name)
            case "status":
                pass
    except (StackError, msgspec.DecodeError) as error:
        return Response(error=str(error))
    return Response(status=stack.status())
