"""The three endpoints and every row of the error table, on a real Redis."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import MsgspecError
from structlog.testing import capture_logs

from histories import HOUR, flagged, placed
from integration.query_world import Caller, Site, World, group, member
from rotary.clock import system_clock
from rotary.definitions import READ_SCOPE, SCOPE, GroupDefinition
from rotary.redis import keys
from running import until
from written import Documents

NOW = system_clock()


@pytest.fixture
def groups() -> list[GroupDefinition]:
    return [group(3, member(18), member(19, "disabled")), group(4, name="Empty")]


async def test_list_has_exactly_the_documented_bytes(filled: World, served: Site) -> None:
    response = await served.caller(await filled.token()).get("/api/caller-id-groups")
    assert response.status == 200
    assert response.text == (
        '{"data":[{"id":3,"name":"Sales HCM","description":null,"rotation_strategy":"cap_based","sticky_enabled":true,'
        '"status":"active","caller_ids_count":1,"created_at":"2026-05-20T03:00:00Z"},'
        '{"id":4,"name":"Empty","description":null,"rotation_strategy":"cap_based","sticky_enabled":true,'
        '"status":"active","caller_ids_count":0,"created_at":"2026-05-20T03:00:00Z"}]}'
    )


async def test_detail_has_exactly_the_documented_bytes(filled: World, served: Site) -> None:
    response = await served.caller(await filled.token()).get("/api/caller-id-groups/3?unknown=parameter")
    assert response.text == (
        '{"data":{"id":3,"name":"Sales HCM","description":null,"rotation_strategy":"cap_based","sticky_enabled":true,'
        '"status":"active","caller_ids_count":1,"created_at":"2026-05-20T03:00:00Z","caller_ids":['
        '{"id":18,"number":"+84900000018","display_name":"Line 18","carrier":"viettel","carrier_label":"Viettel",'
        '"status":"active","trunk_name":"trunk-1","weight":1},'
        '{"id":19,"number":"+84900000019","display_name":"Line 19","carrier":"viettel","carrier_label":"Viettel",'
        '"status":"disabled","trunk_name":"trunk-1","weight":1}]}}'
    )


async def test_monitor_has_exactly_the_documented_bytes(filled: World, served: Site) -> None:
    now = NOW()
    await filled.fold(placed("c1", now, 18), placed("c2", now, 18), flagged("f1", "spam_label", now - HOUR, 18))
    response = await served.caller(await filled.token()).get("/api/caller-id-groups/3/monitor")
    body = response.text
    until_text = datetime.fromtimestamp((now + 5 * HOUR) // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    calls, health = (json.loads(body)["data"]["members"][0][name] for name in ("calls_today", "health_score"))
    assert (calls, health) == (2, 50)
    assert body == (
        '{"data":{"group_id":3,"group_name":"Sales HCM","total_members":2,"eligible_now":0,"in_cooldown":1,'
        '"disabled":1,"members":['
        '{"caller_id_id":18,"number":"+84900000018","carrier":"viettel","status":"cooldown","health_score":50,'
        f'"calls_today":2,"daily_cap":200,"cooldown_until":"{until_text}"}},'
        '{"caller_id_id":19,"number":"+84900000019","carrier":"viettel","status":"disabled","health_score":100,'
        '"calls_today":0,"daily_cap":200,"cooldown_until":null}]}}'
    )


async def test_every_answer_carries_the_common_headers(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token(limit=600))
    for path in ("/api/caller-id-groups", "/api/caller-id-groups/99", "/nowhere", "/api/caller-id-groups/3/monitor"):
        headers = (await caller.get(path)).headers
        assert headers["Content-Type"] == "application/json; charset=utf-8"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Request-Id"]
        assert headers["Date"]
        assert "Server" not in headers
        assert "Access-Control-Allow-Origin" not in headers


async def test_success_can_be_revalidated(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token(limit=600))
    for path in ("/api/caller-id-groups", "/api/caller-id-groups/3", "/api/caller-id-groups/3/monitor"):
        first = await caller.get(path)
        tag = first.headers["ETag"]
        assert tag.startswith('"')
        assert first.headers["Cache-Control"] == "private, max-age=0, must-revalidate"
        for known in (tag, f'"other", W/{tag}', "*"):
            again = await caller.get(path, If_None_Match=known)
            assert (again.status, again.text) == (304, "")
            for name in ("ETag", "Cache-Control", "X-Content-Type-Options"):
                assert again.headers[name] == first.headers[name]
            assert again.headers["X-RateLimit-Limit"] == "600"
        assert (await caller.get(path, If_None_Match='"other"')).status == 200


async def test_head_is_get_without_the_body(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    for path in ("/api/caller-id-groups/3", "/api/caller-id-groups/99", "/nowhere"):
        got, head = await caller.get(path), await caller.get(path, "HEAD")
        assert (head.status, head.text) == (got.status, "")
        for name in ("Content-Length", "Content-Type", "Cache-Control"):
            assert head.headers[name] == got.headers[name]


async def test_without_a_token_that_holds_nothing_is_told(filled: World, served: Site) -> None:
    expired = await filled.token(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    for token in (None, "unknown", "", expired):
        for path in ("/api/caller-id-groups", "/api/caller-id-groups/abc", "/api/caller-id-groups/99/monitor"):
            response = await served.caller(token).get(path)
            assert (response.status, response.text) == (401, '{"message":"Unauthenticated."}')
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert "X-RateLimit-Limit" not in response.headers
    basic = await served.caller(None).get("/api/caller-id-groups", Authorization="Basic cm90YXJ5OnJvdGFyeQ==")
    assert basic.status == 401


async def test_a_token_that_lacks_the_scope_is_refused(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token(limit=600, scopes=("other",)))
    response = await caller.get("/api/caller-id-groups/abc")
    assert (response.status, response.text) == (403, '{"message":"This action is unauthorized."}')

    assert response.headers["X-RateLimit-Remaining"] == "599"


@pytest.mark.parametrize("scope", [SCOPE, READ_SCOPE])
async def test_either_scope_for_reading_is_enough(filled: World, served: Site, scope: str) -> None:
    caller = served.caller(await filled.token(scopes=(scope,)))
    assert (await caller.get("/api/caller-id-groups/3/monitor")).status == 200


BAD_IDS = [
    "0",
    "-1",
    "abc",
    "1.5",
    "1e3",
    "9223372036854775808",
    "99999999999999999999",
    "%20",
    "%2B3",
    "%D9%A3",
    "3;x",
]


@pytest.mark.parametrize("suffix", ["", "/monitor"])
async def test_a_group_that_is_not_yours_does_not_exist(filled: World, served: Site, suffix: str) -> None:
    stranger = served.caller(await filled.token(customer=filled.customer + 500_000))
    own = served.caller(await filled.token())
    answers = [await stranger.get(f"/api/caller-id-groups/3{suffix}")]
    answers += [await own.get(f"/api/caller-id-groups/{bad}{suffix}") for bad in ["5", "9223372036854775807", *BAD_IDS]]
    own_headers = {"Date", "X-Request-Id"}
    for response in answers:
        assert (response.status, response.text) == (404, '{"message":"Pool not found."}')
        assert {*response.headers} - own_headers == {*answers[0].headers} - own_headers


@pytest.mark.parametrize(
    "path",
    ["/", "/api", "/api/caller-id-groups/", "/api/caller-id-groups/3/", "/api/caller-id-groups/3/other", "/livez"],
)
async def test_other_paths_are_not_found(served: Site, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        response = await served.caller(None).get(path, method)
        assert (response.status, response.text) == (404, '{"message":"Resource not found"}')


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
async def test_only_reading_is_allowed(served: Site, method: str) -> None:
    response = await served.caller(None).get("/api/caller-id-groups/abc", method)
    assert (response.status, response.text) == (405, '{"message":"Method not allowed."}')
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


async def test_options_says_what_is_allowed(served: Site) -> None:
    response = await served.caller(None).get("/api/caller-id-groups", "OPTIONS")
    assert (response.status, response.text, response.headers["Allow"]) == (204, "", "GET, HEAD, OPTIONS")


async def test_your_request_id_comes_back_if_it_is_one(served: Site) -> None:
    caller = served.caller(None)
    assert (await caller.get("/nowhere", X_Request_Id="trace-1/2")).headers["X-Request-Id"] == "trace-1/2"
    for bad in ("a b", "x" * 129, "é"):
        assert (await caller.get("/nowhere", X_Request_Id=bad)).headers["X-Request-Id"] != bad
    ids = {(await caller.get("/nowhere")).headers["X-Request-Id"] for _ in range(10)}
    assert len(ids) == 10


async def test_a_defect_is_a_500_and_its_trace_is_in_the_log_alone(filled: World, served: Site) -> None:
    await filled.client.set(keys.group(filled.customer, 3), b"\x92\x02\xc1 not a document")
    with capture_logs() as logs:
        response = await served.caller(await filled.token()).get("/api/caller-id-groups/3")
    assert (response.status, response.text) == (500, '{"message":"Server error."}')
    (entry,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert entry["request_id"] == response.headers["X-Request-Id"]
    assert isinstance(entry["exc_info"], MsgspecError)


async def test_rebuilding_facts_stops_the_monitor_alone(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    assert (await caller.get("/api/caller-id-groups/3/monitor")).status == 200
    filled.log.hangs = True
    await filled.client.delete(keys.position(filled.bucket))

    async def refused() -> bool:
        return (await caller.get("/api/caller-id-groups/3/monitor")).status == 503

    await until(refused, 0.9, "the monitor is refused")
    response = await caller.get("/api/caller-id-groups/3/monitor")
    assert response.text == '{"message":"The projections are being rebuilt. Try again soon."}'
    assert int(response.headers["Retry-After"]) >= 1
    assert "X-Projection-Lag" not in response.headers
    assert (await caller.get("/api/caller-id-groups")).status == 200
    assert (await caller.get("/api/caller-id-groups/3")).status == 200
    await filled.log.restart()
    filled.log.hangs = False

    async def answers() -> bool:
        return not await refused()

    await until(answers, 2, "the monitor is back")


@pytest.mark.parametrize("field", ["complete", "newest"])
async def test_rebuilding_definitions_stops_their_bucket_alone(filled: World, served: Site, field: str) -> None:
    caller = served.caller(await filled.token())
    elsewhere = next(
        number
        for number in range(filled.customer + 1, filled.customer + 1000)
        if keys.bucket_of(number) != filled.bucket
    )
    stranger = served.caller(await filled.token(customer=elsewhere))
    paths = ("/api/caller-id-groups", "/api/caller-id-groups/3", "/api/caller-id-groups/3/monitor")
    for path in paths:
        assert (await caller.get(path)).status == 200
    if field == "complete":
        await filled.client.hdel(keys.definitions(filled.bucket), "complete")
    else:
        await filled.client.hset(keys.definitions(filled.bucket), "newest", "00000000")

    async def refused() -> bool:
        return [(await caller.get(path)).status for path in paths] == [503] * 3

    await until(refused, 0.9, "nothing of theirs is shown")
    assert (await caller.get(paths[0])).text == '{"message":"The definitions are being rebuilt. Try again soon."}'
    assert (await stranger.get(paths[0])).status == 200
    ops = Caller(served.session, served.ops, None)
    unready = await ops.get("/readyz")
    assert json.loads(unready.text)["missing"] == ["The definitions are being rebuilt: 1 of 64 buckets"]
    await Documents(filled.client).complete("00000002")
    assert (await caller.get(paths[0])).status == 200


async def test_an_older_version_of_the_tokens_is_refused(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    assert (await caller.get("/api/caller-id-groups")).status == 200
    await filled.client.hset(keys.TOKEN_DEFINITIONS, "newest", "00000000")

    async def refused() -> bool:
        return (await caller.get("/api/caller-id-groups")).status == 503

    await until(refused, 0.9, "a token that may have been revoked is not taken")
    ops = Caller(served.session, served.ops, None)
    assert json.loads((await ops.get("/readyz")).text)["missing"] == ["The tokens are being rebuilt"]


async def test_ops_site_says_what_is_missing(filled: World, served: Site) -> None:
    ops = Caller(served.session, served.ops, None)
    assert (await ops.get("/livez")).status == 200
    assert (await ops.get("/readyz")).text == '{"ready":true,"missing":[]}'
    filled.log.hangs = True
    await filled.client.delete(keys.position(filled.bucket))

    async def unready() -> bool:
        told = await ops.get("/readyz")
        return (
            told.status,
            told.text,
        ) == (503, '{"ready":false,"missing":["The projections are being rebuilt: 1 of 64 buckets"]}')

    await until(unready, 1, "it says that facts are missing")
    assert (await ops.get("/nowhere")).status == 404
    await served.caller(None).get("/nowhere")
    assert 'rotary_query_requests_total{route="nothing",status="404"} 1.0' in (await ops.get("/metrics")).text
