"""The record of the event logs: which logs exist, and what identifies the stream of each."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from rotary.postgres.connection import Connection, translate_errors
from rotary.postgres.statements import statement

LogState = Literal["new", "active", "draining"]


class LogRecord(Struct, frozen=True):
    """One log.

    name            such as calls.0
    created         its stream was declared and must exist
    first_message   hash of the message at offset 0; None until it is known
    gap_until       UTC; set if the log lost events that may matter until then
    retired_at      UTC; set once nothing more is written to it
    gap_accepted    UTC; the last `gap_until` that an operator accepted
    """

    name: str
    state: LogState
    created: bool
    first_message: bytes | None = None
    gap_until: datetime | None = None
    retired_at: datetime | None = None
    gap_accepted: datetime | None = None


async def read_logs(connection: Connection) -> list[LogRecord]:
    """Every log, ascending by name. Raises UnavailableError, as do all functions here."""
    with translate_errors(connection):
        rows = await connection.fetch(statement("read_logs"))
    return [LogRecord(*row) for row in rows]


async def read_losses(connection: Connection) -> dict[str, datetime]:
    """By kind of log, the time up to which events that arrived may be in no log any more."""
    with translate_errors(connection):
        rows = await connection.fetch(statement("read_log_losses"))
    return {row["kind"]: row["lost_to"] for row in rows}


async def add_logs(connection: Connection, names: Sequence[str], state: LogState) -> None:
    """Registers logs. Existing ones stay unchanged."""
    await _execute(connection, "add_logs", list(names), state)


async def mark_created(connection: Connection, name: str) -> None:
    """Records that the log's stream was declared."""
    await _execute(connection, "mark_log_created", name)


async def set_state(connection: Connection, name: str, state: LogState) -> None:
    """Sets a log's state. `draining` also sets `retired_at`; any other state clears it."""
    await _execute(connection, "set_log_state", name, state)


async def record_first_message(connection: Connection, name: str, first_message: bytes) -> None:
    """Records the hash of the message at the log's offset 0, unless one is recorded."""
    await _execute(connection, "record_first_message", name, first_message)


async def record_gap(connection: Connection, name: str, until: datetime, first_message: bytes | None) -> None:
    """Records lost events that may matter until then. `first_message` replaces the recorded hash; None clears it.

    Whatever arrived up to now may be lost.
    """
    await _execute(connection, "record_gap", name, until, first_message)


async def extend_gap(connection: Connection, name: str, until: datetime) -> None:
    """Moves the end of the log's gap to `until` if that is later."""
    await _execute(connection, "extend_gap", name, until)


async def accept_gap(connection: Connection, name: str) -> bool:
    """Closes the log's gap on behalf of an operator. Returns whether it had one."""
    return await _execute(connection, "accept_gap", name) == "UPDATE 1"


async def remove_log(connection: Connection, name: str) -> None:
    """Removes the record of a log. What arrived in it is lost to a rebuild from the logs."""
    await _execute(connection, "remove_log", name)


async def _execute(connection: Connection, name: str, *arguments: object) -> str:
    with translate_errors(connection):
        return await connection.execute(statement(name), *arguments)
