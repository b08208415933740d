"""The record of the event logs: which there are, and by what each is known to be the one it was."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from rotary.postgres.connection import Connection, answering

LogState = Literal["new", "active", "draining"]


class LogRecord(Struct, frozen=True):
    """One log, by its name, as in calls.0.

    `created`: its stream was declared, and must be there. `first_message` is the hash of what is at its offset 0, once
    known. `gap_until` (UTC) is set when it lost events that may matter until then, `gap_accepted`
    (UTC) is the last one that an operator accepted, `retired_at` (UTC) is set when nothing more is written to it.
    """

    name: str
    state: LogState
    created: bool
    first_message: bytes | None = None
    gap_until: datetime | None = None
    retired_at: datetime | None = None
    gap_accepted: datetime | None = None


async def read_logs(connection: Connection) -> list[LogRecord]:
    """Every log, ascending by name. Raises UnavailableError."""
    with answering(connection):
        rows = await connection.fetch(
            "SELECT name, state, created_at IS NOT NULL AS created, first_message, gap_until, retired_at, "
            "gap_accepted FROM event_logs ORDER BY name"
        )
    return [LogRecord(*row) for row in rows]


async def add_logs(connection: Connection, names: Sequence[str], state: LogState) -> None:
    """Registers logs; those that are there stay as they are."""
    with answering(connection):
        await connection.executemany(
            "INSERT INTO event_logs (name, state) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
            [(name, state) for name in names],
        )


async def mark_created(connection: Connection, name: str) -> None:
    """The log's stream was declared."""
    with answering(connection):
        await connection.execute(
            "UPDATE event_logs SET created_at = now() WHERE name = $1 AND created_at IS NULL", name
        )


async def set_state(connection: Connection, name: str, state: LogState) -> None:
    """Moves a log on: new, active, draining, which retires it."""
    with answering(connection):
        await connection.execute(
            "UPDATE event_logs SET state = $2, retired_at = CASE WHEN $2 = 'draining' THEN now() END WHERE name = $1",
            name,
            state,
        )


async def learn_first(connection: Connection, name: str, first_message: bytes) -> None:
    """What is at the log's offset 0, unless that is known already."""
    with answering(connection):
        await connection.execute(
            "UPDATE event_logs SET first_message = $2 WHERE name = $1 AND first_message IS NULL", name, first_message
        )


async def note_gap(connection: Connection, name: str, until: datetime, first_message: bytes | None) -> None:
    """The log lost events that may matter until then; `first_message` is what it begins with now, if known."""
    with answering(connection):
        await connection.execute(
            "UPDATE event_logs SET gap_until = greatest(gap_until, $2), first_message = $3 WHERE name = $1",
            name,
            until,
            first_message,
        )


async def keep_gap(connection: Connection, name: str, until: datetime) -> None:
    """A gap that was found and could not be written down by whoever found it."""
    with answering(connection):
        await connection.execute(
            "UPDATE event_logs SET gap_until = greatest(gap_until, $2) WHERE name = $1", name, until
        )


async def accept_gap(connection: Connection, name: str) -> bool:
    """The operator's word that what the log lost is to be done without; whether there was a gap."""
    with answering(connection):
        status: str = await connection.execute(
            "UPDATE event_logs SET gap_accepted = gap_until, gap_until = NULL "
            "WHERE name = $1 AND gap_until IS NOT NULL",
            name,
        )
    return status.endswith(" 1")


async def remove_log(connection: Connection, name: str) -> None:
    """Forgets a log that holds nothing that counts any more."""
    with answering(connection):
        await connection.execute("DELETE FROM event_logs WHERE name = $1", name)
