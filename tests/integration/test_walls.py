"""A dialer within its walls: what `rotary-admin dialer` makes can publish its customer's events and do nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import aiormq
import msgspec
import pytest
from aio_pika.abc import AbstractChannel
from aiormq.abc import AbstractChannel as Underlay
from aiormq.exceptions import InvalidFrameError
from pamqp.commands import Basic

from histories import placed
from integration.dialer_admin import CUSTOMER, DialerAdmin, as_user, publisher
from rotary.events import EVENT_CONTENT_TYPE, EXCHANGE, encode_event
from rotary.management.dialers import Access, Dialer
from rotary.publisher import DeadlineError, RefusedError
from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel
from rotary.rabbitmq.messages import open_message
from rotary.rabbitmq.stream import open_log

INBOX = "rotary.inbox"
LOG = "rotary.log.calls.0"
SPREAD = topology.SPREAD["calls"]
Deed: TypeAlias = Callable[[Underlay], Awaitable[object]]


@pytest.fixture
async def broker(owner: str, access: Access) -> AsyncIterator[AbstractChannel]:
    """The owner's channel, with an inbox of all that is published and an empty parked queue."""
    async with channel(owner) as opened:
        inbox = await opened.declare_queue(INBOX, durable=True)
        await inbox.bind(EXCHANGE, "#")
        await inbox.purge()
        await (await opened.get_queue(topology.PARKED)).purge()
        yield opened
        await inbox.delete(if_empty=False)


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
    keys = {key for key, _ in await waiting(broker, INBOX)}
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
    assert await waiting(broker, INBOX) == []


KEYS = (
    "call-placed.7\n", "call-placed.07", "call-placed.7.8", "x.call-placed.7", "call-answered.7", "Call-placed.7",
    "call-placed.", "call-placed.#", "#", "", INBOX, topology.PARKED, LOG,
)  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
async def test_no_other_routing_key_passes(own: str, broker: AbstractChannel, key: str) -> None:
    with pytest.raises(aiormq.ChannelAccessRefused):
        await attempt(own, publish(EXCHANGE, key))
    assert await waiting(broker, INBOX) == []


DEEDS: dict[str, Deed] = {
    "forge a marker in a log": publish("", LOG),
    "park": publish("", topology.PARKED),
    "publish past the topic": publish(SPREAD, "call-placed.8"),
    "publish to another topic exchange": publish("amq.topic", "call-placed.7"),
    "publish to a fanout": publish("amq.fanout", ""),
    "declare a queue": lambda opened: opened.queue_declare("mine"),
    "declare a queue without a name": lambda opened: opened.queue_declare(exclusive=True),
    "declare a log": lambda opened: opened.queue_declare(LOG, durable=True),
    "declare an exchange": lambda opened: opened.exchange_declare("mine"),
    "declare the events' exchange": lambda opened: opened.exchange_declare(EXCHANGE, exchange_type="topic"),
    "bind a queue": lambda opened: opened.queue_bind(topology.PARKED, EXCHANGE, "#"),
    "unbind a log": lambda opened: opened.queue_unbind(LOG, SPREAD, "1"),
    "bind exchanges": lambda opened: opened.exchange_bind("amq.topic", EXCHANGE, routing_key="#"),
    "unbind exchanges": lambda opened: opened.exchange_unbind("amq.topic", EXCHANGE, routing_key="#"),
    "consume a queue": lambda opened: opened.basic_consume(INBOX, ignore),
    "get from a queue": lambda opened: opened.basic_get(INBOX),
    "get what is parked": lambda opened: opened.basic_get(topology.PARKED),
    "purge a queue": lambda opened: opened.queue_purge(INBOX),
    "delete a queue": lambda opened: opened.queue_delete(INBOX),
    "delete a log": lambda opened: opened.queue_delete(LOG),
    "delete the events' exchange": lambda opened: opened.exchange_delete(EXCHANGE),
}  # fmt: skip


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
async def test_nothing_else_is_permitted(own: str, broker: AbstractChannel, deed: Deed) -> None:
    with pytest.raises(aiormq.ChannelAccessRefused):
        await attempt(own, deed)


@pytest.mark.parametrize("log", [log.queue for log in topology.default_logs()])
async def test_a_log_cannot_be_read(own: str, access: Access, log: str) -> None:
    with pytest.raises(aiormq.ChannelAccessRefused):
        await attempt(own, lambda opened: _read(opened, log))


async def _read(opened: Underlay, log: str) -> None:
    await opened.basic_qos(prefetch_count=10)
    await opened.basic_consume(log, ignore, arguments={"x-stream-offset": "first"})


async def test_the_owner_may_do_what_a_dialer_may_not(owner: str, broker: AbstractChannel) -> None:
    """Or else the refusals above would prove nothing about whose they are."""
    for name in ("forge a marker in a log", "publish past the topic", "get from a queue", "bind exchanges"):
        await attempt(owner, DEEDS[name])
    await attempt(owner, DEEDS["unbind exchanges"])


async def test_nobody_can_publish_as_somebody_else(own: str, broker: AbstractChannel) -> None:
    with pytest.raises(aiormq.ChannelPreconditionFailed, match="user_id"):
        await attempt(own, publish(EXCHANGE, "call-placed.7", user_id="rotary"))
    assert await waiting(broker, INBOX) == []


@pytest.mark.parametrize("header", ["CC", "BCC"])
async def test_copies_to_other_keys_are_still_ones_own(
    own: str, owner: str, broker: AbstractChannel, header: str
) -> None:
    """RabbitMQ routes by these headers too, unasked; whose a message is says the key that it checked."""
    body = encode_event(placed(f"copied-{header}", int(time.time() * 1000)))
    copies = {header: ["call-placed.8", "carrier-flag.8", INBOX]}
    await attempt(own, publish(EXCHANGE, "call-placed.7", body, content_type=EVENT_CONTENT_TYPE, headers=copies))
    assert await waiting(broker, INBOX) == [("call-placed.7", body)]
    whose = await asyncio.gather(*(_whose(owner, log.queue, body) for log in topology.default_logs()))
    assert {customer for some in whose for customer in some} == {CUSTOMER}


async def _whose(owner: str, queue: str, body: bytes) -> list[int]:
    """To which customers a log's messages with this body belong."""
    found = []
    async with open_log(owner, queue, "first") as consumer:
        while taken := await consumer.take(100):
            found += [open_message(delivery).customer for delivery in taken if delivery.body == body]
            await consumer.acknowledge(taken[-1].tag)
    return found


async def test_a_dialer_opens_no_more_connections_than_its_limit(admin_of_walled: DialerAdmin, owner: str) -> None:
    access = await admin_of_walled.create("limited", "--max-connections", 2, customer=12)
    url = as_user(owner, access.user, access.password)
    async with await aiormq.connect(url), await aiormq.connect(url):
        with pytest.raises(InvalidFrameError, match="Close"):
            await aiormq.connect(url)
    async with publisher(url, customer_id=12) as dialer:  # they count only while they are open
        await dialer.call_placed(18)
    await admin_of_walled.done("dialer", "revoke", "limited", "--yes")


async def test_a_dialer_opens_no_more_channels_than_its_limit(admin_of_walled: DialerAdmin, owner: str) -> None:
    access = await admin_of_walled.create("channelled", "--max-channels", 3, customer=12)
    url = as_user(owner, access.user, access.password)
    async with await aiormq.connect(url) as one, await aiormq.connect(url) as other:
        for connection in (one, one, other):
            await connection.channel()
        with pytest.raises(aiormq.ConnectionNotAllowed, match="number of channels opened"):
            await other.channel()
    await admin_of_walled.done("dialer", "revoke", "channelled", "--yes")


async def test_a_dialer_learns_of_a_queue_no_more_than_its_length(own: str, broker: AbstractChannel) -> None:
    """A passive declare is answered to anyone before RabbitMQ 4.2.6 and 4.3.0, which ask for a permission."""
    async with await aiormq.connect(own) as connection:
        properties = connection.server_properties or {}
        version = tuple(int(part) for part in str(properties["version"]).split(".")[:3])
        opened = await connection.channel()
        if version >= (4, 2, 6):
            with pytest.raises(aiormq.ChannelAccessRefused):
                await opened.queue_declare(topology.PARKED, passive=True)
        else:
            told = await opened.queue_declare(topology.PARKED, passive=True)
            assert (told.queue, told.message_count) == (topology.PARKED, 0)


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


async def test_a_rotated_password_stops_at_once_and_the_new_one_works(admin_of_walled: DialerAdmin, owner: str) -> None:
    before = await admin_of_walled.create("rotated")
    old = as_user(owner, before.user, before.password)
    connection = await aiormq.connect(old)
    async with publisher(old, seconds=3) as dialer:
        await dialer.call_placed(18)
        after = msgspec.json.decode(
            await admin_of_walled.done("dialer", "rotate", "rotated", "--yes", "--json"), type=Access
        )
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


async def test_a_revoked_dialer_is_gone_with_its_connections(admin_of_walled: DialerAdmin, owner: str) -> None:
    access = await admin_of_walled.create("revoked", customer=12)
    url = as_user(owner, access.user, access.password)
    connection = await aiormq.connect(url)
    assert (await admin_of_walled.dialers())["revoked"] == Dialer("revoked", access.user, 12, 1, 20, 40)
    told = await admin_of_walled.done("dialer", "revoke", "revoked", "--yes")
    assert told == "revoked dialer revoked: dialer-revoked of customer 12\n"
    await _closed(connection, "the user was revoked")
    with pytest.raises(RefusedError, match="ACCESS_REFUSED"):
        async with publisher(url, customer_id=12):
            pytest.fail("it must not be entered")
    assert "revoked" not in await admin_of_walled.dialers()
    assert "dialer revoked does not exist" in await admin_of_walled.refused(
        "dialer", "revoke", "revoked", "--yes", code=1
    )
    assert "dialer revoked does not exist" in await admin_of_walled.refused(
        "dialer", "rotate", "revoked", "--yes", code=1
    )


async def _closed(connection: aiormq.abc.AbstractConnection, reason: str) -> None:
    with pytest.raises(aiormq.ConnectionClosed, match=reason):
        await asyncio.wait_for(asyncio.shield(connection.closing), 10)
