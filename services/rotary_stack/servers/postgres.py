"""A private PostgreSQL: one database `rotary`, owned by user `rotary`, on loopback, for who knows the password.

`rotary` may create databases and is no superuser: who has its URL cannot run programs or read files on the server.
It can become `rotary_guest`, a role without any rights, for tests of what others may do. The superuser's password never
leaves this process.
"""

import os
import pwd
import shutil
from pathlib import Path
from signal import SIGINT, SIGQUIT, Signals

import asyncpg

from rotary_stack.binaries import Binaries
from rotary_stack.errors import NotReadyError, StackError
from rotary_stack.private import new_password, write_private
from rotary_stack.spawn import Launch, run_to_end, server_environ

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

# For everybody, over TCP from this machine; there are no Unix sockets, and no replication.
_HBA = "host all all 127.0.0.1/32 scram-sha-256\n"
_SUPERUSER = "postgres"


class Postgres:
    name = "postgres"
    stop_signal: Signals = SIGINT  # "fast": ends sessions, writes a checkpoint

    def __init__(self, binaries: Binaries, directory: Path, port: int) -> None:
        self.port = port
        self._password = new_password()
        self._superusers_password = new_password()
        self.url = f"postgresql://rotary:{self._password}@127.0.0.1:{port}/rotary"
        self.data = directory / "postgres"
        self._binaries = binaries
        self._directory = directory

    async def prepare(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        self.data.mkdir(mode=0o700, exist_ok=True)
        password = self._directory / "initdb-password"
        write_private(password, self._superusers_password)
        if user := server_user():
            shutil.chown(self.data, user, user)
            shutil.chown(password, user, user)
        try:
            await run_to_end("initdb", self._launch(*self._initdb(password)), self._directory / "initdb.log")
        finally:
            password.unlink()
        (self.data / "pg_hba.conf").write_text(_HBA, encoding="utf-8")

    def launch(self) -> Launch:
        settings = {**_SETTINGS, "port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._launch(self._binaries.postgres, "-D", str(self.data), *options)

    async def ready(self) -> None:
        """`rotary` can log in to its database, both of which a new cluster is given here."""
        try:
            connection = await asyncpg.connect(
                host="127.0.0.1",
                port=self.port,
                user=_SUPERUSER,
                password=self._superusers_password,
                database="postgres",
                ssl=False,
                timeout=5,
            )
            try:
                await self._furnish(connection)
            finally:
                await connection.close(timeout=5)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
            raise NotReadyError(str(problem)) from problem

    async def _furnish(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        if await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = 'rotary'") is None:
            await connection.execute(f"CREATE ROLE rotary LOGIN CREATEDB PASSWORD '{self._password}'")
            await connection.execute("CREATE ROLE rotary_guest; GRANT rotary_guest TO rotary")
        if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = 'rotary'") is None:
            await connection.execute("CREATE DATABASE rotary OWNER rotary")

    def _initdb(self, password: Path) -> list[str]:
        options = [
            "--no-sync",
            "--auth=scram-sha-256",
            f"--username={_SUPERUSER}",
            f"--pwfile={password}",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ]
        return [self._binaries.initdb, *options, "-D", str(self.data)]

    def _launch(self, *argv: str) -> Launch:
        # SIGQUIT is PostgreSQL's immediate shutdown: as quick as SIGKILL, but its shared memory goes with it.
        return Launch(
            argv=argv, environ=server_environ(), directory=self._directory, user=server_user(), leash=SIGQUIT
        )  # fmt: skip


def server_user() -> str | None:
    """PostgreSQL refuses to run as root, so root runs it as Debian's user for it. None: it runs as we do."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        raise StackError("PostgreSQL cannot run as root, and there is no user postgres: run as another user") from None
    return "postgres"
