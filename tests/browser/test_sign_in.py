"""Signing in and out, and one's own account."""

import re

import pyotp
from playwright.async_api import expect

from browser.world import PASSWORD, Visitors, World, sign_in


async def test_who_signs_in_sees_the_monitor_and_who_signs_out_does_not(world: World, visitors: Visitors) -> None:
    visitor = await visitors.visitor(None)
    page = await visitor.open("/#/groups")
    await sign_in(page, world.user("viewer"))
    await expect(page.locator("h1")).to_have_text("Live monitor")
    await expect(page.locator(".person")).to_contain_text("Viewer")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in to Rotary")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("heading", name="Sign in to Rotary")).to_be_visible()


async def test_a_wrong_password_is_told_and_read_out(world: World, visitors: Visitors) -> None:
    visitor = await visitors.visitor(None)
    page = await visitor.open()
    await sign_in(page, world.user("viewer"), "not my password")
    await expect(page.get_by_role("alert")).to_have_text("Wrong user name, password or code.")
    assert (await visitor.ask("GET", "/api/session"))[0] == 401
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text("Live monitor")


async def test_a_session_that_ends_elsewhere_leads_to_the_sign_in_page_and_back(
    world: World, visitors: Visitors
) -> None:
    group = await world.group("Sessions", 1)
    visitor = await visitors.visitor(None)
    page = await visitor.open(group.page)
    await sign_in(page, world.user("operator"))
    await expect(page.locator("h1")).to_have_text("Sessions")
    await visitor.ask("DELETE", "/api/session")
    await page.get_by_role("link", name=re.compile("Linh")).click()
    await page.get_by_role("button", name="Tiếng Việt").click()  # the first request that needs the session
    await expect(page.get_by_role("heading", name="Đăng nhập Rotary")).to_be_visible()


async def test_a_second_step_is_set_up_with_a_key_and_asked_for_afterwards(world: World, visitors: Visitors) -> None:
    visitor = await visitors.visitor(None)
    page = await visitor.open("/#/account")
    await sign_in(page, world.user("operator"))
    await page.get_by_role("button", name="Set up two-step sign-in").click()
    await expect(page.get_by_role("img", name="QR code with the key")).to_be_visible()
    totp = pyotp.TOTP((await page.locator(".secret").inner_text()).replace(" ", ""))
    code = page.get_by_label("Six-digit code")
    await page.get_by_role("dialog").get_by_label("Password").fill(PASSWORD)
    await code.fill("000000")
    await page.get_by_role("button", name="Turn on").click()
    await expect(page.locator(".field .error")).to_be_visible()
    await code.fill(totp.now())
    await page.get_by_role("button", name="Turn on").click()
    await expect(page.get_by_text("Two-step sign-in is on.")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await sign_in(page, world.user("operator"))
    await expect(page.get_by_label("Six-digit code")).to_be_focused()
    await page.get_by_role("button", name="Use another account").click()
    await expect(page.get_by_label("User name")).to_be_focused()
    await world.execute("UPDATE users SET totp_secret = NULL WHERE name = $1", world.user("operator"))
