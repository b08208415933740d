"""Rotary's own programs as units of the stack, and the migrations that run before them."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from signal import SIGTERM, Signals

from rotary_stack.errors import NotReadyError
from rotary_stack.spawn import Launch, run_to_end


class Service:
    """A service, ready when `/readyz` says so. Its `port` is the ops port, where `/livez` and `/metrics` are too."""

    stop_signal: Signals = SIGTERM
    data = None

    def __init__(self, name: str, module: str, environ: Mapping[str, str], ops_port: int) -> None:
        self.name = name
        self.port = ops_port
        self.url = f"http://127.0.0.1:{ops_port}"
        self._module = module
        self._environ = {**environ, "ROTARY_OPS_BIND": f"127.0.0.1:{ops_port}"}

    async def prepare(self) -> None:
        """It keeps nothing."""

    def launch(self) -> Launch:
        return Launch(argv=python_module(self._module), environ=os.environ | self._environ)

    async def ready(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"GET /readyz HTTP/1.0\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        if head.split(b" ", 2)[1:2] != [b"200"]:
            raise NotReadyError(f"/readyz says {body.decode(errors='replace').strip()}")


async def migrate(environ: Mapping[str, str], log: Path) -> None:
    """Brings the database `rotary` to the newest migration."""
    launch = Launch(argv=python_module("rotary_admin", "migrate"), environ=os.environ | dict(environ))
    await run_to_end("rotary-admin migrate", launch, log)


def python_module(module: str, *arguments: str) -> tuple[str, ...]:
    """`-P`: a file called like a module of ours, in the caller's directory, must not take its place."""
    return (sys.executable, "-P", "-m", module, *arguments)
