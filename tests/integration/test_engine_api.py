"""The engine's API over real HTTP: picks, refusals, repetitions, and who may ask."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from io import BytesIO
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace
from structlog.testing import capture_logs

from integration.engine_world import PATH, EngineWorld, engine_world
from integration.picks_world import BUCKET, CUSTOMER
from pick_groups import GROUP, group, member
from rotary.definitions import SCOPE
from rotary.policy import DEFAULT_POLICY
from rotary.redis import keys
from running import until

pytestmark = pytest.mark.asyncio(loop_scope="function")

NO_TEXT = "Expected `str | null`, got `int`."
SHORT = replace(DEFAULT_POLICY, pick_ttl_seconds=1)


@pytest_asyncio.fixture(loop_scope="function")
async def world(redis_url: str) -> AsyncIterator[EngineWorld]:
    async with engine_world(redis_url) as one:
        yield one


def body(text: str) -> Any:  # a JSON document is whatever it is
    return json.loads(text)


# Picks


async def test_a_pick_names_a_number_and_when_its_reservation_ends(world: EngineWorld) -> None:
    await world.picks.define(group([member(18)]))
    dialer = await world.dialer()
    asked_at = datetime.now(UTC)
    got = await dialer.post({"lead_id": "L-991"})
    picked = body(got.text)["data"]
    assert got.status == 201
    assert got.headers["Content-Type"] == "application/json; charset=utf-8"
    assert got.headers["Cache-Control"] == "no-store"
    assert " ".join(picked) == ("id group_id caller_id_id number display_name carrier trunk_name reason expires_at")
    assert (picked["group_id"], picked["caller_id_id"], picked["number"]) == (GROUP, 18, "0280000018")
    assert (picked["carrier"], picked["trunk_name"], picked["reason"]) == ("viettel", "trunk-1", "round_robin")
    lasts = datetime.fromisoformat(picked["expires_at"]) - asked_at
    assert 29 <= lasts.total_seconds() <= 33


async def test_no_body_asks_for_one_pick_without_preferences(world: EngineWorld) -> None:
    await world.picks.define(group([member(18)]))
    assert (await (await world.dialer()).post()).status == 201


async def test_a_batch_is_answered_in_order_each_with_a_pick_or_a_refusal(world: EngineWorld) -> None:
    await world.picks.define(group([member(1, daily_cap=1), member(2, daily_cap=1, carrier="mobifone")]))
    got = await (await world.dialer()).post({"picks": [{"carrier": "mobifone"}, {}, {"exclude": [2]}]})
    first, second, third = body(got.text)["data"]
    assert (got.status, first["caller_id_id"], second["caller_id_id"]) == (201, 2, 1)
    assert third["reasons"] == {"quota_exceeded": 2}
    assert third["message"] == "No caller ID is eligible."


async def test_a_batch_of_500_is_one_request_and_one_of_501_is_refused(world: EngineWorld) -> None:
    await world.picks.define(group([member(number) for number in range(1, 13)]))
    dialer = await world.dialer()
    got = await dialer.post({"picks": [{}] * 500})
    found = Counter(one["caller_id_id"] for one in body(got.text)["data"])
    assert (got.status, len(found), max(found.values()) - min(found.values())) == (201, 12, 1)
    refused = await dialer.post({"picks": [{}] * 501})
    assert (refused.status, body(refused.text)["errors"]) == (422, {"picks": ["Expected 1 to 500 picks."]})


async def test_sixty_four_clients_at_once_never_pass_the_cap(world: EngineWorld) -> None:
    await world.picks.define(group([member(number, daily_cap=5) for number in range(1, 13)], "least_used"))
    dialers = [await world.dialer() for _ in range(8)]

    async def dial(number: int) -> list[int]:
        answers = [await dialers[number % 8].post({}) for _ in range(3)]
        assert {got.status for got in answers} <= {201, 409}
        return [body(got.text)["data"]["caller_id_id"] for got in answers if got.status == 201]

    picked = Counter(caller for callers in await asyncio.gather(*map(dial, range(64))) for caller in callers)
    assert picked == dict.fromkeys(range(1, 13), 5)


# Refusals


async def test_a_refusal_says_why_and_when_to_ask_again(world: EngineWorld) -> None:
    await world.picks.define(group([member(1, daily_cap=1), member(2), member(3, status="disabled")]))
    await world.picks.flag(2)
    dialer = await world.dialer()
    await dialer.pick()
    got = await dialer.post({})
    refused = body(got.text)
    assert got.status == 409
    assert refused["reasons"] == {"cooldown": 1, "quota_exceeded": 1, "disabled": 1}
    wait = datetime.fromisoformat(refused["next_eligible_at"]) - datetime.now(UTC)
    assert abs(int(got.headers["Retry-After"]) - wait.total_seconds()) <= 2
    assert 1 <= int(got.headers["Retry-After"]) <= 32


async def test_a_refusal_without_a_known_end_has_no_retry_after(world: EngineWorld) -> None:
    await world.picks.define(group([member(1, status="disabled")]))
    got = await (await world.dialer()).post({})
    assert (got.status, body(got.text)["next_eligible_at"]) == (409, None)
    assert "Retry-After" not in got.headers


@pytest.mark.parametrize("limits", [{"hourly_cap": 1}, {"min_gap_seconds": 60}])
async def test_an_optional_limit_is_a_reason_of_its_own(world: EngineWorld, limits: dict[str, int]) -> None:
    await world.picks.define(group([member(1, **limits)]))
    dialer = await world.dialer()
    await dialer.pick()
    reason = next(iter(limits)).removesuffix("_seconds")
    assert body((await dialer.post({})).text)["reasons"] == {reason: 1}


async def test_excluded_members_are_counted_as_such(world: EngineWorld) -> None:
    await world.picks.define(group([member(1)]))
    assert body((await (await world.dialer()).post({"exclude": [1]})).text)["reasons"] == {"excluded": 1}


async def test_a_disabled_group_is_not_picked_from(world: EngineWorld) -> None:
    await world.picks.define(group([member(1)], status="disabled"))
    got = await (await world.dialer()).post({})
    assert (got.status, got.text) == (409, '{"message":"Group is disabled."}')


async def test_another_customers_group_answers_as_one_that_does_not_exist(world: EngineWorld) -> None:
    await world.picks.define(group([member(1)]))
    other = next(one for one in count(CUSTOMER + 1) if keys.bucket_of(one) == BUCKET)
    stranger = await world.dialer(customer=other)
    answers = [await stranger.post({}), await (await world.dialer()).post({}, group=99)]
    assert [(got.status, got.text) for got in answers] == [(404, '{"message":"Pool not found."}')] * 2


# Releases, expiry, leads


async def test_a_released_pick_can_be_picked_again_and_releasing_twice_is_the_same(world: EngineWorld) -> None:
    await world.picks.define(group([member(1, daily_cap=1)]))
    dialer = await world.dialer()
    picked = await dialer.pick()
    assert (await dialer.post({})).status == 409
    assert [(await dialer.release(picked["id"])).status for _ in range(2)] == [204, 204]
    assert (await dialer.post({})).status == 201


async def test_another_customer_can_not_release_a_pick(world: EngineWorld) -> None:
    await world.picks.define(group([member(1, daily_cap=1)]))
    dialer = await world.dialer()
    picked = await dialer.pick()
    assert (await (await world.dialer(customer=8)).release(picked["id"])).status == 204
    assert (await dialer.post({})).status == 409


async def test_an_expired_pick_gives_its_call_back_by_itself(world: EngineWorld) -> None:
    await world.picks.define(group([member(1, daily_cap=1)], policy=SHORT))
    dialer = await world.dialer()
    first = await dialer.pick()

    async def is_free() -> bool:
        return (await dialer.post({})).status == 201

    await until(is_free, 10, "the reservation has ended")
    assert datetime.now(UTC) >= datetime.fromisoformat(first["expires_at"])


async def test_a_confirmed_pick_is_a_call_and_nothing_else(world: EngineWorld) -> None:
    await world.picks.define(group([member(1, daily_cap=2)]))
    dialer = await world.dialer()
    picked = await dialer.pick()
    await world.picks.call(1, picked["id"])
    assert (await dialer.post({})).status == 201
    assert (await dialer.post({})).status == 409


async def test_a_lead_keeps_its_number_until_it_is_forgotten(world: EngineWorld) -> None:
    await world.picks.define(group([member(number) for number in range(1, 6)], sticky_enabled=True))
    dialer = await world.dialer()
    lead = "L/991 ü"
    first = await dialer.pick(lead_id=lead)
    again = [await dialer.pick(lead_id=lead) for _ in range(3)]
    assert {one["caller_id_id"] for one in again} == {first["caller_id_id"]}
    assert {one["reason"] for one in again} == {"sticky"}
    forgotten = await dialer.ask("DELETE", f"{PATH}/leads/L%2F991%20%C3%BC")
    assert (forgotten.status, forgotten.text) == (204, "")
    assert (await dialer.pick(lead_id=lead))["reason"] == "round_robin"


# Idempotency


async def test_a_repetition_under_one_key_has_the_same_answer_and_picks_nothing(world: EngineWorld) -> None:
    await world.picks.define(group([member(1, daily_cap=2)]))
    dialer = await world.dialer()
    answers = [await dialer.post({"lead_id": "L-1"}, Idempotency_Key="k1") for _ in range(5)]
    assert len({got.text for got in answers}) == 1
    assert {got.status for got in answers} == {201}
    assert (await dialer.post({})).status == 201
    assert (await dialer.post({})).status == 409


async def test_one_key_for_two_bodies_is_refused(world: EngineWorld) -> None:
    await world.picks.define(group([member(1)]))
    dialer = await world.dialer()
    await dialer.post({"lead_id": "L-1"}, Idempotency_Key="k1")
    got = await dialer.post({"lead_id": "L-2"}, Idempotency_Key="k1")
    assert got.status == 422
    assert "idempotency key" in body(got.text)["message"]


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_of_another_length_is_refused(world: EngineWorld, key: str) -> None:
    await world.picks.define(group([member(1)]))
    got = await (await world.dialer()).post({}, Idempotency_Key=key)
    assert (got.status, list(body(got.text)["errors"])) == (422, ["Idempotency-Key"])


# Bad requests


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        ({"carier": "viettel"}, {"carier": ["Unknown field."]}),
        ({"carrier": "nokia"}, {"carrier": ["Invalid enum value 'nokia'."]}),
        ({"lead_id": ""}, {"lead_id": ["Expected `str` of length >= 1."]}),
        ({"exclude": [0]}, {"exclude[0]": ["Expected `int` >= 1."]}),
        ({"exclude": "19"}, {"exclude": ["Expected `array`, got `str`."]}),
        ({"picks": []}, {"picks": ["Expected 1 to 500 picks."]}),
        ({"picks": [{}, {"prefix": 28}]}, {"picks[1].prefix": [NO_TEXT]}),
        ({"picks": [{}], "lead_id": "L"}, {"lead_id": ["Not allowed beside picks."]}),
        ({"lead_id": 1, "prefix": 2}, {"lead_id": [NO_TEXT], "prefix": [NO_TEXT]}),
        ([], {"": ["Expected an object."]}),
    ],
)
async def test_every_wrong_field_is_named(world: EngineWorld, sent: object, errors: dict[str, list[str]]) -> None:
    got = await (await world.dialer()).post(sent)
    assert (got.status, body(got.text)) == (422, {"message": "The given data was invalid.", "errors": errors})


@pytest.mark.parametrize(
    "sent", [{f"{at:x}": 1 for at in range(150_000)}, {"picks": [{f"{at:x}": 1 for at in range(300)}] * 500}]
)
async def test_of_very_many_wrong_fields_a_hundred_are_named(world: EngineWorld, sent: object) -> None:
    got = await (await world.dialer()).post(BytesIO(json.dumps(sent).encode()))
    assert (got.status, len(body(got.text)["errors"])) == (422, 100)


@pytest.mark.parametrize("sent", [b"{", b"\xff", b"[" * 5_000, b'{"lead_id": "\\ud800"}', b"nul"])
async def test_what_is_no_json_is_a_400(world: EngineWorld, sent: bytes) -> None:
    got = await (await world.dialer()).post(sent)
    assert (got.status, got.text) == (400, '{"message":"The body is not valid JSON."}')


async def test_a_body_that_is_too_long_is_a_413(world: EngineWorld) -> None:
    got = await (await world.dialer()).post(BytesIO(b" " * (2**21 + 1)))
    assert (got.status, got.text) == (413, '{"message":"Request body too large."}')


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (f"{PATH}/picks", "POST, OPTIONS"),
        (f"{PATH}/picks/x", "DELETE, OPTIONS"),
        (f"{PATH}/leads/x", "DELETE, OPTIONS"),
    ],
)
async def test_another_method_names_those_allowed(world: EngineWorld, path: str, allowed: str) -> None:
    stranger = world.stranger(None)
    got = await stranger.ask("GET", path)
    assert (got.status, got.headers["Allow"]) == (405, allowed)
    assert (await stranger.ask("OPTIONS", path)).headers["Allow"] == allowed


# Who may ask


async def test_without_a_good_token_nothing_is_told(world: EngineWorld) -> None:
    await world.picks.define(group([member(1)]))
    reader = await world.dialer(scopes=(SCOPE,))
    statuses = [(await dialer.post({})).status for dialer in (world.stranger(None), world.stranger("made-up"), reader)]
    assert statuses == [401, 401, 403]
    assert await keys_of_reservations(world) == 0


async def test_a_token_over_its_limit_is_told_when_to_come_back(world: EngineWorld) -> None:
    await world.picks.define(group([member(1)]))
    dialer = await world.dialer(limit=3)
    answers = [await dialer.post({}) for _ in range(4)]
    assert [got.status for got in answers] == [201, 201, 201, 429]
    assert [got.headers["X-RateLimit-Remaining"] for got in answers] == ["2", "1", "0", "0"]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60


async def test_a_request_id_comes_back_and_the_documents_need_no_token(world: EngineWorld) -> None:
    stranger = world.stranger(None)
    assert (await stranger.post({}, X_Request_Id="call-7")).headers["X-Request-Id"] == "call-7"
    document = body((await stranger.ask("GET", "/openapi.json")).text)
    assert document["info"]["title"] == "Rotary engine"
    assert "<title>Rotary engine · " in (await stranger.ask("GET", "/docs")).text


async def test_a_defect_is_a_500_and_its_trace_is_in_the_log_alone(world: EngineWorld) -> None:
    await world.picks.define(group([member(1)]))
    dialer = await world.dialer()
    prefix = keys.facts_prefix(7)
    await world.picks.client.set(f"{prefix}plan:{GROUP}", "broken")
    await world.picks.client.set(f"{prefix}plan:{GROUP}:broken", "no hash")
    with capture_logs() as logs:
        got = await dialer.post({})
    assert (got.status, got.text) == (500, '{"message":"Server error."}')
    assert any(log["event"] == "request failed" for log in logs)


# What operators read


async def test_picks_are_counted_by_strategy_outcome_and_reason(world: EngineWorld) -> None:
    await world.picks.define(group([member(1, daily_cap=2)], "least_used"))
    dialer = await world.dialer()
    kept, released = await dialer.pick(), await dialer.pick()
    await dialer.post({})
    await dialer.release(released["id"])
    await world.picks.call(1, kept["id"])
    picks = "rotary_engine_picks_total"
    assert await world.metric(picks + '{outcome="picked",reason="least_used",strategy="least_used"}') == 2
    assert await world.metric(picks + '{outcome="refused",reason="quota_exceeded",strategy="least_used"}') == 1
    assert await world.metric("rotary_engine_reservations_live") == 2
    assert await world.metric("rotary_engine_pick_seconds_count") == 3
    assert await world.metric("rotary_engine_connections") == 1

    async def is_told() -> bool:
        ended = [
            await world.metric(f'rotary_engine_reservations_ended_total{{how="{how}"}}')
            for how in ("confirmed", "released")
        ]
        return ended == [1, 1]

    await until(is_told, 5, "one reservation was confirmed and one released")


async def keys_of_reservations(world: EngineWorld) -> int:
    return len(await world.picks.client.keys("*:live:*"))
