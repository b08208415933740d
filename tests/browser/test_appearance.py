"""For everyone: both themes, both languages, phones and walls, keyboards and screen readers."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from browser.world import NOWHERE, PASSWORD, PHONE, Visitor, Visitors, World

AXE = Path(__file__).with_name("vendor") / "axe-core" / "axe.min.js.gz"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
VIOLATIONS = "async runOnly => (await axe.run({ runOnly, resultTypes: ['violations'] })).violations"
"""Takes rules, or tags of rules. Everything else that axe tells, of every element, is much, and nobody looks at it."""
COLOURS = """tags => axe.getRules(['cat.color'])
    .filter(rule => rule.tags.some(tag => tags.includes(tag)))
    .map(rule => rule.ruleId)"""
"""Which rules look at colours, of those with these tags."""


@cache
def axe() -> str:
    """The source of axe-core, which finds what is not accessible."""
    return gzip.decompress(AXE.read_bytes()).decode()


async def load_axe(page: Page) -> None:
    """Puts axe into a page that does not have it yet."""
    if not await page.evaluate("() => 'axe' in window"):
        await page.evaluate(axe())


async def violations(page: Page, rules: list[str] = RULES) -> list[str]:
    """What axe finds on a page as it is."""
    await load_axe(page)
    found = await page.evaluate(VIOLATIONS, rules)
    return [f"{one['id']}: {node['html']} {node['failureSummary']}" for one in found for node in one["nodes"]]


async def violations_of_colours(page: Page, rules: list[str] = RULES) -> list[str]:
    """Of what axe finds, what can depend on the theme: themes differ in colours alone."""
    await load_axe(page)
    colours = await page.evaluate(COLOURS, rules)
    assert "color-contrast" in colours
    return await violations(page, colours)


Open = Callable[[Visitor, World], Awaitable[None]]
OPENED: dict[str, Open] = {}


def opens(name: str) -> Callable[[Open], Open]:
    """Names how somebody comes to a state of the pages."""

    def keep(function: Open) -> Open:
        OPENED[name] = function
        return function

    return keep


@opens("groups")
async def _groups(visitor: Visitor, world: World) -> None:
    await world.mixed()
    await visitor.open("/#/groups")
    await expect(visitor.page.locator(".group-card .status-bar").first).to_be_visible()


@opens("all groups on a wall")
async def _wall_of_groups(visitor: Visitor, world: World) -> None:
    await world.mixed()
    await visitor.open("/#/groups?wall=1")
    await expect(visitor.page.locator(".wall-eligible").first).to_be_visible()


@opens("group")
async def _group(visitor: Visitor, world: World) -> None:
    await visitor.open((await world.mixed()).page)
    await expect(visitor.page.locator("[data-id] .badge.cooldown").first).to_be_visible()
    await expect(visitor.page.locator(".strip canvas")).to_be_visible()


@opens("group on a wall")
async def _wall(visitor: Visitor, world: World) -> None:
    await visitor.open((await world.mixed()).page + "?wall=1")
    await expect(visitor.page.locator(".resting li").first).to_be_visible()


@opens("explanation")
async def _explanation(visitor: Visitor, world: World) -> None:
    await _group(visitor, world)
    await visitor.page.locator(".line.cooldown .health button").first.click()
    await expect(visitor.page.get_by_role("dialog")).to_be_visible()


@opens("history")
async def _history(visitor: Visitor, world: World) -> None:
    await world.swept()
    await visitor.open((await world.mixed()).page + "/history")
    await expect(visitor.page.locator(".history-tiles")).to_be_visible()


@opens("account")
async def _account(visitor: Visitor, _: World) -> None:
    await visitor.open("/#/account")
    await visitor.page.get_by_role("button", name="Set up two-step sign-in").click()
    await expect(visitor.page.locator(".qr")).to_be_visible()


@opens("a page that is not there")
async def _nowhere(visitor: Visitor, _: World) -> None:
    await visitor.open(NOWHERE)
    await expect(visitor.page.get_by_text("There is no such page")).to_be_visible()


async def violations_in_both_themes(page: Page) -> list[str]:
    """What axe finds in the light theme, and then in the dark one."""
    await page.emulate_media(color_scheme="light")
    light = await violations(page)
    await page.emulate_media(color_scheme="dark")
    dark = await violations_of_colours(page)
    return [*(f"light: {one}" for one in light), *(f"dark: {one}" for one in dark)]


@pytest.mark.parametrize("name", OPENED)
async def test_axe_finds_no_violation(world: World, visitors: Visitors, name: str) -> None:
    visitor = await visitors.inspected("operator")
    await OPENED[name](visitor, world)
    assert await violations_in_both_themes(visitor.page) == []


async def test_axe_finds_no_violation_of_the_sign_in_page(visitors: Visitors) -> None:
    visitor = await visitors.visitor(None)
    page = await visitor.open()
    await page.get_by_label("User name").fill("nobody")
    await page.get_by_label("Password").fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_be_visible()
    assert await violations_in_both_themes(page) == []


async def background(page: Page) -> str:
    """The page's own colour."""
    return str(await page.evaluate("() => getComputedStyle(document.body).backgroundColor"))


async def test_the_theme_is_the_systems_until_somebody_chooses_and_is_then_remembered(visitors: Visitors) -> None:
    visitor = await visitors.visitor(color_scheme="dark")
    page = await visitor.open("/#/account")
    await expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    dark = await background(page)
    await page.emulate_media(color_scheme="light")
    light = await background(page)
    assert light != dark
    await page.get_by_role("button", name="Dark", exact=True).click()
    assert await background(page) == dark
    await page.reload()
    await expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    assert await background(page) == dark


async def test_the_language_is_the_persons_and_is_kept(world: World, visitors: Visitors) -> None:
    visitor = await visitors.visitor("admin")
    page = await visitor.open("/#/account")
    async with page.expect_response("**/api/session/language"):  # the page does not wait for it
        await page.get_by_role("button", name="Tiếng Việt").click()
    await expect(page.get_by_role("heading", name="Tài khoản của bạn")).to_be_visible()
    await expect(page.locator("html")).to_have_attribute("lang", "vi")
    other = await visitors.visitor("admin")
    await other.open((await world.mixed()).page)
    await expect(other.page.locator("[data-id] .badge.cooldown").first).to_have_text("Đang nghỉ")
    await expect(other.page.locator("[data-freshness=live]")).to_have_text("Trực tiếp")
    async with page.expect_response("**/api/session/language"):
        await page.get_by_role("button", name="English").click()
    await expect(page.get_by_role("heading", name="Your account")).to_be_visible()


async def hold(page: Page, path: str) -> Callable[[], None]:
    """Keeps a module that the page asks for on its way, until what is returned is called."""
    released = asyncio.Event()

    async def go_on(route: Route) -> None:
        await released.wait()
        await route.continue_()

    await page.route(path, go_on)
    return released.set


async def test_the_language_chosen_last_stays_whichever_arrives_last(world: World, visitors: Visitors) -> None:
    visitor = await visitors.visitor("admin")
    await world.execute("UPDATE users SET language = 'vi' WHERE name = $1", world.user("admin"))
    try:
        release = await hold(visitor.page, "**/js/i18n/en.js")  # the browser's language, until the person is known
        await visitor.open("/#/groups")
        await expect(visitor.page.locator("html")).to_have_attribute("lang", "vi")
        release()
        await expect(visitor.page.locator("h1")).to_have_text("Giám sát trực tiếp")
    finally:
        await world.execute("UPDATE users SET language = 'en' WHERE name = $1", world.user("admin"))


async def test_a_part_of_the_page_that_comes_while_the_language_changes_has_its_texts(visitors: Visitors) -> None:
    visitor = await visitors.visitor("admin")
    page = await visitor.open("/#/account")
    release = await hold(page, "**/js/i18n/vi.js")
    await page.get_by_role("button", name="Tiếng Việt").click()
    async with page.expect_request("**/js/manage/i18n/*.js"):
        await page.get_by_role("link", name="Campaigns").click()
    async with page.expect_response("**/api/session/language"):
        release()
    await expect(page.locator("h1")).to_have_text("Chiến dịch")
    await expect(page.get_by_text("Gọi cho ai, gọi thế nào và bằng những số nào.")).to_be_visible()
    await visitor.ask("PUT", "/api/session/language", {"language": "en"})


async def test_who_signs_in_in_vietnamese_goes_on_in_it(world: World, visitors: Visitors) -> None:
    visitor = await visitors.visitor(None, locale="vi-VN")
    page = await visitor.open()
    await expect(page.get_by_role("heading", name="Đăng nhập Rotary")).to_be_visible()
    await page.get_by_label("Tên đăng nhập").fill(world.user("admin"))
    await page.get_by_label("Mật khẩu").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text("Giám sát trực tiếp")
    await page.reload()
    await expect(page.locator("h1")).to_have_text("Giám sát trực tiếp")
    await world.execute("UPDATE users SET language = 'en' WHERE name = $1", world.user("admin"))


async def test_times_are_in_the_viewers_zone_and_in_utc_on_hover(world: World, visitors: Visitors) -> None:
    group = await world.mixed()
    for zone, shown in (("Asia/Ho_Chi_Minh", "00:00"), ("Asia/Tokyo", "02:00")):
        visitor = await visitors.visitor(timezone_id=zone)
        await visitor.open(group.page)
        midnight = visitor.page.locator(".tile.quota_exceeded time")
        await expect(midnight).to_have_text(shown)
        title = await midnight.get_attribute("title")
        assert title is not None
        assert title.endswith("17:00:00 UTC")


@pytest.mark.parametrize("name", ["groups", "group", "explanation", "history", "account"])
async def test_a_phone_needs_no_sideways_scrolling(world: World, visitors: Visitors, name: str) -> None:
    visitor = await visitors.visitor("operator")
    await visitor.page.set_viewport_size(PHONE)
    await OPENED[name](visitor, world)
    widths = await visitor.page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert widths == [360, 360]


async def test_a_phones_menu_leads_to_the_pages(visitors: Visitors) -> None:
    visitor = await visitors.visitor()
    await visitor.page.set_viewport_size(PHONE)
    page = await visitor.open("/#/account")
    link = page.get_by_role("navigation", name="Main").get_by_role("link", name="Live monitor")
    await expect(link).to_be_hidden()
    await page.get_by_role("button", name="Menu").click()
    await link.click()
    await expect(page.locator("h1")).to_have_text("Live monitor")
    await expect(link).to_be_hidden()


async def test_the_keyboard_alone_skips_the_navigation(visitors: Visitors) -> None:
    visitor = await visitors.visitor()
    page = await visitor.open("/#/groups")
    await visitor.is_live()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Skip to the page")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Wall mode")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator(".wall-page")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("link", name="Wall mode")).to_be_visible()
