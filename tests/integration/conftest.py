"""What the modules here are set up with: a part of each server of their own, and a stack with walls."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from integration.admin_runner import DEFINITIONS, Admin
from integration.campaigns_world import CampaignsWorld, campaigns_world
from integration.consuming import Installation, Servers, installation, now_ms, private_servers
from integration.dialer_admin import DialerAdmin, as_user
from integration.folding import Folds
from integration.history_world import CALLERS, CUSTOMER, ZONE
from integration.inbox import Inbox, open_inbox
from integration.past import busy_days, define
from integration.private_database import EMPTY, SEED, execute, opened, private_database
from integration.private_redis import own as own_database
from integration.private_redis import private_redis
from integration.private_stack import private_stack
from integration.private_vhost import lasting_vhost
from integration.query_world import Site, World, group, member, site, world
from integration.tcp_proxy import TcpProxy
from rotary.definitions import GroupDefinition
from rotary.events import Event
from rotary.management.dialers import Access
from rotary.postgres import logs as records
from rotary.postgres.connection import Connection
from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel
from rotary.redis.connection import connect
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import Positions
from rotary.tls import with_ca_file
from rotary_consumer.history import late, rollup, sweep

# A broker's virtual host


@pytest.fixture(scope="module")
def broker_url(rabbitmq_url: str) -> str:
    """A virtual host of the module's own, empty at first."""
    return lasting_vhost(rabbitmq_url)


@pytest.fixture
async def inbox(broker_url: str) -> AsyncIterator[Inbox]:
    """Everything that is published there."""
    async with open_inbox(broker_url) as box:
        yield box


@pytest.fixture
async def proxy(broker_url: str) -> AsyncIterator[TcpProxy]:
    """A way there that can be cut."""
    async with TcpProxy(broker_url) as through:
        yield through


# A database


@pytest.fixture(scope="module")
def database_url(postgres_url: str) -> Iterator[str]:
    """A migrated database of the module's own."""
    with private_database(postgres_url) as own:
        yield own


@pytest.fixture
def two_customers(database_url: str) -> None:
    """They are as in SEED, and nothing is projected yet. A new connection would take three times as long for that."""
    execute(database_url, f"{EMPTY} DELETE FROM projected_definitions; {SEED}")


@pytest.fixture
async def connection(database_url: str, two_customers: None) -> AsyncIterator[Connection]:
    """One to the database, in which there are two customers as in SEED."""
    async with opened(database_url) as own:
        yield own


@pytest.fixture
async def second(database_url: str) -> AsyncIterator[Connection]:
    """Another connection to it."""
    async with opened(database_url) as own:
        yield own


@pytest.fixture
def admin(database_url: str) -> Admin:
    """rotary-admin on the database, with nothing in it."""
    execute(database_url, EMPTY)
    return Admin(database_url)


@pytest.fixture
def seeded(admin: Admin) -> Admin:
    """The same with the example's customers, groups and caller IDs."""
    admin.done("import", DEFINITIONS)
    return admin


# Redis


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """An empty database with our functions."""
    async with private_redis(redis_url) as client:
        yield client


@pytest.fixture
async def redis_proxy(redis_url: str) -> AsyncIterator[TcpProxy]:
    """A way to the database that `redis` empties, which can be cut."""
    async with TcpProxy(own_database(redis_url)) as through:
        yield through


@pytest.fixture
async def shared_redis(redis_url: str) -> AsyncIterator[Redis]:
    """The database that programs use which a test runs with the stack's settings: use a customer of your own."""
    async with connect(redis_url) as client:
        yield client


@pytest.fixture
async def pipeline(redis: Redis) -> AsyncIterator[Pipeline]:
    """A connection to the empty database."""
    opened_pipeline = Pipeline(redis)
    yield opened_pipeline
    await opened_pipeline.close()


@pytest.fixture
def folds(pipeline: Pipeline) -> Folds:
    """Folds into the empty database."""
    return Folds(pipeline)


@pytest.fixture
def positions(pipeline: Pipeline) -> Positions:
    """The positions in the empty database: there are none."""
    return Positions(pipeline)


# Consumers


@pytest.fixture(scope="module")
def servers(postgres_url: str, rabbitmq_url: str, redis_url: str) -> Iterator[Servers]:
    """A database, a virtual host and a Redis database for the module's consumers."""
    with private_servers(postgres_url, rabbitmq_url, redis_url) as own:
        yield own


@pytest.fixture
async def installed(servers: Servers) -> AsyncIterator[Installation]:
    """No consumer has run yet. There is one log of each kind, so that every customer's calls are in calls.0."""
    async with installation(servers) as made:
        await records.add_logs(made.postgres, ["calls.0", "flags.0"], "active")
        yield made


# History


@pytest.fixture
async def historic(installed: Installation, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """A customer is defined. Consumers roll up more often than they need to, in smaller steps."""
    monkeypatch.setattr(rollup, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(rollup, "LATE_SECONDS", 0.1)
    monkeypatch.setattr(rollup, "LATE_SHARE", 0)
    monkeypatch.setattr(late, "FLUSH_SECONDS", 0.1)
    monkeypatch.setattr(sweep, "CALLERS_AT_ONCE", 7)
    await define(installed.postgres, CUSTOMER, CALLERS, ZONE)
    return installed


@pytest.fixture
def busy() -> list[Event]:
    """Events of that customer on its last days."""
    return busy_days(now_ms(), CALLERS)


# The query service


@pytest.fixture
def groups() -> Sequence[GroupDefinition]:
    """The groups of the customer. A module that wants others says so in a fixture of this name."""
    return [group(3, member(18))]


@pytest.fixture
async def filled(redis_url: str, customer: int, groups: Sequence[GroupDefinition]) -> AsyncIterator[World]:
    """A complete Redis in which the customer has these groups."""
    async with world(redis_url, customer) as made:
        await made.put(*groups)
        yield made


@pytest.fixture
async def served(filled: World) -> AsyncIterator[Site]:
    """A query service that reads it."""
    async with site(filled.url) as running:
        yield running


# The campaigns service


@pytest.fixture
async def campaigns(
    database_url: str, redis_url: str, broker_url: str, connection: Connection
) -> AsyncIterator[CampaignsWorld]:
    """A campaigns service on the database with customers 7 and 8."""
    async with campaigns_world(database_url, redis_url, broker_url, connection) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _lasting_campaigns(database_url: str, redis_url: str, broker_url: str) -> AsyncIterator[CampaignsWorld]:
    async with (
        opened(database_url) as connection,
        campaigns_world(database_url, redis_url, broker_url, connection) as made,
    ):
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def shared_campaigns(_lasting_campaigns: CampaignsWorld, two_customers: None) -> CampaignsWorld:
    """As `campaigns`, one service for all tests of a module, which run in one event loop.

    Starting one takes longer than most of what is asked of it.
    """
    await _lasting_campaigns.begin_anew()
    return _lasting_campaigns


# Running services


@pytest.fixture(scope="session")
def services(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """The variables of a stack with consumer, query and engine: the one around the tests, or one of their own."""
    return os.environ if "ROTARY_ENGINE_URL" in os.environ else request.getfixturevalue("stack")


# A stack with walls: for what a dialer cannot do, and for TLS. Started when the first test asks.


@pytest.fixture(scope="session")
def walled() -> Iterator[Mapping[str, str]]:
    """The variables of a stack of its own, whose RabbitMQ speaks TLS alone and answers its management API."""
    with private_stack("--tls", "--management") as variables:
        yield {name: value for name, value in variables.items() if name.startswith("ROTARY_")}


@pytest.fixture(scope="session")
def owner(walled: Mapping[str, str]) -> str:
    """The URL of the user who owns what Rotary declares."""
    return with_ca_file(walled["ROTARY_RABBITMQ_URL"], walled["ROTARY_CA_FILE"])


@pytest.fixture(scope="session")
def admin_of_walled(walled: Mapping[str, str]) -> DialerAdmin:
    """With the example's customers 7 and 8, and 9 and 12."""
    admin = DialerAdmin(walled)
    asyncio.run(admin.done("import", DEFINITIONS))
    for customer in (9, 12):
        asyncio.run(admin.done("customer", "create", "--name", "Another", "--id", customer))
    return admin


@pytest.fixture(scope="session")
def access(admin_of_walled: DialerAdmin, owner: str) -> Iterator[Access]:
    """A dialer of customer 7, on a broker where everything is declared."""

    async def prepare() -> Access:
        async with channel(owner) as opened:
            await topology.declare(opened)
        return await admin_of_walled.create("walled")

    yield asyncio.run(prepare())
    asyncio.run(admin_of_walled.done("dialer", "revoke", "walled", "--yes"))


@pytest.fixture
def own(owner: str, access: Access) -> str:
    """The URL of that dialer."""
    return as_user(owner, access.user, access.password)
