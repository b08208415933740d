"""Erlang's port mapper. RabbitMQ would otherwise start one that outlives it."""

import asyncio
from pathlib import Path
from signal import SIGTERM, Signals

from rotary_stack.binaries import Binaries
from rotary_stack.spawn import LaunchConfig, server_environ


class Epmd:
    name = "epmd"
    stop_signal: Signals = SIGTERM
    data = None

    def __init__(self, binaries: Binaries, directory: Path, port: int) -> None:
        self.port = port
        self.url = f"epmd://127.0.0.1:{port}"
        self._binary = binaries.epmd
        self._directory = directory

    async def prepare(self) -> None:
        """It stores nothing."""

    def launch_config(self) -> LaunchConfig:
        argv = (self._binary, "-port", str(self.port), "-address", "127.0.0.1")
        return LaunchConfig(argv=argv, environ=server_environ(), directory=self._directory)

    async def check_ready(self) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()
