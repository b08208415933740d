"""Access for programs, dialers and people, rules and the log: what is shown once, and what follows from a change."""

import re

from playwright.async_api import Page, expect

from browser.test_appearance import violations
from browser.world import Visitor, Visitors, World, said, sign_in


async def shown_once(page: Page, label: str) -> str:
    """The text under a label of a dialog that shows it once, after it was copied and the dialog closed."""
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("This is shown only once.")
    text = await dialog.locator(".secret-part", has_text=label).locator("code").inner_text()
    await dialog.get_by_role("button", name="Done").click()
    question = page.get_by_role("dialog", name="Close without copying?")
    await question.get_by_role("button", name="Cancel").click()
    await dialog.get_by_role("button", name=f"Copy: {label}").click()
    await expect(dialog.get_by_role("button", name=f"Copied: {label}")).to_be_visible()
    assert await violations(page) == []
    await dialog.get_by_role("button", name="Done").click()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert text not in await page.content()
    return text


async def reads(visitor: Visitor, token: str) -> int:
    """The status that the read API answers a token with."""
    answer = await visitor.context.request.get(
        f"{visitor.world.stack['ROTARY_API_URL']}/api/caller-id-groups", headers={"Authorization": f"Bearer {token}"}
    )
    return answer.status


async def test_a_token_is_shown_once_works_is_rotated_and_revoked(visitors: Visitors) -> None:
    visitor = await visitors.visitor("admin", permissions=["clipboard-read"])
    page = await visitor.open("/#/tokens")
    await page.get_by_role("button", name="New token").click()
    await page.get_by_label("Name").fill("Dashboard")
    await expect(page.get_by_label("telesales_api_access")).to_be_checked()
    await expect(page.get_by_text("Pick numbers for calls, as a dialer does.")).to_be_visible()
    await page.get_by_role("button", name="Create").click()
    token = await shown_once(page, "Token")
    assert await page.evaluate("navigator.clipboard.readText()") == token
    assert await reads(visitor, token) == 200
    await page.get_by_role("button", name="Rotate Dashboard").click()
    await page.get_by_label("The old one goes on for").select_option("an hour")
    await page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    successor = await shown_once(page, "Token")
    rows = page.get_by_role("row", name=re.compile("^Dashboard"))
    await expect(rows.first).to_contain_text("Expires soon")
    assert [await reads(visitor, one) for one in (token, successor)] == [200, 200]
    await rows.last.get_by_role("button", name="Revoke").click()
    await expect(page.get_by_role("dialog")).to_contain_text("Whoever uses it is refused at once.")
    await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    await expect(rows.last).to_contain_text("Revoked")
    assert await reads(visitor, successor) == 401


async def test_a_webhook_shows_its_secret_once_and_what_became_of_a_test(visitors: Visitors) -> None:
    visitor = await visitors.visitor("admin")
    page = await visitor.open("/#/webhooks")
    await page.get_by_role("button", name="New webhook").click()
    for event in ("caller_id.cooldown_started", "group.exhausted"):
        await page.get_by_label(event).uncheck()
    await page.get_by_label("Address").fill("https://receiver.invalid/rotary")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("group", name="Events").get_by_role("alert")).to_be_visible()
    await page.get_by_label("group.recovered").check()
    await page.get_by_role("button", name="Create").click()
    assert (await shown_once(page, "Signing secret")).startswith("whsec_")
    await expect(page.locator("h1")).to_have_text("https://receiver.invalid/rotary")
    await page.get_by_role("button", name="Send a test").click()
    await expect(page.get_by_role("alert")).to_contain_text("The test did not arrive.")
    entry = page.locator(".entry").first
    await expect(entry.locator("summary")).to_contain_text("webhook.test")
    await entry.locator("summary").press("Enter")
    await expect(entry.locator(".attempts li")).to_have_count(1)
    await page.get_by_role("button", name=re.compile("^More for")).press("Enter")
    await expect(page.get_by_role("menuitem").first).to_be_focused()
    await page.keyboard.press("Enter")
    await page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    await expect(page.locator(".title .badge")).to_have_text("Disabled")
    operator = await visitors.visitor("operator")
    await operator.open(page.url.removeprefix(visitor.world.url))
    await expect(operator.page.locator(".entry")).to_have_count(1)
    await expect(operator.page.get_by_role("button", name="Send a test")).to_have_count(0)


async def test_a_dialers_password_is_shown_once_and_revoking_it_is_on_record(world: World, visitors: Visitors) -> None:
    visitor = await visitors.visitor("admin")
    page = await visitor.open("/#/dialers")
    await page.get_by_role("button", name="New dialer").click()
    name = f"hcm-{world.customer}"
    await page.get_by_label("Name").fill("HCM 1")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_label("Name")).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Name").fill(name)
    await page.get_by_role("button", name="Create").click()
    password = await shown_once(page, "Password")
    await page.get_by_role("button", name=f"New password for {name}").click()
    await page.get_by_role("dialog").get_by_role("button", name="New password").click()
    assert await shown_once(page, "Password") != password
    await page.get_by_role("button", name=f"Revoke {name}").click()
    await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    await expect(page.get_by_role("rowheader", name=name)).to_have_count(0)
    await visitor.open("/#/audit?entity=dialer")
    await expect(page.locator(".entry")).to_have_count(3)
    await expect(page.locator(".entry").first).to_contain_text(f"user {world.user('admin')}")


async def test_a_new_user_signs_in_with_the_password_that_was_shown_and_loses_the_role(
    world: World, visitors: Visitors
) -> None:
    visitor, newcomer = await visitors.visitor("admin"), await visitors.visitor(None)
    page = await visitor.open("/#/users")
    await expect(page.get_by_role("row", name=re.compile("^Linh admin"))).to_contain_text("This is you")
    await page.get_by_role("button", name="New user").click()
    name = f"mai-{world.customer}"
    await page.get_by_label("User name").fill(name)
    await page.get_by_label("Role", exact=True).select_option("operator")
    await page.get_by_role("button", name="Create").click()
    password = await shown_once(page, "Password")
    await newcomer.open()
    await sign_in(newcomer.page, name, password)
    await expect(newcomer.page.locator(".person")).to_contain_text("Operator")
    await page.get_by_role("button", name=f"Change role of {name}").click()
    await page.get_by_label("Role", exact=True).select_option("viewer")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("row", name=re.compile(name))).to_contain_text("Viewer")
    await page.get_by_role("button", name=f"More for {name}").click()
    await page.get_by_role("menuitem", name="Take the role away").click()
    await page.get_by_role("dialog").get_by_role("button", name="Take the role away").click()
    await said(page, "has no role here any more")
    await newcomer.page.reload()
    await expect(newcomer.page.get_by_role("heading", name="You have no customer yet")).to_be_visible()


async def test_a_policy_says_what_it_means_before_it_is_saved_and_a_lost_update_shows_the_rules(
    world: World, visitors: Visitors
) -> None:
    visitor = await visitors.visitor("admin")
    page = await visitor.open("/#/settings")
    field = page.get_by_label("Rest after a spam label", exact=True)
    meaning = page.locator(".consequences section", has_text="Spam label")
    await expect(meaning.locator("tbody tr").first).to_contain_text("6 hrs")
    await field.fill("12")
    await expect(meaning.locator("tbody tr").nth(1)).to_contain_text("1 day")
    await expect(page.locator(".consequences")).to_contain_text("Not saved yet")
    path = f"/api/customers/{world.customer}/management/customer"
    theirs = {"policy": {"sticky_days": 30}}
    assert (await visitor.ask("PUT", path, theirs, If_Match="*"))[0] == 200
    await page.get_by_role("button", name="Save").click()
    dialog = page.get_by_role("dialog", name="Somebody else has changed this")
    row = dialog.get_by_role("row", name=re.compile("^Policy"))
    await expect(row).to_contain_text("Rest after a spam label: 12 hrs")
    await expect(row).to_contain_text("A lead keeps its number for, days: 30")
    await dialog.get_by_role("button", name="Keep mine").click()
    await said(page, "Saved.")
    assert (await visitor.ask("GET", path))[1]["data"]["policy"] == {"cooldown_spam_label_seconds": 43_200}
    await page.get_by_role("button", name="Back to the default: Rest after a spam label").click()
    await field.fill("31")
    await page.get_by_label("Unit of Rest after a spam label").select_option("days")
    await page.get_by_role("button", name="Save").click()
    await expect(field).to_have_attribute("aria-invalid", "true")
    await page.get_by_role("button", name="Back to the default: Rest after a spam label").click()
    async with page.expect_response(lambda answer: answer.request.method == "PUT" and answer.ok):
        await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("0 rules of your own")).to_be_visible()
    assert (await visitor.ask("GET", path))[1]["data"]["policy"] is None
    await page.get_by_role("link", name="Who changed it").click()
    entry = page.locator(".entry").nth(1)
    await expect(entry).to_contain_text(re.compile(r"Rest after a spam label\s+\S\s+→\s+12 hrs"))
    await entry.locator("summary").press("Enter")
    await entry.get_by_role("button", name=f"Only user {world.user('admin')}").click()
    await expect(page.get_by_label("Who, in full")).to_have_value(f"user {world.user('admin')}")
