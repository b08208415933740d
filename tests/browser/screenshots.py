"""`python -m browser.screenshots FOLDER`, inside `rotary-stack exec --services`: the console's main states as pictures.

The customers are those of the demo; yesterday and the weeks before are made up.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from os import environ
from pathlib import Path
from random import Random
from typing import Any

from playwright.async_api import Browser, Page, async_playwright, expect

from browser.screenshots_manage import management_pictures
from browser.world import PASSWORD, sign_in
from rotary.management import users
from rotary.management.fields import NewUser
from rotary.management.passwords import hash_password
from rotary.postgres.connection import connect
from rotary_demo.backfill import backfill
from rotary_demo.cli import GROUP_ID
from rotary_demo.clients import CustomerClient, open_clients
from rotary_demo.dialer import CALLS_PER_MINUTE
from rotary_demo.seed import create_customers
from rotary_stack.binaries import find_or_install
from rotary_stack.control.client import send
from rotary_stack.control.messages import Request

USER = "linh"
ZONE = "Asia/Ho_Chi_Minh"
DESKTOP = {"width": 1440, "height": 900}
WALL = {"width": 1920, "height": 1080}
PHONE = {"width": 390, "height": 844}
LIVE_SECONDS = 60
"""How long the strip over time is given to show something."""


async def make_user(url: str, customers: list[int]) -> None:
    """Somebody who may see everything."""
    connection = await connect(url)
    try:
        user = await users.create_user(
            connection, NewUser(name=USER, display_name="Linh Trần"), hash_password(PASSWORD)
        )
        for customer in customers:
            await users.set_role(connection, user.id, customer, "admin")
    finally:
        await connection.close()


async def dial(client: CustomerClient, rng: Random) -> None:
    """Places calls in every group, until it is cancelled, and gets a flag now and then."""
    events = client.publisher.events
    while True:
        for group in await client.api.groups():
            members = (await client.api.monitor(group.id)).monitor.members
            ready = [member for member in members if member.status == "eligible"]
            for member in rng.sample(ready, min(2, len(ready))):
                client.publisher.submit(events.call_placed(member.caller_id_id, group.id))
        await asyncio.sleep(60 / CALLS_PER_MINUTE / 4)


Act = Callable[[Page], Awaitable[Any]]


class Camera:
    """Takes pictures in windows of somebody who is signed in."""

    def __init__(self, browser: Browser, url: str, folder: Path) -> None:
        self._browser = browser
        self._url = url
        self._folder = folder
        self._state: Any = None  # Playwright's own type of what a browser remembers

    async def sign_in(self) -> None:
        """Once, for all pictures but the first."""
        async with self._window("light", DESKTOP, "en-GB", 1) as page:
            await page.goto(self._url)
            await expect(page.get_by_label("User name")).to_be_focused()
            await page.screenshot(path=self._folder / "sign-in.png")
            await sign_in(page, USER)
            await expect(page.locator("h1")).to_have_text("Live monitor")
            self._state = await page.context.storage_state()

    async def take(
        self,
        name: str,
        path: str,
        act: Act,
        *,
        theme: str = "light",
        view: Mapping[str, int] = DESKTOP,
        locale: str = "en-GB",
    ) -> None:
        """A picture of a path, after somebody did something there."""
        async with self._window(theme, view, locale, 2 if view is PHONE else 1) as page:
            language = {"language": locale[:2]}
            headers = {"X-Rotary-Console": "1"}
            await page.context.request.put(f"{self._url}/api/session/language", data=language, headers=headers)
            await page.goto(self._url + path)
            await act(page)
            await page.screenshot(path=self._folder / f"{name}.png")

    def _window(self, theme: str, view: Mapping[str, int], locale: str, scale: int) -> "Window":
        options = {
            "color_scheme": theme, "viewport": dict(view), "locale": locale, "device_scale_factor": scale,
            "timezone_id": ZONE, "reduced_motion": "reduce", "storage_state": self._state,
        }  # fmt: skip
        return Window(self._browser, options)


class Window:
    """A page in a context of its own, closed after the block."""

    def __init__(self, browser: Browser, options: dict[str, Any]) -> None:
        self._browser = browser
        self._options = options

    async def __aenter__(self) -> Page:
        self._context = await self._browser.new_context(**self._options)
        return await self._context.new_page()

    async def __aexit__(self, *_: object) -> None:
        await self._context.close()


async def live(page: Page) -> None:
    """Waits until the data is live, and the strip over time shows something."""
    await expect(page.locator("[data-freshness=live]")).to_be_visible()
    await page.wait_for_timeout(LIVE_SECONDS * 1000)


async def shown(page: Page) -> None:
    """Waits until all cards have their numbers."""
    await expect(page.locator("[data-freshness=live]")).to_be_visible()
    await expect(page.locator(".status-bar").nth(5)).to_be_visible()


async def drawn(page: Page) -> None:
    """Waits until the charts are drawn."""
    await expect(page.locator("canvas").nth(3)).to_be_visible()
    await page.wait_for_timeout(500)


async def explained(page: Page) -> None:
    """Opens the explanation of a score."""
    await page.locator(".line.cooldown .health button").nth(1).click()
    await expect(page.locator(".reasons")).to_be_visible()
    await page.wait_for_timeout(500)


async def broken(page: Page) -> None:
    """Kills Redis, and starts it when the page has said so."""
    await expect(page.locator("[data-freshness=live]")).to_be_visible()
    await page.wait_for_timeout(5_000)
    await asyncio.to_thread(send, Request("kill", "redis"), environ)
    await expect(page.locator("[data-freshness=stale]")).to_be_visible()
    await page.wait_for_timeout(7_000)


async def pictures(camera: Camera) -> None:
    """All of them; those that need time, together."""
    group = f"/#/groups/{GROUP_ID}"
    await camera.sign_in()
    await camera.take("groups", "/#/groups", shown)
    await asyncio.gather(
        camera.take("monitor", group, live),
        camera.take("monitor-dark", group, live, theme="dark"),
        camera.take("wall", f"{group}?wall=1", live, theme="dark", view=WALL),
    )
    await camera.take("why", group, explained)
    await camera.take("history", f"{group}/history", drawn)
    await camera.take("phone", "/#/groups", shown, view=PHONE, locale="vi-VN", theme="dark")
    await management_pictures(camera)
    await camera.take("stale", group, broken)


async def main(folder: Path) -> None:
    """Fills the servers of the stack around this process, and takes the pictures."""
    rng = Random(7)
    expect.set_options(timeout=30_000)
    async with AsyncExitStack() as exits:
        customers = await create_customers(environ["ROTARY_POSTGRES_URL"], int(time.time() * 1000), rng)
        clients = await open_clients(exits, customers, environ)
        await asyncio.gather(*(backfill(client, rng) for client in clients))
        await make_user(environ["ROTARY_POSTGRES_URL"], [customers[0].id])
        dialing = asyncio.create_task(dial(clients[0], rng))
        exits.callback(dialing.cancel)
        playwright = await exits.enter_async_context(async_playwright())
        chromium = await find_or_install("chromium", "chromium", print)
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        exits.push_async_callback(browser.close)
        await pictures(Camera(browser, environ["ROTARY_CONSOLE_URL"], folder))


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    asyncio.run(main(Path(sys.argv[1])))
