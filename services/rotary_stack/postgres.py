"""A private PostgreSQL: one database `rotary`, owned by user `rotary`, no password, loopback only."""

import os
import pwd
import shutil
from pathlib import Path
from signal import SIGINT, SIGQUIT, Signals

import asyncpg

from rotary_stack.failures import NotReadyError, StackError
from rotary_stack.installed import Binaries
from rotary_stack.launch import Launch, run_to_end, server_environ

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "50",
    # Survives its own SIGKILL like any other; only a crash of the machine would lose data, and with it the stack.
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Nothing in /dev/shm that could stay behind.
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",
}


class Postgres:
    name = "postgres"
    stop_signal: Signals = SIGINT  # "fast": ends sessions, writes a checkpoint

    def __init__(self, binaries: Binaries, directory: Path, port: int) -> None:
        self.port = port
        self.url = f"postgresql://rotary@127.0.0.1:{port}/rotary"
        self.data = directory / "postgres"
        self._binaries = binaries
        self._directory = directory

    async def prepare(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        self.data.mkdir(mode=0o700, exist_ok=True)
        user = _user()
        if user:
            shutil.chown(self.data, user, user)
        await run_to_end("initdb", self._launch(*self._initdb()), self._directory / "initdb.log")

    def launch(self) -> Launch:
        settings = {**_SETTINGS, "port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._launch(self._binaries.postgres, "-D", str(self.data), *options)

    async def ready(self) -> None:
        """SELECT 1 succeeds, in the database `rotary`, which a new cluster is given here."""
        server = self.url.removesuffix("rotary") + "postgres"
        try:
            connection = await asyncpg.connect(server, ssl=False, timeout=5)
            try:
                if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = 'rotary'") is None:
                    await connection.execute("CREATE DATABASE rotary")
            finally:
                await connection.close(timeout=5)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
            raise NotReadyError(str(problem)) from problem

    def _initdb(self) -> list[str]:
        options = ["--no-sync", "--auth=trust", "--username=rotary", "--encoding=UTF8", "--locale=C.UTF-8"]
        return [self._binaries.initdb, *options, "-D", str(self.data)]

    def _launch(self, *argv: str) -> Launch:
        # SIGQUIT is PostgreSQL's immediate shutdown: as quick as SIGKILL, but its shared memory goes with it.
        return Launch(
            argv=argv, environ=server_environ(), directory=self._directory, user=_user(), leash=SIGQUIT
        )  # fmt: skip


def _user() -> str | None:
    """PostgreSQL refuses to run as root, so root runs it as Debian's user for it."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        raise StackError("PostgreSQL cannot run as root, and there is no user postgres: run as another user") from None
    return "postgres"
