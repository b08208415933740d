"""A dialer within its walls: what `rotary-admin dialer` makes can publish its customer's events and do nothing else."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import aiormq
import msgspec
import pytest
from aio_pika.abc import AbstractChannel
from aiormq.abc import AbstractChannel as Underlay
from click.testing import CliRunner, Result
from pamqp.commands import Basic

from given import placed
from rotary.events import EVENT_CONTENT_TYPE, EXCHANGE, encode_event
from rotary.publisher import DeadlineError, Limits, Publisher, RefusedError
from rotary.rabbitmq import parked, topology
from rotary.rabbitmq.intake import Intake, channel, open_intake
from rotary.rabbitmq.messages import open_message
from rotary.trust import trusting
from rotary_admin.__main__ import cli
from rotary_admin.dialers import Access, Dialer
from running import until

SOURCE = "/dialers/hcm-1"
CUSTOMER = 7

Deed: TypeAlias = Callable[[Underlay], Awaitable[object]]


class Admin:
    """Runs rotary-admin in a thread of this process, with the walled stack's settings."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)

    async def __call__(self, *arguments: object, **settings: str) -> Result:
        environ = self.environ | settings
        words = [str(each) for each in arguments]
        result = await asyncio.to_thread(CliRunner().invoke, cli, words, input="", env=environ)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    async def done(self, *arguments: object) -> str:
        result = await self(*arguments)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    async def refused(self, *arguments: object, code: int, **settings: str) -> str:
        """The standard error of a command that has to fail."""
        result = await self(*arguments, **settings)
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        return result.stderr

    async def create(self, name: str, customer: int = CUSTOMER) -> Access:
        return msgspec.json.decode(
            await self.done("dialer", "create", name, "--customer", customer, "--json"), type=Access
        )

    async def dialers(self) -> dict[str, Dialer]:
        rows = msgspec.json.decode(await self.done("dialer", "list", "--json"), type=list[Dialer])
        return {row.name: row for row in rows}


@pytest.fixture(scope="module")
def owner(walled: Mapping[str, str]) -> str:
    """The URL of the user who owns what Rotary declares."""
    return trusting(walled["ROTARY_RABBITMQ_URL"], walled["ROTARY_CA_FILE"])


@pytest.fixture(scope="module")
def admin(walled: Mapping[str, str]) -> Admin:
    return Admin(walled)


@pytest.fixture(scope="module")
def access(admin: Admin, owner: str) -> Iterator[Access]:
    """A dialer of customer 7, on a broker where everything is declared."""

    async def prepare() -> Access:
        async with channel(owner) as opened:
            await topology.declare(opened)
        return await admin.create("walled")

    yield asyncio.run(prepare())
    asyncio.run(admin.done("dialer", "revoke", "walled", "--yes"))


@pytest.fixture
async def broker(owner: str, access: Access) -> AsyncIterator[AbstractChannel]:
    """The owner's channel, with the work queue and the parked queue empty."""
    async with channel(owner) as opened:
        for name in (topology.FOLD, topology.PARKED):
            await (await opened.get_queue(name)).purge()
        yield opened


@pytest.fixture
def own(owner: str, access: Access) -> str:
    """The dialer's URL."""
    return as_user(owner, access.user, access.password)


def as_user(url: str, user: str, password: str) -> str:
    host = urlsplit(url).netloc.rpartition("@")[2]
    return urlsplit(url)._replace(netloc=f"{user}:{password}@{host}").geturl()


def publisher(url: str, customer_id: int = CUSTOMER, seconds: float = 30) -> Publisher:
    return Publisher(url, customer_id=customer_id, source=SOURCE, limits=Limits(deadline_seconds=seconds))


async def attempt(url: str, deed: Deed) -> None:
    """Does it on a channel with confirms, so that what the broker thinks of it is raised here."""
    async with await aiormq.connect(url) as connection:
        opened = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await asyncio.wait_for(_as_coroutine(deed, opened), 10)


async def _as_coroutine(deed: Deed, opened: Underlay) -> None:
    await deed(opened)


def publish(exchange: str, key: str, body: bytes = b"1:forged", **properties: Any) -> Deed:
    """Any: whatever AMQP's properties take."""

    def deed(opened: Underlay) -> Awaitable[object]:
        return opened.basic_publish(
            body, exchange=exchange, routing_key=key, properties=Basic.Properties(**properties), mandatory=True
        )

    return deed


async def ignore(_: object) -> None:
    """A consumer's callback."""


async def waiting(broker: AbstractChannel, queue: str) -> list[tuple[str, bytes]]:
    """What lies in it, (routing key, body), acknowledged."""
    found: list[tuple[str, bytes]] = []
    opened = await broker.get_queue(queue)
    while (message := await opened.get(fail=False)) is not None:
        found.append((message.routing_key or "", message.body))
        await message.ack()
    return found


async def test_a_dialer_publishes_its_own_customers_events_of_every_type(own: str, broker: AbstractChannel) -> None:
    async with publisher(own) as dialer:
        await dialer.call_placed(18)
        await dialer.carrier_flag(18, "blocked")
        await dialer.cooldown_cleared(18)
    keys = {key for key, _ in await waiting(broker, topology.FOLD)}
    assert keys == {"call-placed.7", "carrier-flag.7", "cooldown-cleared.7"}


@pytest.mark.parametrize("customer", [8, 77, 70, 1])
async def test_another_customers_events_are_refused_and_given_back(
    own: str, broker: AbstractChannel, customer: int
) -> None:
    async with publisher(own, customer) as dialer:
        event = dialer.events.call_placed(18)
        with pytest.raises(RefusedError, match=rf"ACCESS_REFUSED .*'call-placed\.{customer}'") as caught:
            await dialer.publish(event)
        assert caught.value.events == (event,)
    assert await waiting(broker, topology.FOLD) == []


KEYS = (
    "call-placed.7\n", "call-placed.07", "call-placed.7.8", "x.call-placed.7", "call-answered.7", "Call-placed.7",
    "call-placed.", "call-placed.#", "#", "", topology.FOLD, topology.PARKED, topology.LOG_CALLS,
)  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
async def test_no_other_routing_key_passes(own: str, broker: AbstractChannel, key: str) -> None:
    with pytest.raises(aiormq.ChannelAccessRefused):
        await attempt(own, publish(EXCHANGE, key))
    assert await waiting(broker, topology.FOLD) == []


DEEDS: dict[str, Deed] = {
    "forge a tick in the work queue": publish("", topology.FOLD),
    "forge a tick in a log": publish("", topology.LOG_CALLS),
    "park": publish("", topology.PARKED),
    "park as the broker does": publish(topology.DEAD, "call-placed.8"),
    "publish to another topic exchange": publish("amq.topic", "call-placed.7"),
    "publish to a fanout": publish("amq.fanout", ""),
    "declare a queue": lambda opened: opened.queue_declare("mine"),
    "declare a queue without a name": lambda opened: opened.queue_declare(exclusive=True),
    "declare the work queue": lambda opened: opened.queue_declare(topology.FOLD, durable=True),
    "declare an exchange": lambda opened: opened.exchange_declare("mine"),
    "declare the events' exchange": lambda opened: opened.exchange_declare(EXCHANGE, exchange_type="topic"),
    "bind a queue": lambda opened: opened.queue_bind(topology.PARKED, EXCHANGE, "#"),
    "unbind the work queue": lambda opened: opened.queue_unbind(topology.FOLD, EXCHANGE, "#"),
    "bind exchanges": lambda opened: opened.exchange_bind("amq.topic", EXCHANGE, routing_key="#"),
    "unbind exchanges": lambda opened: opened.exchange_unbind("amq.topic", EXCHANGE, routing_key="#"),
    "consume the work": lambda opened: opened.basic_consume(topology.FOLD, ignore),
    "get the work": lambda opened: opened.basic_get(topology.FOLD),
    "get what is parked": lambda opened: opened.basic_get(topology.PARKED),
    "purge the work": lambda opened: opened.queue_purge(topology.FOLD),
    "delete the work queue": lambda opened: opened.queue_delete(topology.FOLD),
    "delete a log": lambda opened: opened.queue_delete(topology.LOG_CALLS),
    "delete the events' exchange": lambda opened: opened.exchange_delete(EXCHANGE),
}  # fmt: skip


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
async def test_nothing_else_is_permitted(own: str, broker: AbstractChannel, deed: Deed) -> None:
    with pytest.raises(aiormq.ChannelAccessRefused):
        await attempt(own, deed)


@pytest.mark.parametrize("log", topology.LOGS)
async def test_a_log_cannot_be_read(own: str, access: Access, log: str) -> None:
    with pytest.raises(aiormq.ChannelAccessRefused):
        await attempt(own, lambda opened: _read(opened, log))


async def _read(opened: Underlay, log: str) -> None:
    await opened.basic_qos(prefetch_count=10)
    await opened.basic_consume(log, ignore, arguments={"x-stream-offset": "first"})


async def test_the_owner_may_do_what_a_dialer_may_not(owner: str, broker: AbstractChannel) -> None:
    """Or else the refusals above would prove nothing about whose they are."""
    for name in ("forge a tick in the work queue", "park as the broker does", "get the work", "bind exchanges"):
        await attempt(owner, DEEDS[name])
    await attempt(owner, DEEDS["unbind exchanges"])


async def test_nobody_can_publish_as_somebody_else(own: str, broker: AbstractChannel) -> None:
    with pytest.raises(aiormq.ChannelPreconditionFailed, match="user_id"):
        await attempt(own, publish(EXCHANGE, "call-placed.7", user_id="rotary"))
    assert await waiting(broker, topology.FOLD) == []


@pytest.mark.parametrize("header", ["CC", "BCC"])
async def test_copies_to_other_keys_are_still_ones_own(
    own: str, owner: str, broker: AbstractChannel, header: str
) -> None:
    """RabbitMQ routes by these headers too, unasked; whose a message is says the key that it checked."""
    body = encode_event(placed(f"copied-{header}", int(time.time() * 1000)))
    copies = {header: ["call-placed.8", "carrier-flag.8", topology.FOLD]}
    await attempt(own, publish(EXCHANGE, "call-placed.7", body, content_type=EVENT_CONTENT_TYPE, headers=copies))
    assert await waiting(broker, topology.FOLD) == [("call-placed.7", body)]
    for log in topology.LOGS:
        async with open_intake(owner, log, 100, {"x-stream-offset": "first"}) as (intake, _):
            assert await _whose(intake, body) == CUSTOMER


async def _whose(intake: Intake, body: bytes) -> int:
    async with asyncio.timeout(10):
        while True:
            for message in await intake.take(100):
                if message.body == body:
                    return open_message(message).customer


async def test_what_the_broker_gave_up_goes_back_as_its_publishers_own(
    own: str, broker: AbstractChannel, admin: Admin
) -> None:
    """A dialer makes its message expire and forges every header by which an operator's replay could be misled."""
    other = "call-placed.8"
    death = {"queue": topology.FOLD, "reason": "expired", "exchange": EXCHANGE, "routing-keys": [other], "count": 1}
    forged = {parked.ROUTING_KEY: other, parked.REASON: "not_decodable", "x-death": [death], "CC": [other]}
    await attempt(own, publish(EXCHANGE, "call-placed.7", b"expiring", expiration="1", headers=forged))
    await _until_waiting(broker, topology.PARKED)
    (row,) = json.loads(await admin.done("parked", "list", "--json"))
    assert (row["routing_key"], row["reason"].partition(":")[0]) == ("call-placed.7", "given_up")
    assert await admin.done("parked", "replay", "--all", "--yes") == "replayed: 1\n"
    assert await waiting(broker, topology.FOLD) == [("call-placed.7", b"expiring")]


async def _until_waiting(broker: AbstractChannel, queue: str) -> None:
    async def some() -> bool:
        declared = await broker.declare_queue(queue, passive=True)
        return bool(declared.declaration_result.message_count)

    await until(some, 10, f"something is in {queue}")


@pytest.mark.parametrize("path", ["whoami", "overview", "users", "queues", "definitions", "connections"])
async def test_the_management_api_does_not_know_a_dialer(walled: Mapping[str, str], access: Access, path: str) -> None:
    url = f"http://{urlsplit(walled['ROTARY_MANAGEMENT_URL']).netloc.rpartition('@')[2]}/api/{path}"
    login = {"Authorization": aiohttp.encode_basic_auth(access.user, access.password)}
    async with aiohttp.ClientSession(headers=login) as session, session.get(url) as answer:
        assert answer.status == 401
        assert (await answer.json())["reason"].startswith("Not ")


async def test_another_virtual_host_is_closed(walled: Mapping[str, str], own: str) -> None:
    url = f"{walled['ROTARY_MANAGEMENT_URL']}/api/vhosts/elsewhere"
    async with aiohttp.ClientSession() as session, session.put(url) as answer:
        assert answer.status == 201
    with pytest.raises(RefusedError, match="may not use it"):
        async with publisher(urlsplit(own)._replace(path="/elsewhere").geturl()):
            pytest.fail("it must not be entered")


async def test_a_rotated_password_stops_at_once_and_the_new_one_works(admin: Admin, owner: str) -> None:
    before = await admin.create("rotated")
    old = as_user(owner, before.user, before.password)
    connection = await aiormq.connect(old)
    async with publisher(old, seconds=3) as dialer:
        await dialer.call_placed(18)
        after = msgspec.json.decode(await admin.done("dialer", "rotate", "rotated", "--yes", "--json"), type=Access)
        assert after.password != before.password
        assert (after.user, after.customer_id) == (before.user, before.customer_id)
        await _closed(connection, "the password was changed")
        event = dialer.events.call_placed(18)
        with pytest.raises(DeadlineError, match="ACCESS_REFUSED") as caught:
            await dialer.publish(event)
        assert caught.value.events == (event,)
    with pytest.raises(RefusedError, match="ACCESS_REFUSED"):
        async with publisher(old):
            pytest.fail("it must not be entered")
    async with publisher(as_user(owner, after.user, after.password)) as dialer:
        await dialer.publish(event)
        with pytest.raises(RefusedError):
            async with publisher(as_user(owner, after.user, after.password), customer_id=8) as stranger:
                await stranger.call_placed(18)


async def test_a_revoked_dialer_is_gone_with_its_connections(admin: Admin, owner: str) -> None:
    access = await admin.create("revoked", customer=12)
    url = as_user(owner, access.user, access.password)
    connection = await aiormq.connect(url)
    assert (await admin.dialers())["revoked"] == Dialer("revoked", access.user, 12, connections=1)
    told = await admin.done("dialer", "revoke", "revoked", "--yes")
    assert told == "revoked dialer revoked: dialer-revoked of customer 12\n"
    await _closed(connection, "the user was revoked")
    with pytest.raises(RefusedError, match="ACCESS_REFUSED"):
        async with publisher(url, customer_id=12):
            pytest.fail("it must not be entered")
    assert "revoked" not in await admin.dialers()
    assert "there is no dialer revoked" in await admin.refused("dialer", "revoke", "revoked", "--yes", code=1)
    assert "there is no dialer revoked" in await admin.refused("dialer", "rotate", "revoked", "--yes", code=1)


async def _closed(connection: aiormq.abc.AbstractConnection, reason: str) -> None:
    with pytest.raises(aiormq.ConnectionClosed, match=reason):
        await asyncio.wait_for(asyncio.shield(connection.closing), 10)


async def test_what_a_person_reads(admin: Admin) -> None:
    result = await admin("dialer", "create", "read-1", "--customer", 9)
    assert "created: dialer-read-1 of customer 9 on virtual host /. The password is shown only now" in result.stderr
    assert len(result.stdout.strip()) == 43
    assert result.stdout.strip().isalnum()
    table = [line.split() for line in (await admin.done("dialer", "list")).splitlines()]
    assert table[0] == ["NAME", "USER", "CUSTOMER", "ID", "CONNECTIONS"]
    assert ["read-1", "dialer-read-1", "9", "0"] in table
    for verb in ("revoke", "rotate"):
        assert "nothing was changed; give --yes" in await admin.refused("dialer", verb, "read-1", code=1)
    await admin.done("dialer", "revoke", "read-1", "--yes")


async def test_creating_one_that_exists_changes_nothing(admin: Admin, own: str) -> None:
    refused = await admin.refused("dialer", "create", "walled", "--customer", 8, code=1)
    assert "there is a broker user dialer-walled already" in refused
    assert (await admin.dialers())["walled"].customer_id == CUSTOMER
    async with publisher(own) as dialer:
        await dialer.call_placed(18)


@pytest.mark.parametrize("name", ["rotary", "guest", "Upper", "a b", "", "x" * 64, "../users", "a\n"])
async def test_only_dialers_can_be_reached_by_name(admin: Admin, name: str) -> None:
    code = 1 if name in {"rotary", "guest"} else 2
    for verb in ("rotate", "revoke"):
        await admin.refused("dialer", verb, "--yes", "--", name, code=code)


async def test_a_dialer_that_cannot_be_finished_is_not_left_without_walls(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rotary_admin.dialers.writable", lambda _: "(")  # no regular expression: the broker refuses it
    with pytest.raises(AssertionError, match="refuses"):
        await admin.create("half")
    monkeypatch.undo()
    assert "half" not in await admin.dialers()
    await admin.create("half")
    await admin.done("dialer", "revoke", "half", "--yes")


async def test_a_management_api_that_is_not_there_is_told_with_what_to_do(admin: Admin) -> None:
    told = await admin.refused("dialer", "list", code=1, ROTARY_MANAGEMENT_URL="http://u:hunter2@127.0.0.1:9")
    assert told.startswith("rotary-admin: not available now: RabbitMQ's management API at 127.0.0.1:9 (")
    assert "rabbitmq-plugins enable rabbitmq_management" in told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ROTARY_MANAGEMENT_URL": ""}, "ROTARY_MANAGEMENT_URL is not set: give it as http://user:password@host:15672"),
        ({"ROTARY_MANAGEMENT_URL": "localhost"}, "ROTARY_MANAGEMENT_URL is not of the form wanted"),
        ({"user": "rotary:wrong"}, "refuses the user or password of ROTARY_MANAGEMENT_URL: Login failed"),
        ({"user": "walled"}, "refuses the user or password of ROTARY_MANAGEMENT_URL: Not management user"),
        ({"user": "watcher"}, "its user lacks the tag administrator"),
        ({"port": "amqp"}, "is not RabbitMQ's management API"),
        ({"path": "/nowhere"}, "is not RabbitMQ's management API"),
        ({"vhost": "/nowhere"}, "has no virtual host nowhere"),
    ],
)
async def test_a_wrong_setting_is_told_in_one_line(
    admin: Admin, access: Access, rabbitmq_url: str, change: dict[str, str], told: str
) -> None:
    settings = {name: value for name, value in change.items() if name.startswith("ROTARY_")}
    url = urlsplit(admin.environ["ROTARY_MANAGEMENT_URL"])
    host = url.netloc.rpartition("@")[2]
    match change:
        case {"user": "walled"}:
            url = url._replace(netloc=f"{access.user}:{access.password}@{host}")
        case {"user": "watcher"}:
            await _watcher(url.geturl())
            url = url._replace(netloc=f"watcher:watcher@{host}")
        case {"user": user}:
            url = url._replace(netloc=f"{user}@{host}")
        case {"port": _}:
            url = url._replace(netloc=urlsplit(rabbitmq_url).netloc)
        case {"path": path}:
            url = url._replace(path=path)
        case {"vhost": vhost}:
            settings["ROTARY_RABBITMQ_URL"] = (
                urlsplit(admin.environ["ROTARY_RABBITMQ_URL"])._replace(path=vhost).geturl()
            )
    refused = await admin.refused("dialer", "list", code=2, **{"ROTARY_MANAGEMENT_URL": url.geturl()} | settings)
    assert told in refused
    assert refused.count("\n") == 1


async def _watcher(url: str) -> None:
    """A user who may look into the management API and no more."""
    body = {"password": "watcher", "tags": "management"}
    async with aiohttp.ClientSession() as session, session.put(f"{url}/api/users/watcher", json=body) as answer:
        assert answer.status in {201, 204}
