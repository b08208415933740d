"""Migrations: numbered SQL files. Each is applied once, in order, in its own transaction."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from importlib import resources

from msgspec import Struct

from rotary.errors import RotaryError
from rotary.postgres.connection import Connection

_LOCK = 0x726F7461_6D696772  # "rotamigr"
_WAIT_SECONDS = 600


class MigrationRefusedError(RotaryError):
    """The migrations do not fit the database: the database is newer, or an applied file was changed."""


class Migration(Struct, frozen=True):
    """One file, such as `0001_definitions.sql`."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> bytes:
        """SHA-256 of the text. An applied migration never changes; add a new one instead."""
        return sha256(self.sql.encode()).digest()


def migrations() -> list[Migration]:
    """This version's migrations, ascending."""
    files = resources.files("rotary.postgres").joinpath("migrations").iterdir()
    named = sorted((file.name, file.read_text("utf-8")) for file in files if file.name.endswith(".sql"))
    return [Migration(int(name[:4]), name, sql) for name, sql in named]


async def migrate(connection: Connection, wanted: Sequence[Migration] | None = None) -> list[str]:
    """Applies the missing migrations to the `public` schema and returns their file names.

    Concurrent calls take turns. Raises MigrationRefusedError, without changes, if the database is newer than `wanted`
    (default: this version's migrations) or an applied file has changed.
    """
    known = migrations() if wanted is None else list(wanted)
    async with _alone(connection):
        applied = await _applied(connection)
        _verify(applied, known)
        missing = [migration for migration in known if migration.number not in applied]
        for migration in missing:
            await _apply(connection, migration)
    return [migration.name for migration in missing]


@asynccontextmanager
async def _alone(connection: Connection) -> AsyncIterator[None]:
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK, timeout=_WAIT_SECONDS)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def _applied(connection: Connection) -> dict[int, tuple[str, bytes]]:
    # CREATE TABLE IF NOT EXISTS would send a notice on every run.
    if await connection.fetchval("SELECT to_regclass('public.rotary_migrations')") is None:
        await connection.execute(
            "CREATE TABLE public.rotary_migrations (number integer PRIMARY KEY, name text NOT NULL,"
            " sha256 bytea NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
    rows = await connection.fetch("SELECT number, name, sha256 FROM public.rotary_migrations ORDER BY number")
    return {row["number"]: (row["name"], row["sha256"]) for row in rows}


def _verify(applied: dict[int, tuple[str, bytes]], known: Sequence[Migration]) -> None:
    by_number = {migration.number: migration for migration in known}
    for number, (name, checksum) in applied.items():
        if number not in by_number:
            raise MigrationRefusedError(
                f"the database is newer than this version of Rotary: it has {name}. Install the version that has it."
            )
        if by_number[number].checksum != checksum:
            raise MigrationRefusedError(
                f"{by_number[number].name} is not the file that was applied to this database. "
                "Restore it and make the change in a new migration."
            )


async def _apply(connection: Connection, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute("SET LOCAL search_path = public, pg_temp")
        await connection.execute(migration.sql, timeout=_WAIT_SECONDS)
        await connection.execute(
            "INSERT INTO public.rotary_migrations (number, name, sha256) VALUES ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.checksum,
        )
