"""A private Redis, durable as a production one: append-only file, written every second, nothing ever evicted."""

import asyncio
from pathlib import Path
from signal import SIGTERM, Signals

from rotary_stack.failures import NotReadyError
from rotary_stack.installed import Binaries
from rotary_stack.launch import Launch, server_environ

_SETTINGS = {
    "bind": "127.0.0.1",
    "daemonize": "no",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "set-max-intset-entries": "4096",
    "enable-debug-command": "local",  # tests slow it down and reload it
}


class Redis:
    name = "redis"
    stop_signal: Signals = SIGTERM

    def __init__(self, binaries: Binaries, directory: Path, port: int) -> None:
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.data = directory / "redis"
        self._binary = binaries.redis_server

    async def prepare(self) -> None:
        self.data.mkdir(mode=0o700, exist_ok=True)

    def launch(self) -> Launch:
        settings = {**_SETTINGS, "port": str(self.port), "dir": str(self.data)}
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return Launch(argv=(self._binary, *options), environ=server_environ(), directory=self.data)

    async def ready(self) -> None:
        """PING is answered with PONG: not while it still loads its data."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"PING\r\n")
            answer = await reader.readline()
        finally:
            writer.close()
        if answer.strip() != b"+PONG":
            raise NotReadyError(answer.decode(errors="replace").strip())
