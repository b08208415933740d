"""Migrations: numbered SQL files, each applied once, in order, in a transaction of its own."""

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
    """The database and these migrations do not belong together: it is newer, or an applied file was changed."""


class Migration(Struct, frozen=True):
    """One file, `0001_definitions.sql`: its number, its name and its text."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> bytes:
        """SHA-256 of the text: an applied migration never changes, a new one is added instead."""
        return sha256(self.sql.encode()).digest()


def migrations() -> list[Migration]:
    """The migrations this version of Rotary brings, ascending."""
    files = resources.files("rotary.postgres").joinpath("migrations").iterdir()
    named = sorted((file.name, file.read_text("utf-8")) for file in files if file.name.endswith(".sql"))
    return [Migration(int(name[:4]), name, sql) for name, sql in named]


async def migrate(connection: Connection, wanted: Sequence[Migration] | None = None) -> list[str]:
    """Brings the database's `public` schema up to date; returns the names of the files applied now, often none.

    Two at once take turns. Raises MigrationRefusedError, having changed nothing, when the database is newer than
    `wanted` (by default this version's own) or an applied file differs from it.
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
    # Asked for first: IF NOT EXISTS alone would tell the user "already exists, skipping" on every run.
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
                "Put it back as it was and make the change in a new migration."
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
