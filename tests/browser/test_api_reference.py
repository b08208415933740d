"""The API reference in a browser: whole, under its policy, tried with a token, and usable with a keyboard alone."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from browser.test_appearance import violations, violations_of_colours
from browser.world import SECONDS, Group, World
from rotary.definitions import PICK_SCOPE, SCOPE
from rotary.management.fields import NewToken
from rotary.management.tokens import create_token
from rotary.postgres.connection import connect
from running import until

SERVICES = ("ROTARY_API_URL", "ROTARY_ENGINE_URL", "ROTARY_CAMPAIGNS_URL")
WATCH = (
    "window.violations = []; addEventListener('securitypolicyviolation', (event) => violations.push(event.blockedURI))"
)
MONITOR = "monitorCallerIdGroup"
RULES = ["wcag2a", "wcag2aa", "wcag21aa"]
SETTLED = "() => Promise.allSettled(document.getAnimations().map(({ finished }) => finished))"


class Reader:
    """A window of somebody who reads the reference. What goes wrong in it, or leaves its origin, is a complaint."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("request", lambda request: self._leaves(request.url, base))

    def _leaves(self, url: str, base: str) -> None:
        if not url.startswith((base, "data:")):
            self.complaints.append(url)

    def operation(self, name: str) -> Any:
        """An operation by its name. Any: a locator."""
        return self.page.locator(f"[id$='-{name}']")

    async def violations(self) -> list[str]:
        """What the policy refused."""
        found: list[str] = await self.page.evaluate("window.violations")
        return found

    def told(self) -> list[str]:
        """The complaints until now, once."""
        complaints, self.complaints = self.complaints, []
        return complaints

    async def empty(self) -> None:
        """Leaves the reference for a page of the same origin without scripts, so that its own stay compiled."""
        await self.page.emulate_media(color_scheme="light")
        await self.page.mouse.move(-1, -1)
        await self.page.goto(self.page.url.partition("/docs")[0] + "/openapi.json")


class Readers:
    """Opens the reference of a service. Its window is kept: in a new one, all scripts would be compiled anew."""

    def __init__(self, browser: Browser, world: World) -> None:
        self._browser = browser
        self._world = world
        self._kept: dict[str, Reader] = {}
        self._open: list[Reader] = []

    async def reader(self, variable: str) -> Reader:
        """A window in which the reference is shown, and nothing was done yet."""
        base = self._world.stack[variable]
        if variable not in self._kept:
            self._kept[variable] = await self._new(base)
        reader = self._kept[variable]
        self._open.append(reader)
        await reader.page.goto(f"{base}/docs")
        await expect(reader.page.locator(".opblock").first).to_be_visible(timeout=SECONDS * 1000)
        return reader

    async def _new(self, base: str) -> Reader:
        page = await self._browser.new_page()
        page.set_default_timeout(SECONDS * 1000)
        await page.add_init_script(WATCH)
        return Reader(page, base)

    async def close(self) -> None:
        """Ends what the pages do. Fails the test if one complained."""
        opened, self._open = self._open, []
        refused = [one for reader in opened for one in await reader.violations()]
        for reader in opened:
            await reader.empty()
        assert refused == []
        assert [complaint for reader in opened for complaint in reader.told()] == []

    async def end(self) -> None:
        """Closes every window."""
        for reader in self._kept.values():
            await reader.page.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def _readers(browser: Browser, world: World) -> AsyncIterator[Readers]:
    opened = Readers(browser, world)
    yield opened
    await opened.end()


@pytest_asyncio.fixture(loop_scope="session")
async def readers(_readers: Readers) -> AsyncIterator[Readers]:
    """Opens windows; a page that complained fails the test."""
    yield _readers
    await _readers.close()


async def token(world: World) -> str:
    """A token that the query service knows."""
    connection = await connect(world.stack["ROTARY_POSTGRES_URL"])
    try:
        _, bearer = await create_token(connection, world.customer, NewToken(name="docs", scopes=[SCOPE, PICK_SCOPE]))
    finally:
        await connection.close()
    return bearer


async def is_known(page: Page, group: Group, bearer: str) -> None:
    """Returns once the query service knows the token and the group."""
    url = page.url.removesuffix("/docs") + f"/api/caller-id-groups/{group.id}/monitor"

    async def answers() -> bool:
        return (await page.request.get(url, headers={"Authorization": f"Bearer {bearer}"})).ok

    await until(answers, SECONDS, "the query service knows the token and the group")


@pytest.mark.parametrize("variable", SERVICES)
async def test_the_reference_shows_every_operation_and_asks_nobody_else(readers: Readers, variable: str) -> None:
    reader = await readers.reader(variable)
    answer = await reader.page.request.get(f"{reader.page.url.removesuffix('/docs')}/openapi.json")
    document = await answer.json()
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    for operation in operations:
        await expect(reader.operation(operation["operationId"]).first).to_contain_text(operation["summary"])
    await expect(reader.page.locator(".opblock")).to_have_count(len(operations))
    await expect(reader.page).to_have_title(re.compile(re.escape(document["info"]["title"])))


@pytest.mark.parametrize(("variable", "name"), [("ROTARY_API_URL", MONITOR), ("ROTARY_ENGINE_URL", "createPicks")])
async def test_axe_finds_nothing_in_an_open_operation(readers: Readers, variable: str, name: str) -> None:
    reader = await readers.reader(variable)
    await reader.operation(name).locator(".opblock-summary-control").click()
    await reader.operation(name).get_by_role("button", name="Try it out").click()
    await reader.page.evaluate(SETTLED)
    assert await violations(reader.page, RULES) == []
    await reader.page.emulate_media(color_scheme="dark")
    await expect(reader.page.locator("html")).to_have_class("dark-mode")
    await reader.page.evaluate(SETTLED)  # the renderer fades from one colour to the other
    assert await violations_of_colours(reader.page, RULES) == []


async def test_a_request_is_tried_with_a_token_and_a_keyboard_alone(readers: Readers, world: World) -> None:
    group, bearer = await world.group("Reference", 2), await token(world)
    reader = await readers.reader("ROTARY_API_URL")
    page, monitor, keys = reader.page, reader.operation(MONITOR), reader.page.keyboard
    await is_known(page, group, bearer)
    await tab_to(page, "Authorize")
    await keys.press("Enter")
    await expect(page.get_by_label("Token")).to_be_visible()
    await tab_to(page, "Token")
    await keys.type(bearer)
    await keys.press("Enter")
    await tab_to(page, "Close")
    await keys.press("Enter")
    for name in ("/api/caller-id-groups/{id}/monitor", "Try it out"):
        await tab_to(page, name)
        await keys.press("Enter")
    await tab_to(page, "id")
    await keys.press("Control+a")
    await keys.type(str(group.id))
    await tab_to(page, "Execute")
    await keys.press("Enter")
    shown = monitor.locator(".live-responses-table .microlight").first
    await expect(shown).to_contain_text('"group_name": "Reference"')


async def tab_to(page: Page, name: str) -> None:
    """Presses Tab until the text, the placeholder or the label of what has the focus contains this name."""
    script = "(({ innerText, placeholder, ariaLabel }) => [innerText, placeholder, ariaLabel])(document.activeElement)"
    for _ in range(60):
        called = await page.evaluate(script)
        on_page = await page.evaluate("document.activeElement !== document.body")
        # The renderer puts zero-width spaces into paths, where lines may break.
        if on_page and any(name in (text or "").replace("\u200b", "") for text in called):
            return
        await page.keyboard.press("Tab")
    pytest.fail(f"Tab does not reach {name}")


async def test_an_event_stream_that_is_tried_ends_and_is_shown(readers: Readers, world: World) -> None:
    group, bearer = await world.group("Streamed", 1), await token(world)
    reader = await readers.reader("ROTARY_API_URL")
    page, monitor = reader.page, reader.operation(MONITOR)
    await is_known(page, group, bearer)
    await page.get_by_role("button", name="Authorize").first.click()
    await page.get_by_label("Token").fill(bearer)
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Close").last.click()
    await monitor.locator(".opblock-summary-control").click()
    await monitor.get_by_role("button", name="Try it out").click()
    await monitor.get_by_placeholder("id", exact=True).fill(str(group.id))
    await monitor.get_by_label("Media Type").first.select_option("text/event-stream")
    await monitor.get_by_role("button", name="Execute").click()
    await expect(monitor.locator(".live-responses-table .microlight").first).to_contain_text("event: snapshot")
