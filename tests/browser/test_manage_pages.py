"""Every management page, for everyone: both themes, both languages, phones, and no violation that axe knows."""

import json
import re

import pytest
from playwright.async_api import Page, expect

from browser.test_appearance import violations_in_both_themes
from browser.world import NOWHERE, PHONE, Visitor, Visitors, World

PAGES = {
    "caller IDs": "/#/caller-ids",
    "groups": "/#/caller-id-groups",
    "members": "/#/caller-id-groups/{group}",
    "campaigns": "/#/campaigns",
    "campaign": "/#/campaigns/new",
    "import": "/#/imports",
    "tokens": "/#/tokens",
    "webhooks": "/#/webhooks",
    "webhook": "/#/webhooks/{webhook}",
    "dialers": "/#/dialers",
    "users": "/#/users",
    "settings": "/#/settings",
    "audit log": "/#/audit",
}
DIALOGS = {
    "caller ID": ("/#/caller-ids", "New caller ID"),
    "group": ("/#/caller-id-groups", "New group"),
    "pasted list": ("/#/caller-id-groups/{group}", "Paste a list"),
    "token": ("/#/tokens", "New token"),
    "webhook form": ("/#/webhooks", "New webhook"),
    "user": ("/#/users", "New user"),
}
KEY = re.compile(r"(?<![\w./@-])[a-z]\w+\.[a-z][\w.]*(?![\w/@-])", re.IGNORECASE)
NO_KEYS = re.compile(r"^(?:caller_id|group|webhook)\.|^receiver\.|\.(?:vn|invalid)$")


async def made(visitor: Visitor, world: World) -> dict[str, int]:
    """Something of everything, once."""
    if not world.things:
        await visitor.open(NOWHERE)
        customer = f"/api/customers/{world.customer}"
        group = await world.mixed()
        hook = {"url": "https://receiver.invalid/pages", "events": ["group.exhausted"]}
        window = {"mon": [{"from": "08:00", "to": "12:00"}]}
        campaign = {"name": "Pages", "dialer_mode": "preview", "caller_id_group_id": group.id, "time_window": window}
        _, webhook = await visitor.ask("POST", f"{customer}/management/webhooks", hook)
        await visitor.ask("POST", f"{customer}/management/webhooks/{webhook['data']['id']}/test")
        await visitor.ask("POST", f"{customer}/telesales/campaigns", campaign)
        await visitor.ask("POST", f"{customer}/management/tokens", {"name": "Pages"})
        await visitor.ask("POST", f"{customer}/dialers", {"name": f"pages-{world.customer}"})
        world.things |= {"group": group.id, "webhook": webhook["data"]["id"]}
    return world.things


async def opened(visitor: Visitor, world: World, path: str) -> Page:
    """Goes to a page, and waits until all of it is there."""
    page = await visitor.open(path.format(**await made(visitor, world)))
    await expect(page.get_by_text("There is no such page")).to_have_count(0)
    await expect(page.locator("main .page h1")).to_be_visible()
    await expect(page.locator("main .loading")).to_have_count(0)
    return page


@pytest.mark.parametrize("name", PAGES)
async def test_axe_finds_no_violation_of_a_management_page(world: World, visitors: Visitors, name: str) -> None:
    page = await opened(await visitors.inspected("admin"), world, PAGES[name])
    if await page.locator("details").count():
        await page.locator("details summary").first.click()
    if name == "campaign":
        await page.get_by_role("button", name="At certain hours").click()
    if name == "members":
        await page.locator("[data-member] .button").first.click()
    assert await violations_in_both_themes(page) == []


@pytest.mark.parametrize("name", DIALOGS)
async def test_axe_finds_no_violation_of_a_dialog(world: World, visitors: Visitors, name: str) -> None:
    path, button = DIALOGS[name]
    page = await opened(await visitors.inspected("admin"), world, path)
    await page.get_by_role("button", name=button).click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    assert await violations_in_both_themes(page) == []


async def test_every_management_page_speaks_vietnamese_and_fits_a_phone(world: World, visitors: Visitors) -> None:
    visitor = await visitors.visitor("admin")
    await visitor.page.set_viewport_size(PHONE)
    await opened(visitor, world, PAGES["caller IDs"])
    session = "/api/session/language"
    assert (await visitor.ask("PUT", session, {"language": "vi"}))[0] == 204
    try:
        for name, path in PAGES.items():
            page = await opened(visitor, world, path)
            await page.reload()
            await expect(page.locator("main .page h1")).to_be_visible()
            await expect(page.locator("main .loading")).to_have_count(0)
            await expect(page.locator("html")).to_have_attribute("lang", "vi")
            text = await page.locator("main").inner_text()
            assert [each for each in KEY.findall(text) if not NO_KEYS.search(each)] == [], name
            widths = await page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
            assert widths == [360, 360], name
    finally:
        assert (await visitor.ask("PUT", session, {"language": "en"}))[0] == 204


async def test_a_menu_is_walked_with_the_keyboard_and_gives_the_focus_back(world: World, visitors: Visitors) -> None:
    page = await opened(await visitors.visitor("admin"), world, PAGES["groups"])
    opener = page.get_by_role("button", name=re.compile("^More for")).first
    await opener.press("Enter")
    items = page.get_by_role("menuitem")
    await expect(items.first).to_be_focused()
    await page.keyboard.press("ArrowUp")
    await expect(items.last).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(items).to_have_count(0)
    await expect(opener).to_be_focused()


async def test_a_form_that_was_changed_asks_before_it_is_thrown_away(world: World, visitors: Visitors) -> None:
    page = await opened(await visitors.visitor("admin"), world, PAGES["groups"])
    await page.get_by_role("button", name="New group").click()
    await page.get_by_label("Name").fill("Not to be lost")
    await page.keyboard.press("Escape")
    question = page.get_by_role("dialog", name="Discard your changes?")
    await question.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_label("Name")).to_have_value("Not to be lost")
    await page.keyboard.press("Escape")
    await question.get_by_role("button", name="Discard").click()
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_an_installation_without_the_brokers_management_says_so(world: World, visitors: Visitors) -> None:
    visitor = await visitors.visitor("admin")
    body = json.dumps({"message": "This installation does not manage dialers here."})
    await visitor.page.route("**/dialers", lambda route: route.fulfill(status=501, body=body))
    page = await opened(visitor, world, PAGES["dialers"])
    await expect(page.get_by_role("heading", name="Dialers are not managed here")).to_be_visible()
    await expect(page.get_by_role("button", name="New dialer")).to_have_count(0)
