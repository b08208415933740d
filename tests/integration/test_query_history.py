"""History as the query service answers it: from a real Postgres, and while there is none."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import pytest
import pytest_asyncio

from integration.private_database import opened, private_database
from integration.query_world import Caller, Site, World, group, member, site
from integration.tcp_proxy import TcpProxy
from rotary.clock import system_clock
from rotary.definitions import GroupDefinition
from rotary.domain.history import HISTORY_DAYS, Day, Figures, Known, day_of
from rotary.domain.quota import local_date
from rotary.postgres import history
from rotary.postgres.connection import Connection
from rotary.postgres.history import DayProgress
from rotary.postgres.migrate import migrations
from running import until

ZONE = "Asia/Ho_Chi_Minh"
PATH = "/api/caller-id-groups/3/history"
EVERYTHING = Known(calls=True, flags=True, resting=True, health=True)
YESTERDAY = local_date(ZONE, system_clock()()) - timedelta(days=1)


def ago(days: int) -> date:
    return YESTERDAY - timedelta(days=days)


@pytest.fixture
def groups() -> list[GroupDefinition]:
    return [group(3, member(18), member(19, "disabled"), member(20)), group(4, name="Empty")]


@pytest_asyncio.fixture
async def rows(database_url: str, customer: int) -> AsyncIterator[Connection]:
    """The database, with the customer and its caller IDs."""
    async with opened(database_url) as own:
        await own.execute("TRUNCATE customers CASCADE")
        await own.execute("INSERT INTO customers (id, name) VALUES ($1, 'Sales'), (1, 'Another')", customer)
        for caller in (18, 19, 20):
            number = f"+8490{caller:07d}"
            await own.execute(
                "INSERT INTO caller_ids (id, customer_id, number, carrier) VALUES ($1, $2, $3, 'viettel')",
                caller,
                customer,
                number,
            )
        yield own


@pytest_asyncio.fixture
async def asked(filled: World, database_url: str, rows: Connection) -> AsyncIterator[Site]:
    """A query service with the database."""
    async with site(filled.url, postgres_url=database_url) as running:
        yield running


async def record(
    connection: Connection,
    customer: int,
    day: date,
    figures: dict[int, Figures],
    knew: Known = EVERYTHING,
    *,
    final: bool = False,
) -> None:
    """Puts a day on record, as a sweep does."""
    whole: Day = day_of(ZONE, day)
    await history.begin_sweep(connection, customer, [whole])
    changes = {(caller, day): one for caller, one in figures.items()}
    assert await history.write_figures(connection, customer, 1, changes, []) == len(figures)
    await history.finish_sweep(connection, customer, 1, 1, [DayProgress(day, knew, final, final)])


def of(calls: int | None, resting: int | None = 0, health: int | None = 100, spam: int | None = 0) -> Figures:
    return Figures(calls, (spam, 0, 0, 0), resting, health)


async def test_history_has_exactly_the_documented_bytes(
    filled: World, asked: Site, rows: Connection, customer: int
) -> None:
    first, second = ago(1), ago(0)
    await record(rows, customer, first, {18: of(57, 3600, 82, 1), 20: of(10)}, final=True)
    await record(rows, customer, second, {18: of(3, 0, 91), 19: of(0, 60, 50, 2)})
    response = await asked.caller(await filled.token()).get(f"{PATH}?from={first}&to={second}")
    assert (response.status, response.headers["Cache-Control"]) == (200, "private, max-age=0, must-revalidate")
    none = '{"spam_label":0,"blocked":0,"user_report":0,"rejected":0}'
    one, two = none.replace(":0", ":1", 1), none.replace(":0", ":2", 1)
    assert response.text == (
        f'{{"data":{{"group_id":3,"timezone":"Asia/Ho_Chi_Minh","from":"{first}","to":"{second}","days":['
        f'{{"date":"{first}","calls":67,"flags":{one},"resting_seconds":3600,"health":94,"final":true}},'
        f'{{"date":"{second}","calls":3,"flags":{two},"resting_seconds":60,"health":80,"final":false}}],"members":['
        f'{{"caller_id_id":18,"number":"+84900000018","calls":60,"flags":{one},"resting_seconds":3600,"health":91}},'
        f'{{"caller_id_id":19,"number":"+84900000019","calls":0,"flags":{two},"resting_seconds":60,"health":50}},'
        f'{{"caller_id_id":20,"number":"+84900000020","calls":10,"flags":{none},"resting_seconds":0,"health":100}}]}}}}'
    )


async def test_history_can_be_revalidated(filled: World, asked: Site, rows: Connection, customer: int) -> None:
    await record(rows, customer, ago(0), {18: of(5)})
    caller = asked.caller(await filled.token())
    tag = (await caller.get(PATH)).headers["ETag"]
    assert (await caller.get(PATH, If_None_Match=tag)).status == 304
    await rows.execute("UPDATE caller_id_days SET calls = 6")
    assert (await caller.get(PATH, If_None_Match=tag)).status == 200


async def test_by_default_the_last_35_days_until_yesterday_are_shown(
    filled: World, asked: Site, rows: Connection, customer: int
) -> None:
    for day in (ago(HISTORY_DAYS), ago(HISTORY_DAYS - 1), ago(3), ago(0)):
        await record(rows, customer, day, {})
    data = await asked.caller(await filled.token()).data(PATH)
    assert (data["from"], data["to"]) == (str(ago(HISTORY_DAYS - 1)), str(YESTERDAY))
    assert [day["date"] for day in data["days"]] == [str(ago(days)) for days in (HISTORY_DAYS - 1, 3, 0)]


async def test_with_one_member_the_days_are_its_own(
    filled: World, asked: Site, rows: Connection, customer: int
) -> None:
    await record(rows, customer, ago(0), {18: of(57, 3600, 82, 1), 20: of(10)})
    data = await asked.caller(await filled.token()).data(f"{PATH}?caller_id_id=20")
    assert [(day["calls"], day["health"]) for day in data["days"]] == [(10, 100)]
    assert [one["caller_id_id"] for one in data["members"]] == [20]


async def test_what_is_not_known_is_null_and_so_is_a_sum_that_needs_it(
    filled: World, asked: Site, rows: Connection, customer: int
) -> None:
    await record(rows, customer, ago(2), {18: of(None, None, None, None), 20: of(10)})
    await record(rows, customer, ago(1), {18: of(None, 5, None)}, EVERYTHING._replace(calls=False))
    await record(rows, customer, ago(0), {18: of(3)})
    data = await asked.caller(await filled.token()).data(PATH)
    shown = [
        (day["calls"], day["flags"]["spam_label"], day["flags"]["blocked"], day["resting_seconds"], day["health"])
        for day in data["days"]
    ]
    assert shown == [(None, None, 0, None, None), (None, 0, 0, 5, None), (3, 0, 0, 0, 100)]
    members = {one["caller_id_id"]: (one["calls"], one["resting_seconds"], one["health"]) for one in data["members"]}
    assert members == {18: (None, None, 100), 19: (None, 0, 100), 20: (None, 0, 100)}
    alone = await asked.caller(await filled.token()).data(f"{PATH}?caller_id_id=20&from={ago(2)}&to={ago(2)}")
    assert alone["days"][0]["calls"] == 10


async def test_a_day_that_no_sweep_has_completed_is_not_shown(
    filled: World, asked: Site, rows: Connection, customer: int
) -> None:
    await history.begin_sweep(rows, customer, [day_of(ZONE, YESTERDAY)])
    await history.write_figures(rows, customer, 1, {(18, YESTERDAY): of(5)}, [])
    data = await asked.caller(await filled.token()).data(PATH)
    assert data["days"] == []
    assert {one["calls"] for one in data["members"]} == {None}


async def test_a_group_without_members_has_no_health(
    filled: World, asked: Site, rows: Connection, customer: int
) -> None:
    await record(rows, customer, YESTERDAY, {})
    data = await asked.caller(await filled.token()).data("/api/caller-id-groups/4/history")
    assert [(day["calls"], day["health"]) for day in data["days"]] == [(0, None)]
    assert data["members"] == []


async def test_nothing_of_another_customers_is_shown(
    filled: World, asked: Site, rows: Connection, customer: int
) -> None:
    """Even a row that another customer's roll-up left under the id of a caller ID of ours."""
    await record(rows, customer, YESTERDAY, {})
    await rows.execute(
        "INSERT INTO caller_id_days (caller_id_id, day, customer_id, calls) VALUES (18, $1, 1, 99)", YESTERDAY
    )
    data = await asked.caller(await filled.token()).data(PATH)
    assert [day["calls"] for day in data["days"]] == [0]


INVALID: Sequence[tuple[str, dict[str, list[str]]]] = (
    ("from=2026-13-01", {"from": ["Expected a date such as 2026-11-25."]}),
    ("from=20261101&to=yesterday", {name: ["Expected a date such as 2026-11-25."] for name in ("to", "from")}),
    ("to=2026-W45-1", {"to": ["Expected a date such as 2026-11-25."]}),
    ("to=%D9%A2026-11-25", {"to": ["Expected a date such as 2026-11-25."]}),
    ("from=2026-11-02&to=2026-11-01", {"from": ["Must not be after `to`."]}),
    ("from=2026-10-01&to=2026-11-05", {"from": ["Must be at most 34 days before `to`."]}),
    ("caller_id_id=21", {"caller_id_id": ["Expected the id of a member of this group."]}),
    ("caller_id_id=", {"caller_id_id": ["Expected the id of a member of this group."]}),
)


@pytest.mark.parametrize(("query", "errors"), INVALID)
async def test_parameters_that_are_wrong_are_named(
    filled: World, asked: Site, query: str, errors: dict[str, list[str]]
) -> None:
    response = await asked.caller(await filled.token()).get(f"{PATH}?{query}")
    assert response.status == 422
    assert json.loads(response.text) == {"message": "The given data was invalid.", "errors": errors}


@pytest.mark.parametrize(
    "query", ["to=0001-01-01", "from=9999-12-31&to=9999-12-31", "from=2026-10-02&to=2026-11-05", "x"]
)
async def test_any_35_days_may_be_asked_for(filled: World, asked: Site, query: str) -> None:
    response = await asked.caller(await filled.token()).get(f"{PATH}?{query}")
    assert (response.status, json.loads(response.text)["data"]["days"]) == (200, [])


async def test_history_answers_strangers_as_the_monitor_does(filled: World, asked: Site) -> None:
    def without_counts(headers: Any) -> dict[str, str]:  # multidict's own type
        own = {"x-request-id", "date", "x-ratelimit-remaining", "x-ratelimit-reset"}
        return {name: value for name, value in headers.items() if name.lower() not in own}

    tokens = [None, "unknown", await filled.token(scopes=("caller_id_pick",)), await filled.token(limit=60)]
    callers = [asked.caller(token) for token in tokens]
    for caller in callers:
        for group_id, method in (("99", "GET"), ("abc", "GET"), ("0", "GET"), ("3", "POST"), ("3", "OPTIONS")):
            there = await caller.get(f"/api/caller-id-groups/{group_id}/history", method)
            monitor = await caller.get(f"/api/caller-id-groups/{group_id}/monitor", method)
            assert (there.status, there.text) == (monitor.status, monitor.text)
            assert without_counts(there.headers) == without_counts(monitor.headers)
    limited = asked.caller(await filled.token(limit=1))
    assert [(await limited.get(PATH)).status for _ in range(2)] == [200, 429]


async def test_a_group_that_changed_is_shown_with_its_members_now(
    filled: World, asked: Site, rows: Connection, customer: int
) -> None:
    await record(rows, customer, YESTERDAY, {18: of(5), 20: of(10)})
    caller = asked.caller(await filled.token())
    assert [day["calls"] for day in (await caller.data(PATH))["days"]] == [15]
    await filled.put(group(3, member(18)))

    async def is_shown() -> bool:
        return [day["calls"] for day in (await caller.data(PATH))["days"]] == [5]

    await until(is_shown, 5, "the member that left is not counted")


async def test_without_a_database_history_alone_is_missing(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    response = await caller.get(PATH)
    assert (response.status, response.text) == (503, '{"message":"History is not configured."}')
    assert int(response.headers["Retry-After"]) > 0
    assert (await caller.get("/api/caller-id-groups/99/history")).status == 404
    assert (await caller.get("/api/caller-id-groups/3/monitor")).status == 200


async def ready(running: Site) -> int:
    async with running.session.get(f"{running.ops}/readyz") as response:
        return response.status


async def away(caller: Caller) -> None:
    response = await caller.get(PATH)
    assert (response.status, response.text) == (503, '{"message":"PostgreSQL is away. Try again soon."}')
    assert int(response.headers["Retry-After"]) > 0


async def test_while_postgres_is_away_everything_else_goes_on(
    filled: World, database_url: str, rows: Connection, customer: int
) -> None:
    await record(rows, customer, YESTERDAY, {18: of(5)})
    async with TcpProxy(database_url) as proxy, site(filled.url, postgres_url=proxy.url) as running:
        caller = running.caller(await filled.token())
        assert [day["calls"] for day in (await caller.data(PATH))["days"]] == [5]
        await proxy.cut()
        await away(caller)
        assert (await caller.get("/api/caller-id-groups/3/monitor")).status == 200
        assert await ready(running) == 200
        await proxy.mend()
        assert [day["calls"] for day in (await caller.data(PATH))["days"]] == [5]


@pytest.fixture
def bare_url(postgres_url: str) -> Iterator[str]:
    """A database without tables."""
    with private_database(postgres_url, migrated=False) as own:
        yield own


async def test_a_database_without_tables_or_login_says_nothing_of_itself(filled: World, bare_url: str) -> None:
    async with site(filled.url, postgres_url=bare_url) as running:
        response = await running.caller(await filled.token()).get(PATH)
        assert (response.status, "Retry-After" in response.headers) == (503, True)
    async with site(filled.url, postgres_url="postgresql://nobody:secret@127.0.0.1:1/none") as running:
        await away(running.caller(await filled.token()))


async def test_a_silent_database_is_waited_for_briefly_and_by_its_requests_alone(
    filled: World, database_url: str, rows: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rotary_query.history.SECONDS", 0.5)
    async with site(filled.url, postgres_url=database_url) as running:
        caller = running.caller(await filled.token())
        assert (await caller.get(PATH)).status == 200
        async with rows.transaction():
            await rows.execute("LOCK TABLE customer_days IN ACCESS EXCLUSIVE MODE")
            waiting = [asyncio.create_task(caller.get(PATH)) for _ in range(10)]
            assert (await caller.get("/api/caller-id-groups/3/monitor")).status == 200
            assert {response.status for response in await asyncio.gather(*waiting)} == {503}
        assert (await caller.get(PATH)).status == 200


async def test_the_query_services_user_reads_history_and_nothing_else(connection: Connection) -> None:
    """With the grants of the migration, given to a role without rights."""
    [migration] = [one for one in migrations() if one.name == "0012_history.sql"]
    grants = migration.sql[migration.sql.index("DO $$") :]
    await connection.execute(grants.replace("rotary_query", "rotary_guest"))
    tables = await connection.fetch(
        "SELECT relname, has_table_privilege('rotary_guest', oid, 'SELECT') AS reads,"
        " has_table_privilege('rotary_guest', oid, 'INSERT, UPDATE, DELETE, TRUNCATE') AS writes"
        " FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    assert {row["relname"] for row in tables if row["reads"]} == {"customer_days", "caller_id_days"}
    assert not [row["relname"] for row in tables if row["writes"]]
    await connection.execute("SET ROLE rotary_guest")
    assert (await history.read_history(connection, 7, [18], YESTERDAY, YESTERDAY)).days == []
