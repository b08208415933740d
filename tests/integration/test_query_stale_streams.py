"""A stream says when what it shows is not current, why, and when that is over."""

import json
from datetime import UTC, datetime
from itertools import count

import pytest

from histories import placed
from integration.query_world import Caller, Site, World, group, member
from integration.test_query_stream import MONITOR, Told, calls_today, event, watching_by_proxy
from rotary.clock import system_clock
from rotary.definitions import GroupDefinition
from rotary.redis import keys
from running import until
from written import Documents

NOW = system_clock()
WITHIN_SECONDS = 2.0
"""How soon a reader is told, from the moment that it is so."""


@pytest.fixture
def groups() -> list[GroupDefinition]:
    return [group(3, member(18), member(19))]


def stale(told: Told) -> tuple[str, int | None]:
    """Why, and by how much; that it says since when in the API's form is checked here."""
    assert told.name == "stale", told
    data = json.loads(told.data)
    assert list(data) in (["since", "reason"], ["since", "reason", "lag_seconds"])
    since = datetime.strptime(data["since"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(since.timestamp() * 1000 - NOW()) < 60_000
    assert told.id == "", "what a browser sends back is the last snapshot"
    return data["reason"], data.get("lag_seconds")


async def metric(served: Site, name: str) -> float:
    text = (await Caller(served.session, served.ops, None).get("/metrics")).text
    return next(float(line.split(" ")[1]) for line in text.splitlines() if line.startswith(f"{name} "))


@pytest.mark.parametrize("hangs", [False, True])
async def test_redis_away_is_told_and_so_is_its_return(filled: World, *, hangs: bool) -> None:
    async with watching_by_proxy(filled) as (proxy, running, response):
        first = await event(response)
        if hangs:
            proxy.silence()
        else:
            await proxy.cut()
        assert stale(await event(response, WITHIN_SECONDS)) == ("Redis is away", None)
        assert await metric(running, "rotary_query_stale_streams") == 1
        await proxy.drop()
        await proxy.mend()
        again = await event(response)
        assert (again.name, again.data) == ("snapshot", first.data), "although nothing changed"
        assert await metric(running, "rotary_query_stale_streams") == 0
        await filled.fold(placed("after", NOW(), 18))
        assert calls_today(await event(response)) == 1


async def test_an_outage_is_told_once(filled: World) -> None:
    async with watching_by_proxy(filled) as (proxy, _, response):
        await event(response)
        await proxy.cut()
        stale(await event(response, WITHIN_SECONDS))
        with pytest.raises(TimeoutError):
            await event(response, 2.5)


async def test_a_fold_that_is_behind_is_told_with_its_lag_and_so_is_its_end(filled: World, served: Site) -> None:
    async with served.caller(await filled.token()).stream(MONITOR) as response:
        first = await event(response)
        filled.log.hangs = True
        reason, lag_seconds = stale(await event(response, 2 + WITHIN_SECONDS))
        assert reason == "The counts are behind the event broker"
        assert lag_seconds in (2, 3, 4)
        await filled.fold(placed("late", NOW(), 18))
        late = await event(response)
        assert calls_today(late) == 1
        assert stale(await event(response))[0] == reason, "a snapshot of old facts is marked"
        filled.log.hangs = False
        over = await event(response)
        assert (over.name, over.data) == ("snapshot", late.data)
        assert over.data != first.data


async def test_who_comes_while_it_is_behind_is_told_at_once(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    filled.log.hangs = True

    async def is_late() -> bool:
        return int((await caller.get(MONITOR)).headers["X-Projection-Lag"]) >= 2

    await until(is_late, 5, "the facts are old")
    async with caller.stream(MONITOR) as response, caller.stream(MONITOR) as other:
        assert int(response.headers["X-Projection-Lag"]) >= 2
        for one in (response, other):
            shown = await event(one)
            assert shown.name == "snapshot"
            assert (stale(await event(one))[1] or 0) >= 2
        filled.log.hangs = False
        assert (await event(response)).data == (await event(other)).data == shown.data


async def test_facts_and_definitions_that_are_refused_are_told_each(filled: World, served: Site) -> None:
    async with served.caller(await filled.token()).stream(MONITOR) as response:
        await event(response)
        filled.log.hangs = True
        await filled.client.delete(keys.position(filled.bucket))
        assert stale(await event(response, WITHIN_SECONDS)) == ("The projections are being rebuilt", None)
        await filled.client.hdel(keys.definitions(filled.bucket), "complete")
        assert stale(await event(response, WITHIN_SECONDS)) == ("The definitions are being rebuilt", None)
        await Documents(filled.client).complete("00000002")
        assert stale(await event(response, WITHIN_SECONDS)) == ("The projections are being rebuilt", None)
        await filled.log.restart()
        filled.log.hangs = False
        assert (await event(response)).name == "snapshot"


async def test_without_a_snapshot_there_is_no_stream(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    filled.log.hangs = True
    await filled.client.delete(keys.position(filled.bucket))

    async def is_refused() -> bool:
        async with caller.stream(MONITOR) as response:
            return bool(response.status == 503 and response.content_type == "application/json")

    await until(is_refused, 2, "an ordinary answer says why")


async def test_a_stream_that_is_well_is_never_called_stale(filled: World, served: Site) -> None:
    async with served.caller(await filled.token()).stream(MONITOR) as response:
        names = [(await event(response)).name]
        for number in count():
            await filled.fold(placed(str(number), NOW(), 18))
            names.append((await event(response)).name)
            if number == 30:
                break
    assert set(names) == {"snapshot"}
