"""A private PostgreSQL with the database `rotary`, owned by the user `rotary`, on loopback and with a password.

`rotary` may create databases but is not a superuser: its URL does not allow running programs or reading files on the
server. It may switch to `rotary_guest`, a role without rights, for tests of permissions. The superuser's password stays
in this process.
"""

import os
import pwd
import shutil
from pathlib import Path
from signal import SIGINT, SIGQUIT, Signals

import asyncpg

from rotary_stack.binaries import Binaries
from rotary_stack.errors import NotReadyError, StackError
from rotary_stack.spawn import LaunchConfig, run_to_exit, server_environ
from rotary_stack.workspace import new_password, write_private

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",  # of all workers that run our tests
    # Without fsync data survives a SIGKILL of the server, and only a crash of the machine loses it.
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Leaves nothing behind in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",
}

# Passwords for everybody, over TCP from this machine. There are no Unix sockets and no replication.
_HBA = "host all all 127.0.0.1/32 scram-sha-256\n"
_SUPERUSER = "postgres"


class Postgres:
    name = "postgres"
    stop_signal: Signals = SIGINT  # fast shutdown: ends sessions and writes a checkpoint

    def __init__(self, binaries: Binaries, directory: Path, port: int) -> None:
        self.port = port
        self._password = new_password()
        self._superuser_password = new_password()
        self.url = f"postgresql://rotary:{self._password}@127.0.0.1:{port}/rotary"
        self.data = directory / "postgres"
        self._binaries = binaries
        self._directory = directory

    async def prepare(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        self.data.mkdir(mode=0o700, exist_ok=True)
        password = self._directory / "initdb-password"
        write_private(password, self._superuser_password)
        if user := server_user():
            shutil.chown(self.data, user, user)
            shutil.chown(password, user, user)
        try:
            await run_to_exit("initdb", self._launch(*self._initdb(password)), self._directory / "initdb.log")
        finally:
            password.unlink()
        (self.data / "pg_hba.conf").write_text(_HBA, encoding="utf-8")

    def launch_config(self) -> LaunchConfig:
        settings = {**_SETTINGS, "port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._launch(self._binaries.postgres, "-D", str(self.data), *options)

    async def check_ready(self) -> None:
        """Connects, and creates the role `rotary` and its database in a new cluster."""
        try:
            connection = await asyncpg.connect(
                host="127.0.0.1",
                port=self.port,
                user=_SUPERUSER,
                password=self._superuser_password,
                database="postgres",
                ssl=False,
                timeout=5,
            )
            try:
                await self._create_database(connection)
            finally:
                await connection.close(timeout=5)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise NotReadyError(str(error)) from error

    async def _create_database(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
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

    def _launch(self, *argv: str) -> LaunchConfig:
        # SIGQUIT is PostgreSQL's immediate shutdown: as quick as SIGKILL, but it frees the shared memory.
        return LaunchConfig(
            argv=argv,
            environ=server_environ(),
            directory=self._directory,
            user=server_user(),
            parent_death_signal=SIGQUIT,
        )


def server_user() -> str | None:
    """The user that PostgreSQL runs as if we are root, because it refuses to run as root. None if we are not root."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        raise StackError("PostgreSQL cannot run as root, and the user postgres is missing: use another user") from None
    return "postgres"
