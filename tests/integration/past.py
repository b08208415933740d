"""What a customer's days should look like: the pure figures of events, and what is on record in Postgres."""

from collections.abc import Mapping, Sequence
from datetime import date
from random import Random

from histories import DAY, HOUR, cleared, flagged, placed
from rotary.domain.facts import Facts, fold
from rotary.domain.history import NOTHING, Day, Figures, Known, PastFacts, figures
from rotary.events import FLAG_KINDS, Event
from rotary.policy import DEFAULT_POLICY, Policy
from rotary.postgres.connection import Connection

EVERYTHING = Known(calls=True, flags=True, resting=True, health=True)
Rows = dict[tuple[int, date], Figures]


def figured(
    events: Sequence[Event], days: Sequence[Day], callers: Sequence[int], policy: Policy = DEFAULT_POLICY
) -> Rows:
    """The rows of these days: of the caller IDs that did something."""
    facts = fold({}, events)
    rows = {
        (caller, day.date): figures(day, _past(facts.get(caller, Facts())), policy, EVERYTHING)
        for caller in callers
        for day in days
    }
    return {key: row for key, row in rows.items() if row != NOTHING}


def _past(facts: Facts) -> PastFacts:
    return PastFacts(facts.caller_facts().calls, facts.flags, facts.clears)


async def recorded(connection: Connection, customer: int) -> Rows:
    """The rows on record."""
    rows = await connection.fetch(
        "SELECT caller_id_id, day, calls, spam_label, blocked, user_report, rejected, resting_seconds, health"
        " FROM caller_id_days WHERE customer_id = $1",
        customer,
    )
    return {(row[0], row[1]): Figures(row[2], (row[3], row[4], row[5], row[6]), row[7], row[8]) for row in rows}


async def stored_bytes(connection: Connection) -> Mapping[str, Sequence[str]]:
    """Everything that is on record of days, as text."""
    return {
        table: [
            row[0]
            for row in await connection.fetch(f"SELECT stored::text FROM {table} AS stored ORDER BY stored::text")
        ]
        for table in ("customer_days", "caller_id_days")
    }


async def define(
    connection: Connection, customer: int, callers: Sequence[int], timezone: str = "Asia/Ho_Chi_Minh"
) -> None:
    """A customer with these caller IDs, all in one group of the customer's own number."""
    await connection.execute("INSERT INTO customers (id, name, timezone) VALUES ($1, 'Sales', $2)", customer, timezone)
    await connection.execute(
        "INSERT INTO caller_ids (id, customer_id, number, carrier)"
        " SELECT id, $2, '+84' || (100000000 + id), 'viettel' FROM unnest($1::bigint[]) AS id",
        list(callers),
        customer,
    )
    await connection.execute(
        "INSERT INTO caller_id_groups (id, customer_id, name, rotation_strategy) VALUES ($1, $1, 'All', 'random')",
        customer,
    )
    await connection.execute(
        "INSERT INTO caller_id_group_members (group_id, caller_id_id) SELECT $1, unnest($2::bigint[])",
        customer,
        list(callers),
    )


def busy_days(now_ms: int, callers: Sequence[int], seed: int = 1) -> list[Event]:
    """Calls of the last 47 hours, flags and clears of the last 29 days."""
    random = Random(seed)
    events: list[Event] = []
    for caller in callers:
        events += [
            placed(f"{caller}-{number}", now_ms - random.randrange(47 * HOUR), caller)
            for number in range(random.randrange(30))
        ]
        for number in range(random.randrange(5)):
            kind = random.choice(FLAG_KINDS)
            events.append(flagged(f"{caller}-f{number}", kind, now_ms - random.randrange(29 * DAY), caller))
        if random.random() < 0.3:
            events.append(cleared(f"{caller}-c", now_ms - random.randrange(29 * DAY), caller))
    random.shuffle(events)
    return events
