"""Webhooks, from what begins and ends to the customer's server."""

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import aiohttp
import pytest
from msgspec.structs import replace

from histories import cleared, flagged, placed
from integration.campaigns_world import MANAGEMENT, Client, inserted_token
from integration.query_world import World, group, member, world
from integration.webhook_receiver import Receiver, receiver
from rotary.clock import system_clock
from rotary.definitions import MANAGE_SCOPE
from rotary.domain.signatures import is_authentic
from rotary.domain.transitions import WebhookEvent
from rotary.management.webhooks import overdue_deliveries, watched_customers
from rotary.policy import Policy
from rotary.postgres.connection import Connection
from rotary_campaigns.service import Service, serving
from rotary_campaigns.settings import CampaignsSettings
from rotary_campaigns.webhooks.watcher import LIST_SECONDS
from running import until

WEBHOOKS = f"{MANAGEMENT}/webhooks"
EVENTS = list(get_args(WebhookEvent))
SHORT = Policy(cooldown_user_report_seconds=2)
Start = Callable[..., AbstractAsyncContextManager[tuple[Service, Client]]]


@pytest.fixture
async def facts(redis_url: str) -> AsyncIterator[World]:
    """Customer 7's group 3, of the caller IDs 18 and 19, whose cap is 2."""
    async with world(redis_url, 7) as made:
        await made.put(replace(group(3, member(18, daily_cap=2), member(19, daily_cap=2)), policy=SHORT))
        yield made


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[Receiver]:
    async with receiver(tmp_path) as made:
        yield made


@pytest.fixture
async def start(facts: World, hook: Receiver, connection: Connection, database_url: str, broker_url: str) -> Start:
    """Starts a service, by default one that may send to loopback."""

    @asynccontextmanager
    async def started(networks: str = "127.0.0.0/8") -> AsyncIterator[tuple[Service, Client]]:
        settings = CampaignsSettings(
            *(database_url, facts.url, broker_url),
            ca_file=str(hook.certificates.authority),
            campaigns_bind="127.0.0.1:0",
            ops_bind="127.0.0.1:0",
            webhook_networks=networks,
        )
        async with serving(settings, system_clock()) as service, aiohttp.ClientSession() as session:
            token = await inserted_token(connection, facts.documents, (MANAGE_SCOPE,))
            client = Client(session, f"http://127.0.0.1:{service.port}", token)

            async def is_ready() -> bool:
                return (await client.ask("GET", WEBHOOKS)).status == 200

            await until(is_ready, 10, "the service answers")
            yield service, client

    return started


async def registered(client: Client, hook: Receiver, events: list[str] | None = None) -> Any:
    new = {"url": hook.url, "events": events or EVENTS}
    return (await client.done(201, "POST", WEBHOOKS, new))["data"]


async def watched(connection: Connection) -> None:
    """Waits until the watcher has had its first look."""

    async def is_watched() -> bool:
        return bool(await connection.fetchval("SELECT count(*) FROM webhook_watches"))

    await until(is_watched, 10, "the customer is watched")


async def test_a_cooldown_is_told_when_it_begins_and_when_time_alone_ends_it(
    start: Start, facts: World, hook: Receiver, connection: Connection
) -> None:
    async with start() as (_, client):
        webhook = await registered(client, hook)
        await watched(connection)
        await facts.fold(flagged("a", "user_report", time.time_ns() // 1_000_000))
        first = await hook.next()
        assert first.summary == ("caller_id.cooldown_started", 18)
        assert first.event["customer_id"] == 7
        assert first.event["data"]["cooldown_until"] is not None
        assert (await hook.next()).summary == ("caller_id.cooldown_ended", 18)
        deliveries = (await client.get(f"{WEBHOOKS}/{webhook['id']}/deliveries"))["data"]
        assert {one["status"] for one in deliveries} <= {"delivered", "pending"}


async def test_quota_exhaustion_and_recovery_are_told(
    start: Start, facts: World, hook: Receiver, connection: Connection
) -> None:
    now_ms = time.time_ns() // 1_000_000
    async with start() as (_, client):
        await registered(client, hook)
        await watched(connection)
        await facts.fold(placed("1", now_ms), placed("2", now_ms))
        assert await hook.told(1) == [("caller_id.quota_exceeded", 18)]
        await facts.fold(flagged("a", "blocked", now_ms, caller=19))
        assert await hook.told(2) == [("caller_id.cooldown_started", 19), ("group.exhausted", 3)]
        await facts.fold(cleared("c", now_ms + 1, caller=19))
        assert await hook.told(2) == [("caller_id.cooldown_ended", 19), ("group.recovered", 3)]


async def test_a_definition_that_changes_may_exhaust_a_group(
    start: Start, facts: World, hook: Receiver, connection: Connection
) -> None:
    async with start() as (_, client):
        await registered(client, hook, ["group.exhausted", "group.recovered"])
        await watched(connection)
        await facts.put(group(3, member(18, "disabled"), member(19, "disabled")))
        assert await hook.told(1) == [("group.exhausted", 3)]
        await facts.put(group(3, member(18), member(19, "disabled")))
        assert await hook.told(1) == [("group.recovered", 3)]


async def test_what_held_before_anybody_asked_is_not_told_and_only_what_was_asked_for_is(
    start: Start, facts: World, hook: Receiver, connection: Connection
) -> None:
    now_ms = time.time_ns() // 1_000_000
    await facts.fold(flagged("a", "blocked", now_ms))
    async with start() as (_, client):
        await registered(client, hook, ["caller_id.cooldown_ended", "group.exhausted"])
        await watched(connection)
        await facts.fold(flagged("b", "blocked", now_ms, caller=19))
        assert await hook.told(1) == [("group.exhausted", 3)]
        await facts.fold(cleared("c", now_ms + 1))
        assert await hook.told(1) == [("caller_id.cooldown_ended", 18)]


async def test_who_has_a_webhook_is_not_read_anew_for_each_that_is_registered(
    start: Start, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[set[int]] = []

    async def noted(database: Connection) -> set[int]:
        readings.append(await watched_customers(database))
        return readings[-1]

    monkeypatch.setattr("rotary_campaigns.webhooks.watcher.watched_customers", noted)
    insert = "INSERT INTO webhooks (customer_id, url, events, secret) VALUES ($1, $2, '{group.exhausted}', $3)"
    async with start():

        async def is_read() -> bool:
            return bool(readings)

        await until(is_read, 10, "the watcher leads")
        readings.clear()
        began = time.monotonic()
        for customer in [7] * 200 + [8]:
            await connection.execute(insert, customer, "https://example.com/", "sixteen letters.")

        async def is_known() -> bool:
            return readings[-1:] == [{7, 8}]

        await until(is_known, 10, "both are watched")
        assert len(readings) <= 2 + (time.monotonic() - began) / LIST_SECONDS


async def test_very_many_overdue_deliveries_are_queued_a_few_at_a_time_and_once(
    start: Start, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    found: list[str] = []

    async def noted(database: Connection, late_seconds: float, limit: int) -> list[str]:
        asked.append(limit)
        found.extend(some := await overdue_deliveries(database, late_seconds, limit))
        return some

    monkeypatch.setattr("rotary_campaigns.webhooks.watcher.overdue_deliveries", noted)
    await connection.execute(
        "WITH made AS (INSERT INTO webhooks (customer_id, url, events, secret) VALUES"
        " (7, 'https://192.0.2.1/', '{group.exhausted}', 'sixteen letters.') RETURNING id)"
        " INSERT INTO webhook_deliveries (webhook_id, customer_id, event, body, next_attempt_at)"
        " SELECT id, 7, 'group.exhausted', '{}', now() - interval '5 minutes' FROM made, generate_series(1, 450)"
    )
    async with start():

        async def is_over() -> bool:
            return len(found) >= 450

        await until(is_over, 30, "all are queued")
    assert len(found) == len({*found}) == 450
    assert max(asked) <= 200


async def test_a_request_is_signed_with_the_secret_that_was_shown_once(
    start: Start, facts: World, hook: Receiver
) -> None:
    async with start() as (_, client):
        webhook = await registered(client, hook)
        assert "secret" not in (await client.get(f"{WEBHOOKS}/{webhook['id']}"))["data"]
        tested = (await client.done(200, "POST", f"{WEBHOOKS}/{webhook['id']}/test"))["data"]
        assert (tested["event"], tested["status"], tested["attempts"][0]["status"]) == (
            "webhook.test",
            "delivered",
            200,
        )
        got = await hook.next()
        assert got.summary == ("webhook.test", webhook["id"])
        assert got.headers["X-Rotary-Delivery"] == tested["id"]
        timestamp, signature = int(got.headers["X-Rotary-Timestamp"]), got.headers["X-Rotary-Signature"]
        assert is_authentic(webhook["secret"], signature, timestamp, got.body, int(time.time()))
        rotated = (await client.change("POST", f"{WEBHOOKS}/{webhook['id']}/rotate-secret"))["secret"]
        await client.done(200, "POST", f"{WEBHOOKS}/{webhook['id']}/test")
        again = await hook.next()
        timestamp, signature = int(again.headers["X-Rotary-Timestamp"]), again.headers["X-Rotary-Signature"]
        assert is_authentic(rotated, signature, timestamp, again.body, int(time.time()))
        assert not is_authentic(webhook["secret"], signature, timestamp, again.body, int(time.time()))


async def test_what_fails_is_sent_again_with_the_same_delivery_id_and_every_attempt_is_in_the_log(
    start: Start, facts: World, hook: Receiver, connection: Connection
) -> None:
    hook.statuses, hook.location = [500, 302], hook.url
    async with start() as (_, client):
        webhook = await registered(client, hook, ["caller_id.cooldown_started"])
        await watched(connection)
        await facts.fold(flagged("a", "blocked", time.time_ns() // 1_000_000))
        first, second = await hook.next(), await hook.next(15)
        assert first.headers["X-Rotary-Delivery"] == second.headers["X-Rotary-Delivery"]
        assert first.body == second.body

        async def is_logged() -> bool:
            page = await client.get(f"{WEBHOOKS}/{webhook['id']}/deliveries")
            return [one["status"] for one in page["data"][0]["attempts"]] == [500, 302]

        await until(is_logged, 5, "both attempts are in the log")
        [delivery] = (await client.get(f"{WEBHOOKS}/{webhook['id']}/deliveries"))["data"]
        assert (delivery["status"], delivery["attempts"][0]["error"]) == ("pending", "The receiver answered 500.")
        assert delivery["next_attempt_at"] is not None
        assert hook.received.empty()  # the redirection was not followed


async def test_what_was_not_delivered_when_the_service_stopped_is_delivered_by_the_next(
    start: Start, facts: World, hook: Receiver, connection: Connection
) -> None:
    hook.statuses = [503]
    async with start() as (_, client):
        await registered(client, hook, ["caller_id.cooldown_started"])
        await watched(connection)
        await facts.fold(flagged("a", "blocked", time.time_ns() // 1_000_000))
        first = await hook.next()
    async with start():
        second = await hook.next(20)
    assert first.headers["X-Rotary-Delivery"] == second.headers["X-Rotary-Delivery"]


async def test_what_changed_while_no_service_ran_is_told_by_the_next(
    start: Start, facts: World, hook: Receiver, connection: Connection
) -> None:
    async with start() as (_, client):
        await registered(client, hook, ["caller_id.cooldown_started", "caller_id.cooldown_ended"])
        await watched(connection)
    await facts.fold(flagged("a", "blocked", time.time_ns() // 1_000_000))
    async with start():
        assert await hook.told(1) == [("caller_id.cooldown_started", 18)]


async def test_a_delivery_whose_message_was_lost_is_queued_again(
    start: Start, facts: World, hook: Receiver, connection: Connection
) -> None:
    async with start() as (_, client):
        webhook = await registered(client, hook)
        row_id = await connection.fetchval(
            "INSERT INTO webhook_deliveries (webhook_id, customer_id, event, body, next_attempt_at)"
            " VALUES ($1, 7, 'group.exhausted', $2, now() - interval '5 minutes') RETURNING id",
            webhook["id"],
            json.dumps({"type": "group.exhausted", "data": {"group_id": 3}}),
        )
    async with start():  # its first sweep finds it
        got = await hook.next(45)
        assert got.headers["X-Rotary-Delivery"] == str(row_id)


async def test_nothing_is_sent_while_the_facts_are_not_current(
    start: Start, facts: World, hook: Receiver, connection: Connection
) -> None:
    now_ms = time.time_ns() // 1_000_000
    async with start() as (_, client):
        await registered(client, hook)
        await watched(connection)
        await facts.fold(flagged("a", "blocked", now_ms))
        assert await hook.told(1) == [("caller_id.cooldown_started", 18)]
        facts.log.hangs = True
        await facts.client.flushdb()  # everything seems to have ended
        await facts.fill()
        await facts.put(group(3, member(18), member(19)))
        facts.log.hangs = False
        await facts.fold(flagged("a", "blocked", now_ms))
        await facts.fold(flagged("b", "blocked", now_ms, caller=19))
        told = await hook.told(2)
        assert ("group.exhausted", 3) in told


async def test_nothing_is_sent_to_a_private_address(start: Start, hook: Receiver) -> None:
    async with start(networks="") as (_, client):
        webhook = await registered(client, hook)
        tested = (await client.done(200, "POST", f"{WEBHOOKS}/{webhook['id']}/test"))["data"]
        assert (tested["status"], tested["attempts"][0]["error"]) == ("failed", "The address is not public.")
        local = {"url": hook.url.replace("127.0.0.1", "localtest.localhost"), "events": EVENTS}
        webhook = (await client.done(201, "POST", WEBHOOKS, local))["data"]
        tested = (await client.done(200, "POST", f"{WEBHOOKS}/{webhook['id']}/test"))["data"]
        assert tested["status"] == "failed"
        assert hook.received.empty()


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "https://user:secret@example.com/",
        "https://localhost/",
        "https://example.com/#x",
        "https://exa mple.com/",
        "https:///x",
        "https://example.com:99999/",
        "ftp://example.com/",
        "https://" + "x" * 2000 + ".com",
    ],
)
async def test_a_url_that_is_not_https_or_not_a_hosts_is_refused(start: Start, url: str) -> None:
    async with start() as (_, client):
        refused = await client.done(422, "POST", WEBHOOKS, {"url": url, "events": EVENTS})
        assert list(refused["errors"]) == ["url"]


async def test_an_event_that_does_not_exist_is_refused_and_a_webhook_can_be_changed_and_deleted(
    start: Start, hook: Receiver, connection: Connection
) -> None:
    async with start() as (_, client):
        refused = await client.done(422, "POST", WEBHOOKS, {"url": hook.url, "events": ["everything"]})
        assert list(refused["errors"]) == ["events[0]"]
        webhook = await registered(client, hook)
        path = f"{WEBHOOKS}/{webhook['id']}"
        changed = await client.change("PUT", path, {"status": "disabled"})
        assert changed["status"] == "disabled"
        await client.done(428, "PUT", path, {"status": "active"})
        assert webhook["secret"] not in str(await connection.fetch("SELECT * FROM audit_log"))
        await client.done(204, "DELETE", path)
        await client.done(404, "GET", f"{path}/deliveries")


async def test_deliveries_are_kept_for_30_days(start: Start, hook: Receiver, connection: Connection) -> None:
    async with start() as (_, client):
        webhook = await registered(client, hook)
        await connection.execute(
            "INSERT INTO webhook_deliveries (webhook_id, customer_id, event, body, created_at, status)"
            " SELECT $1, 7, 'group.exhausted', '{}', now() - days * interval '1 day', 'delivered'"
            " FROM unnest(ARRAY[29, 31]) AS days",
            webhook["id"],
        )
    async with start() as (_, client):

        async def is_swept() -> bool:
            return bool((await client.get(f"{WEBHOOKS}/{webhook['id']}/deliveries"))["total"] == 1)

        await until(is_swept, 45, "the older one is gone")
