"""Sends a request to the stack that this process runs inside."""

import socket
from collections.abc import Mapping

import msgspec

from rotary_stack.control.messages import Request, Response, Status
from rotary_stack.errors import StackError

SOCKET_VARIABLE = "ROTARY_STACK_SOCKET"


def send(request: Request, environ: Mapping[str, str]) -> Status:
    """Returns the stack's status after the request. Raises StackError if the stack refused or did not answer."""
    path = environ.get(SOCKET_VARIABLE, "")
    if not path:
        raise StackError(f"not inside a stack ({SOCKET_VARIABLE} is not set): run  rotary-stack exec -- COMMAND")
    line = _exchange(path, msgspec.json.encode(request))
    if not line:
        raise StackError("the stack ended before it finished the request")
    response = msgspec.json.decode(line, type=Response)
    if response.status is None:
        raise StackError(response.error or "the stack sent an empty response")
    return response.status


def _exchange(path: str, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
            connection.sendall(line + b"\n")
            with connection.makefile("rb") as answer:
                return answer.read()
        except OSError as error:
            raise StackError(f"no stack answers at {SOCKET_VARIABLE}={path}: it has ended") from error
