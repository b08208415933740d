"""The console among the running services: what a page does from signing in to reading the query service itself."""

from collections.abc import AsyncIterator, Mapping

import aiohttp
import asyncpg
import pytest

from integration.console_world import PASSWORD, Browser, costly_hash_of
from integration.dialing import VISIBLE_SECONDS, Dialing, dialing
from running import until

GROUPS = "/api/caller-id-groups"


@pytest.fixture
async def customer_of_stack(services: Mapping[str, str]) -> AsyncIterator[Dialing]:
    async with dialing(services) as made:
        yield made


@pytest.fixture
async def browser(customer_of_stack: Dialing, services: Mapping[str, str]) -> AsyncIterator[Browser]:
    """Signed in, as an operator of the customer."""
    name = f"user-{customer_of_stack.customer}"
    connection = await asyncpg.connect(services["ROTARY_POSTGRES_URL"])
    try:
        user = await connection.fetchval(
            "INSERT INTO users (name, password_hash) VALUES ($1, $2) RETURNING id", name, costly_hash_of(PASSWORD)
        )
        await connection.execute("INSERT INTO user_roles VALUES ($1, $2, 'operator')", user, customer_of_stack.customer)
    finally:
        await connection.close()
    async with aiohttp.ClientSession() as session:
        url = services["ROTARY_CONSOLE_URL"]
        made = Browser(session, url, url, "127.0.0.1")
        assert (await made.sign_in(name)).status == 200
        yield made


async def test_a_page_reads_the_query_service_with_its_own_token_until_it_signs_out(
    customer_of_stack: Dialing, browser: Browser, services: Mapping[str, str]
) -> None:
    console = services["ROTARY_CONSOLE_URL"]
    told = (await browser.done(200, "GET", "/api/session"))["data"]
    assert told["query_url"] == services["ROTARY_API_URL"]
    own = f"/api/customers/{customer_of_stack.customer}"
    token = (await browser.done(201, "POST", f"{own}/read-token"))["data"]["token"]
    headers = {"Authorization": f"Bearer {token}", "Origin": console}
    async with aiohttp.ClientSession(told["query_url"], headers=headers) as query:
        # At once: the page does not try again.
        async with query.get(GROUPS) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.headers["Access-Control-Allow-Origin"] == console
            assert "X-Projection-Lag" in answer.headers["Access-Control-Expose-Headers"]
            assert [group["id"] for group in (await answer.json())["data"]] == [customer_of_stack.group]
        async with query.get(f"{GROUPS}/{customer_of_stack.group}/monitor") as answer:
            assert answer.status == 200
        picks = f"{services['ROTARY_ENGINE_URL']}{GROUPS}/{customer_of_stack.group}/picks"
        async with aiohttp.ClientSession(headers=headers) as engine, engine.post(picks, json={}) as answer:
            assert answer.status == 403
        await browser.done(204, "DELETE", "/api/session")

        async def is_refused() -> bool:
            async with query.get(GROUPS) as answer:
                return answer.status == 401

        await until(is_refused, VISIBLE_SECONDS, "the token has ended with the session")


async def test_a_campaign_is_run_through_the_console(customer_of_stack: Dialing, browser: Browser) -> None:
    path = f"/api/customers/{customer_of_stack.customer}/telesales/campaigns"
    made = (await browser.done(201, "POST", path, {"name": "June", "dialer_mode": "preview"}))["data"]
    refused = await browser.done(422, "PUT", f"{path}/{made['id']}/status", {"status": "active"})
    assert list(refused["errors"]) == ["caller_id_group_id"]
    group = {"caller_id_group_id": customer_of_stack.group}
    await browser.done(200, "PUT", f"{path}/{made['id']}", group)
    active = await browser.done(200, "PUT", f"{path}/{made['id']}/status", {"status": "active"})
    assert active["data"]["status"] == "active"
    await browser.done(200, "PUT", f"{path}/{made['id']}/status", {"status": "paused"})
    await browser.done(403, "POST", f"/api/customers/{customer_of_stack.customer}/management/tokens", {"name": "x"})
