"""What a look at a customer reads and writes: what a change names, and no more."""

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

import asyncpg
import pytest
from redis.asyncio import Redis

from histories import flagged
from integration.query_world import World, group, member, world
from rotary.definitions import GroupDefinition
from rotary.management.webhooks import read_conditions
from rotary.postgres.connection import Connection
from rotary.redis.observation import Observed, Observer
from rotary_campaigns.webhooks.view import CustomerView


class Recorder(Observer):
    """Notes what is read."""

    def __init__(self, client: Redis) -> None:
        super().__init__(client)
        self.read_groups: list[int] = []
        self.read_callers: list[int] = []

    async def groups(self, customer: int, ids: Sequence[int]) -> dict[int, GroupDefinition | None]:
        self.read_groups += ids
        return await super().groups(customer, ids)

    async def facts(self, customer: int, callers: Sequence[int]) -> Observed:
        self.read_callers += callers
        return await super().facts(customer, callers)

    def forget(self) -> None:
        self.read_groups, self.read_callers = [], []


@contextmanager
def statements(connection: Connection) -> Iterator[list[str]]:
    """What is executed while the block runs."""
    executed: list[str] = []

    def note(query: asyncpg.connection.LoggedQuery) -> None:
        executed.append(query.query)

    with connection.query_logger(note):
        yield executed


@pytest.fixture
async def facts(redis_url: str) -> AsyncIterator[World]:
    """Customer 7's groups 3 to 5, of ten caller IDs each."""
    async with world(redis_url, 7) as made:
        for row in (3, 4, 5):
            await made.put(group(row, *(member(10 * row + number) for number in range(10))))
        yield made


@pytest.fixture
def observer(facts: World) -> Recorder:
    return Recorder(facts.client)


@pytest.fixture
async def view(observer: Recorder, connection: Connection) -> CustomerView:
    """One that has looked once."""
    await connection.execute(
        "INSERT INTO webhooks (customer_id, url, events, secret)"
        " VALUES (7, 'https://example.com/', '{group.exhausted,caller_id.cooldown_started}', 'sixteen letters.')"
    )
    made = CustomerView(7)
    assert await made.look(connection, observer) == []
    observer.forget()
    return made


async def test_a_look_at_everything_that_finds_nothing_new_asks_postgres_nothing(
    view: CustomerView, observer: Recorder, connection: Connection
) -> None:
    view.reload()
    with statements(connection) as executed:
        assert await view.look(connection, observer) == []
    assert executed == []
    assert sorted(observer.read_callers) == [*range(30, 60)]


async def test_a_change_of_a_group_reads_this_group_and_what_is_different_in_it(
    view: CustomerView, observer: Recorder, connection: Connection, facts: World
) -> None:
    await facts.put(group(4, *(member(40 + number, "disabled" if number == 2 else "active") for number in range(10))))
    view.redefine([4])
    assert await view.look(connection, observer) == []
    assert (observer.read_groups, observer.read_callers) == ([4], [42])


async def test_a_flag_reads_the_facts_of_its_caller_id_and_no_definitions(
    view: CustomerView, observer: Recorder, connection: Connection, facts: World
) -> None:
    await facts.fold(flagged("a", "blocked", time.time_ns() // 1_000_000, caller=31))
    view.touch([31])
    assert len(await view.look(connection, observer)) == 1
    assert (observer.read_groups, observer.read_callers) == ([], [31])


async def test_a_caller_id_that_moves_to_another_group_counts_there_and_nobody_is_told_of_what_is_gone(
    view: CustomerView, observer: Recorder, connection: Connection, facts: World
) -> None:
    await facts.fold(flagged("a", "blocked", time.time_ns() // 1_000_000, caller=31))
    view.touch([31])
    await view.look(connection, observer)
    await facts.put(group(3, member(30)), group(4, member(31)))
    view.redefine([3, 4])
    assert len(await view.look(connection, observer)) == 1  # group 4 is exhausted
    await facts.remove(4)
    view.redefine([4])
    assert await view.look(connection, observer) == []
    assert await read_conditions(connection, 7) == set()


async def test_a_view_that_is_made_anew_knows_what_was_told(
    view: CustomerView, observer: Recorder, connection: Connection, facts: World
) -> None:
    await facts.fold(flagged("a", "blocked", time.time_ns() // 1_000_000, caller=31))
    view.touch([31])
    assert len(await view.look(connection, observer)) == 1
    assert await CustomerView(7).look(connection, observer) == []
